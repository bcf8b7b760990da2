// The KEK: the one key that wraps the others at rest. It comes from outside the stores (a file, the environment, a
// systemd credential) and is never written by the gateway except by `createKekFile`.
import { hkdfSync, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import { Secret } from '../core/secret.ts';
import { asStorageError, errorCode } from './storage-error.ts';

const KEK_BYTES = 32;
const MAX_FILE_BYTES = 4_096;
const CREDENTIAL_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/**
 * Reads the KEK. `reference` is `file:/absolute/path` (a regular file, no symbolic link, mode 0600 or stricter),
 * `env:NAME`, or `credential:NAME` (a file in $CREDENTIALS_DIRECTORY). The value is 32 raw bytes (files only), 64 hex
 * digits, or base64. Throws GatewayError `config-invalid` that says what to do; it never shows the value.
 */
export async function readKek(
  reference: string,
  options: { readonly environment?: Readonly<Record<string, string | undefined>> } = {},
): Promise<Secret> {
  const environment = options.environment ?? process.env;
  const colon = reference.indexOf(':');
  const kind = reference.slice(0, Math.max(0, colon));
  const place = reference.slice(colon + 1);
  switch (kind) {
    case 'file':
      if (!isAbsolute(place)) throw invalid('the KEK reference `file:` needs an absolute path');
      return parseKek(await readSecretFile(place, 0o077), reference);
    case 'env': {
      const value = environment[place];
      if (value === undefined || value === '')
        throw invalid(`the environment variable ${place} for the KEK is not set`);
      return parseKek(Buffer.from(value.trim(), 'utf8'), reference);
    }
    case 'credential': {
      const folder = environment['CREDENTIALS_DIRECTORY'];
      if (folder === undefined || folder === '') {
        throw invalid(
          '$CREDENTIALS_DIRECTORY is not set: start the gateway as a systemd unit with LoadCredential',
        );
      }
      if (!CREDENTIAL_NAME.test(place))
        throw invalid('the name of the KEK credential is not a plain file name');
      // systemd makes these 0440 or 0400 in a folder that only the service can enter.
      return parseKek(await readSecretFile(join(folder, place), 0o037), reference);
    }
    default:
      throw invalid('the KEK reference must start with `file:`, `env:` or `credential:`');
  }
}

/** Makes a new KEK file, mode 0600, synced. Throws GatewayError `store-failed` where the file exists. */
export async function createKekFile(path: string): Promise<void> {
  try {
    await using handle = await open(
      path,
      constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW,
      0o600,
    );
    await handle.writeFile(`${randomBytes(KEK_BYTES).toString('hex')}\n`);
    await handle.sync();
  } catch (error) {
    throw asStorageError(error, `the KEK file ${path} cannot be made`);
  }
}

/** A key for one purpose, the same as long as the KEK is (RFC 5869). Tells nothing about the KEK or other purposes. */
export function deriveKey(kek: Secret, purpose: string): Secret {
  return new Secret(Buffer.from(hkdfSync('sha256', kek.reveal(), '', `postern ${purpose}`, KEK_BYTES)));
}

async function readSecretFile(path: string, forbiddenMode: number): Promise<Buffer> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (!stat.isFile()) throw invalid(`the KEK file ${path} is not a regular file`);
    if ((stat.mode & forbiddenMode) !== 0) {
      throw invalid(`the KEK file ${path} can be read by others: run \`chmod 600\` on it`);
    }
    if (stat.size > MAX_FILE_BYTES) throw invalid(`the KEK file ${path} is too large to be a key`);
    return await handle.readFile();
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    if (errorCode(error) === 'ELOOP')
      throw invalid(`the KEK file ${path} is a symbolic link: name the file itself`);
    if (errorCode(error) === 'ENOENT') {
      throw invalid(`the KEK file ${path} does not exist: restore it, or make one before the first start`);
    }
    throw asStorageError(error, `the KEK file ${path} cannot be read`);
  }
}

function parseKek(bytes: Buffer, reference: string): Secret {
  if (bytes.length === KEK_BYTES) return new Secret(bytes);
  const text = bytes.toString('latin1').trim();
  if (/^[0-9a-fA-F]{64}$/.test(text)) return new Secret(Buffer.from(text, 'hex'));
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return new Secret(Buffer.from(text, 'base64'));
  throw invalid(`the KEK at ${reference} is neither 32 bytes, nor 64 hex digits, nor base64 of 32 bytes`);
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

// The files that a policy file names: bounded, regular, relative to the policy file's folder; and passwords by reference.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import type { KeyFormat } from '../core/key.ts';
import { Secret } from '../core/secret.ts';

const MAX_FILE_BYTES = 1024 * 1024;
const MAX_PASSWORD_BYTES = 1_000;

export interface KeyFile {
  readonly bytes: Buffer;
  /** Others than the owner may read it. */
  readonly isLoose: boolean;
}

/** Where files and passwords are looked for. */
export interface FileAccess {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** One key as its format's reader found it, before it is compared with the entry. */
export interface FoundKey {
  readonly format: KeyFormat;
  readonly fingerprint: string;
  readonly addresses: readonly string[];
  /** Of a certificate: those that stand in its subject only count by the policy. */
  readonly subjectAddresses?: readonly string[];
  readonly material: string;
  readonly notBefore: Date;
  readonly notAfter?: Date;
  /** PKCS#8 PEM, or an armoured OpenPGP key without password. */
  readonly privateMaterial?: Secret;
  readonly warnings: readonly string[];
}

/**
 * Reads a file of at most 1 MiB. Symbolic links are followed (mounted secrets are links); devices, pipes and folders are
 * refused. Throws GatewayError `config-invalid`.
 */
export async function readKeyFile(folder: string, path: string): Promise<KeyFile> {
  try {
    // Without O_NONBLOCK a pipe would hold the process up.
    await using handle = await open(resolve(folder, path), constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await handle.stat();
    if (!found.isFile()) throw invalid(`${path} is not a regular file`);
    if (found.size > MAX_FILE_BYTES) throw invalid(`${path} is larger than 1 MiB`);
    const bytes = Buffer.alloc(found.size);
    const { bytesRead } = await handle.read(bytes, 0, found.size, 0);
    return { bytes: bytes.subarray(0, bytesRead), isLoose: (found.mode & 0o077) !== 0 };
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw invalid(`${path} cannot be read: ${failureText(error)}`);
  }
}

/**
 * The password behind `env:NAME` or `file:path` (its final line end is cut off). Throws GatewayError `config-invalid`;
 * SECURITY: a reference that is no reference may be the password itself, so it is never shown (test: password in error).
 */
export async function readPassword(
  reference: string,
  folder: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Secret> {
  if (reference.startsWith('env:')) {
    const name = reference.slice('env:'.length);
    const value = environment[name];
    if (value === undefined) throw invalid(`environment variable ${name} with the password is not set`);
    return new Secret(value);
  }
  if (!reference.startsWith('file:')) throw invalid('password must be given as env:NAME or file:path');
  const path = reference.slice('file:'.length);
  const { bytes } = await readKeyFile(folder, path);
  if (bytes.length > MAX_PASSWORD_BYTES) throw invalid(`${path} is too large for a password`);
  return new Secret(bytes.toString('utf8').replace(/\r?\n$/, ''));
}

function failureText(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    default:
      return typeof code === 'string' ? code : 'unknown error';
  }
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

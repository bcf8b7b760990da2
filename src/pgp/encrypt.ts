// Writing OpenPGP objects: encrypted data with or without a signature inside, and detached signatures, as streams.
import { TransformStream } from 'node:stream/web';
import { createMessage, encrypt, enums, generateSessionKey, type Signature, sign } from 'openpgp';
import { type Chunks, rechunk } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import { writeArmor } from './armor.ts';
import { certificateUse, type PgpCertificate, type PgpPrivateKey } from './certificate.ts';
import { type PgpOptions, strictConfig } from './options.ts';
import { openWebStream, readWebStream } from './web-stream.ts';

/** A signature that is made while the content passes through `tap`. */
export interface DetachedSigner {
  /** As `micalg` names it (RFC 3156 §5): `pgp-sha256`. */
  readonly micalg: string;
  /** Passes the content on unchanged. Must be read to its end before `signature`. */
  readonly tap: (content: Chunks) => AsyncGenerator<Uint8Array, void>;
  readonly signature: () => Promise<Uint8Array>;
}

/** The library has a cost per chunk. */
const CHUNK_BYTES = 65_536;

/**
 * One armoured message, encrypted to all keys; with `signer` also signed (RFC 3156 §6.2). Throws GatewayError
 * `encryption-required` or `signing-key-missing` for a key that cannot be used at `options.at`.
 */
export async function* encryptContent(
  content: Chunks,
  keys: NonEmpty<PgpCertificate>,
  signer: PgpPrivateKey | undefined,
  options: PgpOptions,
): AsyncGenerator<Uint8Array, void> {
  for (const key of keys) await requireUse(key, 'encrypt', options);
  if (signer) await requireUse(signer.certificate, 'sign', options);
  const encryptionKeys = keys.map(({ key }) => key);
  const settings = { encryptionKeys, date: options.at, config: strictConfig };
  const sessionKey = await generateSessionKey(settings);
  const source = openWebStream(rechunk(content, CHUNK_BYTES));
  try {
    const stream = await encrypt({
      ...settings,
      message: await createMessage({ binary: source.stream, format: 'binary', date: options.at }),
      sessionKey,
      ...(signer ? { signingKeys: signer.key } : {}),
      format: 'binary',
    });
    yield* writeArmor('MESSAGE', readWebStream(stream), sessionKey.aeadAlgorithm === undefined);
    source.check();
  } catch (error) {
    source.check();
    throw error;
  }
}

/** Prepares a detached signature. Throws GatewayError `signing-key-missing`. */
export async function openDetachedSigner(
  signer: PgpPrivateKey,
  options: PgpOptions,
): Promise<DetachedSigner> {
  await requireUse(signer.certificate, 'sign', options);
  const settings = {
    signingKeys: signer.key,
    detached: true,
    date: options.at,
    config: strictConfig,
  } as const;
  // The header names the hash before the content is read, and only the library knows what it takes for this key.
  const trial: Signature = (await sign({
    ...settings,
    message: await createMessage({ binary: new Uint8Array() }),
    format: 'object',
  })) as unknown as Signature;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const message = await createMessage({ binary: readable, format: 'binary' });
  const signature = collectStream(sign({ ...settings, message, format: 'binary' }));
  // Awaited by `signature`; without this a content that fails first would leave it unhandled.
  signature.catch(() => undefined);
  return {
    micalg: `pgp-${hashName(trial)}`,
    async *tap(content) {
      const writer = writable.getWriter();
      try {
        for await (const chunk of rechunk(content, CHUNK_BYTES)) {
          await writer.write(chunk);
          yield chunk;
        }
        await writer.close();
      } finally {
        await writer.abort().catch(() => undefined);
      }
    },
    signature: () => signature,
  };
}

async function requireUse(
  certificate: PgpCertificate,
  purpose: 'encrypt' | 'sign',
  options: PgpOptions,
): Promise<void> {
  const use = await certificateUse(certificate, purpose, options.at);
  if (use.usable) return;
  const code = purpose === 'encrypt' ? 'encryption-required' : 'signing-key-missing';
  throw new GatewayError(code, `the key cannot be used: ${use.reason}`);
}

async function collectStream(opened: Promise<Parameters<typeof readWebStream>[0]>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readWebStream(await opened)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function hashName(signature: Signature): string {
  const id = signature.packets[0]?.hashAlgorithm ?? enums.hash.sha256;
  return enums.read(enums.hash, id).toLowerCase().replace('_', '-');
}

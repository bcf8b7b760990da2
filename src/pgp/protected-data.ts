// Symmetrically encrypted, integrity protected data, version 1 (RFC 9580 §5.13.1) as a stream: CFB and the SHA-1 of the
// plaintext at the end. Plaintext comes out before it is checked: for callers that hold it back until the end.
import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Chunks } from '../core/bytes.ts';
import type { ByteReader } from './byte-reader.ts';
import { openCfb } from './cfb.ts';
import { PgpFault } from './fault.ts';
import { KEY_BYTES, type SessionKey } from './session-key.ts';

interface Cipher {
  readonly name: string;
  readonly label: string;
  readonly blockBytes: number;
}

/** What opens and closes the data. */
export type CipherKey = Pick<SessionKey, 'algorithm' | 'data'>;

const CIPHERS: Readonly<Record<number, Cipher>> = {
  2: { name: 'des-ede3-cfb', label: '3DES', blockBytes: 8 },
  7: { name: 'aes-128-cfb', label: 'AES-128', blockBytes: 16 },
  8: { name: 'aes-192-cfb', label: 'AES-192', blockBytes: 16 },
  9: { name: 'aes-256-cfb', label: 'AES-256', blockBytes: 16 },
};
const VERSION = 1;
const READ_BYTES = 65_536;
/** The modification detection code packet: two octets of head and a SHA-1. */
const MDC_HEAD = Buffer.of(0xd3, 0x14);
const MDC_BYTES = 22;

/** The body of the packet around these packets. */
export async function* encryptProtected(packets: Chunks, key: CipherKey): AsyncGenerator<Uint8Array, void> {
  const { name, blockBytes } = cipherOf(key);
  const cipher = createCipheriv(name, key.data, Buffer.alloc(blockBytes));
  const hash = createHash('sha1');
  const random = randomBytes(blockBytes);
  const prefix = Buffer.concat([random, random.subarray(-2)]);
  hash.update(prefix);
  yield Buffer.concat([Buffer.of(VERSION), cipher.update(prefix)]);
  for await (const chunk of packets) {
    hash.update(chunk);
    yield cipher.update(chunk);
  }
  hash.update(MDC_HEAD);
  yield cipher.update(Buffer.concat([MDC_HEAD, hash.digest()]));
}

/** Whether the prefix repeats its last two octets under this key, as it must (RFC 9580 §5.13.1). */
export async function opensProtected(body: ByteReader, key: CipherKey): Promise<boolean> {
  const cipher = CIPHERS[key.algorithm ?? 0];
  if (!cipher || key.data.length !== KEY_BYTES[key.algorithm ?? 0]) return false;
  const { name, blockBytes } = cipher;
  const decipher = createDecipheriv(name, key.data, Buffer.alloc(blockBytes));
  const prefix = decipher.update(await body.peek(blockBytes + 2));
  return prefix.length === blockBytes + 2 && prefix.subarray(-2).equals(prefix.subarray(-4, -2));
}

/** The packets inside. Throws PgpFault `failed` at the end where the content was changed: nothing may be used before. */
export async function* decryptProtected(body: ByteReader, key: CipherKey): AsyncGenerator<Uint8Array, void> {
  const { name, blockBytes } = cipherOf(key);
  const hash = createHash('sha1');
  let prefixLeft = blockBytes + 2;
  let last: Buffer = Buffer.alloc(0);
  function checked(plain: Buffer): Buffer {
    const skipped = Math.min(prefixLeft, plain.length);
    prefixLeft -= skipped;
    hash.update(plain);
    return plain.subarray(skipped);
  }
  for await (const chunk of decryptAll(body, name, key.data, blockBytes)) {
    // The last 22 bytes are the check, so as much is always held back.
    const isLarge = chunk.length >= MDC_BYTES;
    const known = isLarge ? last : Buffer.concat([last, chunk]);
    const size = isLarge ? known.length : Math.max(0, known.length - MDC_BYTES);
    const content = checked(known.subarray(0, size));
    if (content.length > 0) yield content;
    last = isLarge ? chunk : known.subarray(size);
  }
  const end = last.length - MDC_BYTES;
  const content = checked(last.subarray(0, Math.max(0, end)));
  if (end < 0 || prefixLeft > 0) throw new PgpFault('failed', 'the encrypted data is cut off');
  if (content.length > 0) yield content;
  const head = last.subarray(end, end + 2);
  const digest = hash.update(head).digest();
  if (!timingSafeEqual(digest, last.subarray(end + 2)) || !head.equals(MDC_HEAD)) {
    throw new PgpFault('failed', 'the encrypted data was changed');
  }
}

/** For the outcome: what protected the content. */
export function protectedAlgorithm(key: CipherKey): string {
  return `${cipherOf(key).label}-CFB with MDC`;
}

async function* decryptAll(
  body: ByteReader,
  name: string,
  key: Uint8Array,
  blockBytes: number,
): AsyncGenerator<Buffer, void> {
  const decipher = openCfb(name, key, blockBytes);
  for (let chunk = await body.some(READ_BYTES); chunk; chunk = await body.some(READ_BYTES)) {
    yield* decipher.update(chunk);
  }
  yield* decipher.final();
}

function cipherOf(key: CipherKey): Cipher {
  const cipher = CIPHERS[key.algorithm ?? 0];
  if (!cipher) throw new PgpFault('unsupported', 'unknown symmetric algorithm');
  return cipher;
}

// Symmetrically encrypted, integrity protected data, version 1 (RFC 9580 §5.13.1) as a stream: CFB and the SHA-1 of the
// plaintext at the end. Plaintext comes out before it is checked: for callers that hold it back until the end.
import { createDecipheriv, createHash, type Decipheriv, timingSafeEqual } from 'node:crypto';
import type { ByteReader } from './byte-reader.ts';
import { PgpFault } from './fault.ts';
import { KEY_BYTES, type SessionKey } from './session-key.ts';

interface Cipher {
  readonly name: string;
  readonly label: string;
  readonly blockBytes: number;
}

const CIPHERS: Readonly<Record<number, Cipher>> = {
  2: { name: 'des-ede3-cfb', label: '3DES', blockBytes: 8 },
  7: { name: 'aes-128-cfb', label: 'AES-128', blockBytes: 16 },
  8: { name: 'aes-192-cfb', label: 'AES-192', blockBytes: 16 },
  9: { name: 'aes-256-cfb', label: 'AES-256', blockBytes: 16 },
};
const READ_BYTES = 65_536;
/** The modification detection code packet: two octets of head and a SHA-1. */
const MDC_BYTES = 22;

/** Whether the prefix repeats its last two octets under this key, as it must (RFC 9580 §5.13.1). */
export async function opensProtected(body: ByteReader, key: SessionKey): Promise<boolean> {
  const cipher = CIPHERS[key.algorithm ?? 0];
  if (!cipher || key.data.length !== KEY_BYTES[key.algorithm ?? 0]) return false;
  const prefix = decipherOf(key).update(await body.peek(cipher.blockBytes + 2));
  return prefix.length === cipher.blockBytes + 2 && prefix.subarray(-2).equals(prefix.subarray(-4, -2));
}

/** The packets inside. Throws PgpFault `failed` at the end where the content was changed: nothing may be used before. */
export async function* decryptProtected(body: ByteReader, key: SessionKey): AsyncGenerator<Uint8Array, void> {
  const decipher = decipherOf(key);
  const hash = createHash('sha1');
  const prefixBytes = cipherOf(key).blockBytes + 2;
  hash.update(decipher.update(await body.take(prefixBytes)));
  let held: Buffer = Buffer.alloc(0);
  for (let chunk = await body.some(READ_BYTES); chunk; chunk = await body.some(READ_BYTES)) {
    const plain = Buffer.concat([held, decipher.update(chunk)]);
    const cut = Math.max(0, plain.length - MDC_BYTES);
    held = plain.subarray(cut);
    if (cut === 0) continue;
    hash.update(plain.subarray(0, cut));
    yield plain.subarray(0, cut);
  }
  if (held.length < MDC_BYTES) throw new PgpFault('failed', 'the encrypted data is cut off');
  hash.update(held.subarray(0, 2));
  const isWhole = held[0] === 0xd3 && held[1] === 0x14;
  if (!timingSafeEqual(hash.digest(), held.subarray(2)) || !isWhole) {
    throw new PgpFault('failed', 'the encrypted data was changed');
  }
}

/** For the outcome: what protected the content. */
export function protectedAlgorithm(key: SessionKey): string {
  return `${cipherOf(key).label}-CFB with MDC`;
}

function decipherOf(key: SessionKey): Decipheriv {
  const { name, blockBytes } = cipherOf(key);
  return createDecipheriv(name, key.data, Buffer.alloc(blockBytes));
}

function cipherOf(key: SessionKey): Cipher {
  const cipher = CIPHERS[key.algorithm ?? 0];
  if (!cipher) throw new PgpFault('unsupported', 'unknown symmetric algorithm');
  return cipher;
}

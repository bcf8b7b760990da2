// The AEAD modes of OpenPGP (RFC 9580 §9.6) for AES: OCB and GCM by OpenSSL, EAX out of CTR and CMAC.
import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
import { PgpFault } from './fault.ts';

export interface AeadMode {
  readonly label: 'EAX' | 'OCB' | 'GCM';
  readonly nonceBytes: number;
}

export const AEAD_TAG_BYTES = 16;
const BLOCK_BYTES = 16;
const MODES: Readonly<Record<number, AeadMode>> = {
  1: { label: 'EAX', nonceBytes: 16 },
  2: { label: 'OCB', nonceBytes: 15 },
  3: { label: 'GCM', nonceBytes: 12 },
};

/** The mode with this id; undefined for what is not read. */
export function aeadMode(id: number): AeadMode | undefined {
  return MODES[id];
}

/** Opens one chunk: ciphertext and its tag. `keyBits` names the AES variant. Throws PgpFault `failed`. */
export function openAead(
  mode: AeadMode,
  keyBits: number,
  key: Buffer,
  nonce: Buffer,
  associatedData: Buffer,
  sealed: Uint8Array,
): Buffer {
  const text = sealed.subarray(0, sealed.length - AEAD_TAG_BYTES);
  const tag = sealed.subarray(sealed.length - AEAD_TAG_BYTES);
  if (mode.label === 'EAX') return openEax(keyBits, key, nonce, associatedData, text, tag);
  try {
    const name = mode.label === 'OCB' ? (`aes-${keyBits}-ocb` as const) : (`aes-${keyBits}-gcm` as const);
    const decipher = createDecipheriv(name as 'aes-256-ocb', key, nonce, { authTagLength: AEAD_TAG_BYTES });
    decipher.setAuthTag(tag);
    decipher.setAAD(associatedData, { plaintextLength: text.length });
    return Buffer.concat([decipher.update(text), decipher.final()]);
  } catch {
    throw new PgpFault('failed', 'the encrypted data was changed');
  }
}

/** EAX (Bellare, Rogaway, Wagner 2004): three CMACs, told apart by a first block, and CTR. */
function openEax(
  keyBits: number,
  key: Buffer,
  nonce: Buffer,
  associatedData: Buffer,
  text: Uint8Array,
  tag: Uint8Array,
): Buffer {
  const mac = (kind: number, data: Uint8Array) => {
    const first = Buffer.alloc(BLOCK_BYTES);
    first[BLOCK_BYTES - 1] = kind;
    return cmac(keyBits, key, Buffer.concat([first, data]));
  };
  const start = mac(0, nonce);
  const expected = xor(xor(start, mac(1, associatedData)), mac(2, text));
  if (!timingSafeEqual(expected, tag)) throw new PgpFault('failed', 'the encrypted data was changed');
  return createDecipheriv(`aes-${keyBits}-ctr`, key, start).update(text);
}

/** AES-CMAC (RFC 4493) by way of CBC: the last block of the chain is the code. `data` is not empty. */
function cmac(keyBits: number, key: Buffer, data: Buffer): Buffer {
  const chain = createCipheriv(`aes-${keyBits}-cbc`, key, Buffer.alloc(BLOCK_BYTES)).setAutoPadding(false);
  const block = createCipheriv(`aes-${keyBits}-ecb`, key, null).setAutoPadding(false);
  const wholeKey = double(block.update(Buffer.alloc(BLOCK_BYTES)));
  const isWhole = data.length % BLOCK_BYTES === 0;
  const padded = isWhole
    ? Buffer.from(data)
    : Buffer.concat([data, Buffer.of(0x80), Buffer.alloc(BLOCK_BYTES - 1 - (data.length % BLOCK_BYTES))]);
  const last = padded.subarray(-BLOCK_BYTES);
  xor(last, isWhole ? wholeKey : double(wholeKey)).copy(last);
  return chain.update(padded).subarray(-BLOCK_BYTES);
}

/** Times x in GF(2^128). */
function double(block: Buffer): Buffer {
  const value = (BigInt(`0x${block.toString('hex')}`) << 1n) & ((1n << 128n) - 1n);
  const carried = ((block[0] ?? 0) & 0x80) === 0 ? value : value ^ 0x87n;
  return Buffer.from(carried.toString(16).padStart(32, '0'), 'hex');
}

function xor(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(left.map((byte, at) => byte ^ (right[at] ?? 0)));
}

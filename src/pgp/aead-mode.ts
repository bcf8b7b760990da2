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

/** Opens one chunk: ciphertext and its tag. Throws PgpFault `failed`. */
export function openAead(
  mode: AeadMode,
  key: Buffer,
  nonce: Buffer,
  associatedData: Buffer,
  sealed: Uint8Array,
): Buffer {
  const text = sealed.subarray(0, sealed.length - AEAD_TAG_BYTES);
  const tag = sealed.subarray(sealed.length - AEAD_TAG_BYTES);
  if (mode.label === 'EAX') {
    const expected = eaxTag(key, nonce, associatedData, text);
    if (!timingSafeEqual(expected, tag)) throw new PgpFault('failed', 'the encrypted data was changed');
    return eaxCounter(key, nonce, text);
  }
  try {
    const decipher = createDecipheriv(nativeName(mode, key), key, nonce, { authTagLength: AEAD_TAG_BYTES });
    decipher.setAuthTag(tag);
    decipher.setAAD(associatedData, { plaintextLength: text.length });
    const plain = decipher.update(text);
    // OCB keeps a last part of a block until here.
    const rest = decipher.final();
    return rest.length === 0 ? plain : Buffer.concat([plain, rest]);
  } catch {
    throw new PgpFault('failed', 'the encrypted data was changed');
  }
}

/** Seals one chunk: ciphertext, then its tag. A nonce must never come twice with the same key. */
export function sealAead(
  mode: AeadMode,
  key: Buffer,
  nonce: Buffer,
  associatedData: Buffer,
  plain: Uint8Array,
): readonly Buffer[] {
  if (mode.label === 'EAX') {
    const text = eaxCounter(key, nonce, plain);
    return [text, eaxTag(key, nonce, associatedData, text)];
  }
  const cipher = createCipheriv(nativeName(mode, key), key, nonce, { authTagLength: AEAD_TAG_BYTES });
  cipher.setAAD(associatedData, { plaintextLength: plain.length });
  return [cipher.update(plain), cipher.final(), cipher.getAuthTag()];
}

/** The types of Node name one of them only. */
function nativeName(mode: AeadMode, key: Buffer): 'aes-256-ocb' {
  return `aes-${key.length * 8}-${mode.label.toLowerCase()}` as 'aes-256-ocb';
}

/** EAX (Bellare, Rogaway, Wagner 2004): three CMACs, told apart by a first block, and CTR. */
function eaxTag(key: Buffer, nonce: Buffer, associatedData: Buffer, text: Uint8Array): Buffer {
  return xor(xor(eaxMac(key, 0, nonce), eaxMac(key, 1, associatedData)), eaxMac(key, 2, text));
}

function eaxCounter(key: Buffer, nonce: Buffer, text: Uint8Array): Buffer {
  return createCipheriv(`aes-${key.length * 8}-ctr`, key, eaxMac(key, 0, nonce)).update(text);
}

function eaxMac(key: Buffer, kind: number, data: Uint8Array): Buffer {
  const first = Buffer.alloc(BLOCK_BYTES);
  first[BLOCK_BYTES - 1] = kind;
  return cmac(key.length * 8, key, Buffer.concat([first, data]));
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

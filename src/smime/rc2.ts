// RC2 in CBC mode (RFC 2268), decryption only: old PKCS#12 files hold their certificates in it, and very old mail its
// content. OpenSSL no longer offers it without its legacy provider. Never used to encrypt.
import { GatewayError } from '../core/errors.ts';

const PI_TABLE = Buffer.from(
  'd978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2' +
    '179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82' +
    '54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626' +
    '6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7' +
    '08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec' +
    'c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731' +
    '2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9' +
    '0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad',
  'hex',
);
const BLOCK_BYTES = 8;
const ROTATIONS = [1, 2, 3, 5] as const;

/** Decrypts RC2-CBC piece by piece and takes the padding off. Throws GatewayError `config-invalid` for a wrong key. */
export class Rc2Decipher {
  readonly #words: Uint16Array;
  #previous: Buffer;
  /** Whole blocks are known to be followed by more before they are handed out; the last one has the padding. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(key: Buffer, effectiveBits: number, iv: Buffer) {
    if (iv.length !== BLOCK_BYTES) throw damaged();
    this.#words = expandKey(key, effectiveBits);
    this.#previous = iv;
  }

  update(chunk: Uint8Array): Buffer {
    const data = Buffer.concat([this.#rest, chunk]);
    const size = Math.max(0, Math.floor((data.length - 1) / BLOCK_BYTES) * BLOCK_BYTES);
    this.#rest = data.subarray(size);
    return this.#decrypt(data.subarray(0, size));
  }

  final(): Buffer {
    if (this.#rest.length !== BLOCK_BYTES) throw damaged();
    const plain = this.#decrypt(this.#rest);
    const padding = plain.at(-1) ?? 0;
    const isRight = plain.subarray(-padding).every((byte) => byte === padding);
    if (padding < 1 || padding > BLOCK_BYTES || !isRight) throw damaged();
    return plain.subarray(0, -padding);
  }

  #decrypt(data: Buffer): Buffer {
    const output = Buffer.alloc(data.length);
    for (let at = 0; at < data.length; at += BLOCK_BYTES) {
      const block = data.subarray(at, at + BLOCK_BYTES);
      const plain = decryptBlock(this.#words, block);
      for (let index = 0; index < BLOCK_BYTES; index += 1)
        output[at + index] = (plain[index] ?? 0) ^ (this.#previous[index] ?? 0);
      this.#previous = block;
    }
    return output;
  }
}

/** As `Rc2Decipher`, in one step. */
export function decryptRc2Cbc(key: Buffer, effectiveBits: number, iv: Buffer, data: Buffer): Buffer {
  const decipher = new Rc2Decipher(key, effectiveBits, iv);
  return Buffer.concat([decipher.update(data), decipher.final()]);
}

/** RFC 2268 §2. */
function expandKey(key: Buffer, effectiveBits: number): Uint16Array {
  const bytes = new Uint8Array(128);
  bytes.set(key);
  for (let index = key.length; index < 128; index += 1)
    bytes[index] = PI_TABLE[((bytes[index - 1] ?? 0) + (bytes[index - key.length] ?? 0)) & 0xff] ?? 0;
  const effectiveBytes = Math.ceil(effectiveBits / 8);
  const mask = 0xff >> (8 * effectiveBytes - effectiveBits);
  bytes[128 - effectiveBytes] = PI_TABLE[(bytes[128 - effectiveBytes] ?? 0) & mask] ?? 0;
  for (let index = 127 - effectiveBytes; index >= 0; index -= 1)
    bytes[index] = PI_TABLE[(bytes[index + 1] ?? 0) ^ (bytes[index + effectiveBytes] ?? 0)] ?? 0;
  return Uint16Array.from({ length: 64 }, (_, i) => (bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8));
}

/** RFC 2268 §4: five mixing rounds, mashing, six, mashing, five, all backwards. */
function decryptBlock(words: Uint16Array, block: Buffer): Buffer {
  const r = Uint16Array.from({ length: 4 }, (_, index) => block.readUInt16LE(2 * index));
  const at = (index: number): number => r[(index + 4) & 3] ?? 0;
  let next = 63;
  const mix = (rounds: number): void => {
    for (let round = 0; round < rounds; round += 1) {
      for (let i = 3; i >= 0; i -= 1) {
        const shift = ROTATIONS[i] ?? 0;
        const turned = ((at(i) >>> shift) | (at(i) << (16 - shift))) & 0xffff;
        r[i] = turned - (words[next] ?? 0) - (at(i - 1) & at(i - 2)) - (~at(i - 1) & at(i - 3));
        next -= 1;
      }
    }
  };
  const mash = (): void => {
    for (let i = 3; i >= 0; i -= 1) r[i] = at(i) - (words[at(i - 1) & 63] ?? 0);
  };
  mix(5);
  mash();
  mix(6);
  mash();
  mix(5);
  const plain = Buffer.alloc(BLOCK_BYTES);
  for (let index = 0; index < 4; index += 1) plain.writeUInt16LE(at(index), 2 * index);
  return plain;
}

function damaged(): GatewayError {
  return new GatewayError(
    'config-invalid',
    'decryption failed: the password is wrong or the file is damaged',
  );
}

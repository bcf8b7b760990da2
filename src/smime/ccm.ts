// AES-CCM (RFC 3610) over a stream, for reading (RFC 5084 §2.1). node:crypto takes a CCM text in one piece only; here it is put
// together from its AES-CTR and AES-CBC.
import {
  type Cipheriv,
  createCipheriv,
  createDecipheriv,
  type Decipheriv,
  timingSafeEqual,
} from 'node:crypto';

export interface CcmParameters {
  readonly key: Uint8Array;
  /** 7 to 13 octets. */
  readonly nonce: Uint8Array;
  readonly tag: Uint8Array;
  readonly contentBytes: number;
  readonly authenticated?: Uint8Array;
}

const BLOCK_BYTES = 16;
const LONG_FROM = 0xff00;

/** Whether a content of this size can be written with this nonce: what the nonce leaves of a block counts the octets. */
export function fitsCcm(nonceBytes: number, contentBytes: number): boolean {
  return contentBytes < 2 ** (8 * (BLOCK_BYTES - 1 - nonceBytes));
}

/** SECURITY: what `update` gives is authentic only when `final` has not thrown. */
export class CcmDecipher {
  readonly #counter: Decipheriv;
  readonly #mac: Cipheriv;
  readonly #tag: Uint8Array;
  readonly #mask: Buffer;
  #last: Buffer = Buffer.alloc(BLOCK_BYTES);
  #bytes = 0;

  constructor({ key, nonce, tag, contentBytes, authenticated }: CcmParameters) {
    const bits = key.length * 8;
    const counterBytes = BLOCK_BYTES - 1 - nonce.length;
    const first = Buffer.concat([Buffer.of(counterBytes - 1), nonce, Buffer.alloc(counterBytes)]);
    this.#counter = createDecipheriv(`aes-${bits}-ctr`, key, first);
    // The first block of the key stream covers the tag (RFC 3610 §2.3).
    this.#mask = this.#counter.update(Buffer.alloc(BLOCK_BYTES));
    this.#mac = createCipheriv(`aes-${bits}-cbc`, key, Buffer.alloc(BLOCK_BYTES)).setAutoPadding(false);
    this.#tag = tag;
    const flags = (authenticated ? 0x40 : 0) | (((tag.length - 2) / 2) << 3) | (counterBytes - 1);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(contentBytes));
    this.#authenticate(Buffer.concat([Buffer.of(flags), nonce, length.subarray(8 - counterBytes)]));
    if (authenticated) this.#authenticate(padded(Buffer.concat([lengthOf(authenticated), authenticated])));
  }

  update(chunk: Uint8Array): Buffer {
    const content = this.#counter.update(chunk);
    this.#authenticate(content);
    this.#bytes += content.length;
    return content;
  }

  /** Throws where the content, or what is authenticated beside it, is not what was written. */
  final(): Buffer {
    this.#authenticate(Buffer.alloc(-this.#bytes & (BLOCK_BYTES - 1)));
    const tag = this.#last.map((byte, index) => byte ^ (this.#mask[index] ?? 0));
    if (!timingSafeEqual(tag.subarray(0, this.#tag.length), this.#tag))
      throw new Error('authentication tag is wrong');
    return Buffer.alloc(0);
  }

  #authenticate(bytes: Uint8Array): void {
    const blocks = this.#mac.update(bytes);
    if (blocks.length > 0) this.#last = blocks.subarray(-BLOCK_BYTES);
  }
}

/** RFC 3610 §2.2. */
function lengthOf({ length }: Uint8Array): Buffer {
  const octets = Buffer.alloc(length < LONG_FROM ? 2 : 6);
  if (length < LONG_FROM) octets.writeUInt16BE(length);
  else {
    octets.writeUInt16BE(0xfffe);
    octets.writeUInt32BE(length, 2);
  }
  return octets;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & (BLOCK_BYTES - 1))]);
}

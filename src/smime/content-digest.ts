// Digests of a signed content, taken while it streams by, and the one look at it that signatures need.
import { createHash, type Hash } from 'node:crypto';
import type { DigestName } from './algorithms.ts';

export interface ContentDigests {
  readonly values: ReadonlyMap<DigestName, Buffer>;
  /** The content is itself a SET OF Attribute in DER, as far as its head and length tell. */
  readonly isAttributeSet: boolean;
}

const HEAD_BYTES = 32;
const SHAKE256_BYTES = 64;

/** Takes the digests of everything that `update` gets. */
export class ContentDigest {
  readonly #hashes: ReadonlyMap<DigestName, Hash>;
  #head: Buffer = Buffer.alloc(0);
  #size = 0;

  constructor(names: Iterable<DigestName>) {
    this.#hashes = new Map([...names].map((name) => [name, openHash(name)]));
  }

  update(chunk: Uint8Array): void {
    if (this.#head.length < HEAD_BYTES) {
      this.#head = Buffer.concat([this.#head, chunk.subarray(0, HEAD_BYTES - this.#head.length)]);
    }
    this.#size += chunk.length;
    for (const hash of this.#hashes.values()) hash.update(chunk);
  }

  finish(): ContentDigests {
    return {
      values: new Map([...this.#hashes].map(([name, hash]) => [name, hash.digest()])),
      isAttributeSet: isAttributeSet(this.#head, this.#size),
    };
  }
}

/** A hash of that name; SHAKE256 with the 64 octets that Ed448 takes. */
export function openHash(name: DigestName): Hash {
  return name === 'shake256' ? createHash(name, { outputLength: SHAKE256_BYTES }) : createHash(name);
}

/** SET { SEQUENCE { OBJECT IDENTIFIER ..., where the SET's length is the content's. */
function isAttributeSet(head: Buffer, size: number): boolean {
  const set = readHeader(head, 0);
  if (head[0] !== 0x31 || !set || set.at + set.length !== size) return false;
  const attribute = readHeader(head, set.at);
  return head[set.at] === 0x30 && attribute !== undefined && head[attribute.at] === 0x06;
}

function readHeader(head: Buffer, start: number): { length: number; at: number } | undefined {
  const first = head[start + 1];
  if (first === undefined) return undefined;
  if (first < 0x80) return { length: first, at: start + 2 };
  const octets = first & 0x7f;
  if (octets === 0 || octets > 6 || start + 2 + octets > head.length) return undefined;
  return { length: head.readUIntBE(start + 2, octets), at: start + 2 + octets };
}

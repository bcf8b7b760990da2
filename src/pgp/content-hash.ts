// The digest that a signature is made over (RFC 9580 §5.2.4): salt, content, and the signature's own hashed part. Content is
// hashed here and never by the library, which keeps a copy of a stream that it hashes.
import { createHash, type Hash } from 'node:crypto';

export interface ContentHash {
  readonly update: (chunk: Uint8Array) => void;
  /** The digest with the hashed part of a signature. Any number of signatures may end on the same content. */
  readonly digest: (version: number, signatureData: Uint8Array) => Buffer;
}

interface HashAlgorithm {
  readonly name: string;
  /** As `micalg` names it (RFC 3156 §5). */
  readonly label: string;
  /** RFC 9580 §9.5, table 23; undefined where version 6 may not use it. */
  readonly saltBytes?: number;
}

/** RFC 9580 §9.5. The broken ones are read, so that a signature with them can be told from a changed content. */
const ALGORITHMS: Readonly<Record<number, HashAlgorithm>> = {
  1: { name: 'md5', label: 'md5' },
  2: { name: 'sha1', label: 'sha1' },
  3: { name: 'ripemd160', label: 'ripemd160' },
  8: { name: 'sha256', label: 'sha256', saltBytes: 16 },
  9: { name: 'sha384', label: 'sha384', saltBytes: 24 },
  10: { name: 'sha512', label: 'sha512', saltBytes: 32 },
  11: { name: 'sha224', label: 'sha224', saltBytes: 16 },
  12: { name: 'sha3-256', label: 'sha3-256', saltBytes: 16 },
  14: { name: 'sha3-512', label: 'sha3-512', saltBytes: 32 },
};
const CR = 13;
const LF = 10;
export const BINARY_SIGNATURE = 0;
export const TEXT_SIGNATURE = 1;

/** The hash algorithm with this id; undefined for what is not read. */
export function hashAlgorithm(id: number): HashAlgorithm | undefined {
  return ALGORITHMS[id];
}

/**
 * Starts a digest for signatures of this type. Undefined where type, algorithm or salt are not what RFC 9580 allows: such a
 * signature cannot be checked.
 */
export function openContentHash(type: number, hashId: number, salt?: Uint8Array): ContentHash | undefined {
  const algorithm = ALGORITHMS[hashId];
  if (!algorithm || (type !== BINARY_SIGNATURE && type !== TEXT_SIGNATURE)) return undefined;
  if (salt && salt.length !== algorithm.saltBytes) return undefined;
  const hash = createHash(algorithm.name);
  if (salt) hash.update(salt);
  const update = type === TEXT_SIGNATURE ? textUpdate(hash) : (chunk: Uint8Array) => void hash.update(chunk);
  return {
    update,
    digest: (version, signatureData) => {
      const trailer = Buffer.of(version, 0xff, 0, 0, 0, 0);
      trailer.writeUInt32BE(signatureData.length, 2);
      return hash.copy().update(signatureData).update(trailer).digest();
    },
  };
}

/** Text is hashed with CRLF line ends, whatever it has (RFC 9580 §5.2.1.2). A bare CR stays. */
function textUpdate(hash: Hash): (chunk: Uint8Array) => void {
  const crlf = Buffer.of(CR, LF);
  let last = 0;
  return (chunk) => {
    let from = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) {
      if ((at === 0 ? last : chunk[at - 1]) === CR) continue;
      hash.update(chunk.subarray(from, at)).update(crlf);
      from = at + 1;
    }
    hash.update(chunk.subarray(from));
    if (chunk.length > 0) last = chunk[chunk.length - 1] ?? 0;
  };
}

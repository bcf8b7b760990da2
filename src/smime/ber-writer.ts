// Writes DER elements, and the two BER forms that streaming CMS needs: indefinite lengths and OCTET STRINGs in pieces
// (X.690 §8.1.3.6, §8.7.3).
import type { Chunks } from '../core/bytes.ts';
import { rechunk } from '../core/bytes.ts';

/** Ends the innermost container that `indefinite` began. */
export const END_OF_CONTENTS: Uint8Array = Buffer.alloc(2);
export const NULL: Uint8Array = Buffer.from([0x05, 0x00]);

const PIECE_BYTES = 65_536;
const oids = new Map<string, Buffer>();

/** One element with a definite, minimal length. `identifier` is the identifier octet. */
export function element(identifier: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(identifier, length), ...contents]);
}

export function sequence(...contents: readonly Uint8Array[]): Buffer {
  return element(0x30, ...contents);
}

/** A SET OF with its elements in DER order (X.690 §11.6). */
export function setOf(...contents: readonly Uint8Array[]): Buffer {
  return element(0x31, ...contents.toSorted((one, other) => Buffer.compare(one, other)));
}

/** A context-specific constructed element `[number]`. */
export function tagged(number: number, ...contents: readonly Uint8Array[]): Buffer {
  return element(0xa0 | number, ...contents);
}

export function octetString(bytes: Uint8Array): Buffer {
  return element(0x04, bytes);
}

/** A small non-negative INTEGER. */
export function integer(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  do {
    bytes.unshift(left & 0xff);
    left = Math.floor(left / 256);
  } while (left > 0);
  if ((bytes[0] ?? 0) >= 0x80) bytes.unshift(0);
  return element(0x02, Buffer.from(bytes));
}

/** An OBJECT IDENTIFIER from its dotted form; arcs below 2^31. Only for identifiers of ours: each is kept. */
export function oid(dotted: string): Buffer {
  const known = oids.get(dotted);
  if (known) return known;
  const [first = 0, second = 0, ...arcs] = dotted.split('.').map(Number);
  const written = element(0x06, Buffer.from([40 * first + second, ...arcs].flatMap(base128)));
  oids.set(dotted, written);
  return written;
}

/** An AlgorithmIdentifier; without parameters they are absent, not NULL. */
export function algorithmIdentifier(algorithm: string, ...parameters: readonly Uint8Array[]): Buffer {
  return sequence(oid(algorithm), ...parameters);
}

/** Begins a container of indefinite length: write its elements, then `END_OF_CONTENTS`. */
export function indefinite(identifier: number): Buffer {
  return Buffer.from([identifier, 0x80]);
}

/** The pieces of a constructed OCTET STRING, of 64 KiB or more each, the last one of any size. */
export async function* octetPieces(content: Chunks): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of rechunk(content, PIECE_BYTES)) {
    yield header(0x04, chunk.length);
    yield chunk;
  }
}

function header(identifier: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([identifier, length]);
  const octets: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) octets.unshift(left & 0xff);
  return Buffer.from([identifier, 0x80 | octets.length, ...octets]);
}

function base128(arc: number): number[] {
  const octets = [arc & 0x7f];
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
    octets.unshift((left & 0x7f) | 0x80);
  return octets;
}

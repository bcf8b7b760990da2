// Content-Transfer-Encoding as streams (RFC 2045 §6): base64 and the choice of a decoder. Output depends only on the
// bytes, never on how they were cut into chunks. Quoted-printable is in quoted-printable.ts.
import { type Chunks } from '../core/bytes.ts';
import { decodeQuotedPrintable } from './quoted-printable.ts';

const CR = 13;
const LF = 10;
const PADDING = 0x3d;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** Two characters for each 12 bits, in the byte order of this machine: a line is then a row of 16-bit stores. */
const PAIRS = pairTable();
/** Value of a character; NOT_ALPHABET for the rest. */
const NOT_ALPHABET = 0x40;
const VALUES = valueTable();
const BLOCK_BYTES = 48 * 1024;

/**
 * Base64 with CRLF after each line, also after the last one. `lineLength` is in characters without CRLF and must be a
 * multiple of 4. An empty stream stays empty.
 */
export async function* encodeBase64(chunks: Chunks, lineLength = 76): AsyncGenerator<Uint8Array, void> {
  if (lineLength < 4 || lineLength % 4 !== 0) throw new RangeError('lineLength is not a multiple of 4');
  const lineBytes = (lineLength / 4) * 3;
  const blockBytes = Math.ceil(BLOCK_BYTES / lineBytes) * lineBytes;
  const pending = new Uint8Array(blockBytes);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      if (filled === 0 && chunk.length - at >= blockBytes) {
        yield encodeLines(chunk, at, at + blockBytes, lineBytes);
        at += blockBytes;
        continue;
      }
      const taken = Math.min(blockBytes - filled, chunk.length - at);
      pending.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < blockBytes) continue;
      yield encodeLines(pending, 0, filled, lineBytes);
      filled = 0;
    }
  }
  if (filled > 0) yield encodeLines(pending, 0, filled, lineBytes);
}

/**
 * Decodes base64. Characters outside the alphabet are skipped (RFC 2045 §6.8); padding ends a group, and what follows
 * it is read as a new group; an incomplete last group gives the whole bytes that it holds.
 */
export async function* decodeBase64(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const group = { bits: 0, count: 0 };
  for await (const chunk of chunks) {
    const decoded = decodeChunk(chunk, group);
    if (decoded.length > 0) yield decoded;
  }
  const last = Buffer.alloc(2);
  const size = endGroup(group, last, 0);
  if (size > 0) yield last.subarray(0, size);
}

/** Decodes by the label of a part. Identity encodings, unknown labels and no label pass the bytes as they are. */
export function decodeTransfer(chunks: Chunks, encoding: string | undefined): Chunks {
  const label = encoding?.trim().toLowerCase();
  if (label === 'base64') return decodeBase64(chunks);
  if (label === 'quoted-printable') return decodeQuotedPrintable(chunks);
  return chunks;
}

function encodeLines(input: Uint8Array, start: number, end: number, lineBytes: number): Buffer {
  const size = end - start;
  const lines = Math.ceil(size / lineBytes);
  const out = Buffer.allocUnsafeSlow(Math.ceil(size / 3) * 4 + lines * 2);
  const words = new Uint16Array(out.buffer);
  const lineEnd = new Uint16Array(Uint8Array.of(CR, LF).buffer)[0] ?? 0;
  let word = 0;
  let at = start;
  for (let left = lines; left > 0; left -= 1) {
    const lineStop = Math.min(at + lineBytes, end);
    for (const stop = lineStop - 2; at < stop; at += 3) {
      const bits =
        ((input[at] as number) << 16) | ((input[at + 1] as number) << 8) | (input[at + 2] as number);
      words[word] = PAIRS[bits >> 12] as number;
      words[word + 1] = PAIRS[bits & 0xfff] as number;
      word += 2;
    }
    if (at < lineStop) {
      out.set(Buffer.from(input.subarray(at, lineStop)).toString('base64').split('').map(charCode), word * 2);
      word += 2;
      at = lineStop;
    }
    words[word] = lineEnd;
    word += 1;
  }
  return out;
}

function decodeChunk(chunk: Uint8Array, group: { bits: number; count: number }): Buffer {
  const out = Buffer.allocUnsafe(Math.ceil(chunk.length / 4) * 3 + 6);
  let size = 0;
  for (let at = 0; at < chunk.length;) {
    if (group.count === 0) {
      for (const stop = chunk.length - 3; at < stop; at += 4) {
        const a = VALUES[chunk[at] as number] as number;
        const b = VALUES[chunk[at + 1] as number] as number;
        const c = VALUES[chunk[at + 2] as number] as number;
        const d = VALUES[chunk[at + 3] as number] as number;
        if ((a | b | c | d) >= NOT_ALPHABET) break;
        out[size] = (a << 2) | (b >> 4);
        out[size + 1] = (b << 4) | (c >> 2);
        out[size + 2] = (c << 6) | d;
        size += 3;
      }
      if (at >= chunk.length) break;
    }
    const byte = chunk[at] as number;
    const value = VALUES[byte] as number;
    at += 1;
    if (value < NOT_ALPHABET) {
      group.bits = (group.bits << 6) | value;
      group.count += 1;
      if (group.count === 4) size = endGroup(group, out, size);
    } else if (byte === PADDING) {
      size = endGroup(group, out, size);
    }
  }
  return out.subarray(0, size);
}

/** Writes the whole bytes of a group and empties it. Returns the new size of the output. */
function endGroup(group: { bits: number; count: number }, out: Buffer, size: number): number {
  const { bits, count } = group;
  group.bits = 0;
  group.count = 0;
  if (count < 2) return size;
  const aligned = bits << (6 * (4 - count));
  for (let index = 0; index < count - 1; index += 1) out[size + index] = (aligned >> (16 - 8 * index)) & 0xff;
  return size + count - 1;
}

function pairTable(): Uint16Array {
  const bytes = new Uint8Array(4096 * 2);
  for (let bits = 0; bits < 4096; bits += 1) {
    bytes[bits * 2] = ALPHABET.charCodeAt(bits >> 6);
    bytes[bits * 2 + 1] = ALPHABET.charCodeAt(bits & 63);
  }
  return new Uint16Array(bytes.buffer);
}

function valueTable(): Uint8Array {
  const values = new Uint8Array(256).fill(NOT_ALPHABET);
  for (let value = 0; value < 64; value += 1) values[ALPHABET.charCodeAt(value)] = value;
  return values;
}

function charCode(character: string): number {
  return character.charCodeAt(0);
}

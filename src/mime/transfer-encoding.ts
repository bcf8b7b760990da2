// Content-Transfer-Encoding as streams (RFC 2045 §6): base64 and the choice of a decoder. Output depends only on the
// bytes, never on how they were cut into chunks. Quoted-printable is in quoted-printable.ts.
import { type Chunks } from '../core/bytes.ts';
import { LINE_END } from './line-bytes.ts';
import { decodeQuotedPrintable } from './quoted-printable.ts';

const CR = 13;
const LF = 10;
const PADDING = 0x3d;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** Value of a character; NOT_ALPHABET for the rest. */
const NOT_ALPHABET = 0x40;
const VALUES = valueTable();
/** What a line holds. */
const LINE_LENGTH = 76;
const BLOCK_BYTES = (LINE_LENGTH / 4) * 3 * 3_450;

/** Base64 in lines of 76 characters with CRLF after each, also after the last one. An empty stream stays empty. */
export async function* encodeBase64(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const encoder: LineEncoder = { scratch: undefined };
  let pending = Buffer.alloc(0);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      if (filled === 0 && chunk.length - at >= BLOCK_BYTES) {
        yield encodeLines(encoder, chunk.subarray(at, at + BLOCK_BYTES));
        at += BLOCK_BYTES;
        continue;
      }
      const taken = Math.min(BLOCK_BYTES - filled, chunk.length - at);
      pending = withRoom(pending, filled + taken, BLOCK_BYTES);
      pending.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < BLOCK_BYTES) continue;
      yield encodeLines(encoder, pending);
      filled = 0;
    }
  }
  if (filled > 0) yield encodeLines(encoder, pending.subarray(0, filled));
}

/**
 * Decodes base64. Characters outside the alphabet are skipped (RFC 2045 §6.8); padding ends a group, and what follows
 * it is read as a new group; an incomplete last group gives the whole bytes that it holds.
 */
export async function* decodeBase64(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const group: Group = { bits: 0, count: 0 };
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

interface LineEncoder {
  /** Characters of a block, before they get their lines. */
  scratch: Buffer | undefined;
}

/** Encoded at once by the runtime, then copied into lines. No block may be larger than the first one. */
function encodeLines(encoder: LineEncoder, input: Uint8Array): Buffer {
  encoder.scratch ??= Buffer.allocUnsafeSlow(Math.ceil(input.length / 3) * 4);
  const { scratch } = encoder;
  const size = scratch.write(asBuffer(input).toString('base64'), 'latin1');
  const out = Buffer.allocUnsafeSlow(size + Math.ceil(size / LINE_LENGTH) * 2);
  foldLines(scratch.subarray(0, size), out);
  return out;
}

/** `bytes`, or a larger copy with room for `size`: grows by doubling, so that a small mail costs little. */
function withRoom(bytes: Buffer<ArrayBuffer>, size: number, limit: number): Buffer<ArrayBuffer> {
  if (size <= bytes.length) return bytes;
  const grown = Buffer.allocUnsafe(Math.min(limit, Math.max(2 * bytes.length, size)));
  grown.set(bytes);
  return grown;
}

/**
 * Copies characters into lines. As floating point numbers, the widest that a view moves at any offset without making
 * objects; text is never one of those that have two forms. Written out, it is three times as fast as with a loop.
 */
function foldLines(characters: Buffer, out: Buffer): void {
  const from = new DataView(characters.buffer, characters.byteOffset, characters.length);
  const to = new DataView(out.buffer, out.byteOffset, out.length);
  let read = 0;
  let written = 0;
  for (; read + LINE_LENGTH <= characters.length; read += LINE_LENGTH, written += LINE_LENGTH + 2) {
    to.setFloat64(written, from.getFloat64(read, true), true);
    to.setFloat64(written + 8, from.getFloat64(read + 8, true), true);
    to.setFloat64(written + 16, from.getFloat64(read + 16, true), true);
    to.setFloat64(written + 24, from.getFloat64(read + 24, true), true);
    to.setFloat64(written + 32, from.getFloat64(read + 32, true), true);
    to.setFloat64(written + 40, from.getFloat64(read + 40, true), true);
    to.setFloat64(written + 48, from.getFloat64(read + 48, true), true);
    to.setFloat64(written + 56, from.getFloat64(read + 56, true), true);
    to.setFloat64(written + 64, from.getFloat64(read + 64, true), true);
    to.setInt32(written + 72, from.getInt32(read + 72, true), true);
    to.setUint16(written + 76, LINE_END, true);
  }
  if (read === characters.length) return;
  out.set(characters.subarray(read), written);
  to.setUint16(written + characters.length - read, LINE_END, true);
}

/** Characters of a group that is not complete. */
interface Group {
  bits: number;
  count: number;
}

/** Rows of clean lines are decoded by the runtime, the rest character by character: same result, other speed. */
function decodeChunk(chunk: Uint8Array, group: Group): Buffer {
  const out = Buffer.allocUnsafe(Math.ceil(chunk.length / 4) * 3 + 6);
  const start = chunk.indexOf(LF) + 1;
  let size = decodeCharacters(chunk.subarray(0, start), group, out, 0);
  let end = group.count === 0 ? endOfRows(chunk, start) : start;
  if (end > start) {
    const decoded = decodeRows(asBuffer(chunk.subarray(start, end)), out, size);
    if (decoded === undefined) end = start;
    else size = decoded;
  }
  size = decodeCharacters(chunk.subarray(end), group, out, size);
  return out.subarray(0, size);
}

/** Where lines as long as the one at `from` end; `from` where there is none, or none of whole groups. */
function endOfRows(chunk: Uint8Array, from: number): number {
  const stride = chunk.indexOf(LF, from) + 1 - from;
  const endOctets = chunk[from + stride - 2] === CR ? 2 : 1;
  if (stride < 4 || (stride - endOctets) % 4 !== 0) return from;
  for (let end = from; ; end += stride) {
    const isRow = chunk[end + stride - 1] === LF && (endOctets === 1 || chunk[end + stride - 2] === CR);
    if (!isRow) return end;
  }
}

/** Decodes rows as `endOfRows` finds them. Returns the new size; undefined if there is anything but the alphabet. */
function decodeRows(rows: Buffer, out: Buffer, size: number): number | undefined {
  const stride = rows.indexOf(LF) + 1;
  const lineOctets = stride - (rows[stride - 2] === CR ? 2 : 1);
  // QUIRK of the runtime: it also takes the alphabet for URLs (test: base64-rows).
  if (rows.includes('-') || rows.includes('_')) return undefined;
  // Whatever is not in the alphabet, padding too, makes the output shorter.
  const expected = (rows.length / stride) * (lineOctets / 4) * 3;
  const written = out.write(rows.toString('latin1'), size, 'base64');
  return written === expected ? size + expected : undefined;
}

function decodeCharacters(chunk: Uint8Array, group: Group, out: Buffer, start: number): number {
  let size = start;
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
  return size;
}

/** Writes the whole bytes of a group and empties it. Returns the new size of the output. */
function endGroup(group: Group, out: Buffer, size: number): number {
  const { bits, count } = group;
  group.bits = 0;
  group.count = 0;
  if (count < 2) return size;
  const aligned = bits << (6 * (4 - count));
  for (let index = 0; index < count - 1; index += 1) out[size + index] = (aligned >> (16 - 8 * index)) & 0xff;
  return size + count - 1;
}

function valueTable(): Uint8Array {
  const values = new Uint8Array(256).fill(NOT_ALPHABET);
  for (let value = 0; value < 64; value += 1) values[ALPHABET.charCodeAt(value)] = value;
  return values;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// Quoted-printable as streams (RFC 2045 §6.7), written so that the text survives signing and old relays: no trailing
// blanks, no line that starts with "From ", "." or "--". CRLF pairs are line breaks, nothing else is.
import { type Chunks } from '../core/bytes.ts';

const CR = 13;
const LF = 10;
const TAB = 9;
const SPACE = 32;
const EQUALS = 0x3d;
/** Longest line in characters, without the `=` of a soft break (RFC 2045 §6.7 rule 5: 76 with it). */
const MAX_COLUMN = 75;
/** What must be seen beyond a byte to write it: "From ", blank CR LF. */
const LOOK_AHEAD = 5;
/** Longest run of blanks that a decoder takes back as padding; a longer one is content. Bounds memory. */
const MAX_PADDING = 1024;
const HEX = Buffer.from('0123456789ABCDEF', 'latin1');
const DIGITS = digitTable();
/** Bytes that may stand for themselves: PLAIN anywhere after a line's first byte, BLANK unless a line end follows. */
const PLAIN = 1;
const BLANK = 2;
const LITERAL = literalTable();
const SLICE_BYTES = 64 * 1024;

/** Encodes text with CRLF line ends. Decoding gives the same bytes, also for a bare CR, a bare LF or NUL. */
export async function* encodeQuotedPrintable(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const line: Line = { column: 0, isSoft: false };
  let carry: Uint8Array = new Uint8Array(0);
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const input = Buffer.concat([carry, chunk.subarray(at, at + SLICE_BYTES)]);
      const { out, used } = encodeSome(input, Math.max(0, input.length - LOOK_AHEAD), line);
      carry = input.subarray(used);
      if (out.length > 0) yield out;
    }
  }
  const { out } = encodeSome(carry, carry.length, line);
  if (out.length > 0) yield out;
}

/**
 * Decodes tolerantly: small hex digits are read, blanks before a line end are padding and go, `=` that starts neither a
 * hex pair nor a soft break stays, other bytes stay.
 */
export async function* decodeQuotedPrintable(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const state: DecoderState = { pending: [], isRunLong: false };
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const out = decodeSome(chunk.subarray(at, at + SLICE_BYTES), state);
      if (out.length > 0) yield out;
    }
  }
  const rest = endOfInput(state.pending);
  if (rest.length > 0) yield rest;
}

interface Line {
  column: number;
  /** Whether the line starts after a soft break, so that its first byte is our choice. */
  isSoft: boolean;
}

/** Encodes the bytes before `until`; what follows them is only looked at. `used` may pass `until` by a CRLF. */
function encodeSome(input: Uint8Array, until: number, line: Line): { out: Buffer; used: number } {
  const out = Buffer.allocUnsafe(input.length * 3 + Math.ceil((input.length * 3) / MAX_COLUMN) * 3 + 6);
  let size = 0;
  let at = 0;
  while (at < until) {
    const byte = input[at] as number;
    if (byte === CR && input[at + 1] === LF) {
      out[size] = CR;
      out[size + 1] = LF;
      size += 2;
      at += 2;
      line.column = 0;
      line.isSoft = false;
      continue;
    }
    const isLiteral = LITERAL[byte] !== 0 && !mustEncode(input, at, line);
    if (line.column + (isLiteral ? 1 : 3) > MAX_COLUMN) {
      out[size] = EQUALS;
      out[size + 1] = CR;
      out[size + 2] = LF;
      size += 3;
      line.column = 0;
      line.isSoft = true;
      continue;
    }
    if (isLiteral) {
      const start = at;
      const stop = Math.min(until, at + MAX_COLUMN - line.column);
      do out[size++] = input[at++] as number;
      while (at < stop && LITERAL[input[at] as number] === PLAIN);
      line.column += at - start;
    } else {
      out[size] = EQUALS;
      out[size + 1] = HEX[byte >> 4] as number;
      out[size + 2] = HEX[byte & 15] as number;
      size += 3;
      line.column += 3;
      at += 1;
    }
  }
  return { out: out.subarray(0, size), used: at };
}

/** A literal byte that would be lost or mistaken at this place. */
function mustEncode(input: Uint8Array, at: number, line: Line): boolean {
  const byte = input[at];
  if (byte === SPACE || byte === TAB) {
    return at + 1 === input.length || (input[at + 1] === CR && input[at + 2] === LF);
  }
  if (line.column > 0) return false;
  if (byte === 0x2e) return true;
  // SECURITY: text must not become a boundary delimiter: neither by a soft break, nor because it was `=2D-` before
  // (test: qp-delimiter).
  if (byte === 0x2d) return line.isSoft || input[at + 1] === 0x2d;
  return byte === 0x46 && isFromLine(input, at);
}

function isFromLine(input: Uint8Array, at: number): boolean {
  return (
    input[at + 1] === 0x72 && input[at + 2] === 0x6f && input[at + 3] === 0x6d && input[at + 4] === SPACE
  );
}

interface DecoderState {
  /** Bytes whose meaning is open: blanks, `=`, `=X`, `=` blanks, each maybe with CR. */
  pending: number[];
  /** Whether a run of blanks was too long and passes as content. */
  isRunLong: boolean;
}

function decodeSome(chunk: Uint8Array, state: DecoderState): Buffer {
  const out = Buffer.allocUnsafe(chunk.length + state.pending.length + 2);
  let size = 0;
  let at = 0;
  while (at < chunk.length) {
    const { pending } = state;
    if (pending.length === 0) {
      while (at < chunk.length && state.isRunLong) {
        if (isBlank(chunk[at])) out[size++] = chunk[at++] as number;
        else state.isRunLong = false;
      }
      while (at < chunk.length && isPlain(chunk, at)) out[size++] = chunk[at++] as number;
      if (at === chunk.length) break;
      const octet = hexPair(chunk, at);
      if (octet >= 0) {
        out[size++] = octet;
        at += 3;
      } else {
        pending.push(chunk[at++] as number);
      }
      continue;
    }
    const settled = settle(pending, chunk[at] as number);
    if (settled === undefined) {
      pending.push(chunk[at++] as number);
      if (pending.length <= MAX_PADDING) continue;
      state.isRunLong = true;
      for (const item of pending) out[size++] = item;
    } else {
      for (const item of settled.bytes) out[size++] = item;
      if (settled.isUsed) at += 1;
    }
    state.pending = [];
  }
  return out.subarray(0, size);
}

/** Whether the byte stands for itself, whatever comes in later chunks. */
function isPlain(chunk: Uint8Array, at: number): boolean {
  const byte = chunk[at] as number;
  if (byte > EQUALS) return true;
  const next = chunk[at + 1];
  if (isBlank(byte)) return next !== undefined && next !== CR && !isBlank(next);
  if (byte !== EQUALS) return true;
  return next !== undefined && next !== CR && !isBlank(next) && (DIGITS[next] as number) > 15;
}

/** The octet of `=XX` at this place, or -1. */
function hexPair(chunk: Uint8Array, at: number): number {
  if (chunk[at] !== EQUALS || at + 2 >= chunk.length) return -1;
  const high = DIGITS[chunk[at + 1] as number] as number;
  const low = DIGITS[chunk[at + 2] as number] as number;
  return high < 16 && low < 16 ? (high << 4) | low : -1;
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}

/** What open bytes mean now that `byte` follows them; undefined where they stay open. */
function settle(
  pending: readonly number[],
  byte: number,
): { bytes: readonly number[]; isUsed: boolean } | undefined {
  const [first] = pending;
  const last = pending.at(-1);
  const isSoft = first === EQUALS;
  if (last === CR) {
    if (byte === LF) return { bytes: isSoft ? [] : [CR, LF], isUsed: true };
    return { bytes: pending, isUsed: false };
  }
  if (isSoft && pending.length === 1 && (DIGITS[byte] as number) < 16) return undefined;
  if (isSoft && pending.length === 2 && (DIGITS[last as number] as number) < 16) {
    const low = DIGITS[byte] as number;
    if (low < 16) return { bytes: [((DIGITS[last as number] as number) << 4) | low], isUsed: true };
    return { bytes: pending, isUsed: false };
  }
  if (isBlank(byte) || byte === CR) return undefined;
  return { bytes: pending, isUsed: false };
}

/** At the end blanks are padding, and a soft break without its line end is one. */
function endOfInput(pending: readonly number[]): Buffer {
  const text = Buffer.from(pending).toString('latin1');
  if (/^=?[ \t]*$/.test(text)) return Buffer.alloc(0);
  return Buffer.from(text, 'latin1');
}

function literalTable(): Uint8Array {
  const table = new Uint8Array(256).fill(PLAIN, 0x21, 0x7f);
  table[EQUALS] = 0;
  table[SPACE] = BLANK;
  table[TAB] = BLANK;
  return table;
}

function digitTable(): Uint8Array {
  const table = new Uint8Array(256).fill(255);
  for (let value = 0; value < 16; value += 1) {
    const digit = value.toString(16);
    table[digit.charCodeAt(0)] = value;
    table[digit.toUpperCase().charCodeAt(0)] = value;
  }
  return table;
}

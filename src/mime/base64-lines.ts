// A body that is base64 already, made fit for transport without decoding it: whatever is outside the alphabet means nothing
// in base64 (RFC 2045 §6.8), so it can be left out, and line ends can be put in, anywhere. Clean lines stay as they are.
import { type Chunks } from '../core/bytes.ts';
import {
  FIRST_PRINTABLE,
  LINE_END,
  type LineBytes,
  lineBytesOf,
  nextUnprintable,
  unprintableBits,
} from './line-bytes.ts';

const CR = 13;
const LF = 10;
const DASH = 0x2d;
/** RFC 2045 §6.8. */
const LINE_OCTETS = 76;

interface LineState {
  /** Octets of the current line so far. */
  octets: number;
  last: number;
  /** Whether the rest of the current line is written anew. */
  isRepaired: boolean;
}

/**
 * Lines of printable ASCII without blanks, of no more than 76 octets, each with a CRLF, none of which starts with a dash. A
 * body of such lines comes out byte for byte and chunk for chunk. The output depends only on the bytes, never on how they
 * were cut into chunks.
 */
export async function* repairBase64(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  const state: LineState = { octets: 0, last: LF, isRepaired: false };
  for await (const chunk of chunks) {
    const lines = { ...lineBytesOf(chunk), view: new DataView(chunk.buffer, chunk.byteOffset, chunk.length) };
    for (let at = 0; at < chunk.length;) {
      const start = at;
      if (!state.isRepaired) at = passClean(state, lines, at);
      if (at > start) yield start === 0 && at === chunk.length ? chunk : chunk.subarray(start, at);
      if (at === chunk.length) break;
      state.isRepaired = true;
      const end = chunk.indexOf(LF, at) + 1 || chunk.length;
      yield rewrite(state, chunk.subarray(at, end));
      at = end;
    }
  }
  if (state.last === CR) yield Uint8Array.of(LF);
}

interface Lines extends LineBytes {
  readonly view: DataView;
}

/** Passes over what can stay. Returns the index of the first byte that cannot, or the length. */
function passClean(state: LineState, lines: Lines, from: number): number {
  const { bytes } = lines;
  for (let at = from; ; at += 1) {
    if (state.last === CR && at < bytes.length) {
      if (bytes[at] !== LF) return at;
      state.last = LF;
      at += 1;
    }
    if (state.octets === 0 && state.last === LF) at = passFullLines(lines.view, at);
    // SECURITY: a line without its blanks could become a delimiter (test: no-new-delimiter).
    if (state.octets === 0 && bytes[at] === DASH) return at;
    const end = Math.min(nextUnprintable(lines, at), at + LINE_OCTETS - state.octets);
    if (end > at) state.last = bytes[end - 1] as number;
    state.octets += end - at;
    if (bytes[end] !== CR) return end;
    state.octets = 0;
    state.last = CR;
    at = end;
  }
}

/** Most of mail: lines of 76, with nothing to them. */
function passFullLines(view: DataView, from: number): number {
  let at = from;
  for (; at + LINE_OCTETS + 2 <= view.byteLength; at += LINE_OCTETS + 2) {
    let seen = 0;
    for (let word = at; word < at + LINE_OCTETS; word += 4)
      seen |= unprintableBits(view.getInt32(word, true));
    const isEnded = view.getUint16(at + LINE_OCTETS, true) === LINE_END;
    if (seen !== 0 || !isEnded || view.getUint8(at) === DASH) break;
  }
  return at;
}

/** Up to the end of a line: what does not belong there is left out, and what is too long is cut. */
function rewrite(state: LineState, bytes: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(2 * bytes.length + 2);
  let size = 0;
  const put = (byte: number): void => {
    if (byte === LF && state.last !== CR) out[size++] = CR;
    out[size++] = byte;
    state.last = byte;
    state.octets = byte === CR || byte === LF ? 0 : state.octets + 1;
  };
  for (const byte of bytes) {
    if (state.last === CR && byte !== LF) put(LF);
    const isLineEnd = byte === CR || byte === LF;
    if (!isLineEnd && (byte < FIRST_PRINTABLE || byte >= 0x80 || byte === DASH)) continue;
    if (byte === LF) state.isRepaired = false;
    if (!isLineEnd && state.octets === LINE_OCTETS) put(LF);
    put(byte);
  }
  return out.subarray(0, size);
}

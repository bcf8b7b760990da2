// The loops over every byte of a text: they find the bytes that end lines, and with them whatever else is no text.

/** Bytes, and the same memory as words from the first whole one on. */
export interface LineBytes {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Bytes before the first word. */
  readonly lead: number;
}

const CR = 13;
/** CRLF as one number, low byte first. */
export const LINE_END = 0x0a0d;
const FULL_LINE = 76;
const NO_WORDS = new Int32Array(0);
/** In each byte of a word: CR and one more. */
const ABOVE_CR = 0x0e0e0e0e;
/** In each byte of a word: the first printable character that is no blank. */
export const FIRST_PRINTABLE = 0x21;
const PRINTABLE = 0x21212121;
const HIGH_BITS = 0x80808080;

export function lineBytesOf(bytes: Uint8Array): LineBytes {
  const lead = -bytes.byteOffset & 3;
  const count = (bytes.length - lead) >> 2;
  const words = count > 0 ? new Int32Array(bytes.buffer, bytes.byteOffset + lead, count) : NO_WORDS;
  return { bytes, words, lead };
}

/**
 * Index of the first byte from `from` on that is CR or less, or the length. Eight bytes a step in between; searches of
 * the runtime for single bytes cost far more where lines are short.
 */
export function nextLineByte({ bytes, words, lead }: LineBytes, from: number): number {
  const { length } = bytes;
  let at = from;
  for (const stop = Math.min(length, lead + ((from - lead + 3) & ~3)); at < stop; at += 1) {
    if ((bytes[at] as number) <= CR) return at;
  }
  let index = (at - lead) >> 2;
  for (const last = words.length - 1; index < last; index += 2) {
    if ((lineByteBits(words[index] as number) | lineByteBits(words[index + 1] as number)) !== 0) break;
  }
  at = Math.max(at, lead + index * 4);
  while (at < length && (bytes[at] as number) > CR) at += 1;
  return at;
}

/**
 * Passes over lines of 76 octets that hold nothing of CR or less, as base64 has them: most of mail. Returns where the first
 * other line begins.
 */
export function passFullLines(view: DataView, from: number): number {
  let at = from;
  for (; at + FULL_LINE + 2 <= view.byteLength; at += FULL_LINE + 2) {
    if (view.getUint16(at + FULL_LINE, true) !== LINE_END) break;
    let seen = 0;
    for (let word = at; word < at + FULL_LINE; word += 4) seen |= lineByteBits(view.getInt32(word, true));
    if (seen !== 0) break;
  }
  return at;
}

/** A byte borrows where it is smaller; one that had its high bit before is none. The lowest hit is exact. */
function lineByteBits(word: number): number {
  return (word - ABOVE_CR) & ~word & HIGH_BITS;
}

/** Index of the first byte from `from` on that is a blank, a control character or 8-bit, or the length. */
export function nextUnprintable({ bytes, words, lead }: LineBytes, from: number): number {
  const { length } = bytes;
  let at = from;
  for (const stop = Math.min(length, lead + ((from - lead + 3) & ~3)); at < stop; at += 1) {
    if (!isPrintable(bytes[at] as number)) return at;
  }
  let index = (at - lead) >> 2;
  for (const last = words.length - 1; index < last; index += 2) {
    if ((unprintableBits(words[index] as number) | unprintableBits(words[index + 1] as number)) !== 0) break;
  }
  at = Math.max(at, lead + index * 4);
  while (at < length && isPrintable(bytes[at] as number)) at += 1;
  return at;
}

/** Zero for a word of printable bytes; DEL is one here. A byte borrows where it is smaller, so without a hit nothing does. */
export function unprintableBits(word: number): number {
  return ((word - PRINTABLE) | word) & HIGH_BITS;
}

function isPrintable(byte: number): boolean {
  return byte >= FIRST_PRINTABLE && byte < 0x80;
}

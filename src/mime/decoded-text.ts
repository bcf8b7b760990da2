// Encoded words in header text (RFC 2047), decoded for conditions and for people. Never used to rebuild a header.
import { createRequire } from 'node:module';

/** Longest value that is decoded, in UTF-16 units; a longer one is returned as it is. */
const MAX_LENGTH = 16_384;

const require = createRequire(import.meta.url);

/** Text with its encoded words decoded. Never throws: what cannot be decoded stays as it is written. */
export function decodeHeaderText(value: string): string {
  if (!value.includes('=?') || value.length > MAX_LENGTH) return value;
  try {
    // Loaded when the first encoded word is met: its tables of character sets cost a third of a short command's start.
    const libmime = require('libmime') as { decodeWords(value: string): string };
    return libmime.decodeWords(value);
  } catch {
    return value;
  }
}

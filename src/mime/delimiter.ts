// Delimiter lines of a multipart (RFC 2046 §5.1.1). Exact: the whole line is `--`, the boundary, maybe `--`, blanks, CRLF.

export interface DelimiterMatch {
  readonly isClosing: boolean;
  /** Index of the first byte after the boundary, or after the `--` that closes: what follows is padding. */
  readonly paddingStart: number;
  /** Index of the line end. */
  readonly paddingEnd: number;
}

const CR = 13;
const LF = 10;
const DASH = 0x2d;

/** Whether a line that starts at `at` can be a delimiter, as far as it is known. */
export function mayBeDelimiter(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === DASH && (at + 1 === bytes.length || bytes[at + 1] === DASH);
}

/** Compares the line from `start` to `end`, line end included, with a boundary. A line cut off by the end counts. */
export function matchDelimiter(
  boundary: Buffer,
  bytes: Buffer,
  start: number,
  end: number,
): DelimiterMatch | undefined {
  const after = start + 2 + boundary.length;
  if (after > end || bytes[start] !== DASH || bytes[start + 1] !== DASH) return undefined;
  for (let index = 0; index < boundary.length; index += 1) {
    if (bytes[start + 2 + index] !== boundary[index]) return undefined;
  }
  // A bare LF stays, so that it ends no delimiter.
  const lineEnd = end - start > 2 && bytes[end - 1] === LF && bytes[end - 2] === CR ? end - 2 : end;
  const isClosing = after + 2 <= lineEnd && bytes[after] === DASH && bytes[after + 1] === DASH;
  const paddingStart = isClosing ? after + 2 : after;
  for (let at = paddingStart; at < lineEnd; at += 1) {
    if (bytes[at] !== 0x20 && bytes[at] !== 0x09) return undefined;
  }
  return { isClosing, paddingStart, paddingEnd: lineEnd };
}

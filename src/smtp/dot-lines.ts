// Dot transparency (RFC 5321 §4.5.2): taking DATA content off the wire and putting it there. Only CRLF is a line end
// here, in both directions; what a bare CR or LF means is decided by mime/canonical, once, on the unstuffed bytes.
import type { Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';

/** Content of one chunk. `rest` is set once the end of DATA was seen: what follows it, perhaps empty. */
export interface Unstuffed {
  readonly content: Buffer;
  readonly rest?: Buffer;
}

const CR = 13;
const LF = 10;
const DOT = 46;
const NONE = Buffer.alloc(0);
const LINE_START_DOT = Buffer.from('\r\n.');
/** Ways in which input may break off before a decision, and how many of those bytes were handed over already. */
const BREAKS = [
  { open: NONE, given: 0 },
  { open: Buffer.from('\r'), given: 1 },
  { open: Buffer.from('\r\n'), given: 2 },
  { open: Buffer.from('\r\n.'), given: 2 },
  { open: Buffer.from('\r\n.\r'), given: 2 },
] as const;
const AT_LINE_START = 2;

/**
 * Makes the reader of one DATA phase. Feed it chunks of any size until a result has `rest`.
 * SECURITY: the end is CRLF.CRLF and nothing else, and a dot is unstuffed behind CRLF only (tests: smuggle-in, dot-lf).
 */
export function openUnstuffer(): (chunk: Uint8Array) => Unstuffed {
  let state = AT_LINE_START;
  return (chunk) => {
    const { open, given } = BREAKS[state] ?? BREAKS[0];
    const input = Buffer.concat(open.length === 0 ? [chunk] : [open, chunk]);
    const parts: Buffer[] = [];
    let from: number = given;
    let at = 0;
    for (;;) {
      const found = input.indexOf(LINE_START_DOT, at);
      if (found < 0) break;
      const dot = found + 2;
      const isUndecided = dot + 1 >= input.length || (input[dot + 1] === CR && dot + 2 >= input.length);
      if (isUndecided) {
        parts.push(input.subarray(from, dot));
        state = input.length - found;
        return { content: join(parts) };
      }
      parts.push(input.subarray(from, dot));
      if (input[dot + 1] === CR && input[dot + 2] === LF) {
        return { content: join(parts), rest: input.subarray(dot + 3) };
      }
      from = dot + 1;
      at = dot + 1;
    }
    parts.push(input.subarray(from));
    state = endsInCrlf(input) ? AT_LINE_START : input.at(-1) === CR ? 1 : 0;
    return { content: join(parts) };
  };
}

/**
 * Dot-stuffs a message for the wire, without the final dot. Throws GatewayError `bare-line-end` on a bare CR or LF: what
 * was signed must not be changed here, and what is sent must not be read in two ways (test: smuggle-out). A last line
 * without CRLF gets it, since the end of DATA needs it.
 */
export async function* stuffDots(message: Chunks): AsyncGenerator<Uint8Array, void> {
  let last = LF;
  for await (const chunk of message) {
    const parts: Uint8Array[] = [];
    let from = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      if ((byte === LF) !== (last === CR)) throw bareLineEnd();
      if (byte === DOT && last === LF) {
        parts.push(chunk.subarray(from, at + 1));
        from = at;
      }
      last = byte;
    }
    if (parts.length === 0) yield chunk;
    else yield Buffer.concat([...parts, chunk.subarray(from)]);
  }
  if (last === CR) throw bareLineEnd();
  if (last !== LF) yield Buffer.from('\r\n');
}

function endsInCrlf(bytes: Buffer): boolean {
  return bytes.length >= 2 && bytes.at(-1) === LF && bytes.at(-2) === CR;
}

function join(parts: readonly Buffer[]): Buffer {
  return parts.length === 1 ? (parts[0] ?? NONE) : Buffer.concat(parts);
}

function bareLineEnd(): GatewayError {
  return new GatewayError('bare-line-end', 'a message to be sent holds a bare CR or LF');
}

// The door: what passes here has CRLF line ends only, no NUL, and a header section that can be read in one way. What is
// canonical already passes byte for byte. Hashes, proof and parsing come after it.
import { type Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type HeaderLimits, readMessage, writeHeaderSection } from './header-section.ts';
import { lineBytesOf, nextLineByte, passFullLines } from './line-bytes.ts';
import { refuseRepeated } from './single-fields.ts';

export type BareLineEnds = 'normalise' | 'refuse';

export interface DoorOptions {
  /** What to do with a bare CR or LF in the body. In the header section it is always refused. */
  readonly bareLineEnds: BareLineEnds;
  readonly limits: HeaderLimits;
}

const CR = 13;
const LF = 10;
const CRLF = Buffer.from('\r\n');

/**
 * A message in canonical form. Throws GatewayError `header-malformed` for a header section that is not strict, is too
 * large or repeats a field that must be single, `bare-line-end` for NUL and, where set, for a bare CR or LF in the body.
 * Last line gets its CRLF.
 */
export async function* normaliseMessage(
  message: Chunks,
  options: DoorOptions,
): AsyncGenerator<Uint8Array, void> {
  const { header, body, hasBlankLine } = await readMessage(message, options.limits);
  try {
    refuseRepeated(header);
  } catch (error) {
    await body[Symbol.asyncIterator]().return?.();
    throw error;
  }
  const head = writeHeaderSection(header.fields);
  yield hasBlankLine ? Buffer.concat([head, CRLF]) : head;
  yield* canonicalLines(body, options.bareLineEnds);
}

/**
 * Text in canonical form: each bare CR or LF becomes CRLF (or throws), a last line without line end gets one. Throws
 * GatewayError `bare-line-end` for NUL, always: programs disagree on what follows it.
 */
export async function* canonicalLines(
  chunks: Chunks,
  bareLineEnds: BareLineEnds,
): AsyncGenerator<Uint8Array, void> {
  let isCrPending = false;
  let last = LF;
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (bytes.includes(0)) throw bareLineEnd('a NUL');
    let from = 0;
    if (isCrPending) {
      if (bytes[0] === LF) from = 1;
      else if (bareLineEnds === 'refuse') throw bareLineEnd('a bare CR');
      yield CRLF;
      last = LF;
    }
    isCrPending = bytes.length > from && bytes[bytes.length - 1] === CR;
    const until = bytes.length - (isCrPending ? 1 : 0);
    if (until === from) continue;
    last = bytes[until - 1] ?? LF;
    yield rewriteLines(bytes.subarray(from, until), bareLineEnds);
  }
  if (isCrPending && bareLineEnds === 'refuse') throw bareLineEnd('a bare CR');
  if (isCrPending || last !== LF) yield CRLF;
}

/** `bytes` with bare line ends replaced. They neither start nor end inside a CRLF. */
function rewriteLines(bytes: Buffer, bareLineEnds: BareLineEnds): Buffer {
  const first = firstBareLineEnd(bytes);
  if (first === bytes.length) return bytes;
  if (bareLineEnds === 'refuse') throw bareLineEnd(bytes[first] === CR ? 'a bare CR' : 'a bare LF');
  // Each byte becomes two at the most.
  const out = Buffer.allocUnsafe(bytes.length * 2 - first);
  out.set(bytes.subarray(0, first));
  let size = first;
  for (let at = first; at < bytes.length; at += 1) {
    while (at < bytes.length && (bytes[at] as number) > CR) out[size++] = bytes[at++] as number;
    if (at === bytes.length) break;
    const byte = bytes[at] as number;
    const isBreak = byte === CR || byte === LF;
    out[size++] = isBreak ? CR : byte;
    if (isBreak) out[size++] = LF;
    if (byte === CR && bytes[at + 1] === LF) at += 1;
  }
  return out.subarray(0, size);
}

/** Index of the first bare CR or LF, or the length. */
function firstBareLineEnd(bytes: Uint8Array): number {
  const lines = lineBytesOf(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length; at += 1) {
    at = nextLineByte(lines, passFullLines(view, at));
    const byte = bytes[at];
    if (byte === CR && bytes[at + 1] === LF) at += 1;
    else if (byte === CR || byte === LF) return at;
  }
  return bytes.length;
}

function bareLineEnd(what: string): GatewayError {
  return new GatewayError('bare-line-end', `the body holds ${what}`);
}

// The header section of a message or entity (RFC 5322 §2.2), as raw fields. One strict parser for evidence, policy and
// output: what is ambiguous is refused here and never read leniently somewhere else. Bytes of a field are kept.
import { isUtf8 } from 'node:buffer';
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';

/** One field. `raw` holds name, colon, value, foldings and the final CRLF exactly as received. */
export interface HeaderField {
  /** As written. Compare with `isNamed`. */
  readonly name: string;
  readonly raw: Buffer;
}

export interface HeaderSection {
  readonly fields: readonly HeaderField[];
}

export interface HeaderLimits {
  readonly maxHeaderBytes: number;
  readonly maxHeaderLines: number;
}

const CR = 13;
const LF = 10;
const MAX_LINE_OCTETS = 998;

export interface ReadMessage {
  readonly header: HeaderSection;
  /** May be left unread; its `return` closes the source. */
  readonly body: Chunks;
  /** Whether the blank line was there: a message may end with its header section. */
  readonly hasBlankLine: boolean;
}

/** The header section alone; the source is closed behind it. Throws GatewayError `header-malformed`. */
export async function readHeader(message: ByteSource, limits: HeaderLimits): Promise<HeaderSection> {
  const { header, body } = await readMessage(message.open(), limits);
  await body[Symbol.asyncIterator]().return?.();
  return header;
}

/**
 * Splits a message stream into its header section and its body. The blank line belongs to neither. A message without
 * a blank line has an empty body. Throws GatewayError `header-malformed`, the source then being closed.
 */
export async function readMessage(message: Chunks, limits: HeaderLimits): Promise<ReadMessage> {
  const iterator = message[Symbol.asyncIterator]();
  try {
    const { head, end, isEnded } = await readHead(iterator, limits);
    const header = parseHeaderSection(head.subarray(0, end), limits);
    const hasBlankLine = end < head.length;
    return { header, hasBlankLine, body: rest(head.subarray(end + 2), iterator, isEnded) };
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
}

/** Parses a header section without its blank line. Throws GatewayError `header-malformed`. */
export function parseHeaderSection(bytes: Uint8Array, limits: HeaderLimits): HeaderSection {
  if (bytes.length > limits.maxHeaderBytes) throw malformed('header section is too large');
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields: HeaderField[] = [];
  let lines = 0;
  let start = 0;
  for (let at = 0; at < buffer.length;) {
    const end = endOfLine(buffer, at);
    lines += 1;
    if (lines > limits.maxHeaderLines) throw malformed('header section has too many lines');
    if (!isBlank(buffer[end])) {
      fields.push(parseField(buffer.subarray(start, end)));
      start = end;
    }
    at = end;
  }
  if (start < buffer.length) throw malformed('last field is not complete');
  return { fields };
}

/** Whether a field has this name, letter case aside. */
export function isNamed(field: HeaderField, name: string): boolean {
  return field.name.length === name.length && field.name.toLowerCase() === name.toLowerCase();
}

export function fieldsNamed(section: HeaderSection, name: string): readonly HeaderField[] {
  return section.fields.filter((field) => isNamed(field, name));
}

/** The value: unfolded (RFC 5322 §2.2.3), trimmed, bytes as latin1 unless they are valid UTF-8. Encoded words stay. */
export function fieldValue(field: HeaderField): string {
  const { raw } = field;
  let start = raw.indexOf(0x3a) + 1;
  let end = raw.length;
  // SECURITY: only blanks go: a no-break space around a value would make two readings (test: value-trim). A loop, since
  // a pattern for blanks at the end is quadratic in the blanks before it (test: blanks).
  while (start < end && isBlankOrLineEnd(raw[start])) start += 1;
  while (end > start && isBlankOrLineEnd(raw[end - 1])) end -= 1;
  const value = raw.subarray(start, end);
  const text = isUtf8(value) ? value.toString('utf8') : value.toString('latin1');
  return text.replace(/\r\n(?=[ \t])/g, '');
}

/** Makes a field. Throws GatewayError `header-malformed` for a name or value that would break the section. */
export function makeField(name: string, value: string): HeaderField {
  const raw = Buffer.from(`${name}: ${value}\r\n`, 'utf8');
  return parseField(raw);
}

/** All fields, without the blank line. */
export function writeHeaderSection(fields: readonly HeaderField[]): Buffer {
  return Buffer.concat(fields.map((field) => field.raw));
}

function parseField(raw: Buffer): HeaderField {
  const colon = raw.indexOf(0x3a);
  if (colon < 1) throw malformed('a line has no field name');
  for (let at = 0; at < colon; at += 1) {
    const byte = raw[at] ?? 0;
    if (byte < 0x21 || byte > 0x7e) throw malformed('a field name has a blank or a character outside ASCII');
  }
  // SECURITY: a value with a line break that is no folding would be a field of its own (test: make-field-injection).
  for (let at = endOfLine(raw, 0); at < raw.length; at = endOfLine(raw, at)) {
    if (!isBlank(raw[at])) throw malformed('a line break in a value is not a folding');
  }
  if (hasBlankContinuation(raw)) throw malformed('a folded line is empty');
  return { name: raw.toString('latin1', 0, colon), raw };
}

/** Index after the CRLF of the line that starts at `at`. Refuses bare CR, bare LF, NUL and long lines. */
function endOfLine(buffer: Buffer, at: number): number {
  let index = at;
  for (; index < buffer.length; index += 1) {
    const byte = buffer[index];
    if (byte === LF || byte === 0) throw malformed('a bare LF or NUL in the header section');
    if (byte === CR) break;
  }
  if (index >= buffer.length) throw malformed('last line is not complete');
  if (buffer[index + 1] !== LF) throw malformed('a bare CR in the header section');
  if (index - at > MAX_LINE_OCTETS) throw malformed('a line is longer than 998 octets');
  return index + 2;
}

/** A continuation of blanks only is obsolete folding (RFC 5322 §4.2): parsers disagree on where the header ends. */
function hasBlankContinuation(raw: Buffer): boolean {
  const text = raw.toString('latin1');
  return /\r\n[ \t]+\r\n/.test(text);
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}

function isBlankOrLineEnd(byte: number | undefined): boolean {
  return isBlank(byte) || byte === CR || byte === LF;
}

/** Reads up to the end of the header section; `end` is the index after its last line. */
async function readHead(
  iterator: AsyncIterator<Uint8Array>,
  limits: HeaderLimits,
): Promise<{ head: Buffer; end: number; isEnded: boolean }> {
  let room = Buffer.alloc(0);
  let size = 0;
  for (;;) {
    const next = await iterator.next();
    if (next.done) return { head: room.subarray(0, size), end: size, isEnded: true };
    const from = Math.max(0, size - 3);
    room = append(room, size, next.value);
    size += next.value.length;
    const head = room.subarray(0, size);
    const end = endOfHeader(head, from);
    if (end !== undefined) return { head, end, isEnded: false };
    if (size > limits.maxHeaderBytes) throw malformed('header section is too large');
  }
}

/** `bytes` after the first `size` bytes of `room`, in a room that grows by doubling: a byte at a time stays linear. */
function append(room: Buffer<ArrayBuffer>, size: number, bytes: Uint8Array): Buffer<ArrayBuffer> {
  let grown = room;
  if (size + bytes.length > room.length) {
    grown = Buffer.allocUnsafe(Math.max(2 * room.length, size + bytes.length));
    grown.set(room.subarray(0, size));
  }
  grown.set(bytes, size);
  return grown;
}

function endOfHeader(head: Buffer, from: number): number | undefined {
  if (head.length >= 2 && head[0] === CR && head[1] === LF) return 0;
  const at = head.indexOf('\r\n\r\n', from);
  return at < 0 ? undefined : at + 2;
}

/** The body. Not a generator, since one that was never started would not close its source. */
function rest(first: Uint8Array, iterator: AsyncIterator<Uint8Array>, isEnded: boolean): Chunks {
  let pending: Uint8Array | undefined = first.length > 0 ? first : undefined;
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    if (pending !== undefined) {
      const value = pending;
      pending = undefined;
      return { done: false, value };
    }
    return isEnded ? { done: true, value: undefined } : iterator.next();
  };
  const close = async (): Promise<IteratorResult<Uint8Array>> => {
    pending = undefined;
    await iterator.return?.();
    return { done: true, value: undefined };
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: close }) };
}

function malformed(reason: string): GatewayError {
  return new GatewayError('header-malformed', reason);
}

// A header section as Exchange would edit it: fields added, removed and renamed, all other bytes kept. Lenient on purpose:
// the lab also carries messages that the gateway must refuse.
import { type ByteSource, collect, concat, rangeOf } from '../core/bytes.ts';

export interface RawField {
  readonly name: string;
  /** Name, colon, value, folds and line end. */
  readonly raw: Buffer;
}

export interface RawMessage {
  readonly fields: readonly RawField[];
  /** From the blank line on. */
  readonly rest: ByteSource;
}

const MAX_HEAD_BYTES = 4 * 1024 * 1024;
const BLANK_LINE = Buffer.from('\r\n\r\n');

/** Splits a message at its first blank line. */
export async function readRawMessage(message: ByteSource): Promise<RawMessage> {
  const head = await collect(rangeOf(message, { start: 0, end: MAX_HEAD_BYTES }).open(), MAX_HEAD_BYTES);
  const blank = head.subarray(0, 2).equals(BLANK_LINE.subarray(0, 2)) ? 0 : head.indexOf(BLANK_LINE) + 2;
  const end = blank === 1 ? head.length : blank;
  const lines = head.toString('latin1', 0, end).split(/(?<=\n)(?![ \t])/);
  const fields = lines
    .filter((line) => line !== '')
    .map((line) => ({ name: line.slice(0, line.indexOf(':')), raw: Buffer.from(line, 'latin1') }));
  return { fields, rest: rangeOf(message, { start: end }) };
}

/** The message with these fields. */
export function writeRawMessage({ fields, rest }: RawMessage): ByteSource {
  const head = Buffer.concat(fields.map(({ raw }) => raw));
  return {
    size: head.length + rest.size,
    open: (range) => {
      const start = range?.start ?? 0;
      const end = Math.min(range?.end ?? Number.POSITIVE_INFINITY, head.length + rest.size);
      return concat(
        head.subarray(Math.min(start, head.length), Math.min(end, head.length)),
        rest.open({ start: Math.max(0, start - head.length), end: Math.max(0, end - head.length) }),
      );
    },
  };
}

/** A field as given: a value that starts with a fold stands on its own line, `Name:`, CRLF, blank, value. */
export function rawField(name: string, value: string): RawField {
  const gap = value === '' || value.startsWith('\r\n') ? '' : ' ';
  return { name, raw: Buffer.from(`${name}:${gap}${value}\r\n`) };
}

export function rawValue(field: RawField): string {
  return field.raw
    .toString('utf8')
    .slice(field.name.length + 1)
    .replace(/\r?\n(?=[ \t])/g, '')
    .trim();
}

export function hasName(field: RawField, name: string): boolean {
  return field.name.toLowerCase() === name.toLowerCase();
}

export function hasPrefix(field: RawField, prefix: string): boolean {
  return field.name.toLowerCase().startsWith(prefix.toLowerCase());
}

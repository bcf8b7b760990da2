// ASCII armour as streams (RFC 9580 §6.2). Liberal on read: checksum, headers and the blank line after them may be missing.
// Strict about what surrounds it: text beside the armour would look as protected as what is inside.
import { bytesSource, type Chunks, collect, concat } from '../core/bytes.ts';
import { decodeArmorLines, encodeArmorLines, MAX_BLOCK_BYTES } from './armor-lines.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import { CRC_START, crcLine, updateCrc } from './crc24.ts';
import { PgpFault } from './fault.ts';

export type ArmorLabel = 'MESSAGE' | 'SIGNATURE' | 'PUBLIC KEY BLOCK' | 'PRIVATE KEY BLOCK';

const LF = 10;
const DASH = 0x2d;
const MAX_LINE = 1_000;
const MAX_HEADER_LINES = 50;
const READ_BYTES = 65_536;
/** More than a checksum line with blanks around it. */
const TAIL_BYTES = 64;

/** Armour with CRLF lines. The checksum is for old readers; with SEIPDv2 it must not be written (RFC 9580 §6.1). */
export async function* writeArmor(
  label: ArmorLabel,
  chunks: Chunks,
  hasChecksum: boolean,
): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from(`-----BEGIN PGP ${label}-----\r\n\r\n`);
  let crc = CRC_START;
  for await (const block of blocks(chunks)) {
    if (hasChecksum) crc = updateCrc(crc, block);
    yield encodeArmorLines(block);
  }
  if (hasChecksum) yield Buffer.from(`${crcLine(crc)}\r\n`);
  yield Buffer.from(`-----END PGP ${label}-----\r\n`);
}

/** The bytes inside one armour, which must be the whole text. Throws PgpFault `malformed`, also at the end of the stream. */
export async function* readArmor(
  chunks: Chunks,
  labels: readonly ArmorLabel[],
): AsyncGenerator<Uint8Array, void> {
  yield* decodeArmorLines(readArmorText(chunks, labels));
}

/** As `readArmor`; bytes that are not armoured at all are passed as they are (RFC 9580 §4.2: bit 7 of a packet is set). */
export async function* readMaybeArmor(
  chunks: Chunks,
  labels: readonly ArmorLabel[],
): AsyncGenerator<Uint8Array, void> {
  const iterator = chunks[Symbol.asyncIterator]();
  let next = await iterator.next();
  while (!next.done && next.value.length === 0) next = await iterator.next();
  if (next.done) return;
  const all = concat(next.value, { [Symbol.asyncIterator]: () => iterator });
  if (((next.value[0] ?? 0) & 0x80) !== 0) yield* all;
  else yield* readArmor(all, labels);
}

/**
 * The bytes of the one armour with this label in a text, as key files have it: with comments around it. Throws PgpFault
 * `malformed` where there is none, or more than one.
 */
export async function parseArmor(text: string, label: ArmorLabel): Promise<Buffer> {
  const begin = `-----BEGIN PGP ${label}-----`;
  const end = `-----END PGP ${label}-----`;
  const from = text.indexOf(begin);
  const until = text.indexOf(end, from);
  if (from < 0 || until < 0) throw new PgpFault('malformed', `no ${label.toLowerCase()} in the text`);
  if (text.includes(begin, from + 1)) throw new PgpFault('malformed', `more than one ${label.toLowerCase()}`);
  const block = Buffer.from(text.slice(from, until + end.length));
  return collect(readArmor(bytesSource(block).open(), [label]), block.length);
}

/** Whole lines of bytes. A block is good until the next one is asked for: all of them are one buffer. */
async function* blocks(chunks: Chunks): AsyncGenerator<Buffer, void> {
  const block = Buffer.allocUnsafeSlow(MAX_BLOCK_BYTES);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(block.length - filled, chunk.length - at);
      block.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < block.length) continue;
      yield block;
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

async function* readArmorText(
  chunks: Chunks,
  labels: readonly ArmorLabel[],
): AsyncGenerator<Uint8Array, void> {
  const reader = readBytes(chunks);
  try {
    const label = await readHead(reader, labels);
    let tail: Buffer = Buffer.alloc(0);
    for (;;) {
      const chunk = await reader.some(READ_BYTES);
      if (!chunk) throw new PgpFault('malformed', 'the armour has no end');
      const text = Buffer.concat([tail, chunk]);
      const dash = text.indexOf(DASH);
      if (dash >= 0) {
        yield Buffer.from(withoutChecksum(text.toString('latin1', 0, dash)), 'latin1');
        await checkEnd(concat(text.subarray(dash), remaining(reader)), label);
        return;
      }
      const cut = Math.max(0, text.length - TAIL_BYTES);
      if (cut > 0) yield text.subarray(0, cut);
      tail = text.subarray(cut);
    }
  } finally {
    await reader.close();
  }
}

/** Reads up to the first line of base64. */
async function readHead(reader: ByteReader, labels: readonly ArmorLabel[]): Promise<ArmorLabel> {
  let line = await takeLine(reader);
  for (let blank = 0; line === '' && blank < MAX_HEADER_LINES; blank += 1) line = await takeLine(reader);
  const label = labels.find((known) => line === `-----BEGIN PGP ${known}-----`);
  if (!label) throw new PgpFault('malformed', 'the text does not start with the armour');
  for (let lines = 0; lines < MAX_HEADER_LINES; lines += 1) {
    const next = await peekLine(reader);
    const isHeader = next.text.includes(':');
    // QUIRK: some writers leave out the blank line after the headers (test: armor table).
    if (next.text !== '' && !isHeader) return label;
    await reader.take(next.size);
    if (!isHeader) return label;
  }
  throw new PgpFault('malformed', 'the armour has too many headers');
}

/** SECURITY: nothing but blanks may follow; a second armour or text would be dropped silently (test: armor table). */
async function checkEnd(chunks: Chunks, label: ArmorLabel): Promise<void> {
  const reader = readBytes(chunks);
  const isEnd = (await takeLine(reader)) === `-----END PGP ${label}-----`;
  if (!isEnd) throw new PgpFault('malformed', 'the armour has another end than start');
  for (let chunk = await reader.some(READ_BYTES); chunk; chunk = await reader.some(READ_BYTES)) {
    if (/\S/.test(Buffer.from(chunk).toString('latin1'))) {
      throw new PgpFault('malformed', 'text follows the armour');
    }
  }
}

/** RFC 9580 §6.1: a checksum is never a reason to refuse, so it is not looked at. */
function withoutChecksum(text: string): string {
  return text.replace(/(^|\n)=[^\n=]*\s*$/, '$1');
}

async function takeLine(reader: ByteReader): Promise<string> {
  const { text, size } = await peekLine(reader);
  await reader.take(size);
  return text;
}

/** The next line without trailing blanks, and its size with the line end. */
async function peekLine(reader: ByteReader): Promise<{ text: string; size: number }> {
  const bytes = await reader.peek(MAX_LINE);
  const end = bytes.indexOf(LF);
  if (end < 0 && bytes.length === MAX_LINE) throw new PgpFault('malformed', 'an armour line is too long');
  const size = end < 0 ? bytes.length : end + 1;
  if (size === 0) throw new PgpFault('malformed', 'the armour is cut off');
  return { text: bytes.toString('latin1', 0, size).trimEnd(), size };
}

async function* remaining(reader: ByteReader): AsyncGenerator<Uint8Array, void> {
  for (let chunk = await reader.some(READ_BYTES); chunk; chunk = await reader.some(READ_BYTES)) yield chunk;
}

// The parts that a reader shows as the text of a message (RFC 9788 §1.7, Main Body Part), and rewriting them: decoded,
// changed near the start, encoded again. Every other byte stays.
import { isAscii } from 'node:buffer';
import { type ByteSource, type Chunks, collect, concat, rangeOf } from '../core/bytes.ts';
import { parseDisposition } from './content-type.ts';
import {
  fieldValue,
  fieldsNamed,
  type HeaderField,
  isNamed,
  makeField,
  writeHeaderSection,
} from './header-section.ts';
import { type MimeLimits, type Region, type ScannedPart, scanParts } from './part-scanner.ts';
import { encodeQuotedPrintable } from './quoted-printable.ts';
import { decodeTransfer, encodeBase64 } from './transfer-encoding.ts';

/** A stretch of the decoded text that gives way to other bytes. */
export interface TextEdit {
  readonly start: number;
  readonly end: number;
  readonly insert: Buffer;
  /** Instead of the part's Content-Type. */
  readonly contentType: HeaderField;
}

/** Says what becomes of a main body part, from the first bytes of its text; undefined: nothing. */
export type EditText = (part: ScannedPart, head: Buffer) => TextEdit | undefined;

interface Replacement {
  readonly start: number;
  readonly end: number;
  readonly open: () => Chunks | readonly Uint8Array[];
}

const HEAD_BYTES = 65_536;
const MAX_LINE = 900;
const ENCODINGS = new Set(['', '7bit', '8bit', 'binary', 'base64', 'quoted-printable']);

/**
 * The message with its main body parts edited; undefined where nothing is. Throws GatewayError `mime-malformed` beyond a
 * limit.
 */
export async function editMainBodies(
  message: ByteSource,
  limits: MimeLimits,
  edit: EditText,
): Promise<Chunks | undefined> {
  const parts = await scanParts(message.open(), limits, { depth: 'all', isMeasured: false });
  const replacements: Replacement[] = [];
  for (const part of parts.slice(0, 1).flatMap((root) => mainBodies(parts, root))) {
    const [region] = part.regions;
    if (region === undefined) continue;
    const found = edit(part, await headOf(message, region, part.encoding));
    if (found) replacements.push(...replace(message, part, region, found));
  }
  return replacements.length === 0 ? undefined : spliced(message, replacements);
}

function mainBodies(parts: readonly ScannedPart[], part: ScannedPart): readonly ScannedPart[] {
  const { type, subtype, mediaType } = part.contentType;
  if (part.header === undefined || part.defects.length > 0) return [];
  if (part.kind === 'multipart') {
    const children = parts.filter(({ parent }) => parent === part);
    if (mediaType === 'multipart/alternative') return children.flatMap((child) => mainBodies(parts, child));
    const isOneText = ['mixed', 'related'].includes(subtype);
    return isOneText ? children.slice(0, 1).flatMap((child) => mainBodies(parts, child)) : [];
  }
  const [field] = fieldsNamed(part.header, 'Content-Disposition');
  const isAttachment = field !== undefined && parseDisposition(fieldValue(field))?.kind === 'attachment';
  const isText = type === 'text' && (subtype === 'plain' || subtype === 'html');
  return isText && !isAttachment && ENCODINGS.has(part.encoding) ? [part] : [];
}

async function headOf(message: ByteSource, region: Region, encoding: string): Promise<Buffer> {
  // Each decoded byte takes three at the most, line breaks aside.
  const end = Math.min(region.end, region.start + HEAD_BYTES * 3);
  const decoded = decodeTransfer(rangeOf(message, { start: region.start, end }).open(), encoding);
  return (await collect(decoded, HEAD_BYTES * 3)).subarray(0, HEAD_BYTES);
}

function replace(message: ByteSource, part: ScannedPart, region: Region, edit: TextEdit): Replacement[] {
  const isPlain = isAscii(edit.insert) && longestLine(edit.insert) < MAX_LINE;
  const isIdentity = part.encoding !== 'base64' && part.encoding !== 'quoted-printable';
  const encoding = isIdentity && !isPlain ? 'quoted-printable' : part.encoding;
  const typed = withField(part.header?.fields ?? [], edit.contentType);
  const label = makeField('Content-Transfer-Encoding', encoding);
  const header = writeHeaderSection(encoding === part.encoding ? typed : withField(typed, label));
  const { start, end } = region;
  const body = (): Chunks => {
    const text = decodeTransfer(rangeOf(message, { start, end }).open(), part.encoding);
    const edited = cutOut(text, edit);
    if (encoding === 'base64') return encodeBase64(edited);
    return encoding === 'quoted-printable' ? encodeQuotedPrintable(edited) : edited;
  };
  return [
    { start: part.start, end: part.bodyStart, open: () => [header, Buffer.from('\r\n')] },
    { start, end, open: body },
  ];
}

function withField(fields: readonly HeaderField[], field: HeaderField): readonly HeaderField[] {
  const at = fields.findIndex((each) => isNamed(each, field.name));
  return at < 0 ? [...fields, field] : fields.with(at, field);
}

function longestLine(bytes: Buffer): number {
  return Math.max(
    ...bytes
      .toString('latin1')
      .split('\r\n')
      .map(({ length }) => length),
  );
}

async function* cutOut(text: Chunks, { start, end, insert }: TextEdit): AsyncGenerator<Uint8Array, void> {
  let at = 0;
  let isInserted = false;
  for await (const chunk of text) {
    const before = chunk.subarray(0, Math.max(0, start - at));
    const after = chunk.subarray(Math.max(0, end - at));
    if (before.length > 0) yield before;
    at += chunk.length;
    if (at < start) continue;
    if (!isInserted) yield insert;
    isInserted = true;
    if (after.length > 0) yield after;
  }
  if (!isInserted) yield insert;
}

async function* spliced(
  message: ByteSource,
  replacements: readonly Replacement[],
): AsyncGenerator<Uint8Array, void> {
  let at = 0;
  for (const { start, end, open } of replacements) {
    yield* concat(message.open({ start: at, end: start }));
    yield* open();
    at = end;
  }
  if (at < message.size) yield* message.open({ start: at });
}

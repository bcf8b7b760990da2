// Makes an entity fit for signing: 7-bit, short lines, no trailing blanks, no line that starts with "From " (RFC 8551
// §3.1.3, RFC 3156 §3). Only the parts that need it are re-encoded; every other byte stays, header fields included.
import { type ByteSource, type Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { HeaderProtection } from '../core/plan.ts';
import { asciiField, namesUtf8Address } from './ascii-header.ts';
import { repairBase64 } from './base64-lines.ts';
import { entityHeader } from './entity.ts';
import { divideFields } from './header-protection.ts';
import { type HeaderField, isNamed, makeField, writeHeaderSection } from './header-section.ts';
import { type MimeLimits, type Region, type ScannedPart, scanParts } from './part-scanner.ts';
import { encodeQuotedPrintable } from './quoted-printable.ts';
import { isOpaqueLabel } from './shape.ts';
import { type TextFacts } from './text-facts.ts';
import { decodeTransfer, encodeBase64 } from './transfer-encoding.ts';

export interface PreparedEntity {
  /** Fields of the message that stay outside. */
  readonly outer: readonly HeaderField[];
  /** Content-* fields, blank line and body; may be opened many times and gives the same bytes each time. */
  readonly entity: { open(): Chunks };
}

/** Bytes of the message that are replaced. */
interface Edit {
  readonly start: number;
  readonly end: number;
  open(source: ByteSource): Chunks | readonly Uint8Array[];
}

type Encoding = 'quoted-printable' | 'base64' | '7bit';

/** QUIRK: Exchange breaks lines from about 989 octets on, though 998 are allowed (test: exchange-line). */
const MAX_LINE_OCTETS = 980;
/** Encodings of their own, which nothing may be put around (RFC 2045 §6.3), and known ones that are misspelt. */
const PRIVATE_ENCODING =
  /^(?:x-)?(?:uu|uue|uuencode|yenc|yencode|(?:mac-)?binhex(?:40)?|gzip\w*|compress)$|base64.|.base64|quoted/;
/** RFC 2046 §5.2.2, §5.2.3: these are 7-bit, or damaged. */
const NEVER_ENCODED = new Set(['partial', 'external-body', 'rfc822', 'global']);
const CRLF = Buffer.from('\r\n');

/**
 * Prepares a message in canonical form. Signed and encrypted parts are never touched, whatever they hold. Throws
 * GatewayError `mime-malformed` beyond a limit, or where a part must be changed and its structure cannot be read.
 */
export async function prepareEntity(
  message: ByteSource,
  limits: MimeLimits,
  protection?: HeaderProtection,
): Promise<PreparedEntity> {
  const parts = await scanParts(message.open(undefined, 'look'), limits, {
    depth: 'all',
    isMeasured: (part) => !isRepairable(part),
  });
  const [root] = parts;
  if (root?.header === undefined) throw malformed('the message has no header');
  const encodings = new Map(parts.map((part) => [part, newEncoding(part)]));
  relabelComposites(parts, encodings);
  const edits = parts.flatMap((part) => editsOf(part, encodings.get(part))).sort((a, b) => a.start - b.start);
  const own = root.header.fields;
  const fields = hasUnlabelled8bit(root) ? [makeField('Content-Type', 'text/plain'), ...own] : own;
  const { outer, content: divided } = divideFields({ fields }, protection);
  const content = divided.map((field) => (namesUtf8Address(field) ? field : sevenBit(field, root)));
  const encoding = encodings.get(root);
  const head = entityHeader(encoding === undefined ? content : withEncoding(content, encoding));
  return {
    outer,
    entity: { open: () => writeEntity(message, head, root.bodyStart, edits) },
  };
}

/**
 * Whether a part is repaired line by line while it is written. Such parts, which most of the bytes of mail are in, need
 * not be measured before.
 */
function isRepairable(part: ScannedPart): boolean {
  const isReadable = part.header !== undefined && part.defects.length === 0;
  const isBase64 = part.kind === 'leaf' && part.encoding === 'base64' && part.contentType.type !== 'message';
  return isReadable && isBase64 && !isProtected(part);
}

/** The encoding that a leaf gets; undefined where it stays as it is. */
function newEncoding(part: ScannedPart): Encoding | undefined {
  const [body] = part.regions;
  if (part.kind !== 'leaf' || body === undefined || isProtected(part) || isRepairable(part)) return undefined;
  const facts = body.meter.facts();
  if (!isUnclean(facts)) return part.encoding === '8bit' || part.encoding === 'binary' ? '7bit' : undefined;
  if (part.header === undefined || part.defects.length > 0) {
    throw malformed(part.defects[0] ?? 'a part that must be encoded cannot be read');
  }
  const { type, subtype } = part.contentType;
  const { encoding } = part;
  const own = encoding === 'base64' || encoding === 'quoted-printable' ? encoding : undefined;
  const isFixed =
    (own === undefined && PRIVATE_ENCODING.test(encoding)) ||
    (type === 'message' && NEVER_ENCODED.has(subtype));
  if (isFixed && facts.is8bit) throw malformed('8-bit bytes in a part that cannot be encoded');
  // Other message types are read by programs that expect them as they are.
  if (isFixed || (type === 'message' && !facts.is8bit)) return undefined;
  if (own !== undefined) return own;
  // QUIRK: other labels are no encoding but "8-bit" or "7bits": readers take the body as it is (test: odd labels).
  return type === 'text' || type === 'message' ? 'quoted-printable' : 'base64';
}

/** A composite part labelled 8bit becomes 7bit if nothing inside it is 8-bit any more (RFC 2045 §6.4). */
function relabelComposites(
  parts: readonly ScannedPart[],
  encodings: Map<ScannedPart, Encoding | undefined>,
): void {
  const holds8bit = new Set<ScannedPart>();
  for (const part of parts) {
    const isKept8bit = isProtected(part) || (part.kind === 'leaf' && encodings.get(part) === undefined);
    if (isKept8bit && part.regions.some((region) => region.meter.facts().is8bit))
      addWithParents(holds8bit, part);
    if (part.is8bitHeader && isProtected(part)) addWithParents(holds8bit, part.parent);
  }
  for (const part of parts) {
    if (part.kind === 'leaf' || holds8bit.has(part) || isProtected(part)) continue;
    if (part.encoding === '8bit' || part.encoding === 'binary') encodings.set(part, '7bit');
  }
}

function addWithParents(set: Set<ScannedPart>, part: ScannedPart | undefined): void {
  for (let at = part; at !== undefined && !set.has(at); at = at.parent) set.add(at);
}

function editsOf(part: ScannedPart, encoding: Encoding | undefined): Edit[] {
  if (isProtected(part)) return [];
  const edits: Edit[] = part.padding.map((range) => ({ ...range, open: () => [] }));
  if (part.depth > 0 && part.header === undefined && part.is8bitHeader)
    throw malformed('a header with 8-bit bytes cannot be read');
  if (part.depth > 0 && (encoding !== undefined || part.is8bitHeader) && part.header !== undefined) {
    const fields = partFields(part, encoding).map((field) => sevenBit(field, part));
    const bytes = Buffer.concat([writeHeaderSection(fields), CRLF]);
    edits.push({ start: part.start, end: part.bodyStart, open: () => [bytes] });
  }
  for (const region of part.regions) {
    const { start, end } = region;
    if (isRepairable(part)) {
      edits.push({ start, end, open: (source) => repairBase64(source.open({ start, end })) });
    } else if (part.kind === 'multipart') {
      // Preamble and epilogue are no content (RFC 2046 §5.1.1), unless somebody else reads parts in them.
      if (!isUnclean(region.meter.facts())) continue;
      if (part.defects.length > 0) throw malformed(part.defects[0] ?? '');
      edits.push({ start, end, open: () => [] });
    } else if (encoding !== undefined && encoding !== '7bit') {
      edits.push({ start, end, open: (source) => encodeRegion(source, region, part.encoding, encoding) });
    }
  }
  return edits;
}

function encodeRegion(source: ByteSource, { start, end }: Region, from: string, to: Encoding): Chunks {
  const decoded = decodeTransfer(source.open({ start, end }), from);
  return to === 'base64' ? encodeBase64(decoded) : encodeQuotedPrintable(decoded);
}

/** Fields of a part under its new encoding; the message in a message/rfc822 needs MIME-Version for it to count. */
function partFields(part: ScannedPart, encoding: Encoding | undefined): readonly HeaderField[] {
  const fields = part.header?.fields ?? [];
  if (encoding === undefined) return fields;
  const isBareMessage =
    part.parent?.kind === 'message' && !fields.some((field) => isNamed(field, 'MIME-Version'));
  return withEncoding(isBareMessage ? [...fields, makeField('MIME-Version', '1.0')] : fields, encoding);
}

function sevenBit(field: HeaderField, { contentType }: ScannedPart): HeaderField {
  return asciiField(field, contentType.parameters.get('charset'));
}

function withEncoding(fields: readonly HeaderField[], encoding: Encoding): readonly HeaderField[] {
  const label = makeField('Content-Transfer-Encoding', encoding);
  return fields.some(isLabel) ? fields.map((field) => (isLabel(field) ? label : field)) : [...fields, label];
}

function isLabel(field: HeaderField): boolean {
  return isNamed(field, 'Content-Transfer-Encoding');
}

/** Signed and encrypted parts and all in them: their bytes are what was signed (RFC 1847 §2.1). */
function isProtected(part: ScannedPart): boolean {
  for (let at: ScannedPart | undefined = part; at !== undefined; at = at.parent) {
    const { mediaType } = at.contentType;
    if (mediaType === 'multipart/signed' || mediaType === 'multipart/encrypted') return true;
    if (at.header !== undefined && isOpaqueLabel(at.contentType, at.header)) return true;
  }
  return false;
}

/** A body with 8-bit bytes and no label: saying us-ascii would be wrong, and its charset is not known. */
function hasUnlabelled8bit(root: ScannedPart): boolean {
  const hasType = root.header?.fields.some((field) => isNamed(field, 'Content-Type')) ?? false;
  return !hasType && root.regions.some((region) => region.meter.facts().is8bit);
}

function isUnclean(facts: TextFacts): boolean {
  const isChangedInTransit = facts.hasTrailingBlanks || facts.hasFromLine || facts.hasBareLineEnd;
  return facts.is8bit || isChangedInTransit || facts.maxLineOctets > MAX_LINE_OCTETS;
}

async function* writeEntity(
  message: ByteSource,
  head: Buffer,
  bodyStart: number,
  edits: readonly Edit[],
): AsyncGenerator<Uint8Array, void> {
  yield head;
  let at = bodyStart;
  for (const edit of edits) {
    if (edit.start > at) yield* message.open({ start: at, end: edit.start });
    yield* edit.open(message);
    at = edit.end;
  }
  if (at < message.size) yield* message.open({ start: at });
}

function malformed(reason: string): GatewayError {
  return new GatewayError('mime-malformed', reason);
}

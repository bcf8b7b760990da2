// The one reader of MIME structure: finds the parts of a message as byte ranges, in one pass and bounded memory. It
// changes nothing and decodes nothing. What could be read in two ways is left as a leaf and noted as a defect.
import { isAscii } from 'node:buffer';
import { type ByteRange, type Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type ContentType, parseContentType } from './content-type.ts';
import { type DelimiterMatch, matchDelimiter, mayBeDelimiter } from './delimiter.ts';
import {
  fieldValue,
  fieldsNamed,
  type HeaderLimits,
  type HeaderSection,
  parseHeaderSection,
} from './header-section.ts';
import { createTextMeter, type TextMeter } from './text-facts.ts';

export interface MimeLimits extends HeaderLimits {
  /** Levels below the message itself. */
  readonly maxDepth: number;
  /** Parts in the whole message, itself included. */
  readonly maxParts: number;
}

/** A stretch of text: the body of a leaf, or the preamble or epilogue of a multipart. */
export interface Region {
  readonly start: number;
  end: number;
  readonly meter: TextMeter;
}

/** A part; the message itself is the first one. Offsets are bytes from the start of the message. */
export interface ScannedPart {
  readonly parent: ScannedPart | undefined;
  readonly depth: number;
  /** Start of the header; `bodyStart` is after the blank line, `end` before the CRLF of the next delimiter. */
  readonly start: number;
  bodyStart: number;
  end: number;
  /** A `message` holds one part, its message. */
  kind: 'leaf' | 'multipart' | 'message';
  /** Undefined where it cannot be read. */
  header: HeaderSection | undefined;
  is8bitHeader: boolean;
  contentType: ContentType;
  /** Content-Transfer-Encoding in lower case, empty if there is none. */
  encoding: string;
  /** Leaf: its body. Multipart: preamble, then epilogue. Message: none. */
  readonly regions: Region[];
  /** Multipart: blanks at the end of its delimiter lines. */
  readonly padding: (ByteRange & { readonly end: number })[];
  /** Why the structure could be read in another way. */
  readonly defects: string[];
}

export interface ScanOptions {
  /** `children` looks only for the delimiters of the top-level multipart. */
  readonly depth: 'all' | 'children';
  /** Whether the text of regions is measured (it costs about as much as the scan), or of which parts. */
  readonly isMeasured: boolean | ((part: ScannedPart) => boolean);
}

interface OpenPart {
  readonly part: ScannedPart;
  /** Undefined unless the part is a multipart. */
  boundary: Buffer | undefined;
  /** Whether the closing delimiter was seen. */
  isClosed: boolean;
}

interface Scanner {
  readonly limits: MimeLimits;
  readonly options: ScanOptions;
  readonly parts: ScannedPart[];
  /** From the message down to the current part. */
  open: OpenPart[];
  /** What was read of the current header; undefined inside a body. */
  header: Buffer[] | undefined;
  headerBytes: number;
  /** Of all parts. */
  totalHeaderBytes: number;
  region: Region | undefined;
}

const CR = 13;
const LF = 10;
/** Longest line that is looked at as a whole: a delimiter with its blanks, or a line of a header. */
const MAX_LINE = 1000;
/** All headers together, as a multiple of the limit for one. */
const HEADER_BUDGET = 4;
const IDENTITY = new Set(['', '7bit', '8bit', 'binary']);
const MESSAGE_TYPES = new Set(['message/rfc822', 'message/global']);
const LINE_START = Buffer.from('\r\n--');
const NO_METER: TextMeter = createTextMeter();

/**
 * All parts in the order of the message. Throws GatewayError `mime-malformed` beyond a limit, `header-malformed` for
 * the message's own header. Expects CRLF line ends: a bare CR or LF ends no line of structure. Keeps nothing of a chunk.
 */
export async function scanParts(
  message: Chunks,
  limits: MimeLimits,
  options: ScanOptions,
): Promise<readonly ScannedPart[]> {
  const scanner: Scanner = {
    limits,
    options,
    parts: [],
    open: [],
    header: undefined,
    headerBytes: 0,
    totalHeaderBytes: 0,
    region: undefined,
  };
  startPart(scanner, undefined, 0);
  let carry: Buffer = Buffer.alloc(0);
  let isLineStart = true;
  let offset = 0;
  for await (const chunk of message) {
    const bytes = carry.length > 0 ? Buffer.concat([carry, chunk]) : asBuffer(chunk);
    const read = readLines(scanner, bytes, offset, isLineStart, false);
    isLineStart = read.isLineStart;
    offset += read.used;
    carry = Buffer.from(bytes.subarray(read.used));
  }
  readLines(scanner, carry, offset, isLineStart, true);
  const end = offset + carry.length;
  if (scanner.header !== undefined) endHeader(scanner, end, end);
  endParts(scanner, 0, end);
  return scanner.parts;
}

/**
 * Reads complete lines, and of bodies as much as is certain. Bytes not used come again in front of the next ones.
 * SECURITY: no byte is looked at more than a line's length of times, whatever the text (test: hostile-lines).
 */
function readLines(
  scanner: Scanner,
  bytes: Buffer,
  offset: number,
  wasLineStart: boolean,
  isLast: boolean,
): { used: number; isLineStart: boolean } {
  let isLineStart = wasLineStart;
  let at = 0;
  let textStart = 0;
  while (at < bytes.length) {
    const isHeader = scanner.header !== undefined;
    if (!isHeader && !(isLineStart && mayBeDelimiter(bytes, at))) {
      const next = bytes.indexOf(LINE_START, at);
      isLineStart = next >= 0;
      at = isLineStart ? next + 2 : bytes.length - (isLast ? 0 : partialMatch(bytes, at));
      if (isLineStart) continue;
      break;
    }
    const end = endOfLine(bytes, at);
    if (end === undefined && bytes.length - at < MAX_LINE && !isLast) break;
    const stop = end ?? Math.min(bytes.length, at + MAX_LINE);
    const isWhole = isLineStart && (end !== undefined || bytes.length - at < MAX_LINE);
    const found = isWhole ? findDelimiter(scanner, bytes, at, stop) : undefined;
    if (found !== undefined) {
      addText(scanner, bytes.subarray(textStart, at));
      applyDelimiter(scanner, found, offset, offset + at, offset + stop);
    } else if (isHeader) {
      addHeader(scanner, bytes.subarray(at, stop), isLineStart, offset + stop);
    }
    const isStructure = isHeader || found !== undefined;
    isLineStart = end !== undefined && (isStructure || bytes[end - 2] === CR);
    if (isStructure || end !== undefined) at = stop;
    if (isStructure) textStart = at;
  }
  addText(scanner, bytes.subarray(textStart, at));
  return { used: at, isLineStart };
}

/** Index after the next LF, looked for in no more than a line's length. */
function endOfLine(bytes: Buffer, from: number): number | undefined {
  const limit = Math.min(bytes.length, from + MAX_LINE);
  for (let at = from; at < limit; at += 1) if (bytes[at] === LF) return at + 1;
  return undefined;
}

/** A line of the current header, or a piece of one that is too long to be read. */
function addHeader(scanner: Scanner, line: Buffer, isLineStart: boolean, end: number): void {
  if (isLineStart && line.length === 2 && line[0] === CR) {
    endHeader(scanner, end, undefined);
    return;
  }
  scanner.header?.push(Buffer.from(line));
  scanner.headerBytes += line.length;
  scanner.totalHeaderBytes += line.length;
  const { maxHeaderBytes } = scanner.limits;
  if (scanner.headerBytes > maxHeaderBytes || scanner.totalHeaderBytes > maxHeaderBytes * HEADER_BUDGET) {
    throw overLimit('the headers of the parts are too large');
  }
}

interface FoundDelimiter extends DelimiterMatch {
  /** Of its multipart in the list of open parts. */
  readonly index: number;
}

/** The innermost multipart that the line delimits. */
function findDelimiter(
  scanner: Scanner,
  bytes: Buffer,
  start: number,
  end: number,
): FoundDelimiter | undefined {
  if (!mayBeDelimiter(bytes, start)) return undefined;
  for (let index = scanner.open.length - 1; index >= 0; index -= 1) {
    const open = scanner.open[index];
    if (open?.boundary === undefined) continue;
    const match = matchDelimiter(open.boundary, bytes, start, end);
    if (match === undefined) continue;
    if (!open.isClosed) return { index, ...match };
    addDefect(open.part, 'a delimiter follows the closing one');
  }
  return undefined;
}

/** Ends and starts what the delimiter line from `start` to `lineEnd` ends and starts. */
function applyDelimiter(
  scanner: Scanner,
  found: FoundDelimiter,
  offset: number,
  start: number,
  lineEnd: number,
): void {
  const end = Math.max(scanner.open.at(-1)?.part.start ?? 0, start - 2);
  if (scanner.header !== undefined) endHeader(scanner, end, end);
  endParts(scanner, found.index + 1, end);
  endRegion(scanner, Math.max(end, scanner.region?.start ?? 0));
  const owner = scanner.open[found.index];
  if (owner === undefined) return;
  if (found.paddingEnd > found.paddingStart) {
    owner.part.padding.push({ start: offset + found.paddingStart, end: offset + found.paddingEnd });
  }
  owner.isClosed = found.isClosing;
  if (found.isClosing) startRegion(scanner, owner.part, lineEnd);
  else startPart(scanner, owner.part, lineEnd);
}

function startPart(scanner: Scanner, parent: ScannedPart | undefined, start: number): void {
  const depth = parent === undefined ? 0 : parent.depth + 1;
  if (depth > scanner.limits.maxDepth) throw overLimit('parts are nested too deeply');
  if (scanner.parts.length >= scanner.limits.maxParts) throw overLimit('the message has too many parts');
  const part: ScannedPart = {
    parent,
    depth,
    start,
    bodyStart: start,
    end: start,
    kind: 'leaf',
    header: undefined,
    is8bitHeader: false,
    contentType: parseContentType(undefined),
    encoding: '',
    regions: [],
    padding: [],
    defects: [],
  };
  scanner.parts.push(part);
  scanner.open.push({ part, boundary: undefined, isClosed: false });
  scanner.header = [];
  scanner.headerBytes = 0;
}

/** The header is complete: by its blank line, or cut short, then `cutAt` is where the part ends. */
function endHeader(scanner: Scanner, bodyStart: number, cutAt: number | undefined): void {
  const open = scanner.open.at(-1);
  const bytes = Buffer.concat(scanner.header ?? []);
  scanner.header = undefined;
  if (open === undefined) return;
  const { part } = open;
  part.bodyStart = bodyStart;
  part.is8bitHeader = !isAscii(bytes);
  try {
    part.header = parseHeaderSection(bytes, scanner.limits);
  } catch (error) {
    if (part.depth === 0) throw error;
    part.defects.push('the header of a part cannot be read');
  }
  if (part.header !== undefined) classify(scanner, part, part.header);
  if (part.kind === 'multipart') open.boundary = boundaryOf(part);
  if (cutAt === undefined && part.kind === 'message') startPart(scanner, part, bodyStart);
  else startRegion(scanner, part, bodyStart);
}

/** Whether the part is opened, by its own fields and the limits of what is asked for. */
function classify(scanner: Scanner, part: ScannedPart, header: HeaderSection): void {
  const types = fieldsNamed(header, 'Content-Type');
  const encodings = fieldsNamed(header, 'Content-Transfer-Encoding');
  part.contentType = parseContentType(types[0] ? fieldValue(types[0]) : defaultType(part));
  part.encoding = (encodings[0] ? fieldValue(encodings[0]) : '').toLowerCase();
  if (types.length > 1) part.defects.push('Content-Type is repeated');
  if (encodings.length > 1) part.defects.push('Content-Transfer-Encoding is repeated');
  const { type, mediaType, defects } = part.contentType;
  const isIdentity = IDENTITY.has(part.encoding);
  const isWanted = scanner.options.depth === 'all' || part.depth === 0;
  if (type === 'multipart' && isBoundaryInUse(scanner, part))
    part.defects.push('a boundary is used on two levels');
  if (!isWanted) return;
  if (type === 'multipart') {
    part.defects.push(...defects);
    if (!isIdentity) part.defects.push('a multipart with a transfer encoding');
  }
  if (part.defects.length > 0) return;
  if (type === 'multipart') part.kind = 'multipart';
  else if (MESSAGE_TYPES.has(mediaType) && isIdentity && scanner.options.depth === 'all')
    part.kind = 'message';
}

/** RFC 2046 §5.1.5: what has no type in a digest is a message. */
function defaultType(part: ScannedPart): string | undefined {
  return part.parent?.contentType.mediaType === 'multipart/digest' ? 'message/rfc822' : undefined;
}

function boundaryOf(part: ScannedPart): Buffer {
  return Buffer.from(part.contentType.parameters.get('boundary') ?? '', 'latin1');
}

function addDefect(part: ScannedPart, defect: string): void {
  if (!part.defects.includes(defect)) part.defects.push(defect);
}

function isBoundaryInUse(scanner: Scanner, part: ScannedPart): boolean {
  const own = part.contentType.parameters.get('boundary');
  return scanner.open.some(({ part: other }) => {
    if (other.kind !== 'multipart') return false;
    const taken = other.contentType.parameters.get('boundary');
    return taken === own || taken === `${own}--` || `${taken}--` === own;
  });
}

function startRegion(scanner: Scanner, part: ScannedPart, start: number): void {
  const { isMeasured } = scanner.options;
  const isWanted = typeof isMeasured === 'function' ? isMeasured(part) : isMeasured;
  scanner.region = { start, end: start, meter: isWanted ? createTextMeter() : NO_METER };
  part.regions.push(scanner.region);
}

function addText(scanner: Scanner, bytes: Buffer): void {
  if (scanner.region && scanner.region.meter !== NO_METER) scanner.region.meter.add(bytes);
}

function endRegion(scanner: Scanner, end: number): void {
  if (scanner.region !== undefined) scanner.region.end = end;
  scanner.region = undefined;
}

/** Closes the open parts from `index` on. */
function endParts(scanner: Scanner, index: number, end: number): void {
  const ended = scanner.open.slice(index);
  if (ended.length > 0) endRegion(scanner, Math.max(end, scanner.region?.start ?? 0));
  for (const { part } of ended) {
    part.end = end;
    part.bodyStart = Math.min(part.bodyStart, end);
  }
  scanner.open = scanner.open.slice(0, index);
}

/** How many bytes at the end may be the start of a line that starts with dashes. */
function partialMatch(bytes: Buffer, from: number): number {
  for (let size = Math.min(3, bytes.length - from); size > 0; size -= 1) {
    if (bytes.subarray(bytes.length - size).equals(LINE_START.subarray(0, size))) return size;
  }
  return 0;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function overLimit(reason: string): GatewayError {
  return new GatewayError('mime-malformed', reason);
}

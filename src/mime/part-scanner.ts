// The one reader of MIME structure: finds the parts of a message as byte ranges, in one pass and bounded memory. It
// changes nothing and decodes nothing. What could be read in two ways is left as a leaf and noted as a defect.
import { isAscii } from 'node:buffer';
import { type Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type ContentType, parseContentType } from './content-type.ts';
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
  /** Why the structure could be read in another way. */
  readonly defects: string[];
}

export interface ScanOptions {
  /** `children` looks only for the delimiters of the top-level multipart. */
  readonly depth: 'all' | 'children';
  /** Whether the text of regions is measured (it costs about as much as the scan). */
  readonly isMeasured: boolean;
}

interface Scanner {
  readonly limits: MimeLimits;
  readonly options: ScanOptions;
  readonly parts: ScannedPart[];
  /** From the message down to the current part. */
  open: ScannedPart[];
  /** Multiparts whose closing delimiter was seen. */
  readonly closed: Set<ScannedPart>;
  /** Lines of the header being read; undefined inside a body. */
  header: Buffer[] | undefined;
  headerBytes: number;
  /** Of all parts. */
  totalHeaderBytes: number;
  region: Region | undefined;
}

const CR = 13;
const LF = 10;
const DASH = 0x2d;
/** Longest delimiter line that is recognised, with blanks and CRLF: a header line's length. */
const MAX_DELIMITER_LINE = 1000;
/** All headers together, as a multiple of the limit for one. */
const HEADER_BUDGET = 4;
const IDENTITY = new Set(['', '7bit', '8bit', 'binary']);
const MESSAGE_TYPES = new Set(['message/rfc822', 'message/global']);
const LINE_START = Buffer.from('\r\n--');
const NO_METER: TextMeter = createTextMeter();

/**
 * All parts in the order of the message. Throws GatewayError `mime-malformed` beyond a limit, `header-malformed` for
 * the message's own header. Expects CRLF line ends: a bare CR or LF ends no line of structure.
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
    closed: new Set(),
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
    carry = bytes.subarray(read.used);
  }
  readLines(scanner, carry, offset, isLineStart, true);
  const end = offset + carry.length;
  if (scanner.header !== undefined) endHeader(scanner, end, end);
  endParts(scanner, 0, end);
  return scanner.parts;
}

/** Reads complete lines, and of bodies as much as is certain. Bytes not used come again in front of the next ones. */
function readLines(
  scanner: Scanner,
  bytes: Buffer,
  offset: number,
  wasLineStart: boolean,
  isLast: boolean,
): { used: number; isLineStart: boolean } {
  let at = 0;
  let isLineStart = wasLineStart;
  while (at < bytes.length) {
    if (scanner.header !== undefined || (isLineStart && mayBeDelimiter(bytes, at))) {
      const isHeader = scanner.header !== undefined;
      const lf = bytes.indexOf(LF, at);
      if (lf < 0 && !isLast && (isHeader || bytes.length - at <= MAX_DELIMITER_LINE)) {
        if (bytes.length - at > scanner.limits.maxHeaderBytes) throw overLimit('a header is too large');
        return { used: at, isLineStart };
      }
      const end = lf < 0 ? bytes.length : lf + 1;
      const isStructure = readStructureLine(scanner, bytes.subarray(at, end), offset + at);
      if (isStructure) {
        at = end;
        isLineStart = true;
        continue;
      }
    }
    const next = bytes.indexOf(LINE_START, at);
    const stop = next < 0 ? bytes.length - (isLast ? 0 : partialMatch(bytes, at)) : next + 2;
    addText(scanner, bytes.subarray(at, stop));
    isLineStart = next >= 0;
    at = stop;
    if (next < 0) break;
  }
  return { used: at, isLineStart };
}

/** A delimiter or a header line. Returns false for a line of text. */
function readStructureLine(scanner: Scanner, line: Buffer, offset: number): boolean {
  if (line[0] === DASH && line[1] === DASH && readDelimiter(scanner, line, offset)) return true;
  if (scanner.header === undefined) return false;
  const end = offset + line.length;
  if (line.length === 2 && line[0] === CR) {
    endHeader(scanner, end, undefined);
    return true;
  }
  scanner.header.push(line);
  scanner.headerBytes += line.length;
  scanner.totalHeaderBytes += line.length;
  const { maxHeaderBytes } = scanner.limits;
  if (scanner.headerBytes > maxHeaderBytes || scanner.totalHeaderBytes > maxHeaderBytes * HEADER_BUDGET) {
    throw overLimit('the headers of the parts are too large');
  }
  return true;
}

function readDelimiter(scanner: Scanner, line: Buffer, offset: number): boolean {
  if (line.length > MAX_DELIMITER_LINE) return false;
  const text = line.toString('latin1', 0, trimmedLength(line));
  for (let index = scanner.open.length - 1; index >= 0; index -= 1) {
    const part = scanner.open[index];
    const form = part && delimiterForm(part, text);
    if (part === undefined || form === undefined) continue;
    if (scanner.closed.has(part)) {
      part.defects.push('a delimiter follows the closing one');
      continue;
    }
    const end = Math.max(scanner.open.at(-1)?.start ?? 0, offset - 2);
    if (scanner.header !== undefined) endHeader(scanner, end, end);
    endParts(scanner, index + 1, end);
    endRegion(scanner, Math.max(end, scanner.region?.start ?? 0));
    if (form === 'next') {
      startPart(scanner, part, offset + line.length);
    } else {
      scanner.closed.add(part);
      startRegion(scanner, part, offset + line.length);
    }
    return true;
  }
  return false;
}

function delimiterForm(part: ScannedPart, text: string): 'next' | 'closing' | undefined {
  const boundary = part.kind === 'multipart' ? part.contentType.parameters.get('boundary') : undefined;
  if (boundary === undefined || !text.startsWith(boundary, 2)) return undefined;
  if (text.length === boundary.length + 2) return 'next';
  return text.length === boundary.length + 4 && text.endsWith('--') ? 'closing' : undefined;
}

/** Without CRLF and the blanks before it (RFC 2046 §5.1.1). A bare LF stays, so that it ends no delimiter. */
function trimmedLength(line: Buffer): number {
  let length = line.length;
  if (line[length - 1] === LF && line[length - 2] === CR) length -= 2;
  while (length > 0 && (line[length - 1] === 0x20 || line[length - 1] === 0x09)) length -= 1;
  return length;
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
    defects: [],
  };
  scanner.parts.push(part);
  scanner.open.push(part);
  scanner.header = [];
  scanner.headerBytes = 0;
}

/** The header is complete: by its blank line, or cut short, then `cutAt` is where the part ends. */
function endHeader(scanner: Scanner, bodyStart: number, cutAt: number | undefined): void {
  const part = scanner.open.at(-1);
  const bytes = Buffer.concat(scanner.header ?? []);
  scanner.header = undefined;
  if (part === undefined) return;
  part.bodyStart = bodyStart;
  part.is8bitHeader = !isAscii(bytes);
  try {
    part.header = parseHeaderSection(bytes, scanner.limits);
  } catch (error) {
    if (part.depth === 0) throw error;
    part.defects.push('the header of a part cannot be read');
  }
  if (part.header !== undefined) classify(scanner, part, part.header);
  if (cutAt === undefined && part.kind === 'message') startPart(scanner, part, bodyStart);
  else startRegion(scanner, part, bodyStart);
}

/** Whether the part is opened, by its own fields and the limits of what is asked for. */
function classify(scanner: Scanner, part: ScannedPart, header: HeaderSection): void {
  const types = fieldsNamed(header, 'Content-Type');
  const encodings = fieldsNamed(header, 'Content-Transfer-Encoding');
  part.contentType = parseContentType(types[0] && fieldValue(types[0]));
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

function isBoundaryInUse(scanner: Scanner, part: ScannedPart): boolean {
  const own = part.contentType.parameters.get('boundary');
  return scanner.open.some((other) => {
    if (other.kind !== 'multipart') return false;
    const taken = other.contentType.parameters.get('boundary');
    return taken === own || taken === `${own}--` || `${taken}--` === own;
  });
}

function startRegion(scanner: Scanner, part: ScannedPart, start: number): void {
  const meter = scanner.options.isMeasured ? createTextMeter() : NO_METER;
  scanner.region = { start, end: start, meter };
  part.regions.push(scanner.region);
}

function addText(scanner: Scanner, bytes: Buffer): void {
  if (scanner.options.isMeasured) scanner.region?.meter.add(bytes);
}

function endRegion(scanner: Scanner, end: number): void {
  if (scanner.region !== undefined) scanner.region.end = end;
  scanner.region = undefined;
}

/** Closes the open parts from `index` on. */
function endParts(scanner: Scanner, index: number, end: number): void {
  const ended = scanner.open.slice(index);
  if (ended.length > 0) endRegion(scanner, Math.max(end, scanner.region?.start ?? 0));
  for (const part of ended) {
    part.end = end;
    part.bodyStart = Math.min(part.bodyStart, end);
  }
  scanner.open = scanner.open.slice(0, index);
}

function mayBeDelimiter(bytes: Buffer, at: number): boolean {
  return bytes[at] === DASH && (at + 1 === bytes.length || bytes[at + 1] === DASH);
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

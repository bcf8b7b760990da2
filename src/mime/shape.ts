// What a message claims to be, by its labels and structure. For S/MIME a label is only a candidate: the CMS content type
// decides. Labels that can be read in two ways are `ambiguous`, never guessed.
import { type ByteRange, type ByteSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type ContentType, parseContentType, parseDisposition } from './content-type.ts';
import { fieldValue, fieldsNamed, type HeaderSection } from './header-section.ts';
import { type MimeLimits, type ScannedPart, scanParts } from './part-scanner.ts';

export type MimeShape =
  | { readonly kind: 'smime-opaque-candidate'; readonly contentType: ContentType }
  | { readonly kind: 'multipart-signed'; readonly protocol?: string; readonly contentType: ContentType }
  | { readonly kind: 'multipart-encrypted'; readonly protocol?: string; readonly contentType: ContentType }
  | { readonly kind: 'multipart-report'; readonly contentType: ContentType }
  | { readonly kind: 'plain'; readonly contentType: ContentType }
  | { readonly kind: 'ambiguous'; readonly reason: string };

/** What the parts of a message are; attachments are not decoded for it. */
export interface StructureFacts {
  /** A text/calendar part with a method (RFC 6047 §2.4), also inside attached messages. */
  readonly isCalendar: boolean;
  readonly hasTnef: boolean;
  /** The message itself included. */
  readonly parts: number;
  /** Levels below the message. */
  readonly depth: number;
  /** Bytes over 127 after the message's own header: the next hop must offer 8BITMIME. */
  readonly is8bit: boolean;
  /** Something could be read in another way, or not at all. */
  readonly isMalformed: boolean;
}

/** A direct child of a multipart, in bytes of the message. */
export interface PartRange {
  /** Header and body, without the CRLF before the next delimiter: what a signature covers. */
  readonly entity: ByteRange & { readonly end: number };
  readonly header: HeaderSection;
  readonly body: ByteRange & { readonly end: number };
}

const SINGLE = ['Content-Type', 'Content-Transfer-Encoding', 'Content-Disposition'];
const OPAQUE_TYPES = new Set(['application/pkcs7-mime', 'application/x-pkcs7-mime']);
const OPAQUE_NAME = /\.p7[mscz]$/i;
const TNEF_TYPES = new Set(['application/ms-tnef', 'application/vnd.ms-tnef']);
const TNEF_NAME = 'winmail.dat';

/** Never throws. `protocol` is in lower case and missing where the message names none. */
export function mimeShape(header: HeaderSection): MimeShape {
  const repeated = SINGLE.find((name) => fieldsNamed(header, name).length > 1);
  if (repeated !== undefined) return { kind: 'ambiguous', reason: `field ${repeated} is repeated` };
  const contentType = parseContentType(valueOf(header, 'Content-Type'));
  if (contentType.type === 'multipart') return multipartShape(header, contentType);
  if (isOpaqueLabel(contentType, header)) return { kind: 'smime-opaque-candidate', contentType };
  return { kind: 'plain', contentType };
}

/**
 * Reads the whole message once. Odd structure is a fact, not an error. Throws GatewayError `mime-malformed` beyond a
 * limit, `header-malformed` for the message's own header.
 */
export async function scanStructure(message: ByteSource, limits: MimeLimits): Promise<StructureFacts> {
  const parts = await scanParts(message.open(undefined, 'look'), limits, { depth: 'all', isMeasured: true });
  return {
    isCalendar: parts.some(
      ({ contentType }) => contentType.mediaType === 'text/calendar' && contentType.parameters.has('method'),
    ),
    hasTnef: parts.some(isTnef),
    parts: parts.length,
    depth: Math.max(...parts.map((part) => part.depth)),
    is8bit: parts.some((part) => is8bitText(part) || (part.is8bitHeader && part.depth > 0)),
    isMalformed: parts.some((part) => part.defects.length > 0),
  };
}

/**
 * The direct children of a top-level multipart, in order; what is inside them is not looked at. A last part without
 * closing delimiter ends with the message. Throws GatewayError `mime-malformed` where the message is no multipart that
 * can be read in one way only.
 */
export async function readParts(message: ByteSource, limits: MimeLimits): Promise<readonly PartRange[]> {
  const [root, ...children] = await scanParts(message.open(undefined, 'look'), limits, {
    depth: 'children',
    isMeasured: false,
  });
  if (root?.kind !== 'multipart') throw malformed(root?.defects[0] ?? 'the message is no multipart');
  return children.map((child) => {
    const { header, start, bodyStart, end } = child;
    const [defect] = [...root.defects, ...child.defects];
    // SECURITY: a structure with two readings could be verified in one and shown in the other (test: signed-ambiguous).
    if (header === undefined || defect !== undefined) throw malformed(defect ?? 'a part has no header');
    return { entity: { start, end }, header, body: { start: bodyStart, end } };
  });
}

/** Whether a part carries a CMS label: by its type, or by a file name on any type but text and multipart. */
export function isOpaqueLabel(contentType: ContentType, header: HeaderSection): boolean {
  if (OPAQUE_TYPES.has(contentType.mediaType)) return true;
  // QUIRK: gateways relabel S/MIME as octet-stream or anything else and keep the file name (test: opaque-name).
  if (contentType.type === 'multipart') return false;
  if (contentType.type === 'text' && contentType.defects.length === 0) return false;
  const disposition = parseDisposition(valueOf(header, 'Content-Disposition'));
  const names = [contentType.parameters.get('name'), disposition?.parameters.get('filename')];
  return names.some((name) => name !== undefined && OPAQUE_NAME.test(name.trim()));
}

function multipartShape(header: HeaderSection, contentType: ContentType): MimeShape {
  const [defect] = contentType.defects;
  if (defect !== undefined) return { kind: 'ambiguous', reason: defect };
  const encoding = valueOf(header, 'Content-Transfer-Encoding')?.toLowerCase();
  if (encoding !== undefined && !['7bit', '8bit', 'binary', ''].includes(encoding)) {
    return { kind: 'ambiguous', reason: 'a multipart with a transfer encoding' };
  }
  const protocol = contentType.parameters.get('protocol')?.trim().toLowerCase();
  const labelled = protocol === undefined || protocol === '' ? {} : { protocol };
  switch (contentType.subtype) {
    case 'signed':
      return { kind: 'multipart-signed', ...labelled, contentType };
    case 'encrypted':
      return { kind: 'multipart-encrypted', ...labelled, contentType };
    case 'report':
      return { kind: 'multipart-report', contentType };
    default:
      return { kind: 'plain', contentType };
  }
}

function valueOf(header: HeaderSection, name: string): string | undefined {
  const [field] = fieldsNamed(header, name);
  return field && fieldValue(field);
}

function is8bitText(part: ScannedPart): boolean {
  return part.regions.some((region) => region.meter.facts().is8bit);
}

function isTnef({ contentType, header }: ScannedPart): boolean {
  if (TNEF_TYPES.has(contentType.mediaType)) return true;
  const disposition = header && parseDisposition(valueOf(header, 'Content-Disposition'));
  const names = [contentType.parameters.get('name'), disposition?.parameters.get('filename')];
  return names.some((name) => name?.trim().toLowerCase() === TNEF_NAME);
}

function malformed(reason: string): GatewayError {
  return new GatewayError('mime-malformed', reason);
}

// Where the OpenPGP objects are inside a MIME message (RFC 3156 §4, §5). Types and order decide, never file names.
import { type ByteRange, type ByteSource, type Chunks, collect, rangeOf } from '../core/bytes.ts';
import type { Limits } from '../core/limits.ts';
import { parseContentType } from '../mime/content-type.ts';
import { fieldValue, fieldsNamed, type HeaderSection } from '../mime/header-section.ts';
import { mimeShape, type PartRange, readParts } from '../mime/shape.ts';
import { decodeTransfer } from '../mime/transfer-encoding.ts';

export type FoundEncrypted =
  | { readonly kind: 'found'; readonly part: PartRange }
  | { readonly kind: 'not-encrypted' }
  | { readonly kind: 'malformed' };

export type FoundSigned =
  | { readonly kind: 'found'; readonly entity: ByteRange; readonly signature: PartRange }
  | { readonly kind: 'not-signed' }
  | { readonly kind: 'malformed' };

const ENCRYPTED = 'application/pgp-encrypted';
export const SIGNATURE = 'application/pgp-signature';
const MAX_VERSION_BYTES = 1_024;

/** The encrypted part of a message. Throws GatewayError `mime-malformed` for a multipart that cannot be read. */
export async function findEncrypted(
  message: ByteSource,
  header: HeaderSection,
  limits: Limits,
): Promise<FoundEncrypted> {
  const shape = mimeShape(header);
  const isMixed = shape.kind === 'plain' && shape.contentType.mediaType === 'multipart/mixed';
  if (shape.kind !== 'multipart-encrypted' && !isMixed) return { kind: 'not-encrypted' };
  if (shape.kind === 'multipart-encrypted' && (shape.protocol ?? ENCRYPTED) !== ENCRYPTED) {
    return { kind: 'not-encrypted' };
  }
  const wrong = { kind: isMixed ? 'not-encrypted' : 'malformed' } as const;
  let parts = await readParts(message, limits);
  // QUIRK: Exchange makes multipart/mixed of it, with an empty text part in front (test: exchange-mixed).
  if (isMixed && parts.length === 3 && (await isEmptyText(message, parts[0]))) parts = parts.slice(1);
  const [version, part, ...more] = parts;
  if (!version || !part || more.length > 0) return wrong;
  if (mediaType(version.header) !== ENCRYPTED || mediaType(part.header) !== 'application/octet-stream')
    return wrong;
  return (await isVersionOne(message, version)) ? { kind: 'found', part } : wrong;
}

/** The signed entity and its signature. Throws GatewayError `mime-malformed` for a multipart that cannot be read. */
export async function findSigned(
  message: ByteSource,
  header: HeaderSection,
  limits: Limits,
): Promise<FoundSigned> {
  const shape = mimeShape(header);
  if (shape.kind !== 'multipart-signed') return { kind: 'not-signed' };
  if (shape.protocol !== undefined && shape.protocol !== SIGNATURE) return { kind: 'not-signed' };
  const [content, signature, ...more] = await readParts(message, limits);
  if (!content || !signature || more.length > 0) return { kind: 'malformed' };
  if (mediaType(signature.header) !== SIGNATURE) {
    return { kind: shape.protocol === undefined ? 'not-signed' : 'malformed' };
  }
  return { kind: 'found', entity: content.entity, signature };
}

/** The body of a part without its transfer encoding. */
export function openDecoded(message: ByteSource, part: PartRange): Chunks {
  const [encoding] = fieldsNamed(part.header, 'Content-Transfer-Encoding');
  return decodeTransfer(rangeOf(message, part.body).open(), encoding && fieldValue(encoding));
}

function mediaType(header: HeaderSection): string {
  const [field] = fieldsNamed(header, 'Content-Type');
  return parseContentType(field && fieldValue(field)).mediaType;
}

async function isVersionOne(message: ByteSource, part: PartRange): Promise<boolean> {
  if (part.body.end - part.body.start > MAX_VERSION_BYTES) return false;
  const text = await collect(openDecoded(message, part), MAX_VERSION_BYTES);
  return /^version:[ \t]*1[ \t]*$/im.test(text.toString('latin1').replaceAll('\r', ''));
}

async function isEmptyText(message: ByteSource, part: PartRange | undefined): Promise<boolean> {
  if (!part || mediaType(part.header) !== 'text/plain') return false;
  if (part.body.end - part.body.start > MAX_VERSION_BYTES) return false;
  const text = await collect(openDecoded(message, part), MAX_VERSION_BYTES);
  return text.toString('latin1').trim() === '';
}

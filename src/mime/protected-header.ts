// Header protection, the reading side: finds the header that was signed or encrypted with a message, in the form of RFC
// 9788 and in the older ones, and compares it with the outer one. Whether its layers are good is for the caller to know.
import { type ByteSource, collect } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { ProtectedForm } from '../core/outcome.ts';
import {
  fieldsNamed,
  fieldValue,
  type HeaderField,
  type HeaderSection,
  parseHeaderSection,
} from './header-section.ts';
import { type MimeLimits, type ScannedPart, scanParts } from './part-scanner.ts';
import { isOpaqueLabel } from './shape.ts';
import { decodeTransfer } from './transfer-encoding.ts';

export interface ProtectedHeader {
  readonly form: ProtectedForm;
  readonly header: HeaderSection;
  /** What its author put outside (RFC 9788 §2.2); undefined where the form does not say. */
  readonly outer?: HeaderSection;
}

/** What is read of a message: its protected header is near its start. */
const MAX_BYTES = 1_048_576;
const CRLF = Buffer.from('\r\n');

/**
 * The protected header of a message whose encryption was taken off and whose signature, if detached, is still around its
 * content. `inner` is the header of the entity that was taken out, where one was. Undefined where there is none, or where
 * it cannot be read in one way.
 */
export async function readProtectedHeader(
  message: ByteSource,
  inner: HeaderSection | undefined,
  limits: MimeLimits,
): Promise<ProtectedHeader | undefined> {
  try {
    const end = Math.min(message.size, MAX_BYTES);
    const parts = await scanParts(message.open({ start: 0, end }), limits, {
      depth: 'all',
      isMeasured: false,
    });
    const payload = payloadOf(parts);
    if (payload?.header === undefined || isLayer(payload)) return undefined;
    const header = payload.depth === 0 ? inner : payload.header;
    return (
      ofPayload(payload, header) ??
      (await ofHeadersPart(message, parts, payload, limits)) ??
      ofWrapped(parts, payload)
    );
  } catch (error) {
    if (error instanceof GatewayError && ['header-malformed', 'mime-malformed'].includes(error.code))
      return undefined;
    throw error;
  }
}

/** Inside a detached signature that is its first part, else the message. */
function payloadOf(parts: readonly ScannedPart[]): ScannedPart | undefined {
  const [root] = parts;
  return root?.contentType.mediaType === 'multipart/signed' ? childOf(parts, root) : root;
}

/** A layer that was not taken off hides the payload. */
function isLayer({ contentType, header }: ScannedPart): boolean {
  return (
    ['multipart/signed', 'multipart/encrypted'].includes(contentType.mediaType) ||
    (header !== undefined && isOpaqueLabel(contentType, header))
  );
}

function ofPayload(
  { contentType }: ScannedPart,
  header: HeaderSection | undefined,
): ProtectedHeader | undefined {
  if (header === undefined) return undefined;
  const hp = contentType.parameters.get('hp')?.trim().toLowerCase();
  if (hp === 'clear') return { form: 'hp-clear', header };
  if (hp === 'cipher') {
    const outer = { fields: fieldsNamed(header, 'HP-Outer').flatMap(outerField) };
    return { form: 'hp-cipher', header, outer };
  }
  if (fieldsNamed(header, 'Subject').length === 0) return undefined;
  return { form: contentType.parameters.has('protected-headers') ? 'v1' : 'memory-hole', header };
}

/** QUIRK: Memory Hole has the fields in a part of their own before the text (test: headers part). */
async function ofHeadersPart(
  message: ByteSource,
  parts: readonly ScannedPart[],
  payload: ScannedPart,
  limits: MimeLimits,
): Promise<ProtectedHeader | undefined> {
  const part = payload.kind === 'multipart' ? childOf(parts, payload) : undefined;
  if (part?.contentType.mediaType !== 'text/rfc822-headers') return undefined;
  if (part.end - part.bodyStart > limits.maxHeaderBytes) return undefined;
  const body = decodeTransfer(message.open({ start: part.bodyStart, end: part.end }), part.encoding);
  const text = Buffer.concat([await collect(body, limits.maxHeaderBytes), CRLF]).toString('latin1');
  const header = parseHeaderSection(Buffer.from(`${text.trimEnd()}\r\n`, 'latin1'), limits);
  return fieldsNamed(header, 'Subject').length === 0 ? undefined : { form: 'memory-hole', header };
}

/** RFC 8551 §3.1, as RFC 9788 §4.10.1 tells it: the payload is a message that has no layers of its own. */
function ofWrapped(parts: readonly ScannedPart[], payload: ScannedPart): ProtectedHeader | undefined {
  const part = payload.kind === 'message' ? childOf(parts, payload) : undefined;
  if (part?.header === undefined || isLayer(part) || part.contentType.parameters.has('hp')) return undefined;
  return { form: 'wrapped', header: part.header };
}

function childOf(parts: readonly ScannedPart[], parent: ScannedPart): ScannedPart | undefined {
  return parts.find((part) => part.parent === parent);
}

function outerField(field: HeaderField): readonly HeaderField[] {
  const value = fieldValue(field);
  const name = /^([!-9;-~]+):/.exec(value)?.[1];
  return name === undefined ? [] : [{ name, raw: Buffer.from(`${value}\r\n`, 'utf8') }];
}

// A message as two layers: the outer header, and the entity (Content-* fields and body) that gets signed or encrypted.
// Takes them apart and puts them together; knows nothing of multipart or crypto.
import { type Chunks } from '../core/bytes.ts';
import { canonicalLines } from './canonical.ts';
import {
  type HeaderField,
  type HeaderLimits,
  type HeaderSection,
  isNamed,
  makeField,
  readMessage,
  writeHeaderSection,
} from './header-section.ts';

const CRLF = Buffer.from('\r\n');

export interface SplitFields {
  /** Everything but MIME-Version and Content-*, in order. */
  readonly outer: readonly HeaderField[];
  /** Content-* fields, in order. */
  readonly content: readonly HeaderField[];
}

/** Divides a header section between the layers. MIME-Version is dropped: who writes a message adds the one it has. */
export function splitFields(header: HeaderSection): SplitFields {
  return {
    outer: header.fields.filter((field) => !isContent(field) && !isNamed(field, 'MIME-Version')),
    content: header.fields.filter(isContent),
  };
}

/** The header of an inner entity with its blank line. Without Content-Type the default becomes explicit (RFC 2045 §5.2). */
export function entityHeader(content: readonly HeaderField[]): Buffer {
  const hasType = content.some((field) => isNamed(field, 'Content-Type'));
  const fields = hasType ? content : [makeField('Content-Type', 'text/plain; charset=us-ascii'), ...content];
  return Buffer.concat([writeHeaderSection(fields), CRLF]);
}

/** A whole message: outer fields as they are, exactly one MIME-Version, the content fields, a blank line, the body. */
export async function* wrapMessage(
  outer: readonly HeaderField[],
  content: readonly HeaderField[],
  body: Chunks,
): AsyncGenerator<Uint8Array, void> {
  const kept = outer.filter((field) => !isNamed(field, 'MIME-Version'));
  yield Buffer.concat([writeHeaderSection([...kept, makeField('MIME-Version', '1.0'), ...content]), CRLF]);
  yield* body;
}

/**
 * Rebuilds a message from a decrypted or unwrapped entity: the outer fields byte for byte, and of the inner header only
 * its Content-* fields; `onInner` is shown all of it. Bare line ends of the inner entity become CRLF. Throws GatewayError `header-malformed` for an
 * inner header that cannot be read, `bare-line-end` for NUL.
 */
export async function* unwrapMessage(
  outerHeader: HeaderSection,
  inner: Chunks,
  limits: HeaderLimits,
  onInner?: (header: HeaderSection) => void,
): AsyncGenerator<Uint8Array, void> {
  const { header, body } = await readMessage(canonicalLines(inner, 'normalise'), limits);
  onInner?.(header);
  // SECURITY: an inner From, To or proof field would overwrite what was checked on the outside (test: inner-headers).
  yield* wrapMessage(splitFields(outerHeader).outer, splitFields(header).content, body);
}

function isContent(field: HeaderField): boolean {
  return field.name.toLowerCase().startsWith('content-');
}

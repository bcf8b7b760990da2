// Writes multipart bodies (RFC 2046 §5.1.1) and the Content-Type field that belongs to them. Bytes of a part are passed
// as they are: the CRLF before a delimiter is the delimiter's.
import { randomBytes } from 'node:crypto';
import { type Chunks } from '../core/bytes.ts';
import { type HeaderField, makeField } from './header-section.ts';

const MAX_LINE = 76;
const TOKEN = /^[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+$/;

/** A boundary that no quoted-printable or base64 text can hold, since `=_` is in neither (RFC 2045 §6.7). */
export function makeBoundary(random: (size: number) => Uint8Array = randomBytes): string {
  return `=_${Buffer.from(random(18)).toString('hex')}`;
}

/**
 * A multipart body. A part is a whole entity, header included; parts are opened one after the other, so a later part
 * may depend on what was read of an earlier one. Ends with CRLF.
 */
export async function* writeMultipart(
  boundary: string,
  parts: readonly (Chunks | Uint8Array)[],
): AsyncGenerator<Uint8Array, void> {
  let lead = '';
  for (const part of parts) {
    yield Buffer.from(`${lead}--${boundary}\r\n`, 'latin1');
    if (part instanceof Uint8Array) yield part;
    else yield* part;
    lead = '\r\n';
  }
  yield Buffer.from(`${lead}--${boundary}--\r\n`, 'latin1');
}

/** A Content-Type field, folded; values that are no token are quoted. Values must be printable ASCII. */
export function makeContentType(
  mediaType: string,
  parameters: Readonly<Record<string, string>> = {},
): HeaderField {
  let value = mediaType;
  let column = 'Content-Type: '.length + mediaType.length;
  for (const [name, text] of Object.entries(parameters)) {
    const written = `${name}=${TOKEN.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`}`;
    const isFolded = column + written.length + 2 > MAX_LINE;
    value += isFolded ? `;\r\n ${written}` : `; ${written}`;
    column = isFolded ? written.length + 1 : column + written.length + 2;
  }
  return makeField('Content-Type', value);
}

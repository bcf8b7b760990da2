// What a CMS object is, by its own content type (RFC 5652 §3). Labels such as smime-type and file names only say where to
// look (test: detect table).
import { type ByteSource, type Chunks, concat, headOf } from '../core/bytes.ts';
import type { CmsContent } from '../core/shape.ts';
import {
  fieldsNamed,
  fieldValue,
  type HeaderLimits,
  type HeaderSection,
  readMessage,
} from '../mime/header-section.ts';
import { mimeShape } from '../mime/shape.ts';
import { decodeBase64, decodeTransfer } from '../mime/transfer-encoding.ts';
import { ID } from './algorithms.ts';
import { oid } from './ber-writer.ts';

const HEAD_BYTES = 64;
/** A SEQUENCE with a length of several octets, or of indefinite length. */
const BASE64_OF_SEQUENCE = /^[ \t\r\n]*MI[A-T][A-Za-z0-9+/]/;
const CONTENT_TYPES: readonly (readonly [string, CmsContent])[] = [
  [ID.envelopedData, 'enveloped'],
  [ID.authEnvelopedData, 'auth-enveloped'],
  [ID.signedData, 'signed'],
  [ID.compressedData, 'compressed'],
];
const ENCODED = CONTENT_TYPES.map(([id, content]) => [oid(id), content] as const);

/** The content type with this identifier; undefined for those that are no layer of a message. */
export function cmsContentOf(id: string): CmsContent | undefined {
  return CONTENT_TYPES.find(([known]) => known === id)?.[1];
}

/** The content type from the first 64 bytes of a ContentInfo; undefined if they are not the head of one. */
export function detectCms(head: Uint8Array): CmsContent | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  const first = bytes[1];
  if (bytes[0] !== 0x30 || first === undefined || first > 0x88) return undefined;
  const start = first > 0x80 ? 2 + (first & 0x7f) : 2;
  const size = 2 + (bytes[start + 1] ?? 0);
  if (bytes[start] !== 0x06 || size > 32 || bytes.length < start + size) return undefined;
  const type = bytes.subarray(start, start + size);
  return ENCODED.find(([known]) => known.equals(type))?.[1] ?? 'other';
}

/** The content type of a message whose labels make it an S/MIME candidate; undefined for other messages. */
export async function detectSmime(
  message: ByteSource,
  limits: HeaderLimits,
): Promise<CmsContent | undefined> {
  const { header, body } = await readMessage(message.open(), limits);
  if (mimeShape(header).kind === 'smime-opaque-candidate')
    return detectCms(await headOf(decodedBody(header, body), HEAD_BYTES));
  await body[Symbol.asyncIterator]().return?.();
  return undefined;
}

/**
 * The body with its transfer encoding undone. QUIRK: relays and hand-made mail lose the label of base64, or encode it
 * once more; no CMS structure begins like that text, so the bytes tell (test: detect table).
 */
export async function* decodedBody(header: HeaderSection, body: Chunks): AsyncGenerator<Uint8Array, void> {
  const [field] = fieldsNamed(header, 'Content-Transfer-Encoding');
  const decoded = decodeTransfer(body, field && fieldValue(field))[Symbol.asyncIterator]();
  const rest = { [Symbol.asyncIterator]: () => decoded };
  try {
    let head = Buffer.alloc(0);
    while (head.length < HEAD_BYTES) {
      const next = await decoded.next();
      if (next.done) break;
      head = Buffer.concat([head, next.value]);
    }
    const bytes = concat(head, rest);
    yield* BASE64_OF_SEQUENCE.test(head.toString('latin1', 0, HEAD_BYTES)) ? decodeBase64(bytes) : bytes;
  } finally {
    await decoded.return?.();
  }
}

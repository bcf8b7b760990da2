// What is inside a layer, as a MIME entity. RFC 8551 §3.1 asks for one; what else is found there is read by its bytes: a
// CMS structure without MIME around it, and a text without a header.
import type { Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { canonicalLines } from '../mime/canonical.ts';
import { encodeQuotedPrintable } from '../mime/quoted-printable.ts';
import { encodeBase64 } from '../mime/transfer-encoding.ts';
import { ID } from './algorithms.ts';
import { END_OF_CONTENTS, indefinite, oid } from './ber-writer.ts';
import { TAG } from './der.ts';
import { cmsContentOf, detectCms } from './detect.ts';

export interface LayerContent {
  /** In canonical form. Throws GatewayError `mime-malformed` where the content is neither entity nor text. */
  readonly entity: Chunks;
  /** It was a text without a header. */
  readonly isBareText: boolean;
}

const HEAD_BYTES = 8_192;
const CMS_HEADER =
  'Content-Type: application/pkcs7-mime; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n' +
  'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n';
const TEXT_HEADER =
  'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n';
/** A header that says what the content is, or was meant to: text around it is damage. */
const CONTENT_FIELD = /^(?:content-[!-9;-~]+|mime-version)[ \t]*:/im;
/** A first line that begins a header without such a field (RFC 5322 §3.6). */
const MESSAGE_FIELD =
  /^(?:received|return-path|date|from|sender|reply-to|to|b?cc|subject|message-id|in-reply-to|references|comments|keywords|resent-[a-z-]+|x-[!-9;-~]+|hp-outer)[ \t]*:/i;
// oxlint-disable-next-line no-control-regex
const NOT_PRINTABLE = /[\0-\x08\x0b\x0e-\x1f\x7f-\x9f]/;

/** Whether a layer with a content of this type can be read: data, or a further CMS structure. */
export function isLayerType(contentType: string): boolean {
  return contentType === ID.data || cmsContentOf(contentType) !== undefined;
}

/** Reads as much of a content as tells what it is. `contentType` is what the layer says of it. */
export async function readLayerContent(content: Chunks, contentType: string): Promise<LayerContent> {
  const iterator = content[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let text = '';
  for (let size = 0; size < HEAD_BYTES && !/\r\n\r\n|\n\n/.test(text);) {
    const next = await iterator.next();
    if (next.done) break;
    head.push(next.value);
    size += next.value.length;
    text += Buffer.from(next.value).toString('latin1', 0, HEAD_BYTES);
  }
  const bytes = resumed(head, iterator);
  if (contentType !== ID.data)
    return { entity: cmsEntity(asContentInfo(bytes, text, contentType)), isBareText: false };
  const known = detectCms(Buffer.from(text, 'latin1'));
  if (known !== undefined && known !== 'other') return { entity: cmsEntity(bytes), isBareText: false };
  const isBareText = text !== '' && !isEntity(text);
  const entity = isBareText ? textEntity(bytes) : canonicalLines(bytes, 'normalise');
  return { entity, isBareText };
}

function isEntity(text: string): boolean {
  const [header = ''] = text.split(/\r?\n\r?\n/, 1);
  return /^\r?\n/.test(text) || MESSAGE_FIELD.test(header) || CONTENT_FIELD.test(header);
}

async function* cmsEntity(cms: Chunks): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from(CMS_HEADER, 'latin1');
  yield* encodeBase64(cms);
}

/** The content of a type of its own stands without ContentInfo (RFC 5652 §5.2), and in PKCS #7 without its own head. */
async function* asContentInfo(
  content: Chunks,
  head: string,
  contentType: string,
): AsyncGenerator<Uint8Array, void> {
  const isHeadless = head.charCodeAt(0) !== TAG.sequence;
  const levels = [indefinite(TAG.sequence), oid(contentType), indefinite(0xa0)];
  yield Buffer.concat(isHeadless ? [...levels, indefinite(TAG.sequence)] : levels);
  yield* content;
  yield Buffer.alloc(END_OF_CONTENTS.length * (isHeadless ? 3 : 2));
}

async function* textEntity(bytes: Chunks): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from(TEXT_HEADER, 'latin1');
  yield* encodeQuotedPrintable(canonicalLines(printable(bytes), 'normalise'));
}

/**
 * SECURITY: a block of ciphertext that was changed decrypts to random bytes, and a wrong key to nothing else: such bytes
 * are no UTF-8. Text is never taken for HTML, so it carries nothing away (test: bare text).
 */
async function* printable(bytes: Chunks): AsyncGenerator<Uint8Array, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for await (const chunk of bytes) {
    check(decoder, chunk);
    yield chunk;
  }
  check(decoder, undefined);
}

function check(decoder: TextDecoder, chunk: Uint8Array | undefined): void {
  try {
    if (!NOT_PRINTABLE.test(decoder.decode(chunk, { stream: chunk !== undefined }))) return;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new GatewayError('mime-malformed', 'the content is neither a MIME entity nor text');
}

async function* resumed(
  head: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  yield* head;
  for (;;) {
    const next = await iterator.next();
    if (next.done) return;
    yield next.value;
  }
}

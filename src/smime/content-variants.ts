// Forms of a detached content that a careless signer took instead of the canonical one (RFC 8551 §3.1.1), or that it had
// before a relay changed it. A signature that fits one of them stays broken: this only finds the reason.
import { type ByteSource, type Chunks, concat, rangeOf } from '../core/bytes.ts';
import { isNamed, type HeaderSection, writeHeaderSection } from '../mime/header-section.ts';
import type { PartRange } from '../mime/shape.ts';
import type { DigestName } from './algorithms.ts';
import { ContentDigest, type ContentDigests } from './content-digest.ts';
import { decodedBody } from './detect.ts';

export interface ContentVariant {
  readonly digests: ContentDigests;
  /** Why a signature over it is broken, in words. */
  readonly reason: string;
}

type Rewrite = (entity: Chunks) => Chunks;

const REWRITES: readonly (readonly [string, Rewrite])[] = [
  ['the signature fits the text with bare line feeds', (entity) => rewritten(entity, bareLineFeeds)],
  ['the signature fits the text without blanks at line ends', (entity) => rewritten(entity, withoutBlanks)],
  ['the signature fits the text with one more line end', (entity) => concat(entity, Buffer.from('\r\n'))],
];

/** One pass over the content for each variant: only for a signature that does not fit what is there. */
export async function readVariants(
  message: ByteSource,
  part: PartRange,
  names: ReadonlySet<DigestName>,
): Promise<readonly ContentVariant[]> {
  const entity = rangeOf(message, part.entity);
  const variants: ContentVariant[] = [];
  for (const [reason, rewrite] of REWRITES)
    variants.push({ reason, digests: await digestsOf(rewrite(entity.open()), names) });
  const before = beforeEncoding(message, part);
  if (before) {
    const reason = 'the signature fits the 8-bit text from before it was encoded on its way';
    variants.push({ reason, digests: await digestsOf(before, names) });
  }
  return variants;
}

async function digestsOf(chunks: Chunks, names: ReadonlySet<DigestName>): Promise<ContentDigests> {
  const digest = new ContentDigest(names);
  for await (const chunk of chunks) digest.update(chunk);
  return digest.finish();
}

/** What a relay had that turned 8bit into quoted-printable or base64 (RFC 6152 §3). */
function beforeEncoding(message: ByteSource, { header, body }: PartRange): Chunks | undefined {
  const label = /^([^:]+:[ \t]*)(?:quoted-printable|base64)([ \t]*\r\n)$/i;
  let isEncoded = false;
  const fields: HeaderSection['fields'] = header.fields.map((field) => {
    const raw = field.raw.toString('latin1');
    if (!isNamed(field, 'Content-Transfer-Encoding') || !label.test(raw)) return field;
    isEncoded = true;
    return { name: field.name, raw: Buffer.from(raw.replace(label, '$18bit$2'), 'latin1') };
  });
  if (!isEncoded) return undefined;
  const text = decodedBody(header, rangeOf(message, body).open());
  return concat(writeHeaderSection(fields), Buffer.from('\r\n'), text);
}

/** `rewrite` sees whole line ends with the blanks before them, unless there are a great many blanks. */
async function* rewritten(
  chunks: Chunks,
  rewrite: (text: string) => string,
): AsyncGenerator<Uint8Array, void> {
  let rest = '';
  for await (const chunk of chunks) {
    const text = rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1');
    let end = text.length;
    while (end > 0 && text.length - end < MAX_RUN && ' \t\r'.includes(text.charAt(end - 1))) end -= 1;
    rest = text.slice(end);
    yield Buffer.from(rewrite(text.slice(0, end)), 'latin1');
  }
  yield Buffer.from(rewrite(rest), 'latin1');
}

const MAX_RUN = 1_000;

function bareLineFeeds(text: string): string {
  return text.replaceAll('\r\n', '\n');
}

function withoutBlanks(text: string): string {
  return text.replace(/(?<![ \t])[ \t]+(?=\r\n|$)/g, '');
}

// Verification of signed messages, both forms of RFC 8551 §3.5: multipart/signed with a detached signature, and opaque
// application/pkcs7-mime.
import { type ByteSource, type Chunks, rangeOf } from '../core/bytes.ts';
import type { Limits } from '../core/limits.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { StageOutcome } from '../core/outcome.ts';
import type { WeakAlgorithm } from '../core/plan.ts';
import { parseContentType } from '../mime/content-type.ts';
import { unwrapMessage } from '../mime/entity.ts';
import { fieldValue, fieldsNamed, type HeaderSection } from '../mime/header-section.ts';
import { readParts } from '../mime/shape.ts';
import type { TrustContext } from './chain.ts';
import { ContentDigest } from './content-digest.ts';
import { readVariants } from './content-variants.ts';
import { decodedBody } from './detect.ts';
import { isLayerType, readLayerContent } from './layer-content.ts';
import { openSignedData, type SignedDataTail } from './signed-data.ts';
import { CHANGED_CONTENT, judgeSigner, type SignedContent } from './signer-info.ts';

export interface VerifyOptions {
  readonly limits: Limits;
  readonly onInner?: (header: HeaderSection) => void;
  readonly weak?: readonly WeakAlgorithm[];
}

/** `application/pkcs7-signature`, and the name from before it was registered. */
const SIGNATURE_TYPE = /^application\/(?:x-)?pkcs7-signature$/;

/**
 * Verifies multipart/signed: the signature has to cover exactly the bytes of the first part. `protocol` chooses who
 * verifies (RFC 1847 §2.1); without it, the type of the second part does. Throws for structures that cannot be read.
 */
export async function verifyDetached(
  message: ByteSource,
  protocol: string | undefined,
  trust: TrustContext,
  { limits, weak }: VerifyOptions,
): Promise<StageOutcome> {
  if (protocol !== undefined && !SIGNATURE_TYPE.test(protocol))
    return { kind: 'not-verified', reason: 'unsupported' };
  const [content, signature, ...more] = await readParts(message, limits);
  if (!content || !signature || more.length > 0) return { kind: 'not-verified', reason: 'malformed' };
  if (!SIGNATURE_TYPE.test(mediaType(signature.header))) {
    return { kind: 'not-verified', reason: protocol === undefined ? 'unsupported' : 'malformed' };
  }
  const cms = decodedBody(signature.header, rangeOf(message, signature.body).open());
  await using reader = await openSignedData(cms, limits);
  const tail = await reader.tail();
  const names = new Set(tail.signers.flatMap((signer) => signer.digest ?? []));
  const digest = new ContentDigest(names);
  for await (const chunk of message.open(content.entity, 'look')) digest.update(chunk);
  const { contentType, hasContent: hasSurplusContent } = reader;
  const signed = { contentType, digests: digest.finish(), hasSurplusContent };
  const outcome = await judge('detached', tail, signed, trust, weak);
  if (!isChanged(outcome)) return outcome;
  const variants = await readVariants(message, content, names);
  return judge('detached', tail, { ...signed, variants }, trust, weak);
}

function isChanged(outcome: StageOutcome): boolean {
  return outcome.kind === 'verified' && outcome.signatures.some(({ reason }) => reason === CHANGED_CONTENT);
}

/** Verifies an opaque message and yields it without its signature. Throws for structures that cannot be read. */
export async function* verifyOpaque(
  outer: HeaderSection,
  cms: Chunks,
  trust: TrustContext,
  { limits, onInner, weak }: VerifyOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  await using reader = await openSignedData(cms, limits);
  // A signature without content, or certificates alone: nothing is signed here.
  if (!reader.hasContent) return { kind: 'not-verified', reason: 'not-signed' };
  if (!isLayerType(reader.contentType)) return { kind: 'not-verified', reason: 'unsupported' };
  const digest = new ContentDigest(reader.digests);
  const inner = await readLayerContent(digested(reader.content(), digest), reader.contentType);
  yield* unwrapMessage(outer, inner.entity, limits, onInner);
  const tail = await reader.tail();
  const outcome = await judge(
    'opaque',
    tail,
    { contentType: reader.contentType, digests: digest.finish(), hasSurplusContent: false },
    trust,
    weak,
  );
  return outcome.kind === 'verified' && inner.isBareText ? { ...outcome, isBareText: true } : outcome;
}

async function judge(
  form: 'detached' | 'opaque',
  { signers, certificates }: SignedDataTail,
  content: SignedContent,
  trust: TrustContext,
  weak: readonly WeakAlgorithm[] | undefined,
): Promise<StageOutcome> {
  const signatures = await Promise.all(
    signers.map((signer) => judgeSigner(signer, content, certificates, trust, weak)),
  );
  if (!isNonEmpty(signatures)) return { kind: 'not-verified', reason: 'not-signed' };
  return { kind: 'verified', format: 'smime', form, signatures };
}

async function* digested(chunks: Chunks, digest: ContentDigest): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    digest.update(chunk);
    yield chunk;
  }
}

function mediaType(header: HeaderSection): string {
  const [field] = fieldsNamed(header, 'Content-Type');
  return parseContentType(field && fieldValue(field)).mediaType;
}

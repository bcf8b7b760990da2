// Reads S/MIME vectors with the product's own functions and puts the result into words: messages pass by pass, as the
// gateway does it (first decrypt, then verify), and bare CMS structures.
import { bytesSource } from '../../src/core/bytes.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { mimeShape } from '../../src/mime/shape.ts';
import { BerError } from '../../src/smime/ber-reader.ts';
import type { TrustContext } from '../../src/smime/chain.ts';
import { ContentDigest } from '../../src/smime/content-digest.ts';
import { openEnvelope } from '../../src/smime/enveloped-data.ts';
import { decryptMessage, type SmimeDecryptionKey, verifyMessage } from '../../src/smime/message.ts';
import { openSignedData } from '../../src/smime/signed-data.ts';
import { judgeSigner } from '../../src/smime/signer-info.ts';
import { authorOf } from '../../src/workbench-steps.ts';
import { judge } from '../../src/workbench-verdict.ts';
import { limits, runStage } from './smime.ts';

export interface Reading {
  /** What each pass of the gateway took off, outermost first. */
  readonly layers: readonly string[];
  /** Whether the signature that the first pass found is valid, trusted and the author's. */
  readonly isAuthors: boolean;
  /** The message after the last pass. */
  readonly content: Buffer;
}

const MAX_PASSES = 5;

/** Puts a message through the gateway again and again, until a pass changes nothing. */
export async function readLayers(
  message: Buffer,
  keys: readonly SmimeDecryptionKey[],
  trust: TrustContext,
): Promise<Reading> {
  const layers: string[] = [];
  let isAuthors = false;
  let content = message;
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const before = content;
    const opened = await runStage(decryptMessage(bytesSource(content), keys, { limits }));
    if (opened.outcome.kind === 'decrypted') content = opened.bytes;
    const checked = await runStage(verifyMessage(bytesSource(content), trust, { limits }));
    const { header } = await readMessage(bytesSource(content).open(), limits);
    if (checked.outcome.kind === 'verified') {
      const author = authorOf(header);
      if (pass === 0)
        isAuthors = author !== undefined && judge([checked.outcome], header, author).status === 'ok';
      if (checked.outcome.form === 'opaque') content = checked.bytes;
    }
    layers.push(...[opened.outcome, checked.outcome].flatMap(wordsOf));
    const isLast = checked.outcome.kind === 'verified' && checked.outcome.form === 'detached';
    if (isLast || content === before) break;
  }
  const { header } = await readMessage(bytesSource(content).open(), limits);
  const shape = mimeShape(header);
  return {
    layers: [...layers, shape.kind === 'ambiguous' ? 'ambiguous' : shape.contentType.mediaType],
    isAuthors,
    content,
  };
}

/** The content of an envelope, or in words why there is none. */
export async function readEnvelope(cms: Uint8Array, keys: readonly SmimeDecryptionKey[]): Promise<string> {
  const envelope = await openEnvelope(() => bytesSource(cms).open(), keys, limits);
  if (envelope.kind === 'refused') return `not decrypted: ${envelope.reason}`;
  const parts: Uint8Array[] = [];
  for await (const part of envelope.content) parts.push(part);
  return Buffer.concat(parts).toString('latin1');
}

/** The signers of a bare SignedData, over its own content or a detached one; `malformed` where it cannot be read. */
export async function readSigners(
  cms: Uint8Array,
  trust: TrustContext,
  detached?: Uint8Array,
): Promise<readonly string[] | 'malformed'> {
  try {
    await using reader = await openSignedData(bytesSource(cms).open(), limits);
    let digest = new ContentDigest(reader.digests);
    if (!detached && reader.hasContent) for await (const chunk of reader.content()) digest.update(chunk);
    const { signers, certificates } = await reader.tail();
    if (detached) {
      digest = new ContentDigest(new Set(signers.flatMap((signer) => signer.digest ?? [])));
      digest.update(detached);
    }
    const content = {
      contentType: reader.contentType,
      digests: digest.finish(),
      hasSurplusContent: detached !== undefined && reader.hasContent,
    };
    const judged = await Promise.all(
      signers.map((signer) => judgeSigner(signer, content, certificates, trust)),
    );
    return judged.map(signatureWords);
  } catch (error) {
    if (error instanceof BerError) return 'malformed';
    throw error;
  }
}

function wordsOf(outcome: StageOutcome): readonly string[] {
  switch (outcome.kind) {
    case 'decrypted':
      return ['decrypted'];
    case 'not-decrypted':
      return outcome.reason === 'not-encrypted' ? [] : [`not decrypted: ${outcome.reason}`];
    case 'verified':
      return [`${outcome.form}: ${outcome.signatures.map(signatureWords).join(' and ')}`];
    case 'not-verified':
      return outcome.reason === 'not-signed' ? [] : [`not verified: ${outcome.reason}`];
    default:
      return [outcome.kind];
  }
}

function signatureWords({
  integrity,
  trust,
  signer,
}: Extract<StageOutcome, { kind: 'verified' }>['signatures'][number]): string {
  return [integrity, trust, ...signer].join(' ');
}

// Reads S/MIME vectors with the product's own functions and puts the result into words: messages pass by pass, as the
// gateway does it (first decrypt, then verify), and bare CMS structures.
import type { Address } from '../../src/core/address.ts';
import { bytesSource } from '../../src/core/bytes.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import type { Step, WeakAlgorithm } from '../../src/core/plan.ts';
import { type HeaderSection, readMessage } from '../../src/mime/header-section.ts';
import { mimeShape } from '../../src/mime/shape.ts';
import { inLayers } from '../../src/pipeline/layers.ts';
import { isFarFromDate } from '../../src/pipeline/signer-match.ts';
import { replaces } from '../../src/pipeline/stage.ts';
import { BerError } from '../../src/smime/ber-reader.ts';
import type { TrustContext } from '../../src/smime/chain.ts';
import { ContentDigest } from '../../src/smime/content-digest.ts';
import { detectSmime } from '../../src/smime/detect.ts';
import { openEnvelope } from '../../src/smime/enveloped-data.ts';
import { coversEncrypted } from '../../src/smime/layers.ts';
import { decryptMessage, type SmimeDecryptionKey, verifyMessage } from '../../src/smime/message.ts';
import { openSignedData } from '../../src/smime/signed-data.ts';
import { judgeSigner } from '../../src/smime/signer-info.ts';
import { authorOf } from '../../src/workbench-steps.ts';
import { judge } from '../../src/workbench-verdict.ts';
import { address } from './policy.ts';
import { limits, runStage } from './smime.ts';

export interface Reading {
  /** What each pass of the gateway took off, outermost first. */
  readonly layers: readonly string[];
  /** Whether the signature that the first pass found is valid, trusted, the author's and about as old as the Date. */
  readonly isAuthors: boolean;
  /** The message after the last pass. */
  readonly content: Buffer;
}

const OWNER = [{ address: address('bob@example.com') }] as const;
const DECRYPT: Step = { kind: 'decrypt', owner: OWNER, onFailure: 'deliver-marked' };
const VERIFY: Step = { kind: 'verify', onInvalid: 'deliver-marked' };
const REACH: Step = { ...VERIFY, isBeforeDecryption: true };

/** Opens a message layer by layer in the order in which a policy has it done. */
export async function readLayers(
  message: Buffer,
  keys: readonly SmimeDecryptionKey[],
  trust: TrustContext,
  weak: readonly WeakAlgorithm[] = [],
): Promise<Reading> {
  const outcomes: StageOutcome[] = [];
  let content = message;
  for (const step of inLayers(await stepsFor(message), outcomes)) {
    const source = bytesSource(content);
    const { outcome, bytes } = await runStage(
      step.kind === 'decrypt'
        ? decryptMessage(source, keys, { limits, weak })
        : verifyMessage(source, trust, { limits, weak, takesOff: step === REACH }),
    );
    outcomes.push(outcome);
    if (replaces(outcome)) content = bytes;
  }
  const { header } = await readMessage(bytesSource(content).open(), limits);
  const author = authorOf(header);
  const shape = mimeShape(header);
  // A signature around a ciphertext is not one of what is read.
  const opened = outcomes.findLastIndex(({ kind }) => kind === 'decrypted');
  const plain = outcomes.slice(opened + 1).filter(({ kind }) => kind === 'verified');
  return {
    layers: [
      ...outcomes.flatMap(wordsOf),
      shape.kind === 'ambiguous' ? 'ambiguous' : shape.contentType.mediaType,
    ],
    isAuthors: author !== undefined && isGood(plain, header, author),
    content,
  };
}

function isGood(outcomes: readonly StageOutcome[], header: HeaderSection, author: Address): boolean {
  const signatures = outcomes.flatMap((outcome) => (outcome.kind === 'verified' ? outcome.signatures : []));
  if (signatures.length === 0 || signatures.some((each) => isFarFromDate(each, header))) return false;
  return judge(outcomes, header, author).status === 'ok';
}

/** A signature around an encrypted message is verified before the message is opened. */
async function stepsFor(message: Buffer): Promise<readonly Step[]> {
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), limits);
  const isSigned =
    mimeShape(header).kind === 'multipart-signed' || (await detectSmime(source, limits)) === 'signed';
  if (!isSigned) return [DECRYPT, REACH];
  return (await coversEncrypted(source, limits)) ? [REACH, DECRYPT] : [VERIFY];
}

/** The content of an envelope, weak ciphers included, or in words why there is none. */
export async function readEnvelope(cms: Uint8Array, keys: readonly SmimeDecryptionKey[]): Promise<string> {
  const envelope = await openEnvelope(() => bytesSource(cms).open(), keys, {
    maxRecipientInfos: limits.maxRecipientInfos,
    weak: ['3des', 'rc2'],
  });
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

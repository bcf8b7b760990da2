// What the outcome of a stage means to whoever called the command: done, not good, or no key for it, in words.
import type { Address } from './core/address.ts';
import { GatewayError } from './core/errors.ts';
import type { NonEmpty } from './core/non-empty.ts';
import type { NotDecryptedReason, SignatureResult, StageOutcome } from './core/outcome.ts';
import { fieldsNamed, type HeaderSection } from './mime/header-section.ts';
import { mimeShape } from './mime/shape.ts';
import { isFarFromDate, matchSigner } from './pipeline/signer-match.ts';

/** `invalid`: a bad signature, damaged, or not what the action needs. `no-key`: no key fits. */
export type WorkStatus = 'ok' | 'invalid' | 'no-key';

export interface Verdict {
  readonly status: WorkStatus;
  /** For people, without line ends. The first line says it all. */
  readonly lines: NonEmpty<string>;
}

type Outcome<Kind extends StageOutcome['kind']> = Extract<StageOutcome, { kind: Kind }>;

/** Judges what the steps led to. `author`: who must have signed, undefined where From names no single one. */
export function judge(
  outcomes: readonly StageOutcome[],
  header: HeaderSection,
  author: Address | undefined,
): Verdict {
  // A layer that was opened counts, whatever is inside it.
  const outcome = outcomes.findLast(({ kind }) => kind === 'decrypted') ?? outcomes.at(-1);
  switch (outcome?.kind) {
    case 'encrypted': {
      const isSigned = outcome.signed === true || outcomes.some(({ kind }) => kind === 'signed');
      return verdict(
        'ok',
        `${isSigned ? 'signed and encrypted' : 'encrypted'} (${[outcome.format, outcome.algorithm].filter(Boolean).join(', ')}) to ${outcome.keyIds.join(', ')}`,
      );
    }
    case 'signed':
      return verdict('ok', `signed (${outcome.format}) with ${outcome.keyId}`);
    case 'decrypted':
      return judgeDecrypted(outcome);
    case 'verified':
      return judgeSignatures(signaturesOf(outcomes, outcome), header, author);
    case 'not-decrypted':
      return notDecrypted[outcome.reason];
    case 'not-verified':
      return notVerified(outcome, header);
    case 'decompressed':
      return verdict('invalid', 'the message is compressed, and what is inside is not signed');
    case 'headers':
    case 'header-compared':
    case undefined:
      throw new GatewayError('unplanned', 'the steps came to no outcome');
  }
}

/** Of all layers: a good signature inside a broken one makes nothing good. */
function signaturesOf(
  outcomes: readonly StageOutcome[],
  last: Outcome<'verified'>,
): NonEmpty<SignatureResult> {
  const before = outcomes.flatMap((each) =>
    each.kind === 'verified' && each !== last ? each.signatures : [],
  );
  const [first, ...others] = last.signatures;
  return [first, ...others, ...before];
}

const notDecrypted: Readonly<Record<NotDecryptedReason, Verdict>> = {
  'not-encrypted': verdict('invalid', 'the message is not encrypted'),
  'no-recipient': verdict('no-key', 'the message is not encrypted to any key that is given'),
  'password-only': verdict(
    'invalid',
    'the message is encrypted with a password only, which is not supported',
  ),
  unsupported: verdict('invalid', 'the message is encrypted in a way that is not supported'),
  malformed: verdict('invalid', 'the encrypted message is damaged or malformed'),
  failed: verdict('invalid', 'the message cannot be decrypted: it is damaged, or changed on its way'),
};

/** A signature inside that is broken says that the content is not what its author wrote, so it stays inside. */
function judgeDecrypted({
  format,
  keyId,
  algorithm,
  authenticated,
  signatures,
}: Outcome<'decrypted'>): Verdict {
  const lines = signatures.map(describeSignature);
  if (signatures.some(({ integrity }) => integrity === 'broken'))
    return verdict('invalid', 'decrypted, but a signature inside is broken', ...lines);
  const integrity = authenticated
    ? 'changes would have been noticed'
    : 'the algorithm does not notice changes';
  return verdict('ok', `decrypted (${format}) with ${keyId}, ${algorithm}: ${integrity}`, ...lines);
}

/**
 * Good: none is broken, and one that is intact and trusted is the author's (RFC 8550 §3). A message without any From has
 * nobody to compare with.
 */
function judgeSignatures(
  signatures: NonEmpty<SignatureResult>,
  header: HeaderSection,
  author: Address | undefined,
): Verdict {
  const isFar = signatures.some((one) => one.integrity === 'intact' && isFarFromDate(one, header));
  const lines = [
    ...signatures.map(describeSignature),
    ...(isFar ? ['the signature was made more than an hour from the Date of the message'] : []),
  ];
  if (signatures.some(({ integrity }) => integrity === 'broken'))
    return verdict('invalid', 'the signature is broken: the content is not what was signed', ...lines);
  const good = signatures.filter(({ integrity, trust }) => integrity === 'intact' && trust === 'trusted');
  if (good.length > 0) {
    if (author && good.some(({ signer }) => signer.includes(author.key)))
      return verdict('ok', `the signature of ${author.text} is valid`, ...lines);
    if (author && good.some((one) => matchSigner(one, header, 'Sender') === 'signer'))
      return verdict('invalid', `the signature is that of the Sender, not of ${author.text}`, ...lines);
    if (author) return verdict('invalid', `the signature is not that of ${author.text}`, ...lines);
    return fieldsNamed(header, 'From').length === 0
      ? verdict('ok', 'the signature is valid; the message names no author in From', ...lines)
      : verdict('invalid', 'the signature is valid, but From does not name one single author', ...lines);
  }
  return signatures.every(({ trust }) => trust === 'unknown-key')
    ? verdict('no-key', 'the signature cannot be checked: no key of the author is known', ...lines)
    : verdict('invalid', 'the content is what was signed, but the signer is not trusted', ...lines);
}

function notVerified({ reason }: Outcome<'not-verified'>, header: HeaderSection): Verdict {
  const { kind } = mimeShape(header);
  if (reason === 'malformed') return verdict('invalid', 'the signed message is damaged or malformed');
  if (reason === 'unsupported')
    return verdict('invalid', 'the message is signed in a way that is not supported');
  return kind === 'multipart-encrypted' || kind === 'smime-opaque-candidate'
    ? verdict('invalid', 'the message is not signed on its outside: decrypt it first')
    : verdict('invalid', 'the message is not signed');
}

function describeSignature(result: SignatureResult): string {
  const { format, integrity, trust, signer, keyId, signedAt, reason } = result;
  return [
    `signature (${format})${keyId === undefined ? '' : ` by ${keyId}`}: ${integrity}, ${trust}`,
    ...(signer.length > 0 ? [`of ${signer.slice(0, 5).join(', ')}`] : []),
    ...(signedAt ? [`made ${signedAt.toISOString()}`] : []),
    ...(reason === undefined ? [] : [reason]),
  ].join(', ');
}

function verdict(status: WorkStatus, ...lines: NonEmpty<string>): Verdict {
  return { status, lines };
}

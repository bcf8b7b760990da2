// What a treatment means for one recipient of one message: refused, or sent with these protections. Keys were looked up
// before; the rules of fallback are here and nowhere else.
import type { Recipient } from '../core/envelope.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { Facts } from '../core/facts.ts';
import type { KeyFormat, KeyId, KeyLookup, UsableKey } from '../core/key.ts';
import type { ContentChoice, HeaderProtection } from '../core/plan.ts';
import { contentFor } from './content-mode.ts';
import { chooseKeys } from './ml-kem.ts';
import type { SignMode, Treatment } from './schema.ts';

export interface KeyUse {
  readonly format: KeyFormat;
  readonly key: KeyId;
}

export interface EncryptUse extends KeyUse {
  /** Of S/MIME. */
  readonly content?: ContentChoice;
  /** Recipients with another content mode get a copy of their own. */
  readonly isSeparate?: true;
  /** Another key of the same recipient that the message is encrypted to as well. */
  readonly beside?: KeyId;
}

export type Verdict =
  | {
      readonly kind: 'refuse';
      readonly error: ErrorCode;
      readonly explanation: string;
      /** For the trace: why each key was not used. */
      readonly because?: string;
    }
  | {
      readonly kind: 'send';
      readonly sign?: KeyUse;
      readonly encrypt?: EncryptUse;
      readonly protection?: HeaderProtection;
      /** For the trace. */
      readonly because: string;
    };

type Protect = Extract<Treatment, { kind: 'protect' }>;
type Found<T> =
  | Extract<Verdict, { kind: 'refuse' }>
  | { readonly kind: 'found'; readonly use?: T; readonly because: string };

/** Applies a treatment. `rule` is the operator's name of it, for explanations. Total. */
export function applyTreatment(
  treatment: Treatment,
  rule: string,
  facts: Facts,
  recipient: Recipient,
): Verdict {
  if (treatment.kind === 'refuse')
    return { kind: 'refuse', error: 'refused-by-rule', explanation: treatment.text };
  if (facts.shape.kind === 'encrypted') return passEncrypted(treatment, rule, facts.shape.format);
  if (isLeftAlone(treatment, facts))
    return { kind: 'send', because: 'an invitation, which this rule neither signs nor encrypts' };
  const encryption = findEncryption(treatment, rule, facts, recipient);
  if (encryption.kind === 'refuse') return encryption;
  const signature = findSignature(treatment.sign, encryption.use?.format, rule, facts);
  if (signature.kind === 'refuse') return signature;
  const header = findProtection(treatment, facts, signature.use, encryption.use);
  return {
    kind: 'send',
    ...(signature.use && { sign: signature.use }),
    ...(encryption.use && { encrypt: encryption.use }),
    ...(header.protection && { protection: header.protection }),
    because: `${encryption.because}; ${signature.because}${header.because}`,
  };
}

/** Fields can be added to a payload that the gateway makes, and never to one that the client signed. */
function findProtection(
  { protectHeaders, hasLegacyDisplay }: Protect,
  facts: Facts,
  sign: KeyUse | undefined,
  encrypt: KeyUse | undefined,
): { readonly protection?: HeaderProtection; readonly because: string } {
  if (protectHeaders === 'off' || (sign ?? encrypt) === undefined) return { because: '' };
  if (isSignedByClient(facts))
    return { because: '; header fields stay as they are beside the signature of the client' };
  const isSubjectHidden = encrypt !== undefined && protectHeaders === 'confidential-subject';
  return {
    protection: {
      hp: encrypt === undefined ? 'clear' : 'cipher',
      isSubjectHidden,
      ...(isSubjectHidden && hasLegacyDisplay && { hasLegacyDisplay }),
    },
    because: `; protects header fields${isSubjectHidden ? ' and hides the Subject' : ''}`,
  };
}

/** What the client encrypted is never wrapped or signed again (one method per message). */
function passEncrypted(treatment: Protect, rule: string, format: KeyFormat): Verdict {
  if (treatment.alreadyEncrypted === 'pass')
    return { kind: 'send', because: `already encrypted by the client (${format}): passed as it is` };
  return {
    kind: 'refuse',
    error: 'refused-by-rule',
    explanation: `Rule "${rule}" does not take messages that are encrypted already. Send the message without encryption, the gateway adds what is needed.`,
  };
}

/** Signed or encrypted invitations are dead in calendars, so only a demand in words touches them. */
function isLeftAlone(treatment: Protect, facts: Facts): boolean {
  if (!facts.isCalendar) return false;
  if (treatment.encrypt === 'required') return treatment.isCalendarExempt;
  return treatment.encrypt === 'when-possible' || treatment.sign === 'auto';
}

function findEncryption(
  treatment: Protect,
  rule: string,
  facts: Facts,
  recipient: Recipient,
): Found<EncryptUse> {
  if (treatment.encrypt === 'never') return { kind: 'found', because: 'encrypt: never' };
  const { address } = recipient;
  const known = facts.encryptionKeys.get(address.key);
  const smime = known && chooseKeys(known.smime, treatment.smime.mlKem);
  const lookups = known && smime && { ...known, smime: smime.lookup };
  let hasRejected = false;
  for (const format of treatment.formats) {
    const lookup = lookups?.[format];
    // SECURITY: only the value `none` leads on; a damaged key or a look-up that nobody made does not (test: unreadable).
    if (lookup === undefined || lookup.kind === 'unreadable') {
      return { ...unreadable(rule, address.text), because: rejectedReasons([format], lookups) };
    }
    if (lookup.kind === 'usable') {
      const [key] = lookup.keys;
      const { beside, note } = format === 'smime' && smime ? smime : { beside: undefined, note: '' };
      const content = contentOf(treatment, format, key);
      return {
        kind: 'found',
        use: { format, key: key.record.id, ...(beside && { beside }), ...content },
        because: `encrypts with ${format} (${key.matchedBy}${note})${contentText(content.content)}`,
      };
    }
    hasRejected ||= lookup.rejected.length > 0;
  }
  const tried = treatment.formats.join(' and ');
  if (treatment.encrypt === 'when-possible')
    return {
      kind: 'found',
      because: `no usable ${tried} key${rejectedReasons(treatment.formats, lookups)}: sent in clear, as fallback: plain says`,
    };
  const state = hasRejected
    ? 'the certificates or keys known for it cannot be used (expired, not yet valid, revoked or not meant for encryption)'
    : 'no certificate or key of it is known here';
  return {
    kind: 'refuse',
    error: 'encryption-required',
    explanation: `Rule "${rule}" requires encryption for ${address.text}, but ${state}. Ask the recipient for a certificate or public key and give it to your administrator, or send the message without what makes this rule apply.`,
    because: rejectedReasons(treatment.formats, lookups),
  };
}

function contentOf(
  { smime }: Protect,
  format: KeyFormat,
  key: UsableKey,
): Pick<EncryptUse, 'content' | 'isSeparate'> {
  if (format !== 'smime') return {};
  return { content: contentFor(smime, key), ...(smime.group === 'separate' && { isSeparate: true }) };
}

function contentText(content: ContentChoice | undefined): string {
  return content === undefined
    ? ''
    : `, for it AES-256-${content.mode.toUpperCase()} (${content.by.join(', ')})`;
}

/** `auto` follows the encryption; alone it takes what the sender has. A signature of the client is never doubled. */
function findSignature(
  sign: SignMode,
  encryption: KeyFormat | undefined,
  rule: string,
  facts: Facts,
): Found<KeyUse> {
  if (sign === 'none') return { kind: 'found', because: 'sign: none' };
  if (isSignedByClient(facts)) return { kind: 'found', because: 'signed by the client: not signed again' };
  const formats: readonly KeyFormat[] =
    sign !== 'auto' ? [sign] : encryption !== undefined ? [encryption] : ['smime', 'pgp'];
  for (const format of formats) {
    // SECURITY: without one clear From there is nobody to sign for, whatever was looked up (test: no-from).
    const lookup: KeyLookup = facts.from ? facts.signingKeys[format] : { kind: 'none', rejected: [] };
    if (lookup.kind === 'unreadable') return unreadable(rule, 'the sender');
    if (lookup.kind === 'usable') {
      const [{ record, matchedBy }] = lookup.keys;
      return {
        kind: 'found',
        use: { format, key: record.id },
        because: `signs with ${format} (${matchedBy})`,
      };
    }
  }
  if (sign === 'auto')
    return { kind: 'found', because: `no usable ${formats.join(' or ')} key of the sender: not signed` };
  const signer = facts.from
    ? `${facts.from.text} has no usable signing key`
    : 'From does not name one single sender';
  return {
    kind: 'refuse',
    error: 'signing-key-missing',
    explanation: `Rule "${rule}" demands a signature (${sign}), but ${signer}. Ask your administrator to add one.`,
  };
}

function isSignedByClient({ shape }: Facts): boolean {
  return shape.kind === 'signed' && !shape.isLabelOnly;
}

function unreadable(rule: string, owner: string): Extract<Verdict, { kind: 'refuse' }> {
  return {
    kind: 'refuse',
    error: 'key-unreadable',
    explanation: `The key material of ${owner} that rule "${rule}" needs cannot be read or checked at the moment. The message is tried again; if this lasts, tell your administrator.`,
  };
}

function rejectedReasons(
  formats: readonly KeyFormat[],
  lookups: Readonly<Record<KeyFormat, KeyLookup>> | undefined,
): string {
  const reasons = formats.flatMap(
    (format) => lookups?.[format].rejected.map(({ reason }) => `${format}: ${reason}`) ?? [],
  );
  return reasons.length === 0 ? '' : ` (${reasons.slice(0, 5).join(', ')})`;
}

// A plan in words, for `policy explain` and for whoever asks why a message went out as it did. Shows addresses, rules and
// key ids; never a subject or content.
import type { Address } from '../core/address.ts';
import type { Recipient } from '../core/envelope.ts';
import { errorTable } from '../core/errors.ts';
import type { Facts } from '../core/facts.ts';
import type { Announced, KeyId, KeyLookup, RejectedKey, UsableKey } from '../core/key.ts';
import { preferenceReason } from '../core/key-preference.ts';
import { formatLeg } from '../core/leg.ts';
import type {
  ContentChoice,
  ContentReason,
  Copy,
  HeaderProtection,
  Plan,
  Refusal,
  Step,
} from '../core/plan.ts';
import { announcesGcm } from './content-mode.ts';

const SHORT_ID = 22;

/** Several lines, the last one ended. Starts with the message, then the rules per recipient, then what follows. */
export function explainPlan(plan: Plan, facts: Facts): string {
  const lines = [describeMessage(facts)];
  for (const [recipient, entries] of Map.groupBy(plan.trace, (line) => line.recipient)) {
    lines.push('', recipient);
    for (const { rule, matched, because } of entries)
      lines.push(`  ${matched ? '->' : '  '} ${rule}: ${because}`);
    lines.push(...rejectedKeys(recipient, facts));
  }
  plan.copies.forEach((copy, index) => lines.push('', ...describeCopy(copy, index + 1, facts)));
  for (const refusal of plan.refusals) lines.push('', ...describeRefusal(refusal));
  return `${lines.join('\n')}\n`;
}

function describeMessage({ envelope, from, size, shape, isAutomatic, isCalendar, hasTnef }: Facts): string {
  const marks = [
    shape.kind === 'plain' ? 'plain' : `${shape.kind} (${shape.format})`,
    ...(isCalendar ? ['invitation'] : []),
    ...(hasTnef ? ['winmail.dat'] : []),
    ...(isAutomatic ? ['automatic'] : []),
  ];
  const sender = from?.text ?? envelope.sender?.text ?? '<>';
  return `Message from ${sender}, ${size} bytes, ${marks.join(', ')}, ${envelope.recipients.length} recipient(s)`;
}

/** Keys that are there for the recipient and were not taken, each with its reason. */
function rejectedKeys(recipient: string, { envelope, encryptionKeys }: Facts): string[] {
  const found = envelope.recipients.find(({ address }) => address.text === recipient);
  const lookups = found && encryptionKeys.get(found.address.key);
  return lookups === undefined
    ? []
    : [lookups.smime, lookups.pgp]
        .flatMap((lookup) => [...rivalsOf(lookup), ...lookup.rejected])
        .map(({ id, reason }) => `     not used: ${id}: ${reason}`);
}

/** Usable keys behind the first one: only that is used. */
function rivalsOf(lookup: KeyLookup): readonly RejectedKey[] {
  if (lookup.kind !== 'usable') return [];
  const [chosen, ...others] = lookup.keys;
  return others.map((other) => ({ id: other.record.id, reason: preferenceReason(chosen, other) }));
}

function describeCopy(copy: Copy, number: number, facts: Facts): string[] {
  return [
    `Copy ${number} over ${formatLeg(copy.leg)}, by ${copy.rule}${copy.mustEncrypt ? ', must be encrypted' : ''}`,
    `  to ${listed(copy.recipients)}`,
    ...copy.steps.flatMap((step, index) => [
      `  ${index + 1}. ${describeStep(step)}`,
      ...keyReasons(step, copy, facts).map((reason) => `       ${reason}`),
    ]),
  ];
}

type Describe = { readonly [K in Step['kind']]: (step: Extract<Step, { kind: K }>) => string };

const describe: Describe = {
  strip: (step) => `strip header fields (${step.direction})`,
  sign: ({ key, protection }) => `sign with ${key}${protectionText(protection)}`,
  encrypt: ({ keys, sign, content, protection }) =>
    `${sign === undefined ? 'encrypt' : `sign with ${sign} and encrypt`} to ${keys.join(', ')}${contentText(content)}${protectionText(protection)}`,
  decrypt: (step) => `decrypt with keys of ${listed(step.owner)}; on failure ${step.onFailure}`,
  verify: (step) => `verify signatures; if invalid ${step.onInvalid}`,
  'compare-header': () => 'compare protected header fields with the outer ones, and restore the Subject',
  mark: () => 'mark with the results',
  'legacy-display': () => 'put the Subject on top of the text',
  dkim: (step) => `sign with DKIM for ${step.domain}`,
  done: (step) => `mark as done for the rules of the tenant (${step.direction})`,
};

function protectionText(protection: HeaderProtection | undefined): string {
  if (protection === undefined) return '';
  return protection.isSubjectHidden
    ? ', with header fields protected and the Subject hidden'
    : ', with header fields protected';
}

const CONTENT_REASONS: Readonly<Record<ContentReason, string>> = {
  rule: 'the rule says so',
  learned: 'by what signed mail announced',
  certificate: 'by what the certificate announces',
  default: 'nothing is announced',
};

function contentText(content: ContentChoice | undefined): string {
  if (content === undefined) return '';
  const reasons = content.by.map((reason) => CONTENT_REASONS[reason]).join('; ');
  const derived = content.isKeyDerived ? ' with a derived key' : '';
  return ` as AES-256-${content.mode.toUpperCase()}${derived} (${reasons})`;
}

function describeStep(step: Step): string {
  return (describe[step.kind] as (step: Step) => string)(step);
}

/** Per key of the step: whose it is and why it was chosen. */
function keyReasons(step: Step, copy: Copy, { from, encryptionKeys, signingKeys }: Facts): string[] {
  if (step.kind !== 'sign' && step.kind !== 'encrypt') return [];
  const lookup = signingKeys[step.format];
  const signing = step.kind === 'sign' ? step.key : step.sign;
  const signer = signing && from ? keyReason(signing, from, lookup) : undefined;
  const others =
    step.kind === 'encrypt'
      ? copy.recipients.flatMap(({ address }) => {
          const found = encryptionKeys.get(address.key)?.[step.format];
          return [found, found?.mlKem].flatMap((lookup) => {
            const [best] = lookup?.kind === 'usable' ? lookup.keys : [];
            const isUsed = best && step.keys.includes(best.record.id);
            return lookup && isUsed ? [keyReason(best.record.id, address, lookup)] : [];
          });
        })
      : [];
  return [signer, ...others].filter((reason) => reason !== undefined);
}

function keyReason(id: KeyId, owner: Address, lookup: KeyLookup): string | undefined {
  const keys = lookup.kind === 'usable' ? lookup.keys : [];
  const key = keys.find(({ record }) => record.id === id);
  if (!key) return undefined;
  const { notAfter } = key.record;
  const until = notAfter === undefined ? 'does not expire' : `expires ${notAfter.toISOString().slice(0, 10)}`;
  const isNewest = keys.every(({ record }) => record.notBefore <= key.record.notBefore);
  const rivals =
    keys.length > 1 ? `, the ${isNewest ? 'newest' : 'trusted one'} of ${keys.length} usable ones` : '';
  return `${shortId(id)} for ${owner.text}: ${matchText(key, owner)}, ${until}${rivals}${announcedText(key.announces)}`;
}

function announcedText(announces: Announced | undefined): string {
  if (announces === undefined) return '';
  const what = announcesGcm(announces) ? 'announces AES-GCM' : 'announces no AES-GCM';
  return announces.by === 'learned'
    ? `, ${what} in mail signed ${announces.at.toISOString().slice(0, 10)}`
    : `, its certificate ${what}`;
}

/** The step above names it whole. */
function shortId(id: KeyId): string {
  return id.length <= SHORT_ID ? id : `${id.slice(0, SHORT_ID)}…`;
}

function matchText({ matchedBy }: UsableKey, owner: Address): string {
  if (matchedBy === 'address') return 'declared for this address';
  return matchedBy === 'domain'
    ? `declared for the domain ${owner.domain}`
    : 'declared for the address without its +tag';
}

function describeRefusal({ recipient, rule, error, explanation }: Refusal): string[] {
  const { code, enhanced } = errorTable[error];
  return [
    `Refused ${recipient.address.text}, by ${rule}: ${code} ${enhanced} (${error})`,
    `  ${explanation}`,
  ];
}

function listed(recipients: readonly Recipient[]): string {
  return recipients.map((recipient) => recipient.address.text).join(', ');
}

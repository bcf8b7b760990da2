// From verdicts per recipient to copies: recipients whose bytes are identical share one, and nobody who is hidden from
// the others can be found in their ciphertext.
import type { Recipient } from '../core/envelope.ts';
import type { KeyId } from '../core/key.ts';
import { formatLeg, type LegName } from '../core/leg.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import type { Copy, HeaderProtection, Step } from '../core/plan.ts';
import { contentForAll } from './content-mode.ts';
import type { EncryptUse, KeyUse } from './treatment.ts';

/** One recipient that gets the message, with what was decided for it. */
export interface Sending {
  readonly recipient: Recipient;
  readonly leg: LegName;
  readonly rule: string;
  readonly sign?: KeyUse;
  readonly encrypt?: EncryptUse;
  readonly protection?: HeaderProtection;
}

/** Groups in the order of the first recipient of each. `visible` holds the address keys of To and Cc. */
export function groupCopies(sendings: readonly Sending[], visible: ReadonlySet<string>): readonly Copy[] {
  const groups = Map.groupBy(sendings, (sending) => groupKey(sending, visible));
  return [...groups.values()].flatMap((group) => (isNonEmpty(group) ? [copyFor(group)] : []));
}

function groupKey({ recipient, leg, rule, sign, encrypt }: Sending, visible: ReadonlySet<string>): string {
  const { key } = recipient.address;
  // SECURITY: key ids and the number of recipients show in a ciphertext, so a hidden recipient gets one of its own
  // (test: bcc; RFC 9580 §5.1, RFC 5652 §6.2).
  const apart = encrypt !== undefined && !visible.has(key) ? key : '';
  // Who reads GCM is not held back by who does not, where the rule says so. It shows to nobody but by the ciphertext that
  // they get: everybody in To and Cc is in the header of both copies.
  const mode = encrypt?.isSeparate ? encrypt.content?.mode : undefined;
  return JSON.stringify([formatLeg(leg), rule, sign?.format, sign?.key, encrypt?.format, mode, apart]);
}

function copyFor(group: NonEmpty<Sending>): Copy {
  const [{ leg, rule, sign, encrypt, protection }] = group;
  const protecting = protection && { protection };
  const isRewritten = sign !== undefined || encrypt !== undefined;
  const steps: Step[] = [{ kind: 'strip', direction: 'outbound', ...(isRewritten && { isRewritten }) }];
  if (protection?.hasLegacyDisplay) steps.push({ kind: 'legacy-display' });
  const keys = uniqueKeys(group);
  if (encrypt !== undefined && isNonEmpty(keys)) {
    const isCombined = sign !== undefined && sign.format === 'pgp' && encrypt.format === 'pgp';
    const isApart = sign !== undefined && !isCombined;
    if (isApart) steps.push({ kind: 'sign', ...sign, ...protecting });
    steps.push({
      kind: 'encrypt',
      format: encrypt.format,
      keys,
      ...(isCombined && { sign: sign.key }),
      ...contentOf(group),
      ...(!isApart && protecting),
    });
  } else if (sign !== undefined) steps.push({ kind: 'sign', ...sign, ...protecting });
  return { recipients: recipientsOf(group), steps, leg, mustEncrypt: encrypt !== undefined, rule };
}

function recipientsOf([first, ...others]: NonEmpty<Sending>): NonEmpty<Recipient> {
  return [first.recipient, ...others.map((sending) => sending.recipient)];
}

/** One ciphertext, so one mode: chosen among those of its recipients. */
function contentOf(group: NonEmpty<Sending>): Pick<Extract<Step, { kind: 'encrypt' }>, 'content'> {
  const choices = group.flatMap(({ encrypt }) => encrypt?.content ?? []);
  return isNonEmpty(choices) ? { content: contentForAll(choices) } : {};
}

function uniqueKeys(group: readonly Sending[]): readonly KeyId[] {
  const keys = group.map(({ encrypt }) => [encrypt?.key, encrypt?.beside]);
  return [...new Set(keys.flat())].filter((key) => key !== undefined);
}

// Which of several usable keys for one address is taken, and in words why not another. One order for look-ups, for what is
// learned about keys later (trust, revocation), and for explanations.
import type { UsableKey } from './key.ts';

const MATCHES: Readonly<Record<UsableKey['matchedBy'], number>> = { address: 0, 'plus-base': 1, domain: 2 };

/** By how close the match is: the address, then without `+tag`, then the domain. */
export function compareMatches(
  one: Pick<UsableKey, 'matchedBy'>,
  other: Pick<UsableKey, 'matchedBy'>,
): number {
  return MATCHES[one.matchedBy] - MATCHES[other.matchedBy];
}

/**
 * Among keys of one match: trusted ones first, then the latest start of validity (a renewed key beside the old one), then the
 * stronger key, then the one that lasts longest, then by id. Total, so the order in which keys were found does not matter.
 */
export function compareKeys(one: UsableKey, other: UsableKey): number {
  return (
    Number(other.isTrusted ?? false) - Number(one.isTrusted ?? false) ||
    other.record.notBefore.getTime() - one.record.notBefore.getTime() ||
    (other.strength ?? 0) - (one.strength ?? 0) ||
    endOf(other) - endOf(one) ||
    (one.record.id < other.record.id ? -1 : Number(one.record.id > other.record.id))
  );
}

/** Why `chosen` stands before `other`, for people. */
export function preferenceReason(chosen: UsableKey, other: UsableKey): string {
  if (chosen.isTrusted && !other.isTrusted)
    return 'another key leads to a trusted root, which this one does not';
  const { notBefore } = chosen.record;
  if (notBefore > other.record.notBefore)
    return `replaced by a key that became valid later, on ${notBefore.toISOString().slice(0, 10)}`;
  if ((chosen.strength ?? 0) > (other.strength ?? 0))
    return 'another key that became valid at the same time is stronger';
  return 'another key that became valid at the same time lasts longer, or has the lower id';
}

function endOf({ record }: UsableKey): number {
  return record.notAfter?.getTime() ?? Number.MAX_VALUE;
}

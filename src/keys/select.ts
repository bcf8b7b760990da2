// Which of the keys that match an address are used: pure, so that the order can be shown and tested.
import type { Announced, KeyId, KeyLookup, KeyPurpose, RejectedKey, UsableKey } from '../core/key.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { StoredKey } from './records.ts';

export type KeyUse = { readonly usable: true } | { readonly usable: false; readonly reason: string };

/** A key that matched, in one of the three ways, with what its material allows now. */
export type Candidate =
  | {
      readonly kind: 'readable';
      readonly record: StoredKey;
      readonly matchedBy: UsableKey['matchedBy'];
      readonly use: KeyUse;
      readonly announces?: Announced;
    }
  | { readonly kind: 'unreadable'; readonly id: KeyId };

const ORDER: Record<UsableKey['matchedBy'], number> = { address: 0, 'plus-base': 1, domain: 2 };

/**
 * Chooses among candidates: usable keys of the closest match (exact address, then without `+tag`, then domain), the one with
 * the latest start of validity first, then the one that expires last, then by id; so the order of the candidates does not
 * matter. An unusable key of a closer match does not stand in the way of a usable one. SECURITY: with nothing usable, one damaged key makes the answer `unreadable`, so that
 * damage never looks like "no key" (test: damaged is not none).
 */
export function selectKeys(candidates: readonly Candidate[], purpose: KeyPurpose): KeyLookup {
  const rejected: RejectedKey[] = [];
  const usable: (UsableKey & { record: StoredKey })[] = [];
  const damaged: RejectedKey[] = [];
  for (const candidate of candidates) {
    if (candidate.kind === 'unreadable') {
      damaged.push({ id: candidate.id, reason: 'the stored key is damaged' });
      continue;
    }
    const { record, matchedBy, use, announces } = candidate;
    const reason = roleProblem(record, purpose) ?? (use.usable ? undefined : use.reason);
    if (reason === undefined) usable.push({ record, matchedBy, ...(announces && { announces }) });
    else rejected.push({ id: record.id, reason });
  }
  const closest = Math.min(...usable.map(({ matchedBy }) => ORDER[matchedBy]));
  const keys = usable.filter(({ matchedBy }) => ORDER[matchedBy] === closest).sort(byPreference);
  const farther = usable
    .filter(({ matchedBy }) => ORDER[matchedBy] !== closest)
    .sort((one, other) => ORDER[one.matchedBy] - ORDER[other.matchedBy] || byPreference(one, other));
  rejected.push(
    ...farther.map(({ record }) => ({ id: record.id, reason: 'a key of a closer match is used' })),
  );
  const all = [...damaged.toSorted(byId), ...rejected.toSorted(byId)];
  if (isNonEmpty(keys)) return { kind: 'usable', keys, farther, rejected: all };
  return isNonEmpty(damaged) && isNonEmpty(all)
    ? { kind: 'unreadable', rejected: all }
    : { kind: 'none', rejected: all };
}

function roleProblem(record: StoredKey, purpose: KeyPurpose): string | undefined {
  if (record.isRetired) return 'the key is retired: no longer declared, kept for decryption only';
  if (purpose === 'sign' && (record.role !== 'own' || !record.hasPrivateKey))
    return 'the key has no private part here';
  return undefined;
}

function byPreference(one: UsableKey, other: UsableKey): number {
  return (
    other.record.notBefore.getTime() - one.record.notBefore.getTime() ||
    endOf(other) - endOf(one) ||
    (one.record.id < other.record.id ? -1 : 1)
  );
}

function byId(one: RejectedKey, other: RejectedKey): number {
  return one.id < other.id ? -1 : 1;
}

function endOf({ record }: UsableKey): number {
  return record.notAfter?.getTime() ?? Number.MAX_VALUE;
}

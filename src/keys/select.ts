// Which of the keys that match an address are used: pure, so that the order can be shown and tested.
import type { Announced, KeyId, KeyLookup, KeyPurpose, RejectedKey, UsableKey } from '../core/key.ts';
import { compareKeys, compareMatches } from '../core/key-preference.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { StoredKey } from './records.ts';

export type KeyUse =
  { readonly usable: true; readonly isMlKem?: boolean } | { readonly usable: false; readonly reason: string };

/** A key that matched, in one of the three ways, with what its material allows now. */
export type Candidate =
  | {
      readonly kind: 'readable';
      readonly record: StoredKey;
      readonly matchedBy: UsableKey['matchedBy'];
      readonly use: KeyUse;
      readonly announces?: Announced;
      readonly strength?: number;
    }
  | { readonly kind: 'unreadable'; readonly id: KeyId };

/**
 * Chooses among candidates: usable keys of the closest match (exact address, then without `+tag`, then domain), in the order
 * of core/key-preference; so the order of the candidates does not matter. An unusable key of a closer match does not stand in the way of a usable one. SECURITY: with nothing usable, one damaged key makes the answer `unreadable`, so that
 * damage never looks like "no key" (test: damaged is not none).
 */
export function selectKeys(candidates: readonly Candidate[], purpose: KeyPurpose): KeyLookup {
  const isMlKem = (one: Candidate): boolean =>
    one.kind === 'readable' && one.use.usable && one.use.isMlKem === true;
  const mlKem = candidates.filter(isMlKem);
  const lookup = selectAmong(
    candidates.filter((one) => !isMlKem(one)),
    purpose,
  );
  return mlKem.length === 0 ? lookup : { ...lookup, mlKem: selectAmong(mlKem, purpose) };
}

function selectAmong(candidates: readonly Candidate[], purpose: KeyPurpose): KeyLookup {
  const rejected: RejectedKey[] = [];
  const usable: (UsableKey & { record: StoredKey })[] = [];
  const damaged: RejectedKey[] = [];
  for (const candidate of candidates) {
    if (candidate.kind === 'unreadable') {
      damaged.push({ id: candidate.id, reason: 'the stored key is damaged' });
      continue;
    }
    const { record, matchedBy, use, announces, strength } = candidate;
    const reason = roleProblem(record, purpose) ?? (use.usable ? undefined : use.reason);
    if (reason === undefined)
      usable.push({
        record,
        matchedBy,
        ...(announces && { announces }),
        ...(strength !== undefined && { strength }),
      });
    else rejected.push({ id: record.id, reason });
  }
  usable.sort((one, other) => compareMatches(one, other) || compareKeys(one, other));
  const isClosest = (key: UsableKey) => key.matchedBy === usable[0]?.matchedBy;
  const keys = usable.filter(isClosest);
  const farther = usable.filter((key) => !isClosest(key));
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

function byId(one: RejectedKey, other: RejectedKey): number {
  return one.id < other.id ? -1 : 1;
}

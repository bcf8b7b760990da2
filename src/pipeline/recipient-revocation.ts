// Takes certificates of recipients that are revoked out of a key look-up, each with its reason, before anything is decided.
import type { KeyLookup, KeyRecord, RejectedKey, UsableKey } from '../core/key.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { TrustSettings } from '../smime/chain.ts';
import { establishTrust } from '../smime/trust.ts';
import { chainOf } from './key-material.ts';

interface Refused {
  readonly reason: string;
  /** Asking again later may help. */
  readonly isTemporary: boolean;
}

/**
 * The look-up with the first key that may be used in front. SECURITY: where all that is wrong is that the CA could not be
 * asked now, the answer is `unreadable` and the message waits: whoever can hold up the question must not turn it into
 * mail in the clear (test: unknown is not none).
 */
export async function withoutRevoked(lookup: KeyLookup, trust: TrustSettings, at: Date): Promise<KeyLookup> {
  if (!lookup.mlKem) return withoutRevokedAmong(lookup, trust, at);
  const mlKem = await withoutRevokedAmong(lookup.mlKem, trust, at);
  return { ...(await withoutRevokedAmong(lookup, trust, at)), mlKem };
}

async function withoutRevokedAmong(lookup: KeyLookup, trust: TrustSettings, at: Date): Promise<KeyLookup> {
  if (lookup.kind !== 'usable' || !trust.online?.revocation) return lookup;
  const refused: RejectedKey[] = [];
  let isTemporary = false;
  const all = [...lookup.keys, ...(lookup.farther ?? [])];
  // What turns out to be revoked makes room for the less close: those no longer stand there as not used.
  const rejectedBesides = (left: readonly UsableKey[]) => [
    ...refused,
    ...lookup.rejected.filter(
      ({ id }) => ![...refused, ...left.map(({ record }) => record)].some((one) => one.id === id),
    ),
  ];
  for (const [index, { record, matchedBy }] of all.entries()) {
    const found = await refusalOf(record, trust, at);
    const left = all.slice(index).filter((key) => key.matchedBy === matchedBy);
    if (!found && isNonEmpty(left)) return { kind: 'usable', keys: left, rejected: rejectedBesides(left) };
    if (!found) break;
    refused.push({ id: record.id, reason: found.reason });
    isTemporary ||= found.isTemporary;
  }
  const rejected = rejectedBesides([]);
  return isTemporary && isNonEmpty(rejected) ? { kind: 'unreadable', rejected } : { kind: 'none', rejected };
}

/** Why the certificate must not be used, or undefined. One without a trusted path cannot be checked: nobody is asked. */
async function refusalOf(record: KeyRecord, trust: TrustSettings, at: Date): Promise<Refused | undefined> {
  const [leaf, ...issuers] = chainOf(record);
  const result = await establishTrust(leaf, issuers, { ...trust, at }, 'encrypt');
  const isRequired = trust.online?.revocation?.isRequired ?? false;
  if (!result.revocation) {
    const why = result.trusted ? 'nobody was asked' : result.reason;
    const reason = `revocation of the certificate cannot be checked: ${why}`;
    return isRequired ? { reason, isTemporary: false } : undefined;
  }
  return result.trusted ? undefined : { reason: result.reason, isTemporary: result.revocation.isTemporary };
}

// Of several usable certificates of a recipient, those with a path to an anchor come first. Only an order: a declared
// certificate without a path is used where there is no other.
import { compareKeys, compareMatches } from '../core/key-preference.ts';
import type { KeyLookup, UsableKey } from '../core/key.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import { type TrustSettings, validateChain } from '../smime/chain.ts';
import { chainOf } from './key-material.ts';

/** The look-up in the order of trust. Nobody is asked for it; with one certificate there is nothing to look at. */
export function trustedFirst(lookup: KeyLookup, trust: TrustSettings, at: Date): KeyLookup {
  if (lookup.kind !== 'usable' || trust.anchors.length === 0) return lookup;
  const { keys, farther = [] } = lookup;
  if (keys.length + farther.length < 2) return lookup;
  const judged = (list: readonly UsableKey[]) =>
    list
      .map((key): UsableKey => ({ ...key, isTrusted: isTrusted(key, trust, at) }))
      .toSorted((one, other) => compareMatches(one, other) || compareKeys(one, other));
  const closest = judged(keys);
  return isNonEmpty(closest) ? { ...lookup, keys: closest, farther: judged(farther) } : lookup;
}

function isTrusted({ record }: UsableKey, trust: TrustSettings, at: Date): boolean {
  const [leaf, ...issuers] = chainOf(record);
  return validateChain(leaf, issuers, { ...trust, at }, 'encrypt').trusted;
}

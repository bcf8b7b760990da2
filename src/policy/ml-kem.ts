// Which of a recipient's S/MIME certificates a rule encrypts to, where some of them are for ML-KEM. Pure.
import type { KeyId, KeyLookup } from '../core/key.ts';
import type { MlKemMode } from '../core/plan.ts';

/** The look-up that counts, and a second key of the same recipient. */
export interface ChosenKeys {
  readonly lookup: KeyLookup;
  readonly beside?: KeyId;
  /** For the trace. */
  readonly note: string;
}

const UNASKED = 'an ML-KEM certificate, which only a rule with smime: ml_kem uses';

/**
 * Total. SECURITY: an ML-KEM certificate that cannot be checked now is not passed over where the rule wants it alone:
 * whoever can hold up the question must not choose the weaker key (test: ML-KEM that cannot be checked).
 */
export function chooseKeys(lookup: KeyLookup, mode: MlKemMode = 'off'): ChosenKeys {
  const { mlKem } = lookup;
  if (!mlKem || mlKem.kind === 'none') return { lookup, note: '' };
  if (mode === 'off') return { lookup: withUnasked(lookup, mlKem), note: '' };
  if (mode === 'instead' || lookup.kind === 'none') return { lookup: mlKem, note: ', ML-KEM' };
  if (lookup.kind === 'unreadable' || mlKem.kind === 'unreadable') return { lookup, note: '' };
  const [{ record }] = mlKem.keys;
  return { lookup, beside: record.id, note: ', and to ML-KEM beside it' };
}

function withUnasked(lookup: KeyLookup, mlKem: KeyLookup): KeyLookup {
  if (lookup.kind === 'unreadable' || mlKem.kind !== 'usable') return lookup;
  const unasked = mlKem.keys.map(({ record }) => ({ id: record.id, reason: UNASKED }));
  return { ...lookup, rejected: [...lookup.rejected, ...unasked] };
}

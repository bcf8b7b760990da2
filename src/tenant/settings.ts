// What the proof is told by the site configuration, and the one way to write down a failure.
import type { ErrorCode } from '../core/errors.ts';
import type { ProofFailure, ProofMode } from '../core/origin.ts';
import type { Secret } from '../core/secret.ts';
import type { AddressRanges } from './address-ranges.ts';

export interface ProofSettings {
  /** Names that Exchange Online shows in its client certificate, compared whole, letter case aside. */
  readonly certificateNames: readonly string[];
  /** Where Exchange Online connects from. */
  readonly addresses?: { readonly mode: ProofMode; readonly ranges: AddressRanges };
  /** Received fields from which on a message counts as looping. */
  readonly maxReceived: number;
  /** Name of this gateway in Received fields. */
  readonly hostname: string;
  /** Makes done marks. Undefined: none is recognised. */
  readonly doneKey?: Secret;
}

export function failure(
  condition: ProofFailure['condition'],
  error: ErrorCode,
  reason: string,
): ProofFailure {
  return { condition, reason, error };
}

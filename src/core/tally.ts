// What the pipeline reports to be counted. Whoever counts keeps the tenants apart.
import type { ErrorCode } from './errors.ts';
import type { ProvenOrigin, TenantId } from './origin.ts';

export interface CountedCopy {
  readonly tenant: TenantId;
  readonly direction: 'inbound' | 'outbound';
  readonly isEncrypted: boolean;
}

export interface Tally {
  /** A message was proven; what would not have held is in `observed`. */
  proven(origin: ProvenOrigin): void;
  /** A message was committed with these copies. */
  committed(copies: readonly CountedCopy[]): void;
  /** A message, or a recipient of it, was answered with something else than 250. */
  refused(code: ErrorCode): void;
}

/** Each report to every one of these. */
export function joinTallies(...tallies: readonly Tally[]): Tally {
  return {
    proven: (origin) => {
      for (const tally of tallies) tally.proven(origin);
    },
    committed: (copies) => {
      for (const tally of tallies) tally.committed(copies);
    },
    refused: (code) => {
      for (const tally of tallies) tally.refused(code);
    },
  };
}

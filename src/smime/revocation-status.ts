// What is known about the revocation of one certificate. "Cannot check" is a result of its own and never "good".

/** `isTemporary`: asking again later may help. `reason`: plain words; nothing in it comes from a server. */
export type RevocationStatus =
  | { readonly state: 'good'; /** When it has to be asked for again. */ readonly until: Date }
  | { readonly state: 'revoked'; readonly since: Date; readonly reason: string; readonly until: Date }
  | { readonly state: 'unknown'; readonly reason: string; readonly isTemporary: boolean };

/** Difference of clocks that is taken. */
const SKEW_MS = 5 * 60_000;

/** Why an answer made for `from` to `to` says nothing about `at`, or undefined. */
export function freshnessProblem(what: string, from: Date, to: Date, at: Date): string | undefined {
  if (from.getTime() > at.getTime() + SKEW_MS) return `${what} is from the future`;
  return to.getTime() < at.getTime() - SKEW_MS ? `${what} has expired` : undefined;
}

export function unknown(reason: string, isTemporary = true): RevocationStatus {
  return { state: 'unknown', reason, isTemporary };
}

/** In words, for log, mark and trace. `index`: place in the path, the leaf is 0. */
export function describeRevocation(status: RevocationStatus, index: number): string {
  const whose = index === 0 ? 'certificate' : `issuing certificate ${index}`;
  switch (status.state) {
    case 'good':
      return `${whose} is not revoked`;
    case 'revoked':
      return `${whose} was revoked on ${status.since.toISOString()} (${status.reason})`;
    case 'unknown':
      return `revocation of the ${whose} cannot be checked: ${status.reason}`;
  }
}

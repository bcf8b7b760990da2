// Judges a certificate by a revocation list (RFC 5280 §6.3.3), for complete lists that the issuer of the certificate signs.
import { GatewayError } from '../core/errors.ts';
import type { Certificate } from './certificate.ts';
import { findRevoked, type RevocationList } from './crl.ts';
import { isSameName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';
import { freshnessProblem, type RevocationStatus, unknown } from './revocation-status.ts';
import { isSignedWith } from './signed-structure.ts';

export interface ListOptions {
  readonly at: Date;
  /** Takes SHA-1. For old test suites only. */
  readonly isLegacyAllowed?: boolean;
}

/**
 * What the list says about the certificate. `issuers`: certificates of its issuer, whose path was validated; one of them
 * has to have signed the list. Total.
 */
export async function judgeByList(
  list: RevocationList,
  certificate: Certificate,
  issuers: readonly Certificate[],
  { at, isLegacyAllowed }: ListOptions,
): Promise<RevocationStatus> {
  if (!isSameName(list.issuer, certificate.issuerName)) return unknown('the CRL is by another issuer');
  const problem = list.scope.problem ?? scopeProblem(list, certificate) ?? timeProblem(list, at);
  if (problem !== undefined) return unknown(problem);
  try {
    if (!(await hasSigner(list, issuers, isLegacyAllowed)))
      return unknown('the CRL is not signed by the issuer of the certificate');
    const found = await findRevoked(list, certificate.serial);
    const until = list.nextUpdate ?? at;
    return found ? { state: 'revoked', ...found, until } : { state: 'good', until };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return unknown(error.message);
  }
}

async function hasSigner(
  list: RevocationList,
  issuers: readonly Certificate[],
  isLegacyAllowed: boolean | undefined,
): Promise<boolean> {
  for (const issuer of issuers) {
    if (!isSameName(issuer.subjectName, list.issuer)) continue;
    if (issuer.keyUsage && !issuer.keyUsage.has('cRLSign')) continue;
    if (await isSignedWith(list, issuer.publicKey, isLegacyAllowed)) return true;
  }
  return false;
}

/** RFC 5280 §6.3.3 b: the list has to be about this certificate. */
function scopeProblem({ scope }: RevocationList, certificate: Certificate): string | undefined {
  if (scope.isUserOnly && certificate.isCa) return 'the CRL is for certificates of users only';
  if (scope.isCaOnly && !certificate.isCa) return 'the CRL is for certificates of CAs only';
  if (scope.names.length === 0) return undefined;
  // SECURITY: a CA may split its list; another part says nothing about this certificate (test: distribution point).
  const named = certificate.pointers.distributionPoints.filter(({ isIndirect }) => !isIndirect);
  return named.some(({ names }) => names.some((name) => scope.names.some((other) => isSame(name, other))))
    ? undefined
    : 'the CRL is for another distribution point';
}

function isSame(one: GeneralName, other: GeneralName): boolean {
  if (one.kind === 'directory' && other.kind === 'directory') return isSameName(one.name, other.name);
  return one.kind === 'uri' && other.kind === 'uri' && one.value === other.value;
}

function timeProblem({ thisUpdate, nextUpdate }: RevocationList, at: Date): string | undefined {
  // RFC 5280 §5.1.2.5 demands it. SECURITY: without it an old list would be good for ever.
  if (!nextUpdate) return 'the CRL does not say when the next one comes';
  return freshnessProblem('the CRL', thisUpdate, nextUpdate, at);
}

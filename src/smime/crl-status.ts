// Judges a certificate by revocation lists (RFC 5280 §6.3.3): complete ones, those for some reasons or by another issuer, and
// delta CRLs on top of them.
import { GatewayError } from '../core/errors.ts';
import type { Certificate } from './certificate.ts';
import type { RevocationList } from './crl.ts';
import { findRevoked, HOLD, REMOVED } from './crl-entries.ts';
import { reasonsCovered } from './crl-scope.ts';
import { type SignerOptions, signerOf } from './crl-signer.ts';
import { ALL_REASONS } from './pointers.ts';
import { freshnessProblem, type RevocationStatus, unknown } from './revocation-status.ts';
import { isSignedWith } from './signed-structure.ts';

export interface ListOptions extends SignerOptions {
  /**
   * The certificate signs lists. QUIRK: where a CA names for it the very list that it signs, that one tells of it, too,
   * since nobody else does (RFC 5280 §6.3.3 f leaves it open; test: a signer of lists on its own list).
   */
  readonly isOfSigner?: boolean;
}

/** As RevocationStatus; good for some reasons only. */
type Part = RevocationStatus | { readonly state: 'covered'; readonly reasons: number; readonly until: Date };

/**
 * What the lists say together about the certificate. `issuers`: the validated path above it, anchor last. Good needs lists
 * for all reasons; one entry is enough for revoked. Total.
 */
export async function judgeByLists(
  lists: readonly RevocationList[],
  certificate: Certificate,
  issuers: readonly Certificate[],
  options: ListOptions,
): Promise<RevocationStatus> {
  const problems = new Set<string>();
  let covered = 0;
  let until = Number.MAX_SAFE_INTEGER;
  for (const list of lists) {
    if (list.base !== undefined) continue;
    const part = await judgeTolerant(list, lists, certificate, issuers, options);
    if (part.state === 'revoked') return part;
    if (part.state === 'unknown') problems.add(part.reason);
    if (part.state !== 'covered') continue;
    covered |= part.reasons;
    until = Math.min(until, part.until.getTime());
  }
  if (covered === ALL_REASONS) return { state: 'good', until: new Date(until) };
  if (covered !== 0) problems.add('the CRLs cover some reasons only');
  return unknown(problems.size === 0 ? 'there is no complete CRL' : [...problems].join('; '));
}

async function judgeTolerant(...args: Parameters<typeof judgeByList>): Promise<Part> {
  try {
    return await judgeByList(...args);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return unknown(error.message);
  }
}

async function judgeByList(
  list: RevocationList,
  lists: readonly RevocationList[],
  certificate: Certificate,
  issuers: readonly Certificate[],
  options: ListOptions,
): Promise<Part> {
  const { at, isLegacyAllowed, isOfSigner = false } = options;
  const reasons = reasonsCovered(list, certificate);
  if (typeof reasons === 'string') return unknown(reasons);
  const candidate = newestDelta(list, lists, at);
  const early = candidate ? undefined : timeProblem(list, at);
  if (early !== undefined) return unknown(early);
  const signer = await signerOf(list, isOfSigner ? [certificate, ...issuers] : issuers, options);
  if (typeof signer === 'string') return unknown(signer);
  const isDeltaSigned =
    candidate && (await isSignedWith(candidate, signer.certificate.publicKey, isLegacyAllowed));
  const delta = isDeltaSigned ? candidate : undefined;
  // RFC 5280 §6.3.3 a: with a current delta CRL the complete list may be past its time.
  const late = delta ? undefined : timeProblem(list, at);
  if (late !== undefined) return unknown(late);
  const { issuerName, serial } = certificate;
  const changed = delta && (await findRevoked(delta, issuerName, serial));
  const listed = await findRevoked(list, issuerName, serial);
  const until = (delta ?? list).nextUpdate ?? at;
  // RFC 5280 §5.3.1: a delta CRL takes off what was on hold, and nothing else.
  const isRemoved = changed?.reason === REMOVED;
  const found = isRemoved ? (listed?.reason === HOLD ? undefined : listed) : (changed ?? listed);
  if (found) return { state: 'revoked', ...found, until };
  return signer.isGood
    ? { state: 'covered', reasons, until }
    : unknown('revocation of the signer of the CRL cannot be checked');
}

/** RFC 5280 §5.2.4: current, of the same scope and key, for this list or an older one, and made after it. */
function newestDelta(
  list: RevocationList,
  lists: readonly RevocationList[],
  at: Date,
): RevocationList | undefined {
  const { number } = list;
  if (number === undefined) return undefined;
  return lists
    .filter(
      (delta) =>
        delta.base !== undefined &&
        delta.base <= number &&
        (delta.number ?? 0n) > number &&
        delta.scope.problem === undefined &&
        delta.issuer.der.equals(list.issuer.der) &&
        delta.scopeDer.equals(list.scopeDer) &&
        isSameKeyId(delta.authorityKeyId, list.authorityKeyId) &&
        timeProblem(delta, at) === undefined,
    )
    .toSorted((one, other) => ((one.number ?? 0n) < (other.number ?? 0n) ? 1 : -1))[0];
}

function isSameKeyId(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one && other ? one.equals(other) : one === other;
}

function timeProblem({ thisUpdate, nextUpdate }: RevocationList, at: Date): string | undefined {
  // RFC 5280 §5.1.2.5 demands it. SECURITY: without it an old list would be good for ever.
  if (!nextUpdate) return 'the CRL does not say when the next one comes';
  return freshnessProblem('the CRL', thisUpdate, nextUpdate, at);
}

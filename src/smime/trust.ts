// Whether a certificate is trusted, all told: its path, issuers that have to be fetched for it, and its revocation.
import { setImmediate } from 'node:timers/promises';
import type { Certificate, CertificatePurpose } from './certificate.ts';
import { type ChainResult, issuersAmong, MAX_DEPTH, type TrustContext, validateChain } from './chain.ts';
import type { OnlineChecks } from './online.ts';
import type { PathRevocation } from './revocation.ts';

/** `revocation`: where it was asked for. What is revoked is never trusted. */
export type TrustResult = ChainResult & { readonly revocation?: PathRevocation };

/** Issuers of issuers: a path that lacks more of them is not worth the requests. */
const MAX_FETCHED_LEVELS = 4;
/** Other paths after one with a revoked CA in it. SECURITY: each costs a search and questions (test: mesh). */
const MAX_ALTERNATIVES = 4;

/** As `validateChain`, with what `trust.online` allows to ask. Without it, nothing is asked. Never rejects. */
export async function establishTrust(
  leaf: Certificate,
  extra: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
): Promise<TrustResult> {
  const { revocation, issuersOf } = trust.online ?? {};
  let known = extra;
  // SECURITY: a search has no break in it: others get their turn before the next (test: mesh).
  await setImmediate();
  let chain: ChainResult = validateChain(leaf, known, trust, purpose);
  if (!chain.trusted && issuersOf) {
    known = await withFetchedIssuers(leaf, extra, trust, purpose, issuersOf);
    chain = validateChain(leaf, known, trust, purpose);
  }
  if (!chain.trusted || !revocation) return chain;
  return checkedTrust(leaf, chain.chain, known, trust, purpose, revocation);
}

/**
 * Trust in the path as far as nothing on it is revoked. Where a CA was, the same leaf may have another path, by way of a
 * cross certificate. SECURITY: that one has to be good, not just unknown; and where the key of the CA was stolen, no other
 * certificate for that key helps (tests: another path).
 */
async function checkedTrust(
  leaf: Certificate,
  first: readonly Certificate[],
  known: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
  revocation: NonNullable<OnlineChecks['revocation']>,
): Promise<TrustResult> {
  const signers = [...known, ...trust.intermediates, ...trust.anchors];
  const refused: TrustResult[] = [];
  const excluded: ((one: Certificate) => boolean)[] = [];
  let path: readonly Certificate[] | undefined = first;
  while (path && excluded.length <= MAX_ALTERNATIVES) {
    const found: PathRevocation = await revocation.check(path, trust.at, signers);
    const isGoodNeeded = revocation.isRequired || refused.length > 0;
    if (found.state === 'good' || (found.state === 'unknown' && !isGoodNeeded))
      return { trusted: true, chain: path, revocation: found };
    refused.push({ trusted: false, reason: found.reason, revocation: found });
    const { place = 0, isKeyCompromised = false } = found.culprit ?? {};
    const culprit = path[place];
    // A revoked leaf is revoked on every path.
    if (place === 0 || !culprit) break;
    excluded.push((one) => isTainted(one, culprit, isKeyCompromised));
    const isExcluded = (one: Certificate): boolean => excluded.some((test) => test(one));
    await setImmediate();
    const next = validateChain(leaf, known, trust, purpose, { isExcluded });
    path = next.trusted ? next.chain : undefined;
  }
  // Where one path waits for an answer, so does the verdict (test: another path that cannot be checked now).
  return refused.find((one) => one.revocation?.isTemporary) ?? (refused[0] as TrustResult);
}

function isTainted(one: Certificate, culprit: Certificate, isKeyCompromised: boolean): boolean {
  return (
    one.fingerprint === culprit.fingerprint || (isKeyCompromised && one.publicKey.equals(culprit.publicKey))
  );
}

/** Goes up from the leaf as far as issuers are at hand, and fetches those of the last one, until there is a path. */
async function withFetchedIssuers(
  leaf: Certificate,
  extra: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
  issuersOf: NonNullable<OnlineChecks['issuersOf']>,
): Promise<readonly Certificate[]> {
  const known = [...extra];
  for (let level = 0; level < MAX_FETCHED_LEVELS; level += 1) {
    const top = topOf(leaf, known, trust);
    const fetched = top ? await issuersOf(top, trust.at) : [];
    const added = fetched.filter((one) => !known.some(({ fingerprint }) => fingerprint === one.fingerprint));
    if (added.length === 0) break;
    // In front: the number of certificates that a path is looked for among is limited.
    known.unshift(...added);
    await setImmediate();
    if (validateChain(leaf, known, trust, purpose).trusted) break;
  }
  return known;
}

/** The last certificate above the leaf whose issuer is not at hand; undefined where they end in a root. */
function topOf(
  leaf: Certificate,
  known: readonly Certificate[],
  trust: TrustContext,
): Certificate | undefined {
  const seen = new Set<string>();
  let top = leaf;
  // SECURITY: what a message brings may lead on for ever (test: mesh).
  while (!seen.has(top.fingerprint) && seen.size < MAX_DEPTH) {
    seen.add(top.fingerprint);
    const [issuer] = issuersAmong(top, [...trust.anchors, ...trust.intermediates, ...known]);
    if (!issuer) return top;
    top = issuer;
  }
  return undefined;
}

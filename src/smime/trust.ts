// Whether a certificate is trusted, all told: its path, issuers that have to be fetched for it, and its revocation.
import type { Certificate, CertificatePurpose } from './certificate.ts';
import { type ChainResult, issuersAmong, type TrustContext, validateChain } from './chain.ts';
import type { OnlineChecks } from './online.ts';
import type { PathRevocation } from './revocation.ts';

/** `revocation`: where it was asked for. What is revoked is never trusted. */
export type TrustResult = ChainResult & { readonly revocation?: PathRevocation };

/** Issuers of issuers: a path that lacks more of them is not worth the requests. */
const MAX_FETCHED_LEVELS = 4;

/** As `validateChain`, with what `trust.online` allows to ask. Without it, nothing is asked. Never rejects. */
export async function establishTrust(
  leaf: Certificate,
  extra: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
): Promise<TrustResult> {
  const { revocation, issuersOf } = trust.online ?? {};
  let chain: ChainResult = validateChain(leaf, extra, trust, purpose);
  if (!chain.trusted && issuersOf) chain = await withFetchedIssuers(leaf, extra, trust, purpose, issuersOf);
  if (!chain.trusted || !revocation) return chain;
  const found = await revocation.check(chain.chain, trust.at);
  const isRefused = found.state === 'revoked' || (found.state === 'unknown' && revocation.isRequired);
  return isRefused
    ? { trusted: false, reason: found.reason, revocation: found }
    : { ...chain, revocation: found };
}

/** Goes up from the leaf as far as issuers are at hand, and fetches those of the last one, until there is a path. */
async function withFetchedIssuers(
  leaf: Certificate,
  extra: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
  issuersOf: NonNullable<OnlineChecks['issuersOf']>,
): Promise<ChainResult> {
  const known = [...extra];
  let chain = validateChain(leaf, known, trust, purpose);
  for (let level = 0; level < MAX_FETCHED_LEVELS && !chain.trusted; level += 1) {
    const top = topOf(leaf, known, trust);
    const fetched = top ? await issuersOf(top, trust.at) : [];
    const added = fetched.filter((one) => !known.some(({ fingerprint }) => fingerprint === one.fingerprint));
    if (added.length === 0) return chain;
    // In front: the number of certificates that a path is looked for among is limited.
    known.unshift(...added);
    chain = validateChain(leaf, known, trust, purpose);
  }
  return chain;
}

/** The last certificate above the leaf whose issuer is not at hand; undefined where they end in a root. */
function topOf(
  leaf: Certificate,
  known: readonly Certificate[],
  trust: TrustContext,
): Certificate | undefined {
  const seen = new Set<string>();
  let top = leaf;
  while (!seen.has(top.fingerprint)) {
    seen.add(top.fingerprint);
    const [issuer] = issuersAmong(top, [...trust.anchors, ...trust.intermediates, ...known]);
    if (!issuer) return top;
    top = issuer;
  }
  return undefined;
}

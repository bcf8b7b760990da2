// Who signed a revocation list (RFC 5280 §6.3.3 f): an issuer of the path that is checked, or another key of the same name
// with a path of its own to the same anchor. So it goes where a CA has changed its key, or signs lists with a key of its own.
import type { Certificate } from './certificate.ts';
import { validateChain } from './chain.ts';
import type { RevocationList } from './crl.ts';
import { isSameName } from './distinguished-name.ts';
import type { RevocationStatus } from './revocation-status.ts';
import { isSignedWith } from './signed-structure.ts';

export interface SignerOptions {
  readonly at: Date;
  /** Takes SHA-1. For old test suites only. */
  readonly isLegacyAllowed?: boolean;
  /** Without it, only issuers of the path count. */
  readonly others?: OtherSigners;
}

/** Where keys outside of the path come from. */
export interface OtherSigners {
  readonly pool: readonly Certificate[];
  /** Revocation of a signer's own path, leaf first. */
  readonly statusOf: (chain: readonly Certificate[]) => Promise<RevocationStatus['state']>;
}

/** `isGood`: nothing is open about the signer; else the list may revoke, but not clear. */
export interface ListSigner {
  readonly certificate: Certificate;
  readonly isGood: boolean;
}

// SECURITY: each try hashes the whole list and may build a path (test: signer flood).
const MAX_CANDIDATES = 4;

/** `issuers`: the validated path above the certificate, anchor last. The text says why nobody is accepted. */
export async function signerOf(
  list: RevocationList,
  issuers: readonly Certificate[],
  { at, isLegacyAllowed, others }: SignerOptions,
): Promise<ListSigner | string> {
  const named = issuers.filter((one) => isSameName(one.subjectName, list.issuer));
  for (const certificate of named) {
    if (certificate.keyUsage && !certificate.keyUsage.has('cRLSign')) continue;
    if (await isSignedWith(list, certificate.publicKey, isLegacyAllowed))
      return { certificate, isGood: true };
  }
  let problem = 'the CRL is not signed by the issuer of the certificate';
  const anchor = issuers.at(-1);
  if (!others || !anchor) return problem;
  for (const certificate of candidatesFor(list, others.pool, named)) {
    if (!(await isSignedWith(list, certificate.publicKey, isLegacyAllowed))) continue;
    // SECURITY: the same anchor, or another CA of the same name could clear what this one revoked (test: other anchor).
    const trust = { anchors: [anchor], intermediates: issuers, at };
    const path = validateChain(certificate, others.pool, trust, 'crl', {
      isLegacyAllowed: isLegacyAllowed ?? false,
    });
    if (!path.trusted) problem = `the signer of the CRL is not trusted: ${path.reason}`;
    else {
      const state = await others.statusOf(path.chain);
      if (state !== 'revoked') return { certificate, isGood: state === 'good' };
      problem = 'the certificate of the signer of the CRL was revoked';
    }
  }
  return problem;
}

/** Those of the name that are said to sign lists, with the right key id first. */
function candidatesFor(
  { issuer, authorityKeyId }: RevocationList,
  pool: readonly Certificate[],
  known: readonly Certificate[],
): readonly Certificate[] {
  const fingerprints = new Set(known.map(({ fingerprint }) => fingerprint));
  const hasKeyId = ({ subjectKeyId }: Certificate): boolean =>
    authorityKeyId !== undefined && subjectKeyId?.equals(authorityKeyId) === true;
  return pool
    .filter(
      ({ subjectName, keyUsage, fingerprint }) =>
        keyUsage?.has('cRLSign') === true &&
        !fingerprints.has(fingerprint) &&
        isSameName(subjectName, issuer) &&
        fingerprints.add(fingerprint),
    )
    .toSorted((one, other) => Number(hasKeyId(other)) - Number(hasKeyId(one)))
    .slice(0, MAX_CANDIDATES);
}

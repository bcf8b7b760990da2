// Path building and validation (RFC 5280 §6.1) from a certificate of a person to a trusted root. Revocation and
// certificate policies are not processed: a critical policyConstraints or inhibitAnyPolicy makes a path invalid.
import {
  type Certificate,
  type CertificatePurpose,
  certificateUse,
  isForMail,
  strengthProblem,
  type StrengthOptions,
  validityProblem,
} from './certificate.ts';
import { isSameName } from './distinguished-name.ts';
import { constraintProblem } from './name-constraints.ts';
import type { OnlineChecks } from './online.ts';
import { isStronglySigned } from './signature-algorithm.ts';

/** What is trusted, what may help to get there, and when. */
export interface TrustContext {
  /** Roots, or certificates of persons that are trusted as they are. */
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly at: Date;
  /** Whether a signer's emailAddress in the subject counts beside subjectAltName. */
  readonly countsSubjectAddresses?: boolean;
  /** What may be asked over the network; `validateChain` asks nobody. */
  readonly online?: OnlineChecks;
}

/** Trust without the time. */
export type TrustSettings = Omit<TrustContext, 'at'>;

/** `chain`: leaf first, anchor last. `reason`: plain words; nothing in it comes from a certificate. */
export type ChainResult =
  | { readonly trusted: true; readonly chain: readonly Certificate[] }
  | { readonly trusted: false; readonly reason: string };

// SECURITY: bounds on work for hostile certificates in a message: cross-signed webs, many CAs of one name (test: web).
const MAX_DEPTH = 10;
const MAX_SIGNATURE_CHECKS = 64;
const MAX_STEPS = 1_000;
const MAX_COMPLETE_PATHS = 20;
const MAX_EXTRA = 200;
const MAX_NAMESAKES = 8;

interface Search {
  readonly trust: TrustContext;
  readonly pool: readonly Certificate[];
  readonly anchors: ReadonlySet<string>;
  readonly purpose: CertificatePurpose;
  readonly isLegacyAllowed: boolean;
  readonly checked: Map<string, boolean>;
  steps: number;
  completePaths: number;
  /** The most telling reason so far: a complete path that failed says more than a missing issuer. */
  reason?: string;
}

/**
 * Looks for a valid path from `leaf` to an anchor, by way of the intermediates and `extra` (certificates that came with
 * the message, not trusted). Pure, bounded and total. Roots outside `trust` never help. With `isLegacyAllowed` SHA-1 is
 * taken too.
 */
export function validateChain(
  leaf: Certificate,
  extra: readonly Certificate[],
  trust: TrustContext,
  purpose: CertificatePurpose,
  options: StrengthOptions = {},
): ChainResult {
  const search: Search = {
    trust,
    pool: [...trust.anchors, ...trust.intermediates, ...extra.slice(0, MAX_EXTRA)],
    anchors: new Set(trust.anchors.map((anchor) => anchor.fingerprint)),
    purpose,
    isLegacyAllowed: options.isLegacyAllowed ?? false,
    checked: new Map(),
    steps: 0,
    completePaths: 0,
  };
  const chain = findPath([leaf], search);
  if (chain) return { trusted: true, chain };
  return { trusted: false, reason: search.reason ?? 'no path to a trusted root' };
}

/** Those of the certificates that signed this one, at most one look at each of a few of its name. */
export function issuersAmong(tip: Certificate, pool: readonly Certificate[]): readonly Certificate[] {
  return pool
    .filter(({ subjectName }) => isSameName(subjectName, tip.issuerName))
    .slice(0, MAX_NAMESAKES)
    .filter((candidate) => verifySignature(tip, candidate));
}

/** Depth first from the leaf; `path` is leaf first. */
function findPath(path: readonly Certificate[], search: Search): readonly Certificate[] | undefined {
  const tip = path.at(-1);
  search.steps += 1;
  if (!tip || search.steps > MAX_STEPS || search.completePaths >= MAX_COMPLETE_PATHS) return undefined;
  if (search.anchors.has(tip.fingerprint)) {
    search.completePaths += 1;
    const problem = pathProblem(path, search);
    if (problem === undefined) return path;
    search.reason = problem;
    return undefined;
  }
  if (path.length >= MAX_DEPTH) return undefined;
  for (const issuer of issuersOf(tip, path, search)) {
    if (!isSignedBy(tip, issuer, search)) continue;
    const found = findPath([...path, issuer], search);
    if (found) return found;
  }
  return undefined;
}

/** Candidates by name, those with the right key id first, anchors before the rest. */
function issuersOf(tip: Certificate, path: readonly Certificate[], search: Search): readonly Certificate[] {
  const candidates = search.pool.filter(
    (candidate) =>
      isSameName(candidate.subjectName, tip.issuerName) &&
      !path.some((earlier) => earlier.fingerprint === candidate.fingerprint),
  );
  const rank = (candidate: Certificate): number => (hasKeyId(candidate, tip.authorityKeyId) ? 0 : 1);
  return candidates.sort((one, other) => rank(one) - rank(other));
}

function hasKeyId(candidate: Certificate, keyId: Buffer | undefined): boolean {
  return keyId !== undefined && candidate.subjectKeyId?.equals(keyId) === true;
}

function isSignedBy(tip: Certificate, issuer: Certificate, search: Search): boolean {
  const pair = `${tip.fingerprint}:${issuer.fingerprint}`;
  const known = search.checked.get(pair);
  if (known !== undefined) return known;
  if (search.checked.size >= MAX_SIGNATURE_CHECKS) return false;
  const isValid = verifySignature(tip, issuer);
  search.checked.set(pair, isValid);
  if (!isValid) search.reason ??= 'signature of a certificate is not by its issuer';
  return isValid;
}

function verifySignature(tip: Certificate, issuer: Certificate): boolean {
  try {
    return tip.x509.verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where the algorithm does not fit the key.
    return false;
  }
}

/** Why a complete path (leaf first, anchor last) is not valid, or undefined. Signatures are checked already. */
function pathProblem(path: readonly Certificate[], search: Search): string | undefined {
  const [leaf, ...issuers] = path;
  if (!leaf) return 'path is empty';
  const use = certificateUse(leaf, search.purpose, search.trust.at, search);
  if (!use.usable) return use.reason;
  for (const [index, certificate] of path.entries()) {
    const isAnchor = index === path.length - 1;
    const problem =
      commonProblem(certificate, isAnchor, search) ??
      (index === 0 ? undefined : issuerProblem(certificate, isAnchor, search));
    if (problem !== undefined) return index === 0 ? problem : `issuing certificate ${index}: ${problem}`;
  }
  return lengthProblem(issuers) ?? constraintsProblem(path);
}

function commonProblem(certificate: Certificate, isAnchor: boolean, search: Search): string | undefined {
  if (certificate.unknownCritical.length > 0)
    return `critical extension ${certificate.unknownCritical[0]} is not supported`;
  // The anchor is trusted by itself, not by its signature.
  if (!isAnchor && !search.isLegacyAllowed && !isStronglySigned(certificate))
    return 'signature algorithm of the certificate is too weak';
  return undefined;
}

/** RFC 5280 §6.1.4 k, n; and the extended key usage of a CA limits what is below it, as all mail software takes it. */
function issuerProblem(certificate: Certificate, isAnchor: boolean, search: Search): string | undefined {
  const isOldRoot = isAnchor && certificate.version === 1;
  if (!certificate.isCa && !isOldRoot) return 'not a CA certificate';
  // RFC 5280 §4.1.2.6: without a name anything could claim to be issued by it.
  if (certificate.subjectName.keys.length === 0) return 'CA certificate without a name';
  if (certificate.keyUsage && !certificate.keyUsage.has('keyCertSign'))
    return 'key usage does not allow to sign certificates';
  if (!isForMail(certificate)) return 'extended key usage does not include e-mail protection';
  return strengthProblem(certificate, search) ?? validityProblem(certificate, search.trust.at);
}

/** RFC 5280 §6.1.4 l, m: `issuers` from the one next to the leaf up to the anchor; self-issued ones do not count. */
function lengthProblem(issuers: readonly Certificate[]): string | undefined {
  let below = 0;
  for (const issuer of issuers) {
    if (issuer.pathLength !== undefined && below > issuer.pathLength)
      return 'path is longer than an issuing certificate allows';
    if (!issuer.isSelfIssued) below += 1;
  }
  return undefined;
}

/** RFC 5280 §6.1.3 b, c: each certificate against the constraints of all above it; self-issued CAs are exempt. */
function constraintsProblem(path: readonly Certificate[]): string | undefined {
  for (const [index, certificate] of path.entries()) {
    if (index > 0 && certificate.isSelfIssued) continue;
    for (const issuer of path.slice(index + 1)) {
      const problem = issuer.nameConstraints && constraintProblem(certificate, issuer.nameConstraints);
      if (problem !== undefined) return problem;
    }
  }
  return undefined;
}

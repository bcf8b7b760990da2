// Path building from a certificate of a person to a trusted root (RFC 4158), bounded. Whether a path that was found is
// valid is path-rules' business; revocation is trust.ts'.
import type { Certificate, StrengthOptions } from './certificate.ts';
import { isSameName } from './distinguished-name.ts';
import type { OnlineChecks } from './online.ts';
import { issuerProblem, type PathPurpose, pathProblem, type PathRules } from './path-rules.ts';
import type { PolicyInputs } from './policy-graph.ts';

/** What is trusted, what may help to get there, and when. */
export interface TrustContext {
  /** Roots, or certificates of persons that are trusted as they are. */
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly at: Date;
  /** Whether a signer's emailAddress in the subject counts beside subjectAltName. */
  readonly countsSubjectAddresses?: boolean;
  /** Certificate policies that a path has to hold for. */
  readonly policies?: PolicyInputs;
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

export interface ChainOptions extends StrengthOptions {
  /** Certificates that the path must not go by, known to be revoked. */
  readonly isExcluded?: (issuer: Certificate) => boolean;
}

interface Search {
  readonly rules: PathRules;
  readonly pool: readonly Certificate[];
  readonly anchors: ReadonlySet<string>;
  readonly checked: Map<string, boolean>;
  /** By fingerprint: whether an issuer cannot be part of a valid path. */
  readonly unfit: Map<string, boolean>;
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
  purpose: PathPurpose,
  options: ChainOptions = {},
): ChainResult {
  const { isLegacyAllowed = false, isExcluded = () => false } = options;
  const { anchors, intermediates, at, policies = {} } = trust;
  const pool = [...anchors, ...intermediates, ...extra.slice(0, MAX_EXTRA)];
  const search: Search = {
    rules: { at, purpose, policies, isLegacyAllowed },
    pool: pool.filter((one) => !isExcluded(one)),
    anchors: new Set(anchors.map((anchor) => anchor.fingerprint)),
    checked: new Map(),
    unfit: new Map(),
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
    const problem = pathProblem(path, search.rules);
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

/**
 * Candidates by name: those that could be part of a valid path first (of a renewed CA, the current certificate), among
 * them those with the right key id, and anchors before the rest. SECURITY: a name with its key stands in a path once
 * (RFC 4158 §2.4.2): what goes round in a mesh of cross certificates ends (test: mesh).
 */
function issuersOf(tip: Certificate, path: readonly Certificate[], search: Search): readonly Certificate[] {
  return search.pool
    .filter(
      (candidate) =>
        isSameName(candidate.subjectName, tip.issuerName) &&
        !path.some((earlier) => isSameEntity(earlier, candidate)),
    )
    .map((candidate) => ({
      candidate,
      rank: (isUnfit(candidate, search) ? 2 : 0) + (hasKeyId(candidate, tip.authorityKeyId) ? 0 : 1),
    }))
    .sort((one, other) => one.rank - other.rank)
    .map(({ candidate }) => candidate);
}

function isSameEntity(one: Certificate, other: Certificate): boolean {
  return isSameName(one.subjectName, other.subjectName) && one.publicKey.equals(other.publicKey);
}

function isUnfit(candidate: Certificate, { unfit, anchors, rules }: Search): boolean {
  const known = unfit.get(candidate.fingerprint);
  if (known !== undefined) return known;
  const found = issuerProblem(candidate, anchors.has(candidate.fingerprint), rules) !== undefined;
  unfit.set(candidate.fingerprint, found);
  return found;
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

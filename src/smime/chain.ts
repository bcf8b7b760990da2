// Path building from a certificate of a person to a trusted root (RFC 4158), bounded. Whether a path that was found is
// valid is path-rules' business; revocation is trust.ts'.
import { type Certificate, strengthProblem, type StrengthOptions } from './certificate.ts';
import { costOfCheck, isSignedBy, knownSignature } from './certificate-signature.ts';
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
export const MAX_DEPTH = 10;
/** Some 80 ms, without a break. */
const MAX_CHECK_COST = 400;
const MAX_STEPS = 1_000;
const MAX_COMPLETE_PATHS = 20;
const MAX_EXTRA = 200;
const MAX_NAMESAKES = 8;

export interface ChainOptions extends StrengthOptions {
  /** Certificates that the path must not go by, known to be revoked. Anchors are trusted nevertheless. */
  readonly isExcluded?: (issuer: Certificate) => boolean;
}

interface Search {
  readonly rules: PathRules;
  readonly pool: readonly Certificate[];
  readonly anchors: ReadonlySet<string>;
  /** By fingerprint: whether an issuer cannot be part of a valid path. */
  readonly unfit: Map<string, boolean>;
  steps: number;
  /** Of signature checks, as in certificate-signature. */
  cost: number;
  completePaths: number;
  /** Of the first complete path, which says more than `hint`, of one that is not. */
  problem?: string;
  hint?: string;
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
  const others = [...intermediates, ...extra.slice(0, MAX_EXTRA)];
  const search: Search = {
    rules: { at, purpose, policies, isLegacyAllowed },
    pool: [...anchors, ...others.filter((one) => !isExcluded(one))],
    anchors: new Set(anchors.map((anchor) => anchor.fingerprint)),
    unfit: new Map(),
    steps: 0,
    cost: 0,
    completePaths: 0,
  };
  const chain = findPath(leaf, search);
  if (chain) return { trusted: true, chain };
  return { trusted: false, reason: search.problem ?? search.hint ?? 'no path to a trusted root' };
}

/** Those of the certificates that signed this one, at most one look at each of a few of its name. */
export function issuersAmong(tip: Certificate, pool: readonly Certificate[]): readonly Certificate[] {
  return pool
    .filter(({ subjectName }) => isSameName(subjectName, tip.issuerName))
    .slice(0, MAX_NAMESAKES)
    .filter((candidate) => strengthProblem(candidate) === undefined && isSignedBy(tip, candidate));
}

/**
 * Short paths first, so that no mesh hides them; those with an issuer that cannot be part of a valid path last, so that a
 * pile of expired CA certificates does not hide the current one. Paths are leaf first. A signature is checked when its
 * turn comes.
 */
function findPath(leaf: Certificate, search: Search): readonly Certificate[] | undefined {
  const fit: (readonly Certificate[])[] = [[leaf]];
  const unfit: (readonly Certificate[])[] = [];
  for (const open of [fit, unfit]) {
    for (const path of open) {
      search.steps += 1;
      if (search.steps > MAX_STEPS || search.completePaths >= MAX_COMPLETE_PATHS) return undefined;
      if (!isSigned(path, search)) continue;
      const tip = path.at(-1) as Certificate;
      if (search.anchors.has(tip.fingerprint)) {
        search.completePaths += 1;
        const problem = pathProblem(path, search.rules);
        if (problem === undefined) return path;
        search.problem ??= problem;
      } else if (path.length < MAX_DEPTH) {
        for (const issuer of issuersOf(tip, path, search)) {
          const list = open === unfit || isUnfit(issuer, search) ? unfit : fit;
          if (list.length < MAX_STEPS) list.push([...path, issuer]);
        }
      }
    }
  }
  return undefined;
}

/** Whether the last but one certificate is signed by the last. */
function isSigned(path: readonly Certificate[], search: Search): boolean {
  const [tip, issuer] = path.slice(-2);
  if (!tip || !issuer) return true;
  const known = knownSignature(tip, issuer);
  // SECURITY: checks by keys of any size and kind would cost what their maker likes (test: oversized keys).
  const weakness = strengthProblem(issuer, search.rules);
  if (weakness !== undefined) {
    search.hint ??= `an issuing certificate is not usable: ${weakness}`;
    return false;
  }
  if (known === undefined) search.cost += costOfCheck(issuer);
  const isValid = known ?? (search.cost <= MAX_CHECK_COST && isSignedBy(tip, issuer));
  if (!isValid) search.hint ??= 'signature of a certificate is not by its issuer';
  return isValid;
}

/**
 * Candidates by name, those with the right key id first, anchors before the rest. SECURITY: a name with its key stands in a
 * path once (RFC 4158 §2.4.2): what goes round in a mesh of cross certificates ends (test: mesh).
 */
function issuersOf(tip: Certificate, path: readonly Certificate[], search: Search): readonly Certificate[] {
  return search.pool
    .filter(
      (candidate) =>
        isSameName(candidate.subjectName, tip.issuerName) &&
        !path.some((earlier) => isSameEntity(earlier, candidate)),
    )
    .toSorted(
      (one, other) => Number(hasKeyId(other, tip.authorityKeyId)) - Number(hasKeyId(one, tip.authorityKeyId)),
    );
}

function isSameEntity(one: Certificate, other: Certificate): boolean {
  return isSameName(one.subjectName, other.subjectName) && one.publicKeyHash === other.publicKeyHash;
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

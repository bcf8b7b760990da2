// Whether a complete path is valid (RFC 5280 §6.1): use of the leaf, rules for issuers, length, name constraints and
// certificate policies. The signatures were checked where the path was built (chain.ts).
import {
  type Certificate,
  type CertificatePurpose,
  certificateUse,
  isForMail,
  strengthProblem,
  validityProblem,
} from './certificate.ts';
import { constraintProblem } from './name-constraints.ts';
import { policyProblem, type PolicyInputs } from './policy-graph.ts';
import { isStronglySigned } from './signature-algorithm.ts';

/** `crl`: the first certificate of the path signs revocation lists, for mail or for anything else. */
export type PathPurpose = CertificatePurpose | 'crl';

export interface PathRules {
  readonly at: Date;
  readonly purpose: PathPurpose;
  readonly policies: PolicyInputs;
  readonly isLegacyAllowed: boolean;
}

/** Why a complete path (leaf first, anchor last) is not valid, or undefined. */
export function pathProblem(path: readonly Certificate[], rules: PathRules): string | undefined {
  const [leaf, ...issuers] = path;
  if (!leaf) return 'path is empty';
  const problem = leafProblem(leaf, rules);
  if (problem !== undefined) return problem;
  for (const [index, certificate] of path.entries()) {
    const isAnchor = index === path.length - 1;
    const found =
      commonProblem(certificate, isAnchor, rules) ??
      (index === 0 ? undefined : issuerProblem(certificate, isAnchor, rules));
    if (found !== undefined) return index === 0 ? found : `issuing certificate ${index}: ${found}`;
  }
  return lengthProblem(issuers) ?? constraintsProblem(path) ?? policyProblem(path, rules.policies);
}

/** RFC 5280 §6.1.4 k, n; and the extended key usage of a CA limits what is below it, as all mail software takes it. */
export function issuerProblem(
  certificate: Certificate,
  isAnchor: boolean,
  rules: PathRules,
): string | undefined {
  const isOldRoot = isAnchor && certificate.version === 1;
  if (!certificate.isCa && !isOldRoot) return 'not a CA certificate';
  // RFC 5280 §4.1.2.6: without a name anything could claim to be issued by it.
  if (certificate.subjectName.keys.length === 0) return 'CA certificate without a name';
  if (certificate.keyUsage && !certificate.keyUsage.has('keyCertSign'))
    return 'key usage does not allow to sign certificates';
  if (rules.purpose !== 'crl' && !isForMail(certificate))
    return 'extended key usage does not include e-mail protection';
  return strengthProblem(certificate, rules) ?? validityProblem(certificate, rules.at);
}

function leafProblem(leaf: Certificate, rules: PathRules): string | undefined {
  if (rules.purpose !== 'crl') {
    // Whether such a key is used at all was decided where it was declared.
    const use = certificateUse(leaf, rules.purpose, rules.at, rules);
    return use.usable ? undefined : use.reason;
  }
  // RFC 5280 §6.3.3 f.
  if (leaf.keyUsage && !leaf.keyUsage.has('cRLSign')) return 'key usage does not allow to sign CRLs';
  return validityProblem(leaf, rules.at) ?? strengthProblem(leaf, rules);
}

function commonProblem(
  certificate: Certificate,
  isAnchor: boolean,
  { isLegacyAllowed }: PathRules,
): string | undefined {
  if (certificate.unknownCritical.length > 0)
    return `critical extension ${certificate.unknownCritical[0]} is not supported`;
  // The anchor is trusted by itself, not by its signature.
  if (!isAnchor && !isLegacyAllowed && !isStronglySigned(certificate))
    return 'signature algorithm of the certificate is too weak';
  return undefined;
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

// Which certificates a revocation list is about (RFC 5280 §6.3.3 b), and for which reasons.
import type { Certificate } from './certificate.ts';
import type { RevocationList } from './crl.ts';
import { isSameName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';
import { ALL_REASONS, type DistributionPoint, namesOfPoint } from './pointers.ts';

/** The reasons for which the list tells about the certificate, or why it does not. Throws GatewayError for a bad name. */
export function reasonsCovered(list: RevocationList, certificate: Certificate): number | string {
  const { scope } = list;
  if (scope.problem !== undefined) return scope.problem;
  if (scope.isUserOnly && certificate.isCa) return 'the CRL is for certificates of users only';
  if (scope.isCaOnly && !certificate.isCa) return 'the CRL is for certificates of CAs only';
  const points = pointsOf(certificate).filter((point) => isSigner(list, point, certificate));
  if (points.length === 0) return 'the CRL is by another issuer';
  // SECURITY: a CA may split its list; another part says nothing about this certificate (test: distribution point).
  const reasons = points
    .filter((point) => isNamed(list, point))
    .reduce((mask, point) => mask | (point.reasons & scope.reasons), 0);
  return reasons === 0 ? 'the CRL is for another distribution point' : reasons;
}

/** The last one stands for the list that a CA publishes without naming it (RFC 5280 §6.3.3, end). */
function pointsOf({ pointers, issuerName }: Certificate): readonly DistributionPoint[] {
  const whole: DistributionPoint = {
    name: { names: [{ kind: 'directory', name: issuerName }] },
    reasons: ALL_REASONS,
    crlIssuers: [],
  };
  return [...pointers.distributionPoints, whole];
}

function isSigner(
  { issuer, scope }: RevocationList,
  { crlIssuers }: DistributionPoint,
  certificate: Certificate,
): boolean {
  if (crlIssuers.length === 0) return isSameName(issuer, certificate.issuerName);
  return scope.isIndirect && crlIssuers.some((name) => isSameName(issuer, name));
}

function isNamed({ scope, issuer }: RevocationList, { name, crlIssuers }: DistributionPoint): boolean {
  const { names } = scope;
  if (!names) return true;
  const own: readonly GeneralName[] = name
    ? namesOfPoint(name, issuer)
    : crlIssuers.map((one) => ({ kind: 'directory', name: one }));
  return own.some((one) => names.some((other) => isSame(one, other)));
}

function isSame(one: GeneralName, other: GeneralName): boolean {
  if (one.kind === 'directory' && other.kind === 'directory') return isSameName(one.name, other.name);
  return one.kind === 'uri' && other.kind === 'uri' && one.value === other.value;
}

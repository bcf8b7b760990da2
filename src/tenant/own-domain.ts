// Mail that is not proven and yet names a hosted tenant's domain as its author: something has to speak for it. Pure.
import type { SpfVerdict } from '../authentication/spf.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { ProofFailure, ProofMode } from '../core/origin.ts';
import { parseAddressList } from '../mime/address-list.ts';
import type { Evidence } from './evidence.ts';
import { isExchange } from './client.ts';
import { checkSecret } from './conditions.ts';
import type { ProofSettings } from './settings.ts';
import { type Tenant, tenantOfDomain, type TenantRegistry } from './registry.ts';

/** A domain of a tenant in From. Not readable: From has several readings, and the domain is in its text. */
interface Claim {
  readonly domain: string;
  readonly tenant: Tenant;
  readonly isReadable: boolean;
}

export interface Unauthenticated {
  readonly mode: ProofMode;
  readonly failure: Omit<ProofFailure, 'condition'>;
}

/**
 * Whether SPF can decide anything about the message. SECURITY: never for Exchange Online: its addresses are in the SPF
 * record of every one of its tenants, so a pass says nothing about which of them sent it (test: T22 own domain).
 */
export function canSpfDecide(tenants: TenantRegistry, evidence: Evidence, settings: ProofSettings): boolean {
  if (isExchange(evidence.peer, settings)) return false;
  const identity = evidence.sender?.domain ?? evidence.peer.helo;
  return unvouchedClaims(tenants, evidence).some((claim) => isAligned(tenants, claim, identity));
}

/** Each own domain that nothing speaks for: an aligned DKIM signature, an aligned SPF pass, or the tenant's secret. */
export function checkOwnDomains(
  tenants: TenantRegistry,
  evidence: Evidence,
  spf: SpfVerdict | undefined,
): readonly Unauthenticated[] {
  return unvouchedClaims(tenants, evidence).flatMap((claim) => {
    const { domain, isReadable, tenant } = claim;
    const isSpfAligned = spf !== undefined && isReadable && isAligned(tenants, claim, spf.domain);
    if (isSpfAligned && spf.result === 'pass') return [];
    const isUnavailable =
      (isSpfAligned && spf.result === 'unavailable') ||
      signaturesOf(tenants, claim, evidence).some(({ result }) => result === 'unavailable');
    const spfResult = spf === undefined ? 'not looked at' : spf.reason;
    const reason = isReadable
      ? `From is in ${domain}, without aligned DKIM signature (SPF: ${spfResult})`
      : `From cannot be read and names ${domain}`;
    const error = isUnavailable ? 'authentication-unavailable' : 'own-domain-unauthenticated';
    return [{ mode: tenant.proof.ownDomainMode, failure: { reason, error } }];
  });
}

function unvouchedClaims(tenants: TenantRegistry, evidence: Evidence): readonly Claim[] {
  return evidence.from
    .flatMap((value) => claimsIn(tenants, value))
    .filter(({ tenant }) => tenant.proof.ownDomainMode !== 'off')
    .filter(({ tenant }) => checkSecret(tenant, evidence) !== undefined)
    .filter(
      (claim) =>
        !claim.isReadable || !signaturesOf(tenants, claim, evidence).some(({ result }) => result === 'pass'),
    );
}

function claimsIn(tenants: TenantRegistry, from: string): readonly Claim[] {
  const list = parseAddressList(from);
  if (list && isNonEmpty(list.mailboxes))
    return list.mailboxes.flatMap(({ address: { domain } }) => {
      const tenant = tenantOfDomain(tenants, domain);
      return tenant ? [{ domain, tenant, isReadable: true }] : [];
    });
  // SECURITY: what we cannot read, a mail program may still show as one of our addresses (test: own-domain-unreadable).
  const text = from.toLowerCase();
  return [...tenants.byDomain]
    .filter(([domain]) => text.includes(`@${domain}`))
    .map(([domain, tenant]) => ({ domain, tenant, isReadable: false }));
}

function signaturesOf(tenants: TenantRegistry, claim: Claim, { dkim }: Evidence) {
  return dkim.filter(({ domain }) => isAligned(tenants, claim, domain));
}

/** Relaxed alignment (RFC 7489 §3.1), within the domains of the one tenant, so that no public suffix has to be known. */
function isAligned(tenants: TenantRegistry, { domain, tenant }: Claim, other: string): boolean {
  if (tenantOfDomain(tenants, other)?.id !== tenant.id) return false;
  return other === domain || other.endsWith(`.${domain}`) || domain.endsWith(`.${other}`);
}

// The hosted tenants and their accepted domains. A domain belongs to one tenant at most, so the answer to "whose domain
// is this" never depends on order.
import { parseDomain } from '../core/address.ts';
import { GatewayError } from '../core/errors.ts';
import type { ProofMode, TenantId } from '../core/origin.ts';
import type { Secret } from '../core/secret.ts';
import type { OnPremises } from './on-premises.ts';

/** What the tenant's proof asks for beyond the stamps of Exchange. */
export interface TenantProof {
  /** C3; the stricter one of it and the site's mode counts. */
  readonly addressMode: ProofMode;
  /**
   * C8 for users' and on-premises mail. Forwarded mail, and reports and notifications without an id, need a signature or
   * a secret in any mode.
   */
  readonly dkimMode: ProofMode;
  /** C9, likewise. */
  readonly secretMode: ProofMode;
  /** Values of X-Postern-Tenant-Auth that count: the current and, while the rule changes, the previous one. */
  readonly secrets: readonly Secret[];
  /** Whether unproven mail from the tenant's domains needs an aligned DKIM signature or SPF pass. */
  readonly ownDomainMode: ProofMode;
  /** Whether mail of the tenant's on-premises servers is relayed. */
  readonly isHybridRelayed: boolean;
  /** Whether Internet mail that a mailbox forwards is relayed. */
  readonly isForwardedRelayed: boolean;
}

export interface Tenant {
  readonly id: TenantId;
  readonly name: string;
  /** Accepted domains, the initial one (`*.onmicrosoft.com`) included. */
  readonly domains: readonly string[];
  /** Whether sub-domains of the accepted domains count (MatchSubDomains of Exchange). */
  readonly matchSubDomains: boolean;
  readonly isEnabled: boolean;
  readonly proof: TenantProof;
  /** Whether the MX of the tenant is Exchange Online: then only its own rules bring mail for it. */
  readonly isLoopBack: boolean;
  /** The tenant's own servers, whose mail is relayed as well. */
  readonly onPremises?: OnPremises;
}

export interface TenantRegistry {
  readonly tenants: readonly Tenant[];
  readonly byId: ReadonlyMap<TenantId, Tenant>;
  /** Keys are lower-case A-labels. */
  readonly byDomain: ReadonlyMap<string, Tenant>;
}

/** Checks and indexes the tenants. Throws GatewayError `config-invalid` for repeated ids and overlapping domains. */
export function openRegistry(tenants: readonly Tenant[]): TenantRegistry {
  const byId = new Map<TenantId, Tenant>();
  const byDomain = new Map<string, Tenant>();
  for (const tenant of tenants) {
    if (byId.has(tenant.id)) throw invalid(`two tenants have the id ${tenant.id}`);
    byId.set(tenant.id, tenant);
    for (const written of tenant.domains) {
      const domain = parseDomain(written);
      if (domain === undefined) throw invalid(`tenant ${tenant.name}: ${written} is not a domain`);
      const other = byDomain.get(domain);
      if (other) throw invalid(`domain ${domain} is claimed by ${other.name} and by ${tenant.name}`);
      byDomain.set(domain, tenant);
    }
  }
  for (const [domain, tenant] of byDomain) refuseForeignParent(domain, tenant, byDomain);
  refuseSharedServers(tenants);
  return { tenants, byId, byDomain };
}

/** The tenant that accepts mail for a domain (any label form, any letter case). */
export function tenantOfDomain(registry: TenantRegistry, domain: string): Tenant | undefined {
  const canonical = parseDomain(domain);
  if (canonical === undefined) return undefined;
  const exact = registry.byDomain.get(canonical);
  if (exact) return exact;
  for (const parent of parentsOf(canonical)) {
    const tenant = registry.byDomain.get(parent);
    if (tenant?.matchSubDomains) return tenant;
  }
  return undefined;
}

function refuseForeignParent(domain: string, tenant: Tenant, byDomain: ReadonlyMap<string, Tenant>): void {
  for (const parent of parentsOf(domain)) {
    const other = byDomain.get(parent);
    if (other && other !== tenant && other.matchSubDomains)
      throw invalid(
        `domain ${domain} of ${tenant.name} is a sub-domain of ${parent}, which ${other.name} claims`,
      );
  }
}

/** SECURITY: a certificate or a user of two tenants says nothing about whose mail it is (test: shared-server). */
function refuseSharedServers(tenants: readonly Tenant[]): void {
  const owners = new Map<string, string>();
  for (const { name, onPremises } of tenants) {
    const marks = [
      ...(onPremises?.fingerprints ?? []).map((print) => `certificate ${print}`),
      ...(onPremises?.login ? [`user ${onPremises.login.user}`] : []),
    ];
    for (const mark of new Set(marks)) {
      const other = owners.get(mark);
      if (other !== undefined) throw invalid(`on-premises ${mark} is claimed by ${other} and by ${name}`);
      owners.set(mark, name);
    }
  }
}

function parentsOf(domain: string): readonly string[] {
  const labels = domain.split('.');
  return labels.slice(1, -1).map((_, index) => labels.slice(index + 1).join('.'));
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

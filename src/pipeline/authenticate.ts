// What speaks for a message beside its stamps: DKIM signatures of hosted domains before the proof, and SPF for mail that
// stays unproven and names a hosted domain as its author.
import { verifyDkim, type DkimVerdict } from '../authentication/dkim.ts';
import type { DnsLookup } from '../authentication/dns-lookup.ts';
import { verifySpf } from '../authentication/spf.ts';
import type { ByteSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { HeaderSection } from '../mime/header-section.ts';
import type { Evidence } from '../tenant/evidence.ts';
import { canSpfDecide, checkOwnDomains } from '../tenant/own-domain.ts';
import type { ProofSettings } from '../tenant/settings.ts';
import { tenantOfDomain, type TenantRegistry } from '../tenant/registry.ts';

/** The verdicts on all DKIM-Signature fields; only keys of hosted domains are looked up. */
export function verifyOwnSignatures(
  tenants: TenantRegistry,
  message: ByteSource,
  header: HeaderSection,
  lookup: DnsLookup,
  at: Date,
): Promise<readonly DkimVerdict[]> {
  const isWanted = (domain: string) => tenantOfDomain(tenants, domain) !== undefined;
  return verifyDkim(message, header, { isWanted, lookup, at });
}

export interface OwnDomainServices {
  readonly hostname: string;
  readonly lookup: DnsLookup;
  readonly log: Log;
}

/**
 * For mail that is not proven. Throws GatewayError `own-domain-unauthenticated` where From names a hosted domain and
 * nothing speaks for it, `authentication-unavailable` where DNS does not tell.
 */
export async function refuseSpoofing(
  tenants: TenantRegistry,
  evidence: Evidence,
  settings: ProofSettings,
  { hostname, lookup, log }: OwnDomainServices,
): Promise<void> {
  const { peer, sender } = evidence;
  const spf = canSpfDecide(tenants, evidence, settings)
    ? await verifySpf(peer, sender, hostname, lookup)
    : undefined;
  const missed = checkOwnDomains(tenants, evidence, spf);
  const required = missed.find(({ mode }) => mode === 'require');
  if (required) throw new GatewayError(required.failure.error, required.failure.reason);
  for (const { failure } of missed) log.warn('own-domain-observed', { reason: failure.reason });
}

// In whose name copies leave, and where reports about them go. Forwarded mail leaves in the name of the tenant, while its
// sender is a stranger, to whom reports go on the Internet.
import type { Address } from '../core/address.ts';
import type { Envelope } from '../core/envelope.ts';
import type { LegName } from '../core/leg.ts';
import type { Origin } from '../core/origin.ts';
import { tenantOfDomain, type TenantRegistry } from '../tenant/registry.ts';
import { originalSender, rewriteSender } from '../tenant/sender-rewriting.ts';
import type { Rewriting, TenantPlan } from './decide.ts';

/** Whether the envelope sender is somebody of the proven tenant, or its system. */
export function isOwnSender(tenants: TenantRegistry, origin: Origin, { sender }: Envelope): boolean {
  if (origin.kind === 'unproven') return false;
  return sender === null || tenantOfDomain(tenants, sender.domain)?.id === origin.tenant;
}

/** A DSN about mail of the tenant goes back to it; about anything else, to the Internet. */
export function returnLegOf(tenants: TenantRegistry, origin: Origin, envelope: Envelope): LegName {
  return origin.kind === 'proven' && isOwnSender(tenants, origin, envelope)
    ? { kind: 'tenant', tenant: origin.tenant }
    : { kind: 'internet' };
}

/**
 * MAIL FROM of a copy where it is not the sender of the envelope. Null for a sender that does not fit into an address of the
 * tenant: its reports are lost, the mail is not. Loop-back leaves the rewriting to Exchange.
 */
export function mailFromOf(
  tenants: TenantRegistry,
  origin: Origin,
  envelope: Envelope,
  { direction, loaded: { policy } }: TenantPlan,
  { key, at }: Rewriting,
): { readonly mailFrom?: Address | null } {
  const { sender } = envelope;
  if (origin.kind === 'unproven' || direction === 'inbound' || policy.tenant.loopBack) return {};
  if (sender === null || isOwnSender(tenants, origin, envelope)) return {};
  const scope = { key, tenant: origin.tenant, at };
  return { mailFrom: rewriteSender(sender, policy.tenant.domains[0], scope) ?? null };
}

/** Whom a report to a rewritten sender is for: only reports, which have the null sender, find their way back. */
export function returnTo(
  tenants: TenantRegistry,
  sender: Address | null,
  recipient: Address,
  { key, at }: Rewriting,
): Address | undefined {
  const tenant = sender === null ? tenantOfDomain(tenants, recipient.domain)?.id : undefined;
  return tenant && originalSender(recipient, { key, tenant, at });
}

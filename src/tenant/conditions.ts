// Conditions C5 to C9 of the proof, each a function of its own: undefined where it holds, else what failed and why.
import type { ProofFailure } from '../core/origin.ts';
import { parseTenantId } from '../core/origin.ts';
import { parseAddressList } from '../mime/address-list.ts';
import type { Evidence } from './evidence.ts';
import { type Tenant, tenantOfDomain, type TenantRegistry } from './registry.ts';
import { failure } from './settings.ts';

/** C5: exactly one organisation, a domain of the same tenant. */
export function checkOrganization(
  tenants: TenantRegistry,
  tenant: Tenant,
  { organizations }: Evidence,
): ProofFailure | undefined {
  const [organization, ...others] = organizations;
  const isOwn = organization !== undefined && tenantOfDomain(tenants, organization)?.id === tenant.id;
  if (isOwn && others.length === 0) return undefined;
  const reason = 'X-OriginatorOrg is missing, repeated or not a domain of the tenant';
  return failure('C5', 'organization-not-authorized', reason);
}

/** C6: whoever the message names as its sender is in a domain of the tenant. */
export function checkSender(
  tenants: TenantRegistry,
  tenant: Tenant,
  { from, senderFields, sender }: Evidence,
): ProofFailure | undefined {
  const isOwn = (domain: string) => tenantOfDomain(tenants, domain)?.id === tenant.id;
  const areOwn = (value: string) => {
    const list = parseAddressList(value);
    const isPlain = list !== undefined && !list.hasGroup && list.mailboxes.length > 0;
    return isPlain && list.mailboxes.every(({ address }) => isOwn(address.domain));
  };
  const [author, ...others] = from;
  if (author === undefined || others.length > 0) return badSender('From is missing or repeated');
  if (!areOwn(author)) return badSender('From is unreadable or names an address outside the tenant');
  if (senderFields.length > 1) return badSender('Sender is repeated');
  if (!senderFields.every(areOwn))
    return badSender('Sender is unreadable or names an address outside the tenant');
  return sender === null || isOwn(sender.domain) ? undefined : badSender('MAIL FROM is outside the tenant');
}

function badSender(reason: string): ProofFailure {
  return failure('C6', 'sender-not-authorized', reason);
}

/** C7: the pair that Exchange stamps on mail of its own mailboxes. */
export function checkClass({ authAs, entities }: Evidence): ProofFailure | undefined {
  if (authAs.length !== 1 || entities.length !== 1)
    return failure('C7', 'class-not-authorized', 'AuthAs or FromEntityHeader is missing or repeated');
  return isOnly(authAs, 'Internal') && isOnly(entities, 'Hosted')
    ? undefined
    : failure('C7', 'class-not-authorized', 'AuthAs and FromEntityHeader are not Internal and Hosted');
}

/** C7 of mail without an id: the pair may be missing, in old reports, but it does not say otherwise. */
export function checkSystemClass({ authAs, entities }: Evidence): ProofFailure | undefined {
  return (authAs.length === 0 || isOnly(authAs, 'Internal')) &&
    (entities.length === 0 || isOnly(entities, 'Hosted'))
    ? undefined
    : failure('C7', 'class-not-authorized', 'AuthAs or FromEntityHeader is not Internal or Hosted');
}

/** C7 of on-premises mail: Exchange says that a connector of this tenant took it in. */
export function checkAttribution(tenant: Tenant, { attributions }: Evidence): ProofFailure | undefined {
  const [attribution = '', ...others] = attributions;
  const id = /^TenantId=([^;]*);/i.exec(attribution)?.[1] ?? '';
  return others.length === 0 && parseTenantId(id) === tenant.id
    ? undefined
    : failure('C7', 'class-not-authorized', 'on-premises mail without the attribution to the tenant');
}

export function checkHybrid({ proof }: Tenant): ProofFailure | undefined {
  return proof.isHybridRelayed
    ? undefined
    : failure('C7', 'hybrid-not-enabled', 'on-premises mail is not relayed for this tenant');
}

export function checkForwarded({ proof }: Tenant): ProofFailure | undefined {
  return proof.isForwardedRelayed
    ? undefined
    : failure('C7', 'forwarded-not-enabled', 'forwarded mail is not relayed for this tenant');
}

/** C8: a signature of one of the tenant's domains, which Exchange adds before the connector. */
export function checkDkim(
  tenants: TenantRegistry,
  tenant: Tenant,
  { dkim }: Evidence,
): ProofFailure | undefined {
  const own = dkim.filter(({ domain }) => tenantOfDomain(tenants, domain)?.id === tenant.id);
  if (own.some(({ result }) => result === 'pass')) return undefined;
  const unavailable = own.find(({ result }) => result === 'unavailable');
  if (unavailable) return failure('C8', 'authentication-unavailable', `DKIM key: ${unavailable.reason}`);
  const reasons = own.map(({ domain, reason }) => `${domain}: ${reason}`).join('; ');
  return failure(
    'C8',
    'dkim-missing',
    `no valid DKIM signature of the tenant (${reasons || 'none is there'})`,
  );
}

/** C9: exactly one secret, one of the tenant's. Every known one is compared, whichever matches. */
export function checkSecret({ proof }: Tenant, { secrets }: Evidence): ProofFailure | undefined {
  const [given, ...others] = secrets;
  const isKnown = given !== undefined && proof.secrets.map((known) => known.equals(given)).includes(true);
  if (isKnown && others.length === 0) return undefined;
  const state =
    given === undefined ? 'missing' : others.length > 0 ? 'repeated' : 'not the secret of the tenant';
  return failure('C9', 'tenant-auth-missing', `X-Postern-Tenant-Auth is ${state}`);
}

export function isOnly(values: readonly string[], wanted: string): boolean {
  return values.length === 1 && values[0] === wanted;
}

// Exchange Online tenants of the lab as plain data: domains, recipients, connectors, rules. Field names follow the
// parameters of New-InboundConnector and so on, so that a set-up from the field can be typed in.
import type { OutboundConnector, TransportRule } from './exchange-rules.ts';

export interface AcceptedDomain {
  readonly name: string;
  /** `authoritative` refuses unknown recipients at RCPT (DBEB); `internal-relay` takes all. */
  readonly type: 'authoritative' | 'internal-relay';
  readonly matchSubDomains?: boolean;
}

export interface InboundConnector {
  readonly name: string;
  /** `on-premises` gives rights to whoever matches; `partner` only restricts. */
  readonly type: 'on-premises' | 'partner';
  /** Default true. */
  readonly isEnabled?: boolean;
  /** Partner: MAIL FROM domains it looks at; `*` is any, the null sender included. */
  readonly senderDomains?: readonly string[];
  readonly requireTls?: boolean;
  /** TlsSenderCertificateName: a name, or `*.domain`. */
  readonly tlsSenderCertificateName?: string;
  readonly restrictDomainsToCertificate?: boolean;
  readonly restrictDomainsToIpAddresses?: boolean;
  /** SenderIPAddresses: IPv4 addresses or /24 to /32 networks. */
  readonly senderIpAddresses?: readonly string[];
  readonly associatedAcceptedDomains?: readonly string[];
  /** "Retain service headers": promotes CrossPremises-* fields. Keep it off. */
  readonly cloudServicesMailEnabled?: boolean;
  /** Enhanced Filtering: the connecting host is not taken for the sender. */
  readonly efSkipLastIp?: boolean;
}

export interface LabTenant {
  /** Short name in the lab: `contoso`. */
  readonly name: string;
  /** Tenant id, a GUID in lower case. */
  readonly id: string;
  /** Holds the initial domain too. The first one is the default domain. */
  readonly acceptedDomains: readonly [AcceptedDomain, ...AcceptedDomain[]];
  readonly initialDomain: string;
  /** Addresses that exist. Undefined: all of the accepted domains. */
  readonly recipients?: readonly string[];
  readonly connectors: readonly InboundConnector[];
  readonly rejectDirectSend?: boolean;
  readonly outboundConnectors?: readonly OutboundConnector[];
  /** By priority. */
  readonly rules?: readonly TransportRule[];
  /** Recipients of one copy; longer lists are split. Default 500. */
  readonly recipientLimit?: number;
  /** Age at which queued mail becomes an NDR. Default 24. */
  readonly messageExpirationHours?: number;
}

/** Whether the domain, or a parent under MatchSubDomains, is accepted in the tenant. */
export function isAcceptedDomain(tenant: LabTenant, domain: string): boolean {
  return acceptedDomain(tenant, domain) !== undefined;
}

/** Whether mail for the address is refused at RCPT: authoritative domain, unknown recipient. */
export function isUnknownRecipient(tenant: LabTenant, address: string): boolean {
  const domain = acceptedDomain(tenant, domainOf(address));
  if (domain?.type !== 'authoritative' || !tenant.recipients) return false;
  return !tenant.recipients.some((known) => known.toLowerCase() === address.toLowerCase());
}

/** The tenant that has the domain. */
export function tenantOf(tenants: readonly LabTenant[], domain: string): LabTenant | undefined {
  return tenants.find((tenant) => isAcceptedDomain(tenant, domain));
}

/** The domain of an address in lower case; empty for the null sender. */
export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1).toLowerCase();
}

function acceptedDomain(tenant: LabTenant, domain: string): AcceptedDomain | undefined {
  return tenant.acceptedDomains.find(
    ({ name, matchSubDomains }) =>
      domain === name || (matchSubDomains === true && domain.endsWith(`.${name}`)),
  );
}

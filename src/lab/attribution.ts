// Attribution: whose mail a connection to Exchange Online brings. Pure. The order of certificate domain, MAIL FROM domain
// and RCPT TO domain is documented (message centre MC1226222); the Partner branch is modelled (docs/lab.md).
import { BlockList } from 'node:net';
import {
  domainOf,
  type InboundConnector,
  isAcceptedDomain,
  isUnknownRecipient,
  type LabTenant,
  tenantOf,
} from './exchange-tenant.ts';

/** What the server saw of the client when RCPT came. */
export interface AttributionInput {
  readonly sender: string;
  readonly recipient: string;
  readonly clientAddress: string;
  readonly isTls: boolean;
  /** SAN and CN of a client certificate that verified in this handshake; else empty. */
  readonly certificateNames: readonly string[];
}

export interface Accepted {
  readonly kind: 'accepted';
  readonly tenant: LabTenant;
  /** `originating`: taken as the tenant's own mail. `incoming`: mail to the tenant. */
  readonly direction: 'originating' | 'incoming';
  readonly connector?: InboundConnector;
  /** Recipient inside the tenant; else its rules send the mail on. */
  readonly isLocal: boolean;
}

export interface Refused {
  readonly kind: 'refused';
  readonly code: number;
  readonly text: string;
  /** The tenant whose connector or recipient list refused. */
  readonly tenant?: LabTenant;
  readonly connector?: InboundConnector;
}

const TLS_REQUIRED = '5.7.3 STARTTLS is required to send mail';
const RESTRICTED =
  '5.7.51 TenantInboundAttribution; Rejecting message. Recipient has a partner connector that this client does not satisfy';

/** Decides one recipient. */
export function attribute(tenants: readonly LabTenant[], input: AttributionInput): Accepted | Refused {
  const originating = findOriginating(tenants, input);
  if (originating) return acceptOriginating(originating.tenant, originating.connector, input);
  const tenant = tenantOf(tenants, domainOf(input.recipient));
  if (!tenant) return refuse('5.7.64 TenantAttribution; Relay Access Denied');
  return acceptIncoming(tenant, input);
}

interface Match {
  readonly tenant: LabTenant;
  readonly connector: InboundConnector;
}

/** The first matching OnPremises connector by certificate domain, else by MAIL FROM domain, else by RCPT domain. */
function findOriginating(tenants: readonly LabTenant[], input: AttributionInput): Match | undefined {
  const matches = tenants.flatMap((tenant) =>
    tenant.connectors
      .filter((connector) => connector.type === 'on-premises' && isEnabled(connector))
      .filter((connector) => certificateName(connector, input) !== undefined || hasAddress(connector, input))
      .map((connector) => ({ tenant, connector })),
  );
  const byDomain = (domain: string | undefined) => (match: Match) =>
    domain !== undefined &&
    domain !== '' &&
    isAssociated(match.connector, domain) &&
    isAcceptedDomain(match.tenant, domain);
  return (
    matches.find((match) => byDomain(certificateName(match.connector, input))(match)) ??
    matches.find(byDomain(domainOf(input.sender))) ??
    matches.find(byDomain(domainOf(input.recipient)))
  );
}

function acceptOriginating(
  tenant: LabTenant,
  connector: InboundConnector,
  input: AttributionInput,
): Accepted | Refused {
  if (connector.requireTls && !input.isTls) return { ...refuse(TLS_REQUIRED), tenant, connector };
  const isLocal = isAcceptedDomain(tenant, domainOf(input.recipient));
  if (isLocal && isUnknownRecipient(tenant, input.recipient)) return unknownRecipient(tenant);
  return { kind: 'accepted', tenant, direction: 'originating', connector, isLocal };
}

function acceptIncoming(tenant: LabTenant, input: AttributionInput): Accepted | Refused {
  const applicable = mostSpecific(
    tenant.connectors.filter((connector) => connector.type === 'partner' && isEnabled(connector)),
    input,
  );
  const satisfied = applicable.find((connector) => isSatisfied(connector, input));
  const missed = applicable[0];
  if (!satisfied && missed) {
    const text = missed.requireTls && !input.isTls ? TLS_REQUIRED : RESTRICTED;
    return { ...refuse(text), tenant, connector: missed };
  }
  if (!satisfied && tenant.rejectDirectSend && isAcceptedDomain(tenant, domainOf(input.sender))) {
    return {
      ...refuse(
        '5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources',
      ),
      tenant,
    };
  }
  if (isUnknownRecipient(tenant, input.recipient)) return unknownRecipient(tenant);
  return {
    kind: 'accepted',
    tenant,
    direction: 'incoming',
    isLocal: true,
    ...(satisfied ? { connector: satisfied } : {}),
  };
}

/** The Partner connectors that look at this mail; those that name the sender's domain most closely win. */
function mostSpecific(
  connectors: readonly InboundConnector[],
  input: AttributionInput,
): readonly InboundConnector[] {
  const ranked = connectors
    .filter((connector) => isAssociated(connector, domainOf(input.recipient)))
    .map((connector) => ({ connector, rank: senderRank(connector, domainOf(input.sender)) }))
    .filter(({ rank }) => rank > 0);
  const best = Math.max(0, ...ranked.map(({ rank }) => rank));
  return ranked.filter(({ rank }) => rank === best).map(({ connector }) => connector);
}

/** 0: not meant. Longer names rank above shorter ones, any of them above `*`. */
function senderRank(connector: InboundConnector, domain: string): number {
  const ranks = (connector.senderDomains ?? ['*']).map((pattern) => {
    if (pattern === '*') return 1;
    return isCovered(pattern, domain) ? 1 + pattern.length : 0;
  });
  return Math.max(0, ...ranks);
}

function isSatisfied(connector: InboundConnector, input: AttributionInput): boolean {
  if (connector.requireTls && !input.isTls) return false;
  if (connector.restrictDomainsToCertificate && certificateName(connector, input) === undefined) return false;
  return !connector.restrictDomainsToIpAddresses || hasAddress(connector, input);
}

function certificateName(connector: InboundConnector, input: AttributionInput): string | undefined {
  const wanted = connector.tlsSenderCertificateName;
  if (wanted === undefined) return undefined;
  return input.certificateNames.find((name) => isCovered(wanted, name));
}

/** `*.domain` covers the names below it, anything else only itself. */
function isCovered(pattern: string, name: string): boolean {
  const wanted = pattern.toLowerCase();
  return wanted.startsWith('*.')
    ? name.toLowerCase().endsWith(wanted.slice(1))
    : name.toLowerCase() === wanted;
}

function hasAddress(connector: InboundConnector, input: AttributionInput): boolean {
  const list = new BlockList();
  for (const entry of connector.senderIpAddresses ?? []) {
    const [network = '', prefix = '32'] = entry.split('/');
    list.addSubnet(network, Number(prefix), 'ipv4');
  }
  return list.check(input.clientAddress, 'ipv4');
}

function isAssociated(connector: InboundConnector, domain: string): boolean {
  return connector.associatedAcceptedDomains?.includes(domain) ?? true;
}

function isEnabled(connector: InboundConnector): boolean {
  return connector.isEnabled ?? true;
}

function unknownRecipient(tenant: LabTenant): Refused {
  return { ...refuse('5.4.1 Recipient address rejected: Access denied'), tenant };
}

function refuse(text: string): Refused {
  return { kind: 'refused', code: 550, text };
}

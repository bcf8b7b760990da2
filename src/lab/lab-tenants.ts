// The four tenants of the lab: contoso and fabrikam are hosted by the gateway, partner is a stranger in Office 365, evil
// is a stranger with bad intentions. All share the addresses and the certificate of Exchange Online.
import type { DnsZones } from './dns.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { OutboundConnector, TransportRule } from './exchange-rules.ts';
import type { AcceptedDomain, InboundConnector, LabTenant } from './exchange-tenant.ts';

export type TenantName = 'contoso' | 'fabrikam' | 'evil' | 'partner';
export type HostedTenantName = 'contoso' | 'fabrikam';
/** `partner`: the inline set-up, a restricting connector. `on-premises`: the loop-back set-up, a connector with rights. */
export type ConnectorSetup = 'partner' | 'on-premises';

/** An operator's tenant, which takes the place of contoso. */
export interface OwnTenant {
  readonly id: string;
  /** The default domain first. */
  readonly domains: NonEmpty<string>;
  /** Where its gateway delivers, and the name that it asks for there. */
  readonly host: string;
  readonly serverName: string;
  /** Names in the client certificate of its gateway. */
  readonly certificateNames: NonEmpty<string>;
  /** What its routing rule sets; default: a random one. */
  readonly secret?: string;
  /** Loop-back: what its rules take for mail that has been at the gateway. */
  readonly doneTokens?: { readonly inbound: string; readonly outbound: string };
}

export const HOSTED: readonly HostedTenantName[] = ['contoso', 'fabrikam'];
export const GATEWAY_NAME = 'gw.example';

/** Loopback addresses of the parts, so that source and target of a connection tell who speaks. */
export const LAB_ADDRESSES = {
  internet: '127.0.0.10',
  exchangeServer: '127.0.0.20',
  exchangeClient: '127.0.0.40',
  internetClient: '127.0.0.50',
  /** Nobody listens there: connections are refused. */
  nowhere: '127.0.0.99',
} as const;

const IDS: Readonly<Record<TenantName, string>> = {
  contoso: '11111111-2222-3333-4444-555555555555',
  fabrikam: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb',
  evil: 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee',
  partner: '99999999-9999-4999-8999-999999999999',
};

/** All four, with their connectors; the hosted ones send `secrets` by their routing rule. */
export function labTenants(
  setup: ConnectorSetup,
  secrets: Readonly<Record<HostedTenantName, string>>,
  own?: OwnTenant,
): Readonly<Record<TenantName, LabTenant>> {
  return {
    contoso: hosted('contoso', own ? operators(own) : stranger('contoso'), setup, secrets.contoso, own),
    fabrikam: hosted('fabrikam', stranger('fabrikam', own), setup, secrets.fabrikam),
    evil: hostile(stranger('evil', own)),
    partner: stranger('partner', own),
  };
}

/** The name in the certificate that the gateway presents to Exchange Online for this tenant. */
export function clientCertificateName(
  name: HostedTenantName,
  setup: ConnectorSetup,
  own?: OwnTenant,
): string {
  if (own && name === 'contoso') return own.certificateNames[0];
  return setup === 'partner' ? `${IDS[name]}.t.${GATEWAY_NAME}` : `gw.${name}.example`;
}

/** The host of the tenant in Exchange Online: the MX of a stranger, the next hop of a hosted tenant. */
export function exchangeHost(domain: string): string {
  return `${domain.replaceAll('.', '-')}.mail.protection.outlook.example`;
}

/** The simulated DNS: tenants, Internet domains, and domains whose mail system is broken in one way each. */
export function labZones(own?: OwnTenant): DnsZones {
  const hostedMx = (domain: string): DnsZones => ({
    [domain]: {
      MX: [[10, GATEWAY_NAME]],
      TXT: [`v=spf1 ip4:${LAB_ADDRESSES.exchangeClient} ip4:127.0.0.1 -all`],
    },
    [exchangeHost(domain)]: { A: [LAB_ADDRESSES.exchangeServer] },
  });
  return {
    [GATEWAY_NAME]: { A: ['127.0.0.1'] },
    ...hostedMx(tenantDomain('contoso')),
    ...hostedMx(tenantDomain('fabrikam', own)),
    ...exchangeMx(tenantDomain('partner', own)),
    ...exchangeMx(tenantDomain('evil', own)),
    ...internetMx('remote.example'),
    ...internetMx('isp.example'),
    'two-mx.example': {
      MX: [
        [10, 'dead.two-mx.example'],
        [20, 'mx.remote.example'],
      ],
    },
    'dead.two-mx.example': { A: [LAB_ADDRESSES.nowhere] },
    'no-mx.example': { A: [LAB_ADDRESSES.internet] },
    'null-mx.example': { MX: [[0, '.']] },
    'refused.example': { MX: [[10, 'dead.two-mx.example']] },
    'servfail.example': 'servfail',
    'silent.example': 'silent',
    ...(own ? Object.assign({}, ...own.domains.map(hostedMx)) : {}),
    ...(own ? { [own.host]: { A: [LAB_ADDRESSES.exchangeServer] } } : {}),
  };
}

/** A domain whose MX is the lab's Internet host. */
export function internetMx(domain: string): DnsZones {
  return {
    [domain]: { MX: [[10, `mx.${domain}`]], TXT: [`v=spf1 ip4:${LAB_ADDRESSES.internetClient} -all`] },
    [`mx.${domain}`]: { A: [LAB_ADDRESSES.internet] },
  };
}

function hosted(
  name: HostedTenantName,
  base: LabTenant,
  setup: ConnectorSetup,
  secret: string,
  own?: OwnTenant,
): LabTenant {
  const certificateName = clientCertificateName(name, setup, own);
  const inline: InboundConnector = {
    name: 'Postern in',
    type: 'partner',
    senderDomains: ['*'],
    requireTls: true,
    restrictDomainsToCertificate: true,
    tlsSenderCertificateName: certificateName,
    efSkipLastIp: true,
  };
  const loopBack: InboundConnector = {
    name: 'Postern loop in',
    type: 'on-premises',
    senderDomains: ['*'],
    requireTls: true,
    tlsSenderCertificateName: certificateName,
    efSkipLastIp: true,
  };
  const certificateDomain: AcceptedDomain[] =
    setup === 'on-premises' && !own ? [{ name: certificateName, type: 'authoritative' }] : [];
  return {
    ...base,
    acceptedDomains: [
      ...base.acceptedDomains,
      ...certificateDomain,
    ] as unknown as LabTenant['acceptedDomains'],
    connectors: [setup === 'partner' ? inline : loopBack],
    rejectDirectSend: true,
    outboundConnectors: [outboundConnector(setup)],
    rules: routingRules(setup, secret, own?.doneTokens),
  };
}

function outboundConnector(setup: ConnectorSetup): OutboundConnector {
  return {
    name: setup === 'partner' ? 'Postern out' : 'Postern loop out',
    type: setup,
    isTransportRuleScoped: true,
    tlsSettings: 'domain-validation',
    tlsDomain: GATEWAY_NAME,
  };
}

/**
 * Inline: no FromScope, so that forwarded mail comes to the gateway too. Loop-back: mail from outside on its way in, and what
 * an own user sends out, but for out-of-office replies; what has been at the gateway is known by a token.
 */
function routingRules(
  setup: ConnectorSetup,
  secret: string,
  tokens: OwnTenant['doneTokens'],
): readonly TransportRule[] {
  const common = {
    setHeader: { name: 'X-Postern-Tenant-Auth', value: secret },
    routeMessageOutboundConnector: outboundConnector(setup).name,
    ruleErrorAction: 'defer',
  } as const;
  if (setup === 'partner') return [{ name: 'Postern route', ...common, sentToScope: 'not-in-organization' }];
  return [
    {
      name: 'Postern 100 inbound',
      ...common,
      ...exceptDone(tokens?.inbound),
      fromScope: 'not-in-organization',
      sentToScope: 'in-organization',
      stopRuleProcessing: true,
    },
    {
      name: 'Postern 200 outbound',
      ...common,
      ...exceptDone(tokens?.outbound),
      fromScope: 'in-organization',
      sentToScope: 'not-in-organization',
      exceptIfMessageTypeMatches: ['oof'],
      stopRuleProcessing: true,
    },
    { name: 'Postern 900 clean', sentToScope: 'not-in-organization', removeHeader: 'X-Postern-Done' },
  ];
}

function exceptDone(token: string | undefined): Pick<TransportRule, 'exceptIfHeaderMatches'> {
  if (token === undefined) return {};
  return { exceptIfHeaderMatches: { header: 'X-Postern-Done', pattern: new RegExp(token) } };
}

/** Sends everything to a gateway that is not its own, on purpose. */
function hostile(tenant: LabTenant): LabTenant {
  const connector: OutboundConnector = {
    name: 'somebody’s gateway',
    type: 'partner',
    isTransportRuleScoped: false,
    recipientDomains: ['*'],
  };
  return { ...tenant, outboundConnectors: [connector] };
}

/** The initial domain of a real tenant is known by its form. */
function operators({ id, domains }: OwnTenant): LabTenant {
  const [first, ...others] = domains.map((name): AcceptedDomain => ({ name, type: 'authoritative' }));
  const initialDomain = domains.find((name) => /\.onmicrosoft\.[a-z]+$/.test(name)) ?? domains[0];
  const acceptedDomains = [first ?? { name: domains[0], type: 'authoritative' as const }, ...others] as const;
  return { name: 'contoso', id, acceptedDomains: [...acceptedDomains], initialDomain, connectors: [] };
}

function stranger(name: TenantName, own?: OwnTenant): LabTenant {
  const initial = `${name}.onmicrosoft.example`;
  const initialDomain = own?.domains.includes(initial) ? `${name}-lab.onmicrosoft.example` : initial;
  return {
    name,
    id: own?.id === IDS[name] ? IDS.contoso : IDS[name],
    acceptedDomains: [
      { name: tenantDomain(name, own), type: 'authoritative' },
      { name: initialDomain, type: 'authoritative' },
    ],
    initialDomain,
    connectors: [],
  };
}

/** A tenant of the lab gives way where an operator has its name. */
function tenantDomain(name: TenantName, own?: OwnTenant): string {
  return own?.domains.includes(`${name}.example`) ? `${name}-lab.example` : `${name}.example`;
}

/** A domain whose MX is Exchange Online. */
function exchangeMx(domain: string): DnsZones {
  return {
    [domain]: { MX: [[0, exchangeHost(domain)]] },
    [exchangeHost(domain)]: { A: [LAB_ADDRESSES.exchangeServer] },
  };
}

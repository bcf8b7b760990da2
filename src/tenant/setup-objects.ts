// What a tenant needs for the gateway: connectors and rules, as data, for each topology. The scripts that make, check and
// remove them are made from this.
import type { Value } from './powershell.ts';

/** `inline`: the MX leads to the gateway. `loop-back`: the MX stays at Microsoft, mail goes out to the gateway and back. */
export type Topology = 'inline' | 'loop-back';

/** Everything a script needs to know. Domains and host names are lower-case A-labels. */
export interface SetupInput {
  readonly topology: Topology;
  readonly tenant: { readonly id: string; readonly name: string; readonly domains: readonly string[] };
  /** The name that Exchange Online connects to, and that the listener's certificate has. */
  readonly gatewayHost: string;
  /** DNS name of the certificate that the gateway shows to this tenant. */
  readonly certificateName: string;
  /** Where Exchange Online takes the tenant's mail. */
  readonly exchangeHost: string;
  /** d= of the gateway's ARC seals. */
  readonly arcSealer: string;
  /** Only mail of and for this domain goes through the gateway. */
  readonly pilotDomain?: string;
  /** Printed into the script; without them the script asks. */
  readonly secrets?: SetupSecrets;
}

export interface SetupSecrets {
  readonly tenantAuth?: string;
  readonly inboundToken?: string;
  readonly outboundToken?: string;
}

export type SecretName = keyof SetupSecrets;

export interface Setting {
  readonly name: string;
  readonly value: Value;
  /** False: not compared by the report, because it is secret or Exchange Online shows it in another form. */
  readonly isCompared?: false;
}

export interface TenantObject {
  readonly kind: 'outbound connector' | 'inbound connector' | 'rule';
  readonly name: string;
  /** For people, in plain words. */
  readonly why: string;
  readonly settings: readonly Setting[];
  /** Values that the settings refer to as `$tenantAuth` and so on. */
  readonly secrets: readonly SecretName[];
}

export interface TenantObjects {
  readonly outbound: TenantObject;
  readonly inbound: TenantObject;
  /** In the order of their priority. */
  readonly rules: readonly TenantObject[];
}

/** `contoso.onmicrosoft.com`: its records in the DNS are Microsoft's. */
export function isInitialDomain(domain: string): boolean {
  return /\.onmicrosoft\.[^.]+$/.test(domain);
}

/** Name of the field by which the routing rule proves the tenant, and of the mark that ends the loop back. */
const AUTH_FIELD = 'X-Postern-Tenant-Auth';
const DONE_FIELD = 'X-Postern-Done';

/** The connectors and rules of a topology. Rules and the inbound connector are made switched off. */
export function objectsOf(input: SetupInput): TenantObjects {
  const rules = input.topology === 'inline' ? [routeRule(input)] : loopBackRules(input);
  return { outbound: outboundConnector(input), inbound: inboundConnector(input), rules };
}

/**
 * Not part of mail flow, switched on only where it is wanted. SECURITY: inline only. There, everything from outside has come
 * through the gateway, which removes such marks; with the loop-back, spam that stays at Exchange Online could bring its own.
 */
export function safeLinksRule({ pilotDomain }: SetupInput): TenantObject {
  return {
    kind: 'rule',
    name: 'Postern signed mail',
    why: `Safe Links rewrites links, which breaks the signature of a signed message. This rule exempts messages whose signature the gateway found intact and trusted; it removes such marks from everything that comes from outside. It is made switched off. Switch it on by hand (Enable-TransportRule) if readers see broken signatures: exempt mail goes without that protection.`,
    settings: [
      { name: 'HeaderMatchesMessageHeader', value: 'X-Postern-Signature' },
      { name: 'HeaderMatchesPatterns', value: 'signature=intact;\\s*trust=trusted;' },
      { name: 'SetHeaderName', value: 'X-MS-Exchange-Organization-SkipSafeLinksProcessing' },
      { name: 'SetHeaderValue', value: '1' },
      ...(pilotDomain === undefined ? [] : [{ name: 'RecipientDomainIs', value: [pilotDomain] }]),
      { name: 'Enabled', value: false, isCompared: false },
    ],
    secrets: [],
  };
}

function outboundConnector({ topology, gatewayHost }: SetupInput): TenantObject {
  const isInline = topology === 'inline';
  return {
    kind: 'outbound connector',
    name: isInline ? 'Postern out' : 'Postern loop out',
    why: `Leads to the gateway. Nothing uses it until a rule does (IsTransportRuleScoped), so it can be switched on from the start. Exchange Online insists on TLS with a certificate of a public CA for ${gatewayHost}. "Retain service headers" (CloudServicesMailEnabled) stays off: such header fields give privilege and must not leave the tenant. The comment keeps what was set before, for the roll-back.`,
    settings: [
      { name: 'ConnectorType', value: isInline ? 'Partner' : 'OnPremises' },
      { name: 'IsTransportRuleScoped', value: true },
      { name: 'UseMXRecord', value: false },
      { name: 'SmartHosts', value: [gatewayHost] },
      { name: 'TlsSettings', value: 'DomainValidation' },
      { name: 'TlsDomain', value: gatewayHost },
      { name: 'CloudServicesMailEnabled', value: false },
      { name: 'Comment', value: { code: '$before' }, isCompared: false },
      { name: 'Enabled', value: true },
    ],
    secrets: [],
  };
}

function inboundConnector({ topology, certificateName, pilotDomain }: SetupInput): TenantObject {
  const isInline = topology === 'inline';
  const why = isInline
    ? `Takes mail from the gateway, by the name of the certificate that it shows. Once it is on with these settings, Exchange Online refuses every other host that delivers mail from outside to the accepted domains, the initial one included; on-premises servers need a connector of type OnPremises of their own. EFSkipLastIP makes its filters judge the host before the gateway. It is made switched off.`
    : `Takes mail back from the gateway, by the name of the certificate that it shows, and counts it as the tenant's own. The name has to be an accepted domain of this tenant and of no other. EFSkipLastIP makes the filters of Exchange Online judge the host before the gateway. It is made switched off.`;
  const restriction: readonly Setting[] = isInline
    ? [{ name: 'RestrictDomainsToCertificate', value: true }]
    : [];
  return {
    kind: 'inbound connector',
    name: isInline ? 'Postern in' : 'Postern loop in',
    why: pilotDomain === undefined ? why : `${why} For the pilot it is limited to ${pilotDomain}.`,
    settings: [
      { name: 'ConnectorType', value: isInline ? 'Partner' : 'OnPremises' },
      { name: 'SenderDomains', value: 'smtp:*;1' },
      { name: 'RequireTls', value: true },
      ...restriction,
      { name: 'TlsSenderCertificateName', value: certificateName },
      { name: 'CloudServicesMailEnabled', value: false },
      { name: 'EFSkipLastIP', value: true },
      ...(pilotDomain === undefined ? [] : [{ name: 'AssociatedAcceptedDomains', value: [pilotDomain] }]),
      { name: 'Enabled', value: false, isCompared: false },
    ],
    secrets: [],
  };
}

/** What every routing rule has: Defer, because the default sends the message past the gateway where the rule fails. */
function routing(name: string, priority: number, connector: string): readonly Setting[] {
  return [
    { name: 'RouteMessageOutboundConnector', value: connector },
    { name: 'RuleErrorAction', value: 'Defer' },
    { name: 'Priority', value: priority, isCompared: false },
    { name: 'Comments', value: `${name}: made by the set-up of Postern`, isCompared: false },
    { name: 'Enabled', value: false, isCompared: false },
  ];
}

const tenantAuth: readonly Setting[] = [
  { name: 'SetHeaderName', value: AUTH_FIELD },
  { name: 'SetHeaderValue', value: { code: '$tenantAuth' }, isCompared: false },
];

function pilotSenders(pilotDomain: string | undefined): readonly Setting[] {
  return pilotDomain === undefined ? [] : [{ name: 'SenderDomainIs', value: [pilotDomain] }];
}

function routeRule({ pilotDomain }: SetupInput): TenantObject {
  return {
    kind: 'rule',
    name: 'Postern route',
    why: `Sends mail for recipients outside to the gateway, with the secret that proves to the gateway whose mail it is: all customers of Exchange Online share its addresses and certificate. If the rule cannot be carried out, the message waits (Defer); the default would let it leave without encryption. There is no condition on the sender's place, so that forwarded mail is routed as well. It is made switched off.`,
    settings: [
      { name: 'SentToScope', value: 'NotInOrganization' },
      ...pilotSenders(pilotDomain),
      ...routing('Postern route', 0, 'Postern out'),
      ...tenantAuth,
    ],
    secrets: ['tenantAuth'],
  };
}

function loopBackRules({ pilotDomain }: SetupInput): readonly TenantObject[] {
  const unlessDone = (token: SecretName): readonly Setting[] => [
    { name: 'ExceptIfHeaderMatchesMessageHeader', value: DONE_FIELD },
    {
      name: 'ExceptIfHeaderMatchesPatterns',
      value: { code: `([regex]::Escape($${token}))` },
      isCompared: false,
    },
  ];
  return [
    {
      kind: 'rule',
      name: 'Postern 100 inbound',
      why: `Sends mail from outside to the gateway, which decrypts and verifies it and brings it back. The gateway takes it only with the secret, since what it brings back counts as the tenant's own. What the gateway has marked as done with the token of this direction stays. What the filters take for spam stays as well. It is made switched off.`,
      settings: [
        { name: 'FromScope', value: 'NotInOrganization' },
        { name: 'SentToScope', value: 'InOrganization' },
        ...(pilotDomain === undefined ? [] : [{ name: 'RecipientDomainIs', value: [pilotDomain] }]),
        ...unlessDone('inboundToken'),
        { name: 'ExceptIfSCLOver', value: 5 },
        { name: 'SenderAddressLocation', value: 'HeaderOrEnvelope' },
        ...routing('Postern 100 inbound', 0, 'Postern loop out'),
        ...tenantAuth,
        { name: 'StopRuleProcessing', value: true },
      ],
      secrets: ['inboundToken', 'tenantAuth'],
    },
    {
      kind: 'rule',
      name: 'Postern 200 outbound',
      why: `Sends the mail of the organisation's senders for recipients outside to the gateway, with the secret that proves whose mail it is. What the gateway has marked as done with the token of this direction goes on to the Internet. Automatic replies leave directly. There is no exception for spam scores: it would let mail out unencrypted. Mail that mailboxes forward for senders outside, and mail of devices that do not log in, does not match and leaves directly. It is made switched off.`,
      settings: [
        { name: 'FromScope', value: 'InOrganization' },
        { name: 'SentToScope', value: 'NotInOrganization' },
        ...pilotSenders(pilotDomain),
        ...unlessDone('outboundToken'),
        { name: 'ExceptIfMessageTypeMatches', value: 'OOF' },
        { name: 'SenderAddressLocation', value: 'Header' },
        ...routing('Postern 200 outbound', 1, 'Postern loop out'),
        ...tenantAuth,
        { name: 'StopRuleProcessing', value: true },
      ],
      secrets: ['outboundToken', 'tenantAuth'],
    },
    {
      kind: 'rule',
      name: 'Postern 900 clean',
      why: `Takes the mark of the gateway off what leaves the organisation, so that nobody outside learns a token. It is made switched off, and is the first to be switched on.`,
      settings: [
        { name: 'SentToScope', value: 'NotInOrganization' },
        { name: 'RemoveHeader', value: DONE_FIELD },
        { name: 'Priority', value: 2, isCompared: false },
        { name: 'Enabled', value: false, isCompared: false },
      ],
      secrets: [],
    },
  ];
}

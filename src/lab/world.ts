// The whole lab on loopback: CAs, DNS, Exchange Online on both sides, an Internet host, and people. What a gateway needs
// to be configured against it can be read off the object or written to files.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { bytesSource } from '../core/bytes.ts';
import { createTestCa } from './ca.ts';
import { type LabAuthority, openAuthority } from './certificates.ts';
import { type DkimKey, dkimRecord } from './dkim-signer.ts';
import { type Dns, type DnsZones, openDns } from './dns.ts';
import type { TenantMail } from './exchange-client.ts';
import { type Attribution, type ExchangeRecord, openRecord, type TenantMessage } from './exchange-record.ts';
import { type ExchangeServer, openExchangeServer } from './exchange-server.ts';
import type { LabTenant } from './exchange-tenant.ts';
import { type ExchangeTransport, openTransport } from './exchange-transport.ts';
import { type GatewayFiles, writeGatewayFiles } from './gateway-files.ts';
import { type Internet, type InternetOptions, openInternet } from './internet.ts';
import type { ReceivedMessage } from './internet-session.ts';
import { issueIdentities, type LabIdentities } from './lab-identities.ts';
import { type LabClock, openLabClock } from './lab-clock.ts';
import { type LabSenders, openSenders, type SendOptions } from './lab-senders.ts';
import {
  type ConnectorSetup,
  exchangeHost,
  GATEWAY_NAME,
  type HostedTenantName,
  LAB_ADDRESSES,
  labTenants,
  labZones,
  type OwnTenant,
  type TenantName,
} from './lab-tenants.ts';
import { makePerson, type Person, type PersonOptions } from './people.ts';
import type { LabTarget } from './smtp-client.ts';
import type { Submission, SubmissionResult } from './submission.ts';

export interface LabOptions {
  /** How the hosted tenants are set up. Default `partner`. */
  readonly connectors?: ConnectorSetup;
  /** An operator's tenant in the place of contoso. */
  readonly own?: OwnTenant;
  /** Changes tenants before anything opens: recipients, wrong connectors, rule exceptions. */
  readonly customise?: (tenant: LabTenant) => LabTenant;
  /** More DNS names, or other records for those that are there. */
  readonly zones?: DnsZones;
  readonly internet?: Pick<InternetOptions, 'extensions' | 'faults' | 'domains'> & {
    /** False: STARTTLS is not offered. */
    readonly offersTls?: boolean;
  };
  /** False: bodies are hashed and thrown away, for large runs. Default true. */
  readonly keepsBytes?: boolean;
  readonly maxHops?: number;
  /** Called for every message that reached a mailbox of a tenant, or the Internet. */
  readonly onArrival?: (arrival: Arrival) => void;
  /** Called for every recipient that Exchange Online judged, refused ones too. */
  readonly onAttribution?: (attribution: Attribution) => void;
}

export type Arrival =
  | { readonly kind: 'tenant'; readonly message: TenantMessage }
  /** To the Internet, straight from Exchange Online. */
  | { readonly kind: 'direct'; readonly message: TenantMessage }
  | { readonly kind: 'internet'; readonly message: ReceivedMessage };

export interface Lab extends AsyncDisposable {
  /** Trusted by all TLS sides. */
  readonly publicCa: LabAuthority;
  readonly rogueCa: LabAuthority;
  /** Root and intermediate that issue the people's S/MIME certificates, PEM. */
  readonly mailCa: { readonly rootPem: string; readonly intermediatePem: string };
  readonly identities: LabIdentities;
  readonly tenants: Readonly<Record<TenantName, LabTenant>>;
  /** Value of X-Postern-Tenant-Auth that the tenant's routing rule sets. */
  readonly secrets: Readonly<Record<HostedTenantName, string>>;
  readonly dns: Dns;
  readonly exchange: ExchangeServer;
  /** Exchange Online as the service that sends tenants' mail: rules, connectors, queue and NDRs. */
  readonly transport: ExchangeTransport;
  /** The time of Exchange Online. It stands still until it is advanced. */
  readonly clock: LabClock;
  readonly internet: Internet;
  /** Every MX of the lab listens on this port, on addresses of its own. */
  readonly mxPort: number;
  /** Host name of a tenant in Exchange Online; resolves in the lab's DNS, and is in the server's certificate. */
  exchangeHostOf(tenant: TenantName): string;
  /** Says where the gateway listens: for everything that is sent from now on, and for the tenants' rules. */
  useGateway(target: LabTarget): void;
  /** A DKIM key of the domain, published in the lab's DNS; made once. */
  dkimKey(domain: string): DkimKey;
  /** One attempt at the gateway; `transport` is what does more. */
  sendFromTenant(tenant: TenantName, mail: TenantMail, options?: SendOptions): Promise<SubmissionResult>;
  /** Mail of several tenants over one connection, each as it would go alone. */
  sendTogether(
    mails: readonly { readonly tenant: TenantName; readonly mail: TenantMail }[],
  ): Promise<readonly SubmissionResult[]>;
  /** From an Internet host to the gateway; STARTTLS without a client certificate unless told otherwise. */
  sendFromInternet(submission: Submission, options?: SendOptions): Promise<SubmissionResult>;
  makePerson(address: string, options?: PersonOptions): Promise<Person>;
  /** Writes what a gateway's configuration refers to; keys with mode 0600. The folder is made where it is missing. */
  writeGatewayFiles(folder: string): Promise<GatewayFiles>;
}

const MAX_PORT_TRIES = 10;

/** Opens everything. The caller disposes it; a gateway must be closed before. */
export async function openLab(options: LabOptions = {}): Promise<Lab> {
  const setup = options.connectors ?? 'partner';
  const [publicCa, rogueCa, mail] = await Promise.all([
    openAuthority('public'),
    openAuthority('public'),
    openMailCa(),
  ]);
  const { own } = options;
  const identities = await issueIdentities(publicCa, rogueCa, setup, own);
  const secrets = { contoso: own?.secret ?? randomSecret(), fabrikam: randomSecret() };
  const tenants = customised(labTenants(setup, secrets, own), options.customise);
  const senders = openSenders(identities, publicCa);
  const zones = { ...labZones(own), ...options.zones };
  const record = openRecord();
  const clock = openLabClock();
  const transport = openLabTransport(record, clock, senders, zones, options);
  const exchange = { record, clock, transport };
  const servers = await openServers(options, identities, publicCa, Object.values(tenants), exchange);
  const dns = await openDns(zones);
  const dkimKeys = new Map<string, DkimKey>();
  return {
    publicCa,
    rogueCa,
    mailCa: { rootPem: mail.root.certificatePem, intermediatePem: mail.intermediate.certificatePem },
    identities,
    tenants,
    secrets,
    dns,
    ...servers,
    transport,
    clock,
    mxPort: servers.internet.port,
    exchangeHostOf: (tenant) =>
      own && tenant === 'contoso' ? own.host : exchangeHost(tenants[tenant].acceptedDomains[0].name),
    useGateway: (target) => senders.use(target),
    dkimKey: (domain) => {
      const key = dkimKeys.get(domain) ?? makeDkimKey(domain);
      dkimKeys.set(domain, key);
      dns.put({ [`${key.selector}._domainkey.${domain}`]: { TXT: [dkimRecord(key)] } });
      return key;
    },
    sendFromTenant: (tenant, message, how) => senders.fromTenant(tenants[tenant], message, how),
    sendTogether: (mails) =>
      senders.fromTenants(
        mails.map(({ tenant, mail: message }) => ({ tenant: tenants[tenant], mail: message })),
      ),
    sendFromInternet: (submission, how) => senders.fromInternet(submission, how),
    makePerson: (address, how) =>
      makePerson(address, mail.intermediate, mail.intermediate.certificatePem, how),
    writeGatewayFiles: (folder) =>
      writeGatewayFiles(folder, identities, publicCa.rootPem, mail.root.certificatePem),
    [Symbol.asyncDispose]: async () => {
      await servers.exchange[Symbol.asyncDispose]();
      await servers.internet[Symbol.asyncDispose]();
      await dns[Symbol.asyncDispose]();
    },
  };
}

interface ExchangeParts {
  readonly record: ExchangeRecord;
  readonly clock: LabClock;
  readonly transport: ExchangeTransport;
}

function openLabTransport(
  record: ExchangeRecord,
  clock: LabClock,
  senders: LabSenders,
  zones: DnsZones,
  options: LabOptions,
): ExchangeTransport {
  return openTransport({
    record,
    clock,
    gateway: () => senders.gateway(),
    tlsFor: (connector) => senders.tlsFor(connector),
    isGatewayDomain: (domain) => {
      const zone = zones[domain];
      return typeof zone === 'object' && zone.MX?.some(([, host]) => host === GATEWAY_NAME) === true;
    },
    delivered: (message) => options.onArrival?.({ kind: 'tenant', message }),
    left: (message) => options.onArrival?.({ kind: 'direct', message }),
  });
}

/** Internet and Exchange on one port: the gateway knows one port for all MX hosts. */
async function openServers(
  options: LabOptions,
  identities: LabIdentities,
  publicCa: LabAuthority,
  tenants: readonly LabTenant[],
  { transport, ...shared }: ExchangeParts,
): Promise<{ internet: Internet; exchange: ExchangeServer }> {
  const { offersTls = true, ...rest } = options.internet ?? {};
  const common = options.keepsBytes === undefined ? {} : { keepsBytes: options.keepsBytes };
  for (let tries = 1; ; tries += 1) {
    const internet = await openInternet({
      ...common,
      ...rest,
      address: LAB_ADDRESSES.internet,
      onMessage: (message) => options.onArrival?.({ kind: 'internet', message }),
      ...(offersTls ? { tls: { ...identities.internetServer, ca: [publicCa.rootPem] } } : {}),
    });
    try {
      const exchange = await openExchangeServer({
        ...common,
        ...shared,
        tenants,
        address: LAB_ADDRESSES.exchangeServer,
        port: internet.port,
        onMessage: (message) => options.onArrival?.({ kind: 'tenant', message }),
        onAttribution: (attribution) => options.onAttribution?.(attribution),
        tls: { ...identities.exchangeServer, ca: [publicCa.rootPem] },
        route: async (tenant, { sender, recipients, delivered }) => {
          // What came in as the tenant's own is on-premises mail to it.
          const message = bytesSource(delivered);
          await transport.send(tenant, { from: sender, to: recipients, message, template: 'hybrid' });
          return true;
        },
        ...(options.maxHops === undefined ? {} : { maxHops: options.maxHops }),
      });
      return { internet, exchange };
    } catch (error) {
      await internet[Symbol.asyncDispose]();
      if (tries === MAX_PORT_TRIES) throw error;
    }
  }
}

async function openMailCa() {
  const root = await createTestCa('mail root');
  const intermediate = await root.issueCa({
    commonName: 'mail intermediate',
    keyType: 'p256',
    pathLength: 0,
  });
  return { root, intermediate };
}

function customised(
  tenants: Readonly<Record<TenantName, LabTenant>>,
  customise: LabOptions['customise'],
): Readonly<Record<TenantName, LabTenant>> {
  if (!customise) return tenants;
  return {
    contoso: customise(tenants.contoso),
    fabrikam: customise(tenants.fabrikam),
    evil: customise(tenants.evil),
    partner: customise(tenants.partner),
  };
}

function makeDkimKey(domain: string): DkimKey {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { domain, selector: 'selector1', key: privateKey };
}

function randomSecret(): string {
  return randomBytes(24).toString('base64url');
}

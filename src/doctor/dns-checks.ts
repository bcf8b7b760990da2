// Which names are looked up: those of the gateway, of each tenant's host, and of each domain.
import { createPublicKey } from 'node:crypto';
import { isInitialDomain } from '../tenant/setup-objects.ts';
import { readListenerChain } from './certificate-checks.ts';
import { type Finding, ok, type PlannedCheck, warn } from './check.ts';
import {
  judgeDkim,
  judgeDmarc,
  judgeGatewayAddresses,
  judgeHost,
  judgeMx,
  judgeOwnDkim,
  type MailSetup,
  microsoftDomain,
} from './dns-judgement.ts';
import { fetchPolicy, type FetchOptions, hasStsRecord, judgeStsPolicy, parseStsPolicy } from './mta-sts.ts';
import { type Lookup, type MxHost, type Names, recordsOf } from './names.ts';
import { judgeSpf, readSpf } from './spf.ts';
import type { Surroundings, TenantSurroundings } from './surroundings.ts';
import { judgeTlsa } from './tlsa.ts';

const ED25519_BYTES = 32;
const SELECTORS = ['selector1', 'selector2'];
/** Exchange Online connects to this port, whatever the listener's behind a firewall is. */
const SMTP_PORT = 25;

export function gatewayNameChecks(surroundings: Surroundings): readonly PlannedCheck[] {
  const { config, names, gatewayAddresses } = surroundings;
  return [
    {
      name: 'gateway address',
      run: async () => {
        const addresses = await gatewayAddresses;
        const back = await Promise.all(
          recordsOf(addresses).map(async (address) => [address, await names.reverse(address)] as const),
        );
        return judgeGatewayAddresses(config.hostname, addresses, new Map(back));
      },
    },
    {
      name: 'tlsa',
      run: async () =>
        judgeTlsa(
          await names.tlsa(`_${SMTP_PORT}._tcp.${config.hostname}`),
          await readListenerChain(surroundings),
        ),
    },
  ];
}

export function tenantNameChecks({ names, tenants }: Surroundings): readonly PlannedCheck[] {
  return tenants.map(({ loaded, name }) => {
    const { host } = loaded.policy.tenant.leg;
    return { name: `leg address ${name}`, run: async () => judgeHost(host, await names.addresses(host)) };
  });
}

/** Keys with which the gateway itself signs. */
export function ownDkimChecks({ names, tenants }: Surroundings): readonly PlannedCheck[] {
  return tenants.flatMap(({ loaded }) =>
    loaded.dkimSigners.map(({ domain, selector, key }) => ({
      name: `own dkim ${domain}`,
      run: async () => {
        const name = `${selector}._domainkey.${domain}`;
        const publicKey = createPublicKey(key.reveal());
        const der = publicKey.export({ type: 'spki', format: 'der' });
        const bytes = publicKey.asymmetricKeyType === 'ed25519' ? der.subarray(-ED25519_BYTES) : der;
        return judgeOwnDkim(name, bytes.toString('base64'), await names.txt(name));
      },
    })),
  );
}

export function domainChecks(
  surroundings: Surroundings,
  sts: Pick<FetchOptions, 'port' | 'ca'>,
): readonly PlannedCheck[] {
  return surroundings.tenants.flatMap((tenant) =>
    tenant.loaded.policy.tenant.domains.flatMap((domain) =>
      isInitialDomain(domain)
        ? [{ name: `dns ${domain}`, run: () => Promise.resolve(microsoftDomain) }]
        : checksOf(surroundings, tenant, domain, sts),
    ),
  );
}

function checksOf(
  surroundings: Surroundings,
  tenant: TenantSurroundings,
  domain: string,
  sts: Pick<FetchOptions, 'port' | 'ca'>,
): readonly PlannedCheck[] {
  const { names, config } = surroundings;
  const { topology, loaded } = tenant;
  const exchangeHost = loaded.policy.tenant.leg.host;
  const setup: MailSetup = { topology, gatewayHost: config.hostname, exchangeHost };
  const sendsItself = topology === 'inline' && loaded.policy.outbound.deliver === 'internet';
  return [
    { name: `mx ${domain}`, run: () => checkMx(surroundings, domain, setup) },
    {
      name: `spf ${domain}`,
      run: async () => {
        const gateway = sendsItself ? recordsOf(await surroundings.gatewayAddresses) : [];
        return judgeSpf(await readSpf(names, domain), topology, gateway);
      },
    },
    { name: `dkim ${domain}`, run: () => checkDkim(names, domain) },
    { name: `dmarc ${domain}`, run: async () => judgeDmarc(await findDmarc(names, domain)) },
    {
      name: `mta-sts ${domain}`,
      run: (signal) =>
        checkSts(domain, topology === 'inline' ? config.hostname : exchangeHost, { ...sts, names, signal }),
    },
  ];
}

/** An MX host with another name for the gateway's address is the gateway. */
async function checkMx(
  { names, gatewayAddresses }: Surroundings,
  domain: string,
  setup: MailSetup,
): Promise<Finding> {
  const lookup = await findMx(names, domain);
  const gateway = new Set(recordsOf(await gatewayAddresses));
  const aliases = new Set<string>();
  for (const { exchange } of recordsOf(lookup)) {
    const addresses = recordsOf(await names.addresses(exchange));
    if (addresses.length > 0 && addresses.every((address) => gateway.has(address))) aliases.add(exchange);
  }
  return judgeMx(lookup, setup, aliases);
}

/** Without an MX record, mail goes to the address of the domain itself (RFC 5321 §5.1). */
async function findMx(names: Names, domain: string): Promise<Lookup<MxHost>> {
  const lookup = await names.mx(domain);
  if (lookup.kind !== 'none') return lookup;
  const addresses = await names.addresses(domain);
  return addresses.kind === 'found'
    ? { kind: 'found', records: [{ exchange: domain, priority: 0 }] }
    : addresses;
}

async function checkDkim(names: Names, domain: string): Promise<Finding> {
  const found = await Promise.all(
    SELECTORS.map(
      async (selector) => [selector, await names.txt(`${selector}._domainkey.${domain}`)] as const,
    ),
  );
  return judgeDkim(domain, new Map(found));
}

/** The record of the domain, or of the nearest domain above it that has one. */
async function findDmarc(names: Names, domain: string): Promise<Lookup<string>> {
  const labels = domain.split('.');
  let lookup: Lookup<string> = { kind: 'none' };
  for (let at = 0; at <= labels.length - 2; at += 1) {
    lookup = await names.txt(`_dmarc.${labels.slice(at).join('.')}`);
    if (lookup.kind !== 'none') return lookup;
  }
  return lookup;
}

async function checkSts(domain: string, host: string, options: FetchOptions): Promise<Finding> {
  const record = await options.names.txt(`_mta-sts.${domain}`);
  if (record.kind === 'failed') return warn(`no answer from DNS (${record.reason})`, 'Try again.');
  if (!hasStsRecord(record)) return ok('no MTA-STS');
  try {
    return judgeStsPolicy(parseStsPolicy(await fetchPolicy(domain, options)), host);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return warn(
      `the policy of mta-sts.${domain} cannot be fetched (${code ?? message})`,
      'Publish it over HTTPS with a certificate of a public CA, or take the _mta-sts record away.',
    );
  }
}

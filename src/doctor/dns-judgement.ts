// What DNS records of a tenant's domain and of the gateway mean: pure judgements over look-ups.
import type { Topology } from '../tenant/setup-objects.ts';
import { fail, type Finding, merge, ok, skipped, warn } from './check.ts';
import { type Lookup, type MxHost, recordsOf } from './names.ts';

export interface MailSetup {
  readonly topology: Topology;
  readonly gatewayHost: string;
  /** Where Exchange Online takes the tenant's mail. */
  readonly exchangeHost: string;
}

const noAnswer = (reason: string): Finding =>
  warn(`no answer from DNS (${reason})`, 'Try again; if it stays so, look at internet.resolvers.');

/** `aliases`: MX hosts that have an address of the gateway. */
export function judgeMx(
  lookup: Lookup<MxHost>,
  { topology, gatewayHost, exchangeHost }: MailSetup,
  aliases: ReadonlySet<string>,
): Finding {
  if (lookup.kind === 'failed') return noAnswer(lookup.reason);
  const hosts = recordsOf(lookup)
    .toSorted((one, other) => one.priority - other.priority)
    .map(({ exchange }) => exchange);
  const right = topology === 'loop-back' ? exchangeHost : gatewayHost;
  if (hosts.length === 0)
    return warn(
      'no MX record and no address: nobody outside can write to this domain',
      `If the domain takes mail, let its MX lead to ${right}.`,
    );
  const found = `MX ${hosts.map((host) => host || '.').join(', ')}`;
  const isGateway = (host: string) => host === gatewayHost || aliases.has(host);
  const isExchange = (host: string) => host === exchangeHost || isExchangeHost(host);
  if (topology === 'loop-back') {
    return hosts.every(isExchange)
      ? ok(found)
      : fail(found, `With the loop-back, the MX stays at Microsoft: let it lead to ${exchangeHost} only.`);
  }
  if (hosts.every(isGateway)) return ok(found);
  if (hosts.every(isExchange))
    return warn(
      found,
      `Mail from the Internet does not pass the gateway yet. When the inbound connector is on, let the MX lead to ${gatewayHost}.`,
    );
  const also = hosts.some(isGateway) ? 'only ' : '';
  return fail(
    found,
    `Let the MX lead ${also}to ${gatewayHost}: what takes another way arrives encrypted, or is refused by Exchange Online.`,
  );
}

/** Hosts of Exchange Online that take mail. */
function isExchangeHost(host: string): boolean {
  return host.endsWith('.mail.protection.outlook.com') || host.endsWith('.mx.microsoft');
}

/** Addresses of the gateway's name, with the names that those addresses have. */
export function judgeGatewayAddresses(
  gatewayHost: string,
  addresses: Lookup<string>,
  names: ReadonlyMap<string, Lookup<string>>,
): Finding {
  if (addresses.kind === 'failed') return noAnswer(addresses.reason);
  if (addresses.kind === 'none')
    return fail(
      `${gatewayHost} has no address`,
      `Publish A (and AAAA) records for ${gatewayHost}: Exchange Online and the Internet look for the gateway there.`,
    );
  return merge(
    addresses.records.map((address) => {
      const reverse = names.get(address) ?? { kind: 'none' };
      if (recordsOf(reverse).includes(gatewayHost)) return ok(`${address} and back`);
      const told = recordsOf(reverse).join(', ') || 'no name';
      return warn(
        `${address} leads back to ${told}`,
        `Let the PTR record of ${address} name ${gatewayHost}: many servers refuse mail of hosts without it.`,
      );
    }),
  );
}

export function judgeHost(host: string, lookup: Lookup<string>): Finding {
  if (lookup.kind === 'found') return ok(`${host} is ${lookup.records.join(', ')}`);
  if (lookup.kind === 'failed') return noAnswer(lookup.reason);
  return fail(
    `${host} has no address`,
    'Correct tenant.leg.host in the policy file; Exchange Online names the host as MX of the domain.',
  );
}

/** The two selectors with which Exchange Online signs; their records are CNAMEs to Microsoft. */
export function judgeDkim(domain: string, selectors: ReadonlyMap<string, Lookup<string>>): Finding {
  const failed = [...selectors.values()].find((lookup) => lookup.kind === 'failed');
  const present = [...selectors].filter(([, lookup]) => recordsOf(lookup).some(isDkimKey));
  if (present.length > 0) return ok(`key of ${present.map(([name]) => name).join(' and ')}`);
  if (failed?.kind === 'failed') return noAnswer(failed.reason);
  return warn(
    `no key of ${[...selectors.keys()].join(' or ')}`,
    `Switch on DKIM signing for ${domain} in the tenant and publish the records that it asks for: the signature shows whose mail it is.`,
  );
}

/**
 * The record for a key with which the gateway signs. `published` is what p= has to be: the DER of the public key, or its 32 bytes
 * for Ed25519 (RFC 6376 §3.6.1, RFC 8463 §4.2), in base64.
 */
export function judgeOwnDkim(name: string, published: string, lookup: Lookup<string>): Finding {
  if (lookup.kind === 'failed') return noAnswer(lookup.reason);
  const keys = recordsOf(lookup).map(
    (record) => /(?:^|;)\s*p\s*=([^;]*)/.exec(record)?.[1]?.replace(/\s/g, '') ?? '',
  );
  if (keys.includes(published)) return ok(`published at ${name}`);
  const advice = `Publish the public key at ${name}, or take the entry out of outbound.dkim: until then signatures of the gateway fail, and DMARC rests on SPF.`;
  return fail(
    keys.length === 0 ? `no record at ${name}` : `the record at ${name} is for another key`,
    advice,
  );
}

/** An empty p= is a revoked key (RFC 6376 §3.6.1). */
function isDkimKey(record: string): boolean {
  return /(?:^|;)\s*p\s*=\s*[A-Za-z0-9+/]/.test(record);
}

/** Records at `_dmarc` of the domain, or of the organisation's domain above it. */
export function judgeDmarc(lookup: Lookup<string>): Finding {
  if (lookup.kind === 'failed') return noAnswer(lookup.reason);
  const records = recordsOf(lookup).filter((record) => /^v\s*=\s*DMARC1\s*(?:;|$)/i.test(record));
  const [record = ''] = records;
  if (records.length === 0)
    return warn(
      'no DMARC record',
      'Publish one, at first with p=none: receivers then report who sends under the name of the domain.',
    );
  if (records.length > 1)
    return fail(
      `${records.length} DMARC records`,
      'Leave one: with several, receivers act as if there were none.',
    );
  const policy = /;\s*p\s*=\s*(\w+)/i.exec(record)?.[1]?.toLowerCase();
  if (policy === undefined) return fail('DMARC record without p=', 'Add p=none, p=quarantine or p=reject.');
  return ok(`p=${policy}`);
}

/** Where nothing is looked up: the initial domain's records are Microsoft's. */
export const microsoftDomain = skipped('the initial domain, whose records are those of Microsoft');

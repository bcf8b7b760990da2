// Recipients of an LDAP directory, Active Directory as a rule: a paged search that reads every entry, hidden ones too, over
// TLS with a verified name. A search that ends early is a failure and never a short list.
import { type Client, type Entry, FilterParser } from 'ldapts';
import { parseAddress } from '../../core/address.ts';
import type { Secret } from '../../core/secret.ts';
import { describeLdapFailure, LdapConnection } from './ldap-connection.ts';
import { type LoadContext, parseProxyAddress, type RecipientSource, unavailable } from './source.ts';

export interface LdapOptions {
  /** `ldaps://host[:port]`, or `ldap://host[:port]`, which is clear text unless `startTls`. */
  readonly url: string;
  readonly startTls: boolean;
  readonly base: string;
  readonly bindDn: string;
  readonly password: Secret;
  /** RFC 4515, as the operator wrote it. Nothing of a message or a session is ever put into it. */
  readonly filter: string;
  /** PEM; undefined: the roots of the system. */
  readonly ca?: string;
  readonly pageSize: number;
  readonly limits?: Partial<LdapLimits>;
}

export interface LdapLimits {
  readonly maxEntries: number;
  readonly maxPageBytes: number;
  readonly connectTimeoutMs: number;
  /** For one page, or the bind. */
  readonly operationTimeoutMs: number;
  readonly loadTimeoutMs: number;
}

const DEFAULT_LIMITS: LdapLimits = {
  maxEntries: 1_000_000,
  maxPageBytes: 64 * 1024 * 1024,
  connectTimeoutMs: 30_000,
  operationTimeoutMs: 60_000,
  loadTimeoutMs: 15 * 60_000,
};
const ATTRIBUTES = ['proxyAddresses', 'mail'];

export function ldapSource(options: LdapOptions): RecipientSource {
  const { url, base, bindDn, filter } = options;
  return {
    name: 'ldap',
    settings: JSON.stringify([url, base, bindDn, filter]),
    load: async (_, context) => ({ addresses: await loadAddresses(options, context) }),
  };
}

async function loadAddresses(options: LdapOptions, { signal }: LoadContext): Promise<ReadonlySet<string>> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const late = AbortSignal.timeout(limits.loadTimeoutMs);
  const connection = new LdapConnection(options, limits, AbortSignal.any([signal, late]));
  try {
    await connection.open();
    return await readAll(connection, options, limits);
  } catch (error) {
    if (late.aborted) throw unavailable('the server takes too long', error);
    throw unavailable(connection.failure ?? describeLdapFailure(error), error);
  } finally {
    connection.close();
  }
}

async function readAll(
  connection: LdapConnection,
  { base, filter, pageSize }: LdapOptions,
  { maxEntries }: LdapLimits,
): Promise<ReadonlySet<string>> {
  const addresses = new Set<string>();
  const search: Parameters<Client['search']>[1] = { scope: 'sub', filter, attributes: ATTRIBUTES };
  let entries = 0;
  for await (const page of connection.pages(base, search, pageSize)) {
    entries += page.length;
    if (entries > maxEntries) throw unavailable(`more than ${maxEntries} entries`);
    for (const entry of page) for (const key of addressesOf(entry)) addresses.add(key);
  }
  return addresses;
}

function addressesOf(entry: Entry): readonly string[] {
  return Object.entries(entry).flatMap(([attribute, values]) => {
    const name = attribute.toLowerCase();
    // QUIRK: Active Directory gives very long lists in pieces, as `name;range=0-1499` (test: range).
    if (name.includes(';range='))
      throw unavailable('an entry has more addresses than the server gives at once');
    const parse = name === 'proxyaddresses' ? parseProxyAddress : name === 'mail' ? parseAddress : undefined;
    if (!parse) return [];
    // What is not UTF-8 comes as bytes, and is no address.
    const texts = [values].flat().filter((value) => typeof value === 'string');
    return texts.flatMap((value) => parse(value)?.key ?? []);
  });
}

/** Whether the text is a search filter of RFC 4515. */
export function isLdapFilter(text: string): boolean {
  try {
    FilterParser.parseString(text);
    return text.startsWith('(');
  } catch {
    return false;
  }
}

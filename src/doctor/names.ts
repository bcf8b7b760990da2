// DNS look-ups for the doctor, over the resolvers of the configuration. "No such record" and "no answer" are two outcomes.
import { Resolver } from 'node:dns/promises';
import { isIPv6 } from 'node:net';

export type Lookup<T> =
  | { readonly kind: 'found'; readonly records: readonly T[] }
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly reason: string };

export interface MxHost {
  readonly exchange: string;
  readonly priority: number;
}

export interface TlsaRecord {
  readonly certUsage: number;
  readonly selector: number;
  readonly match: number;
  readonly data: Uint8Array;
}

/** Look-ups never reject. Host names come back in lower case, without a dot at the end. */
export interface Names {
  mx(name: string): Promise<Lookup<MxHost>>;
  /** IPv4 and IPv6. */
  addresses(name: string): Promise<Lookup<string>>;
  /** Each record as one text. */
  txt(name: string): Promise<Lookup<string>>;
  tlsa(name: string): Promise<Lookup<TlsaRecord>>;
  reverse(address: string): Promise<Lookup<string>>;
}

const TIMEOUT_MS = 2_000;
const TRIES = 2;
const NO_RECORD = new Set(['ENODATA', 'ENOTFOUND']);

/** `servers` as in `internet.resolvers`; empty: those of the system. Throws where one is no address. */
export function openNames(servers: readonly string[]): Names {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
  if (servers.length > 0) resolver.setServers(servers);
  return {
    mx: (name) =>
      lookUp(async () =>
        (await resolver.resolveMx(name)).map(({ exchange, priority }) => ({
          exchange: plain(exchange),
          priority,
        })),
      ),
    addresses: async (name) =>
      bothOf(await lookUp(() => resolver.resolve4(name)), await lookUp(() => resolver.resolve6(name))),
    txt: (name) => lookUp(async () => (await resolver.resolveTxt(name)).map((strings) => strings.join(''))),
    tlsa: (name) =>
      lookUp(async () =>
        (await resolver.resolveTlsa(name)).map((record) => ({
          ...record,
          data: new Uint8Array(record.data),
        })),
      ),
    // `reverse` of the resolver looks into the hosts file of this machine first, which nobody else sees.
    reverse: (address) => lookUp(async () => (await resolver.resolvePtr(reverseName(address))).map(plain)),
  };
}

/** The records, or nothing where there are none or no answer came. */
export function recordsOf<T>(lookup: Lookup<T>): readonly T[] {
  return lookup.kind === 'found' ? lookup.records : [];
}

async function lookUp<T>(resolve: () => Promise<readonly T[]>): Promise<Lookup<T>> {
  try {
    const records = await resolve();
    return records.length === 0 ? { kind: 'none' } : { kind: 'found', records };
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    return NO_RECORD.has(code) ? { kind: 'none' } : { kind: 'failed', reason: code };
  }
}

/** One family without records is no failure; one without an answer is, unless the other has some. */
function bothOf<T>(one: Lookup<T>, other: Lookup<T>): Lookup<T> {
  const records = [...recordsOf(one), ...recordsOf(other)];
  if (records.length > 0) return { kind: 'found', records };
  return one.kind === 'failed' ? one : other;
}

/** RFC 1035 §3.5, RFC 3596 §2.5. */
export function reverseName(address: string): string {
  if (!isIPv6(address)) return `${address.split('.').toReversed().join('.')}.in-addr.arpa`;
  const [head = '', tail] = address.toLowerCase().split('::');
  const [left, right] = [groupsOf(head), groupsOf(tail ?? '')];
  const middle = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const digits = [...left, ...middle, ...right].map((group) => group.padStart(4, '0')).join('');
  return `${Array.from(digits).toReversed().join('.')}.ip6.arpa`;
}

function groupsOf(part: string): readonly string[] {
  return part === '' ? [] : part.split(':');
}

function plain(host: string): string {
  return host.toLowerCase().replace(/\.$/, '');
}

// MTA-STS of a domain (RFC 8461): a policy that does not name the host where mail is taken makes senders hold it back.
import { request } from 'node:https';
import type { LookupFunction } from 'node:net';
import { isIP } from 'node:net';
import { fail, type Finding, ok, warn } from './check.ts';
import { type Lookup, type Names, recordsOf } from './names.ts';

export interface FetchOptions {
  readonly names: Names;
  readonly signal: AbortSignal;
  /** For tests. */
  readonly port?: number;
  readonly ca?: string;
}

export interface StsPolicy {
  readonly mode: 'enforce' | 'testing' | 'none';
  readonly mx: readonly string[];
}

const MAX_POLICY_BYTES = 65_536;
const FETCH_TIMEOUT_MS = 5_000;

/** Whether `_mta-sts` says that there is a policy. */
export function hasStsRecord(lookup: Lookup<string>): boolean {
  return recordsOf(lookup).filter((record) => /^v=STSv1\s*;/.test(record)).length === 1;
}

/** Fetches the policy. Rejects with the reason; a redirect counts as none (§3.3). */
export function fetchPolicy(domain: string, { names, signal, port, ca }: FetchOptions): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const outgoing = request(
    {
      host: `mta-sts.${domain}`,
      path: '/.well-known/mta-sts.txt',
      lookup: lookupOver(names),
      signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]),
      agent: false,
      ...(port === undefined ? {} : { port }),
      ...(ca === undefined ? {} : { ca }),
    },
    (response) => {
      const { statusCode = 0 } = response;
      if (statusCode !== 200) {
        response.destroy();
        reject(new Error(`the server answers ${statusCode}`));
        return;
      }
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        parts.push(part);
        if (size > MAX_POLICY_BYTES) response.destroy(new Error('the policy is too large'));
      });
      response.on('error', reject);
      response.on('end', () => {
        resolve(Buffer.concat(parts).toString('utf8'));
      });
    },
  );
  outgoing.on('error', (error: NodeJS.ErrnoException) =>
    reject(error.name === 'TimeoutError' ? new Error('no answer in time') : error),
  );
  outgoing.end();
  return promise;
}

/** The resolvers of the gateway, not those of the system. */
function lookupOver(names: Names): LookupFunction {
  return (host, options, callback) => {
    const answer = async () => {
      const addresses = recordsOf(await names.addresses(host)).map((address) => ({
        address,
        family: isIP(address),
      }));
      const [first] = addresses;
      if (!first) callback(Object.assign(new Error(`${host} has no address`), { code: 'ENOTFOUND' }), '', 0);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    };
    void answer();
  };
}

/** undefined for what is no policy. */
export function parseStsPolicy(text: string): StsPolicy | undefined {
  const lines = text.split(/\r?\n/).map((line) => /^([a-z_]+)\s*:\s*(.*?)\s*$/.exec(line));
  const values = (key: string) => lines.flatMap((line) => (line?.[1] === key ? [line[2] ?? ''] : []));
  const [mode] = values('mode');
  if (values('version')[0] !== 'STSv1') return undefined;
  if (mode !== 'enforce' && mode !== 'testing' && mode !== 'none') return undefined;
  return { mode, mx: values('mx').map((pattern) => pattern.toLowerCase()) };
}

/** `host`: where mail for the domain is taken. */
export function judgeStsPolicy(policy: StsPolicy | undefined, host: string): Finding {
  if (!policy)
    return warn(
      'the policy cannot be read',
      'Correct the policy file (RFC 8461), or take the _mta-sts record away.',
    );
  const { mode, mx } = policy;
  if (mode === 'none' || mx.some((pattern) => isMatch(pattern, host)))
    return ok(`mode ${mode}, names ${host}`);
  const found = `mode ${mode} names ${mx.join(', ') || 'no host'}, not ${host}`;
  const advice = `Add "mx: ${host}" to the policy, then change the id of the _mta-sts record. Senders keep the old policy for its max_age.`;
  return mode === 'enforce' ? fail(found, advice) : warn(found, advice);
}

/** A wildcard stands for exactly one label (§4.1). */
function isMatch(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === host;
  return host.slice(host.indexOf('.') + 1) === pattern.slice(2);
}

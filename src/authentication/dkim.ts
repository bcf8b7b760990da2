// DKIM signatures of a received message (RFC 6376), judged by mailauth in its strict mode. Only domains that the caller
// asks for are looked up: a stranger's signature proves nothing here and costs no DNS.
import { Readable } from 'node:stream';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { parseDomain } from '../core/address.ts';
import type { ByteSource } from '../core/bytes.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';
import { boundedLookup, type DnsLookup, NoRecord } from './dns-lookup.ts';

/** What one DKIM-Signature field says. `unavailable`: the key could not be looked up now. */
export interface DkimVerdict {
  /** d=, as a lower-case A-label; empty where there is none. */
  readonly domain: string;
  readonly result: 'pass' | 'fail' | 'unavailable';
  readonly reason: string;
}

export interface DkimOptions {
  /** Whether signatures of this domain (a lower-case A-label) matter. */
  readonly isWanted: (domain: string) => boolean;
  readonly lookup: DnsLookup;
  readonly at: Date;
}

const MAX_SIGNATURES = 10;
const LOOKUP_MS = 15_000;

/**
 * Verifies the signatures of wanted domains over the whole message; one verdict for each DKIM-Signature field. The header
 * section must be that of the message. A signature passes only if it covers From and the whole body (no l=, RFC 6376
 * §8.2), is in force (x=), and its key is not in test mode (t=y, §3.6.1). Throws what reading the message throws.
 */
export async function verifyDkim(
  message: ByteSource,
  header: HeaderSection,
  { isWanted, lookup, at }: DkimOptions,
): Promise<readonly DkimVerdict[]> {
  const domains = fieldsNamed(header, 'DKIM-Signature').map((field) => signingDomain(fieldValue(field)));
  const others = domains
    .filter((domain) => !isWanted(domain))
    .map((domain): DkimVerdict => ({ domain, result: 'fail', reason: 'domain is not looked at' }));
  const wanted = domains.filter(isWanted);
  if (wanted.length === 0) return others;
  if (wanted.length > MAX_SIGNATURES)
    return domains.map((domain) => ({ domain, result: 'fail', reason: 'too many signatures' }));
  const bounded = boundedLookup(lookup, LOOKUP_MS);
  const { results } = await dkimVerify(Readable.from(message.open(), { objectMode: false }), {
    strict: true,
    curTime: at,
    resolver: (name, type) =>
      isWanted(keyDomain(name)) ? (bounded(name, type) as Promise<string[][]>) : noRecord(),
  });
  const verdicts = results
    .map(toVerdict)
    .filter(({ domain }) => isWanted(domain))
    .slice(0, wanted.length);
  return [...verdicts, ...others];
}

/** The d= tag (RFC 6376 §3.5); what matters of it is judged by the verifier, this says whose signature it is. */
function signingDomain(value: string): string {
  const [, domain = ''] = /(?:^|;)[ \t]*d[ \t]*=[ \t]*([^; \t]*)/.exec(value) ?? [];
  return parseDomain(domain) ?? '';
}

/** The domain in `<selector>._domainkey.<domain>`. */
function keyDomain(name: string): string {
  const at = name.indexOf('._domainkey.');
  return at < 0 ? '' : (parseDomain(name.slice(at + '._domainkey.'.length)) ?? '');
}

function noRecord(): Promise<never> {
  return Promise.reject(new NoRecord('not looked at'));
}

type Result = Awaited<ReturnType<typeof dkimVerify>>['results'][number];

function toVerdict(found: Result): DkimVerdict {
  const domain = parseDomain(found.signingDomain ?? '') ?? '';
  const { result, comment } = found.status;
  const because = comment || result;
  if (result === 'temperror') return { domain, result: 'unavailable', reason: because };
  if (result !== 'pass') return { domain, result: 'fail', reason: because };
  // SECURITY: text behind the signed length would go out as the tenant's (test: dkim-length).
  if (found.canonBodyLengthLimited)
    return { domain, result: 'fail', reason: 'covers a part of the body (l=)' };
  if (found.status.testing) return { domain, result: 'fail', reason: 'key is in test mode (t=y)' };
  return { domain, result: 'pass', reason: 'pass' };
}

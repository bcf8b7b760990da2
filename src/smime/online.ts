// What the check of a certificate may ask over the network, for one message at a time: revocation, and issuers that are
// missing. The services live as long as the gateway; what a message may cause is bounded.
import { GatewayError } from '../core/errors.ts';
import type { WebFetch } from '../core/web.ts';
import { type Certificate, parseCertificate, parsePemCertificates } from './certificate.ts';
import { fieldsOf, oidOf, parseBer, TAG } from './der.ts';
import { ID } from './algorithms.ts';
import { openRevocationChecker, type PathRevocation } from './revocation.ts';
import { type CacheLimits, type WebBudget, WebCache } from './web-cache.ts';

/** `check`: a revoked certificate is not used; `require`: neither is one whose revocation cannot be checked. */
export type RevocationMode = 'off' | 'check' | 'require';

export interface OnlineSettings {
  readonly revocation: RevocationMode;
  /** Whether issuers that are missing are fetched from where a certificate names them. */
  readonly fetchesIssuers: boolean;
}

/** For one message. Neither function rejects. */
export interface OnlineChecks {
  readonly revocation?: {
    readonly isRequired: boolean;
    /** `known`: certificates that may have signed a CRL. */
    check(chain: readonly Certificate[], at: Date, known: readonly Certificate[]): Promise<PathRevocation>;
  };
  readonly issuersOf?: (certificate: Certificate, at: Date) => Promise<readonly Certificate[]>;
}

export interface OnlineServices {
  /** Undefined: nothing may be asked. */
  forMessage(settings: OnlineSettings): OnlineChecks | undefined;
}

// SECURITY: a message can name ten servers that never answer (test: budget of a message).
const MAX_FETCHES = 10;
const MAX_MESSAGE_MS = 30_000;
const MAX_ISSUERS_BYTES = 256 * 1024;
const MAX_ISSUERS = 20;
const MAX_URLS = 2;
const ISSUER_LIMITS: CacheLimits = {
  maxBytes: 16 * 1024 * 1024,
  maxEntries: 1_000,
  refreshMs: 24 * 3_600_000,
  failureMs: 10 * 60_000,
};

export function openOnlineServices(fetch: WebFetch, messageMs = MAX_MESSAGE_MS): OnlineServices {
  const checker = openRevocationChecker(fetch);
  const issuers = new WebCache(fetch, parseIssuers, ISSUER_LIMITS);
  return {
    forMessage({ revocation, fetchesIssuers }) {
      if (revocation === 'off' && !fetchesIssuers) return undefined;
      const budget = lazyBudget(messageMs);
      return {
        ...(revocation !== 'off' && {
          revocation: {
            isRequired: revocation === 'require',
            check: (chain, at, known) => checker.check(chain, at, budget(), known),
          },
        }),
        ...(fetchesIssuers && {
          issuersOf: (certificate, at) => issuersOf(certificate, issuers, at, budget()),
        }),
      };
    },
  };
}

/** The time runs from the first request on. */
function lazyBudget(messageMs: number): () => WebBudget {
  let budget: WebBudget | undefined;
  return () => (budget ??= { fetches: MAX_FETCHES, signal: AbortSignal.timeout(messageMs) });
}

async function issuersOf(
  { pointers }: Certificate,
  cache: WebCache<readonly Certificate[]>,
  at: Date,
  budget: WebBudget,
): Promise<readonly Certificate[]> {
  const urls = pointers.issuerUrls.filter((url) => /^https?:\/\//i.test(url)).slice(0, MAX_URLS);
  const found: Certificate[] = [];
  for (const url of urls) {
    const fetched = await cache.get(url, { url, maxBytes: MAX_ISSUERS_BYTES }, () => true, at, budget);
    if ('value' in fetched) found.push(...fetched.value);
  }
  return found;
}

/** One certificate, or a degenerate SignedData (RFC 5280 §4.2.2.1); PEM is common too. Throws GatewayError. */
function parseIssuers(bytes: Buffer): readonly Certificate[] {
  if (bytes[0] !== TAG.sequence) return parsePemCertificates(bytes.toString('latin1')).slice(0, MAX_ISSUERS);
  const outer = fieldsOf(parseBer(bytes));
  const type = outer.optional(TAG.oid);
  if (!type) return [parseCertificate(bytes)];
  if (oidOf(type) !== ID.signedData)
    throw new GatewayError('config-invalid', 'what is fetched is no certificate');
  const content = fieldsOf(fieldsOf(outer.take(0xa0), 0xa0).take(TAG.sequence));
  content.take(TAG.integer);
  content.take(TAG.set);
  content.take(TAG.sequence);
  const list = content.optional(0xa0)?.children ?? [];
  return list
    .slice(0, MAX_ISSUERS)
    .flatMap(({ tag, raw }) => (tag === TAG.sequence ? [parseCertificate(raw)] : []));
}

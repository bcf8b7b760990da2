// Revocation of the certificates of a path: each is asked for by OCSP first, then by the CRLs that it names. Only paths
// that end in a trusted root get here, so that strangers cannot make the gateway ask anybody.
import { randomBytes } from 'node:crypto';
import type { WebFetch } from '../core/web.ts';
import type { Certificate } from './certificate.ts';
import { MAX_LIST_BYTES, parseRevocationList, type RevocationList } from './crl.ts';
import { judgeByList } from './crl-status.ts';
import { judgeOcspAnswer, MAX_OCSP_BYTES, OCSP_REQUEST_TYPE, writeOcspRequest } from './ocsp.ts';
import { describeRevocation, type RevocationStatus, unknown } from './revocation-status.ts';
import { type CacheLimits, dropOldest, type WebBudget, WebCache } from './web-cache.ts';

/** The state of a whole path. `reason` says it in words, for log, mark and trace. */
export interface PathRevocation {
  readonly state: RevocationStatus['state'];
  /** Of `unknown`: asking again later may help. */
  readonly isTemporary: boolean;
  readonly reason: string;
}

export interface RevocationChecker {
  /** `chain`: validated, leaf first, anchor last. The anchor itself is trusted, not checked. Never rejects. */
  check(chain: readonly Certificate[], at: Date, budget: WebBudget): Promise<PathRevocation>;
}

const LIST_LIMITS: CacheLimits = {
  maxBytes: 128 * 1024 * 1024,
  maxEntries: 500,
  refreshMs: 4 * 3_600_000,
  failureMs: 60_000,
};
/** Answers are judged at once and kept as verdicts. */
const ANSWER_LIMITS: CacheLimits = { maxBytes: 0, maxEntries: 0, refreshMs: 0, failureMs: 60_000 };
const MAX_VERDICTS = 10_000;
const MAX_VERDICT_MS = 3_600_000;
const MAX_URLS = 3;
const NONCE_BYTES = 32;

interface KeptList {
  readonly list: RevocationList;
}

interface Verdict {
  readonly status: RevocationStatus;
  readonly until: number;
}

export function openRevocationChecker(fetch: WebFetch): RevocationChecker {
  return new OnlineChecker(fetch);
}

class OnlineChecker implements RevocationChecker {
  readonly #lists: WebCache<KeptList>;
  readonly #answers: WebCache<Buffer>;
  /** By fingerprint of certificate and issuer. */
  readonly #verdicts = new Map<string, Verdict>();

  constructor(fetch: WebFetch) {
    this.#lists = new WebCache(fetch, (bytes) => ({ list: parseRevocationList(bytes) }), LIST_LIMITS);
    this.#answers = new WebCache(fetch, (bytes) => bytes, ANSWER_LIMITS);
  }

  async check(chain: readonly Certificate[], at: Date, budget: WebBudget): Promise<PathRevocation> {
    let worst: PathRevocation = { state: 'good', isTemporary: false, reason: 'no certificate is revoked' };
    // From the root down: what a revoked CA says about others counts for nothing.
    for (let index = chain.length - 2; index >= 0; index -= 1) {
      const certificate = chain[index] as Certificate;
      const status = await this.#statusOf(certificate, chain.slice(index + 1), at, budget);
      const found: PathRevocation = {
        state: status.state,
        isTemporary: status.state === 'unknown' && status.isTemporary,
        reason: describeRevocation(status, index),
      };
      if (found.state === 'revoked') return found;
      if (found.state === 'unknown' && (worst.state === 'good' || worst.isTemporary)) worst = found;
    }
    return worst;
  }

  async #statusOf(
    certificate: Certificate,
    issuers: readonly Certificate[],
    at: Date,
    budget: WebBudget,
  ): Promise<RevocationStatus> {
    const [issuer] = issuers;
    if (!issuer) return unknown('its issuer is not known', false);
    const key = `${certificate.fingerprint}:${issuer.fingerprint}`;
    const known = this.#verdicts.get(key);
    if (known && known.until > at.getTime()) return known.status;
    const status = await this.#ask(certificate, issuers, at, budget);
    this.#verdicts.delete(key);
    if (status.state !== 'unknown') {
      const until = keptUntil(status, at);
      this.#verdicts.set(key, { status, until });
      dropOldest(this.#verdicts, MAX_VERDICTS);
    }
    return status;
  }

  async #ask(
    certificate: Certificate,
    issuers: readonly Certificate[],
    at: Date,
    budget: WebBudget,
  ): Promise<RevocationStatus> {
    const reasons: string[] = [];
    for (const url of webUrls(certificate.pointers.ocspUrls)) {
      const status = await this.#askResponder(url, certificate, issuers, at, budget);
      if (status.state !== 'unknown') return status;
      reasons.push(status.reason);
    }
    for (const url of webUrls(listUrls(certificate))) {
      const isCurrent = ({ list }: KeptList) => list.nextUpdate !== undefined && list.nextUpdate >= at;
      const found = await this.#lists.get(url, { url, maxBytes: MAX_LIST_BYTES }, isCurrent, at, budget);
      const status =
        'failure' in found
          ? unknown(found.failure)
          : await judgeByList(found.value.list, certificate, issuers, { at });
      if (status.state !== 'unknown') return status;
      reasons.push(status.reason);
    }
    return reasons.length === 0
      ? unknown('it names nobody who could be asked', false)
      : unknown([...new Set(reasons)].join('; '));
  }

  async #askResponder(
    url: string,
    certificate: Certificate,
    [issuer]: readonly Certificate[],
    at: Date,
    budget: WebBudget,
  ): Promise<RevocationStatus> {
    if (!issuer) return unknown('its issuer is not known', false);
    const question = { certificate, issuer, nonce: randomBytes(NONCE_BYTES) };
    const body = { type: OCSP_REQUEST_TYPE, bytes: writeOcspRequest(question) };
    // The nonce belongs to one question, so no two share an answer.
    const key = `${url} ${question.nonce.toString('hex')}`;
    const answer = await this.#answers.get(
      key,
      { url, body, maxBytes: MAX_OCSP_BYTES },
      () => false,
      at,
      budget,
    );
    return 'failure' in answer ? unknown(answer.failure) : judgeOcspAnswer(answer.value, question, at);
  }
}

/** SECURITY: revoked stays revoked, also where nobody can be asked later (test: revoked stays revoked). */
function keptUntil(status: Exclude<RevocationStatus, { state: 'unknown' }>, at: Date): number {
  if (status.state === 'revoked' && status.reason !== 'certificateHold') return Number.MAX_VALUE;
  return Math.min(status.until.getTime(), at.getTime() + MAX_VERDICT_MS);
}

/** Lists that are whole and by the issuer itself. */
function listUrls({ pointers }: Certificate): readonly string[] {
  return pointers.distributionPoints
    .filter(({ isPartial, isIndirect }) => !isPartial && !isIndirect)
    .flatMap(({ names }) => names.flatMap((name) => (name.kind === 'uri' ? [name.value] : [])));
}

/** LDAP and others are passed over: nobody is asked but by http and https. */
function webUrls(urls: readonly string[]): readonly string[] {
  return urls.filter((url) => /^https?:\/\//i.test(url)).slice(0, MAX_URLS);
}

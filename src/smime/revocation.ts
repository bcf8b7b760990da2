// Revocation of the certificates of a path: each is asked for by OCSP first, then by the CRLs that it names. Only paths
// that end in a trusted root get here, so that strangers cannot make the gateway ask anybody.
import { randomBytes } from 'node:crypto';
import type { WebFetch } from '../core/web.ts';
import type { Certificate } from './certificate.ts';
import { MAX_LIST_BYTES, parseRevocationList, type RevocationList } from './crl.ts';
import { HOLD } from './crl-entries.ts';
import { judgeByLists } from './crl-status.ts';
import { judgeOcspAnswer, MAX_OCSP_BYTES, OCSP_REQUEST_TYPE, writeOcspRequest } from './ocsp.ts';
import { urlsOfPoints } from './pointers.ts';
import { describeRevocation, type RevocationStatus, unknown } from './revocation-status.ts';
import { type CacheLimits, dropOldest, type WebBudget, WebCache } from './web-cache.ts';

/** The state of a whole path. `reason` says it in words, for log, mark and trace. */
export interface PathRevocation {
  readonly state: RevocationStatus['state'];
  /** Of `unknown`: asking again later may help. */
  readonly isTemporary: boolean;
  readonly reason: string;
  /** Whose state it is. */
  readonly culprit?: {
    /** In the path; the leaf is 0. */
    readonly place: number;
    /** Somebody else may have the key: no certificate for it can be believed. */
    readonly isKeyCompromised: boolean;
  };
}

export interface RevocationChecker {
  /**
   * `chain`: validated, leaf first, anchor last. The anchor itself is trusted, not checked. `known`: certificates that may
   * have signed a CRL. Never rejects.
   */
  check(
    chain: readonly Certificate[],
    at: Date,
    budget: WebBudget,
    known?: readonly Certificate[],
  ): Promise<PathRevocation>;
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
const COMPROMISED: ReadonlySet<string> = new Set(['keyCompromise', 'cACompromise', 'aACompromise']);

interface Asking {
  readonly at: Date;
  readonly budget: WebBudget;
  /** Certificates that may have signed a CRL. Undefined: this is the path of such a signer, whose lists its own CAs sign. */
  readonly known?: readonly Certificate[];
  readonly isOfSigner?: boolean;
}

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
  /** By fingerprint of certificate and issuer, and role. */
  readonly #verdicts = new Map<string, Verdict>();

  constructor(fetch: WebFetch) {
    this.#lists = new WebCache(fetch, (bytes) => ({ list: parseRevocationList(bytes) }), LIST_LIMITS);
    this.#answers = new WebCache(fetch, (bytes) => bytes, ANSWER_LIMITS);
  }

  async check(
    chain: readonly Certificate[],
    at: Date,
    budget: WebBudget,
    known: readonly Certificate[] = [],
  ): Promise<PathRevocation> {
    return this.#checkPath(chain, { at, budget, known });
  }

  async #checkPath(chain: readonly Certificate[], asking: Asking): Promise<PathRevocation> {
    let worst: PathRevocation = { state: 'good', isTemporary: false, reason: 'no certificate is revoked' };
    // From the root down: what a revoked CA says about others counts for nothing.
    for (let place = chain.length - 2; place >= 0; place -= 1) {
      const certificate = chain[place] as Certificate;
      const status = await this.#statusOf(certificate, chain.slice(place + 1), {
        ...asking,
        isOfSigner: !asking.known && place === 0,
      });
      const found: PathRevocation = {
        state: status.state,
        isTemporary: status.state === 'unknown' && status.isTemporary,
        reason: describeRevocation(status, place),
        culprit: {
          place,
          isKeyCompromised: status.state === 'revoked' && COMPROMISED.has(status.reason),
        },
      };
      if (found.state === 'revoked') return found;
      if (found.state === 'unknown' && (worst.state === 'good' || worst.isTemporary)) worst = found;
    }
    return worst;
  }

  async #statusOf(
    certificate: Certificate,
    issuers: readonly Certificate[],
    asking: Asking,
  ): Promise<RevocationStatus> {
    const [issuer] = issuers;
    if (!issuer) return unknown('its issuer is not known', false);
    // What a signer's own list says of it counts for no mail that it signs.
    const role = asking.isOfSigner ? 'crl' : 'path';
    const key = `${certificate.fingerprint}:${issuer.fingerprint}:${role}`;
    const known = this.#verdicts.get(key);
    if (known && known.until > asking.at.getTime()) return known.status;
    const status = await this.#ask(certificate, issuers, asking);
    this.#verdicts.delete(key);
    if (status.state !== 'unknown') {
      const until = keptUntil(status, asking.at);
      this.#verdicts.set(key, { status, until });
      dropOldest(this.#verdicts, MAX_VERDICTS);
    }
    return status;
  }

  async #ask(
    certificate: Certificate,
    issuers: readonly Certificate[],
    asking: Asking,
  ): Promise<RevocationStatus> {
    const reasons: string[] = [];
    for (const url of webUrls(certificate.pointers.ocspUrls)) {
      const status = await this.#askResponder(url, certificate, issuers, asking);
      if (status.state !== 'unknown') return status;
      reasons.push(status.reason);
    }
    const lists: RevocationList[] = [];
    for (const url of webUrls(urlsOfPoints(certificate.pointers.distributionPoints))) {
      const list = await this.#list(url, asking);
      if (typeof list === 'string') {
        reasons.push(list);
        continue;
      }
      lists.push(list, ...(await this.#deltasOf(list, certificate, asking)));
      const status = await this.#judge(lists, certificate, issuers, asking);
      if (status.state !== 'unknown') return status;
      reasons.push(status.reason);
    }
    return reasons.length === 0
      ? unknown('it names nobody who could be asked', false)
      : unknown([...new Set(reasons)].join('; '));
  }

  #judge(
    lists: readonly RevocationList[],
    certificate: Certificate,
    issuers: readonly Certificate[],
    asking: Asking,
  ): Promise<RevocationStatus> {
    const { at, budget, known, isOfSigner = false } = asking;
    const statusOf = async (chain: readonly Certificate[]) =>
      (await this.#checkPath(chain, { at, budget })).state;
    const others = known && { pool: [...issuers, ...known], statusOf };
    return judgeByLists(lists, certificate, issuers, { at, isOfSigner, ...(others && { others }) });
  }

  /** The list there, or why it is not to be had. */
  async #list(url: string, { at, budget }: Asking): Promise<RevocationList | string> {
    const isCurrent = ({ list }: KeptList) => list.nextUpdate !== undefined && list.nextUpdate >= at;
    const found = await this.#lists.get(url, { url, maxBytes: MAX_LIST_BYTES }, isCurrent, at, budget);
    return 'failure' in found ? found.failure : found.value.list;
  }

  /** Without them the complete list counts until the next one: a delta CRL that cannot be had is no failure. */
  async #deltasOf(
    { deltaUrls }: RevocationList,
    { pointers }: Certificate,
    asking: Asking,
  ): Promise<readonly RevocationList[]> {
    const deltas: RevocationList[] = [];
    for (const url of webUrls([...new Set([...urlsOfPoints(pointers.freshest), ...deltaUrls])])) {
      const list = await this.#list(url, asking);
      if (typeof list !== 'string') deltas.push(list);
    }
    return deltas;
  }

  async #askResponder(
    url: string,
    certificate: Certificate,
    [issuer]: readonly Certificate[],
    { at, budget }: Asking,
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
  if (status.state === 'revoked' && status.reason !== HOLD) return Number.MAX_VALUE;
  return Math.min(status.until.getTime(), at.getTime() + MAX_VERDICT_MS);
}

/** LDAP and others are passed over: nobody is asked but by http and https. */
function webUrls(urls: readonly string[]): readonly string[] {
  return urls.filter((url) => /^https?:\/\//i.test(url)).slice(0, MAX_URLS);
}

// Requests to Microsoft Graph: a token by client credentials, patience where the service throttles, and bounds on whatever
// it answers. What the pages mean belongs to graph.ts.
import type { Clock } from '../../core/clock.ts';
import { GatewayError } from '../../core/errors.ts';
import { Secret } from '../../core/secret.ts';
import { unavailable } from './source.ts';

export interface GraphOptions {
  readonly tenant: string;
  readonly clientId: string;
  readonly secret: Secret;
  /** Base of the API without a path: `https://graph.microsoft.com`, or that of a national cloud. */
  readonly endpoint: string;
  /** Base of the token service: `https://login.microsoftonline.com`. */
  readonly login: string;
  readonly limits?: Partial<GraphLimits>;
}

export interface GraphLimits {
  readonly maxResponseBytes: number;
  readonly maxPages: number;
  readonly maxObjects: number;
  readonly requestTimeoutMs: number;
  /** Longest wait that Retry-After may ask for; beyond it the load fails, and the next one tries again. */
  readonly maxRetryMs: number;
  readonly maxTries: number;
}

export const GRAPH_LIMITS: GraphLimits = {
  maxResponseBytes: 16 * 1024 * 1024,
  maxPages: 50_000,
  maxObjects: 1_000_000,
  requestTimeoutMs: 60_000,
  maxRetryMs: 10 * 60_000,
  maxTries: 6,
};

/** A page of a delta query; `expired`: the link is no longer known, and everything has to be read again. */
export type GraphAnswer = { readonly kind: 'page'; readonly body: unknown } | { readonly kind: 'expired' };

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: unknown;
}

const TOKEN_MARGIN_MS = 5 * 60_000;
const FIRST_BACKOFF_MS = 2_000;
const EXPIRED = new Set(['syncStateNotFound', 'syncStateInvalid', 'resyncRequired']);

export class GraphClient {
  readonly #options: GraphOptions;
  readonly #limits: GraphLimits;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #token: { readonly value: Secret; readonly until: number } | undefined;

  constructor(options: GraphOptions, limits: GraphLimits, clock: Clock, signal: AbortSignal) {
    this.#options = options;
    this.#limits = limits;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Reads one page of `what`. Throws GatewayError `recipients-unavailable`. */
  async get(link: string, what: string): Promise<GraphAnswer> {
    const url = this.#checkedUrl(link);
    let isTokenNew = false;
    for (let tries = 1; ; tries += 1) {
      const token = await this.#currentToken();
      const answer = await this.#send(url, { headers: { authorization: `Bearer ${token}` } });
      if (answer.status === 200) return { kind: 'page', body: answer.body };
      const code = errorCodeOf(answer.body);
      if (answer.status === 410 || EXPIRED.has(code)) return { kind: 'expired' };
      if (answer.status === 401 && !isTokenNew) {
        this.#token = undefined;
        isTokenNew = true;
      } else if (tries < this.#limits.maxTries && isTemporary(answer.status)) {
        await this.#pause(answer, tries);
      } else
        throw unavailable(
          `Microsoft Graph answers with ${answer.status}${code === '' ? '' : ` ${code}`} for ${what}`,
        );
    }
  }

  async #currentToken(): Promise<string> {
    const now = this.#clock.now().getTime();
    if (!this.#token || this.#token.until <= now) this.#token = await this.#newToken(now);
    return this.#token.value.reveal().toString('latin1');
  }

  async #newToken(now: number) {
    const { tenant, clientId, secret, endpoint, login } = this.#options;
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientId,
      client_secret: secret.reveal().toString('utf8'),
      scope: `${endpoint}/.default`,
    });
    const url = new URL(`${login}/${tenant}/oauth2/v2.0/token`);
    for (let tries = 1; ; tries += 1) {
      const answer = await this.#send(url, { method: 'POST', body: form });
      const { access_token: value, expires_in: seconds } = (answer.body ?? {}) as Record<string, unknown>;
      if (answer.status === 200 && typeof value === 'string' && /^[\x21-\x7e]{1,16384}$/.test(value)) {
        const lifeMs = typeof seconds === 'number' ? seconds * 1_000 : 0;
        return { value: new Secret(value), until: now + lifeMs - TOKEN_MARGIN_MS };
      }
      if (tries >= this.#limits.maxTries || !isTemporary(answer.status))
        throw unavailable(
          `the token service answers with ${answer.status}${describeTokenError(answer.body)}; check client_id and secret`,
        );
      await this.#pause(answer, tries);
    }
  }

  /** SECURITY: a link in an answer must not send the token anywhere else (test: foreign link). */
  #checkedUrl(link: string): URL {
    const base = new URL(this.#options.endpoint);
    const url = URL.canParse(link) ? new URL(link) : undefined;
    if (url?.origin !== base.origin || url.username !== '' || url.password !== '')
      throw unavailable('Microsoft Graph names a page at another host');
    return url;
  }

  async #send(url: URL, request: RequestInit): Promise<Answer> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(this.#limits.requestTimeoutMs)]);
    try {
      // SECURITY: a redirect would be followed to any host (test: redirect).
      const response = await fetch(url, { ...request, redirect: 'error', signal });
      const text = await this.#readText(response);
      return {
        status: response.status,
        retryAfter: response.headers.get('retry-after'),
        body: parseJson(text),
      };
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      throw unavailable(describeFetchFailure(error), error);
    }
  }

  async #readText(response: Response): Promise<string> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of response.body ?? []) {
      size += part.length;
      if (size > this.#limits.maxResponseBytes)
        throw unavailable(`an answer has more than ${this.#limits.maxResponseBytes} bytes`);
      parts.push(part);
    }
    return Buffer.concat(parts).toString('utf8');
  }

  /** Retry-After in seconds or as a date (RFC 9110 §10.2.3); without one, longer each time. */
  async #pause({ retryAfter }: Answer, tries: number): Promise<void> {
    const text = retryAfter?.trim() ?? '';
    const dateMs = Date.parse(text) - this.#clock.now().getTime();
    const asked = /^\d+$/.test(text) ? Number(text) * 1_000 : dateMs;
    const waitMs = Number.isNaN(asked) ? FIRST_BACKOFF_MS * 2 ** (tries - 1) : Math.max(0, asked);
    if (waitMs > this.#limits.maxRetryMs) throw unavailable('Microsoft Graph throttles for too long');
    await this.#clock.sleep(waitMs, this.#signal);
  }
}

function isTemporary(status: number): boolean {
  return status === 429 || status === 408 || status >= 500;
}

/** The code in an error of Graph; empty where there is none. SECURITY: its text may name people. */
function errorCodeOf(body: unknown): string {
  const { error } = (body ?? {}) as { readonly error?: { readonly code?: unknown } };
  return wordOf(error?.code);
}

function describeTokenError(body: unknown): string {
  const { error, error_description: text } = (body ?? {}) as Record<string, unknown>;
  const number = typeof text === 'string' ? (/\bAADSTS\d{1,10}\b/.exec(text)?.[0] ?? '') : '';
  return [wordOf(error), number].map((word) => (word === '' ? '' : ` ${word}`)).join('');
}

function wordOf(value: unknown): string {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : '';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function describeFetchFailure(error: unknown): string {
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return 'Microsoft Graph does not answer in time';
  const { cause } = error as { readonly cause?: unknown };
  const code = cause instanceof Error && 'code' in cause ? wordOf(cause.code) : '';
  if (code !== '') return `Microsoft Graph cannot be reached: ${code}`;
  const isRedirect = cause instanceof Error && /redirect/i.test(cause.message);
  return isRedirect ? 'Microsoft Graph answers with a redirect' : 'Microsoft Graph cannot be reached';
}

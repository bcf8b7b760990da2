// What was fetched for the check of certificates: kept in memory within limits, asked for once at a time, and not again
// at once where it failed.
import { GatewayError } from '../core/errors.ts';
import type { WebFetch, WebRequest } from '../core/web.ts';

/** What one message may cause. A budget is used up and never filled again. */
export interface WebBudget {
  fetches: number;
  readonly signal: AbortSignal;
}

export interface CacheLimits {
  readonly maxBytes: number;
  readonly maxEntries: number;
  /** Age from which a newer one is asked for. What is kept serves on where none comes. */
  readonly refreshMs: number;
  /** How long an address that failed is not asked again. */
  readonly failureMs: number;
}

export type Fetched<T> = { readonly value: T } | { readonly failure: string };

interface Entry<T> {
  readonly value: T;
  readonly bytes: number;
  readonly since: number;
}

const MAX_FAILURES = 1_000;

/** Parsed answers by address, the one that was used last at the end. */
export class WebCache<T> {
  readonly #fetch: WebFetch;
  readonly #parse: (bytes: Buffer) => T;
  readonly #limits: CacheLimits;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #failures = new Map<string, { readonly failure: string; readonly until: number }>();
  readonly #running = new Map<string, Promise<Fetched<T>>>();
  #bytes = 0;

  /** `parse` throws GatewayError for what cannot be read. */
  constructor(fetch: WebFetch, parse: (bytes: Buffer) => T, limits: CacheLimits) {
    this.#fetch = fetch;
    this.#parse = parse;
    this.#limits = limits;
  }

  /** `isCurrent`: whether what is kept may still serve; else it has to be fetched. Never rejects. */
  async get(
    key: string,
    request: WebRequest,
    isCurrent: (value: T) => boolean,
    at: Date,
    budget: WebBudget,
  ): Promise<Fetched<T>> {
    const now = at.getTime();
    const entry = this.#entries.get(key);
    const kept = entry && isCurrent(entry.value) ? entry : undefined;
    if (kept && now - kept.since < this.#limits.refreshMs) return this.#touch(key, kept);
    const fetched = await this.#ask(key, request, now, budget);
    return 'failure' in fetched && kept ? this.#touch(key, kept) : fetched;
  }

  async #ask(key: string, request: WebRequest, now: number, budget: WebBudget): Promise<Fetched<T>> {
    const failed = this.#failures.get(request.url);
    if (failed && failed.until > now) return { failure: failed.failure };
    const running = this.#running.get(key);
    if (!running && budget.fetches <= 0)
      return { failure: 'the message needs more requests than are made for one' };
    if (!running) budget.fetches -= 1;
    const asking = running ?? this.#start(key, request, now);
    return unlessStopped(asking, budget.signal);
  }

  /** SECURITY: not stopped with the message that asked first: others wait for it too. The fetch has a time of its own. */
  #start(key: string, request: WebRequest, now: number): Promise<Fetched<T>> {
    const asking = this.#load(key, request, now).finally(() => this.#running.delete(key));
    this.#running.set(key, asking);
    return asking;
  }

  async #load(key: string, request: WebRequest, now: number): Promise<Fetched<T>> {
    const answer = await this.#fetch(request, new AbortController().signal);
    if (answer.kind === 'failed') return this.#fail(request.url, answer.reason, now);
    try {
      const value = this.#parse(answer.bytes);
      this.#keep(key, { value, bytes: answer.bytes.length, since: now });
      return { value };
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      return this.#fail(request.url, error.message, now);
    }
  }

  #fail(url: string, failure: string, now: number): Fetched<T> {
    this.#failures.delete(url);
    this.#failures.set(url, { failure, until: now + this.#limits.failureMs });
    dropOldest(this.#failures, MAX_FAILURES);
    return { failure };
  }

  #keep(key: string, entry: Entry<T>): void {
    this.#drop(key);
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limits.maxBytes && this.#entries.size <= this.#limits.maxEntries) break;
      this.#drop(oldest);
    }
  }

  #touch(key: string, entry: Entry<T>): Fetched<T> {
    if (this.#entries.delete(key)) this.#entries.set(key, entry);
    return { value: entry.value };
  }

  #drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }
}

/** Drops what was put in first until the map has at most `size` entries. */
export function dropOldest(map: Map<string, unknown>, size: number): void {
  for (const key of map.keys()) {
    if (map.size <= size) return;
    map.delete(key);
  }
}

async function unlessStopped<T>(asking: Promise<Fetched<T>>, signal: AbortSignal): Promise<Fetched<T>> {
  const stopped = Promise.withResolvers<Fetched<T>>();
  const stop = () => stopped.resolve({ failure: 'the time for all checks of the message is over' });
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) stop();
    return await Promise.race([asking, stopped.promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

// The deadline of the gateway's own part in a transaction. The client waits ten minutes for the reply to its message
// (RFC 5321 §4.5.3.2.6) and then sends it again: a handler that hangs must be given up before, with a reply.
import type { Clock } from '../core/clock.ts';
import { GatewayError } from '../core/errors.ts';

/** Time that a handler may take, in milliseconds, without the time in which it waits for the client. */
export const HANDLER_TIMEOUT_MS = 540_000;

export class HandlerDeadline {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #expiry = new AbortController();
  readonly #expired = Promise.withResolvers<never>();
  #timer: AbortController | undefined;
  #isOver = false;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#expired.promise.catch(() => undefined);
  }

  /** Aborted once the time is up. */
  get signal(): AbortSignal {
    return this.#expiry.signal;
  }

  /** The result of the handler, or GatewayError `unplanned` once the time is up; what it does later is not heard. */
  async bound<T>(work: Promise<T>): Promise<T> {
    try {
      return await Promise.race([work, this.#expired.promise]);
    } finally {
      this.#isOver = true;
      this.pause();
    }
  }

  /** The wait is for the handler: its time runs, from the beginning. */
  run(): void {
    if (this.#isOver) return;
    this.pause();
    const timer = new AbortController();
    this.#timer = timer;
    this.#clock.sleep(this.#timeoutMs, timer.signal).then(
      () => this.#expire(timer),
      () => undefined,
    );
  }

  /** The wait is for the client. */
  pause(): void {
    this.#timer?.abort();
    this.#timer = undefined;
  }

  #expire(timer: AbortController): void {
    if (this.#timer !== timer) return;
    const error = new GatewayError('unplanned', `no result within ${this.#timeoutMs} ms`);
    this.#expired.reject(error);
    this.#expiry.abort(error);
  }
}

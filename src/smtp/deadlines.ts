// Absolute deadlines of one SMTP session. An idle timeout alone lets a client live for ever on a byte now and then;
// these count from when a wait began. Time in which the client waits for us is never held against it.
import type { Clock } from '../core/clock.ts';
import type { Limits } from '../core/limits.ts';

export interface DeadlineOptions {
  readonly clock: Clock;
  readonly limits: Limits;
  /** Called at most once. */
  readonly onExpired: () => void;
}

const BYTES_PER_EXTRA_MINUTE = 4 * 1024 * 1024;
const MINUTE_MS = 60_000;

export class SessionDeadlines {
  readonly #options: DeadlineOptions;
  readonly #startedAt: number;
  #phase: 'command' | 'data' | 'paused' | 'stopped' = 'paused';
  #since: number;
  #pausedAt: number;
  #dataBytes = 0;
  #totalBytes = 0;
  #hasMail = false;
  /** Runs on while no deadline is due: most waits are over long before, and ending a sleep costs more than they do. */
  #timer: { readonly wakesAt: number; readonly abort: AbortController } | undefined;

  constructor(options: DeadlineOptions) {
    this.#options = options;
    this.#startedAt = this.#now();
    this.#since = this.#startedAt;
    this.#pausedAt = this.#startedAt;
  }

  /** The client owes a command. */
  awaitCommand(): void {
    this.#since = this.#now();
    this.#enter('command');
  }

  /** The client owes content: `minDataBytesPerSecond` after `minRateAfterMs`. */
  awaitData(): void {
    this.#since = this.#now();
    this.#dataBytes = 0;
    this.#enter('data');
  }

  /** Content has arrived. */
  received(bytes: number): void {
    this.#dataBytes += bytes;
    this.#totalBytes += bytes;
  }

  /** We owe a reply or are slow to read: no deadline runs. */
  pause(): void {
    this.#pausedAt = this.#now();
    this.#enter('paused');
  }

  /** Goes on with the content after a pause. */
  resumeData(): void {
    this.#since += this.#now() - this.#pausedAt;
    this.#enter('data');
  }

  /** MAIL was accepted: from here on only the deadlines of commands and session count. */
  noteMail(): void {
    this.#hasMail = true;
  }

  stop(): void {
    this.#enter('stopped');
  }

  #enter(phase: 'command' | 'data' | 'paused' | 'stopped'): void {
    if (this.#phase === 'stopped') return;
    this.#phase = phase;
    if (phase === 'command' || phase === 'data') this.#watch();
    if (phase === 'stopped') this.#endTimer();
  }

  /** Sees to it that a timer wakes no later than the deadline; one that wakes earlier looks again. */
  #watch(): void {
    const now = this.#now();
    const wakesAt = Math.max(now, this.#deadline());
    if (this.#timer && this.#timer.wakesAt <= wakesAt) return;
    this.#endTimer();
    const timer = { wakesAt, abort: new AbortController() };
    this.#timer = timer;
    this.#options.clock.sleep(wakesAt - now, timer.abort.signal).then(
      () => this.#wake(timer),
      () => undefined,
    );
  }

  #wake(timer: object): void {
    if (this.#timer !== timer) return;
    this.#timer = undefined;
    if (this.#phase !== 'command' && this.#phase !== 'data') return;
    if (this.#now() < this.#deadline()) return this.#watch();
    this.stop();
    this.#options.onExpired();
  }

  #endTimer(): void {
    this.#timer?.abort.abort();
    this.#timer = undefined;
  }

  #deadline(): number {
    const { limits } = this.#options;
    const extraMs = Math.floor(this.#totalBytes / BYTES_PER_EXTRA_MINUTE) * MINUTE_MS;
    const session = this.#startedAt + limits.sessionTimeoutMs + extraMs;
    if (this.#phase === 'data') {
      const allowedMs = limits.minRateAfterMs + (this.#dataBytes / limits.minDataBytesPerSecond) * 1_000;
      return Math.min(session, this.#since + allowedMs);
    }
    const firstMail = this.#hasMail ? session : this.#startedAt + 2 * limits.idleTimeoutMs;
    return Math.min(session, firstMail, this.#since + limits.idleTimeoutMs);
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
}

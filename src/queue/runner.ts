// The queue runner: takes what is due, hands it to `deliver`, settles the results. Bounded in total and per leg, woken
// by the queue and by the clock.
import type { Clock } from '../core/clock.ts';
import type { Deliver, DeliveryResult } from '../core/delivery.ts';
import { asGatewayError, replyFor } from '../core/errors.ts';
import { formatLeg } from '../core/leg.ts';
import type { Log } from '../core/log.ts';
import type { Delivery } from './message-types.ts';
import type { Queue } from './queue.ts';

export interface RunnerOptions {
  readonly queue: Queue;
  /** A shipment that throws is deferred for all its recipients. */
  readonly deliver: Deliver;
  readonly clock: Clock;
  readonly log: Log;
  /** Most shipments at once. */
  readonly concurrency: number;
  /** Most shipments at once on one leg, so that a hanging one leaves room. Default three quarters, rounded up. */
  readonly concurrencyPerLeg?: number;
  /** How long `stop` waits before it aborts what still runs, in ms. Default 30 s. */
  readonly graceMs?: number;
}

export interface Runner extends AsyncDisposable {
  /** Starts nothing more and waits for running shipments; after the grace time they are aborted. Dispose does the same. */
  stop(): Promise<void>;
  /** Shipments that run now. */
  running(): number;
}

const DEFAULT_GRACE_MS = 30_000;
const LONGEST_WAIT_MS = 60_000;
const FULL_DISK_WAIT_MS = 15_000;
const TIDY_EVERY_MS = 3_600_000;

export function startRunner(options: RunnerOptions): Runner {
  return new QueueRunner(options);
}

class QueueRunner implements Runner {
  readonly #options: RunnerOptions;
  readonly #perLeg: number;
  readonly #running = new Map<string, { readonly leg: string; readonly done: Promise<void> }>();
  readonly #stopping = new AbortController();
  readonly #aborting = new AbortController();
  readonly #loop: Promise<void>;
  #isAwake = false;
  #wake: () => void = () => undefined;
  #tidiedAt: Date;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#perLeg = options.concurrencyPerLeg ?? Math.ceil(options.concurrency * 0.75);
    this.#tidiedAt = options.clock.now();
    this.#loop = this.#run();
  }

  running(): number {
    return this.#running.size;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wakeUp();
    const finished = this.#finish();
    const timer = new AbortController();
    const grace = this.#options.clock.sleep(this.#options.graceMs ?? DEFAULT_GRACE_MS, timer.signal);
    const winner = await Promise.race([
      finished.then(() => 'finished'),
      grace.then(
        () => 'late',
        () => 'finished',
      ),
    ]);
    if (winner === 'late') this.#aborting.abort();
    await finished;
    timer.abort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #finish(): Promise<void> {
    await this.#loop;
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  async #run(): Promise<void> {
    const { queue, log, clock } = this.#options;
    const endListening = queue.onWork(() => this.#wakeUp());
    try {
      while (!this.#stopping.signal.aborted) {
        this.#isAwake = false;
        await this.#tidy(clock.now());
        this.#startDue(clock.now());
        await this.#sleep();
      }
    } catch (error) {
      // The queue has stopped; what it holds is delivered after the next start.
      log.error('queue-runner-stopped', { reason: asGatewayError(error).message });
    } finally {
      endListening();
    }
  }

  #startDue(now: Date): void {
    const { queue, concurrency } = this.#options;
    while (this.#running.size < concurrency) {
      const [delivery] = queue.due(now, 1, (leg) => this.#onLeg(leg) >= this.#perLeg);
      if (delivery === undefined) return;
      const leg = formatLeg(delivery.shipment.leg);
      const done = this.#ship(delivery).finally(() => {
        this.#running.delete(delivery.id);
        this.#wakeUp();
      });
      this.#running.set(delivery.id, { leg, done });
    }
  }

  async #ship(delivery: Delivery): Promise<void> {
    const { queue, clock, log } = this.#options;
    const results = await this.#attempt(delivery);
    for (;;) {
      try {
        return await queue.settle(delivery, results, clock.now());
      } catch (error) {
        const { code, message } = asGatewayError(error);
        log.error('settle-failed', { copy: delivery.id, code, reason: message });
        // What was delivered must not be forgotten for want of room. After any other error the queue has stopped.
        if (code !== 'queue-full' || !(await this.#waitForRoom())) return;
      }
    }
  }

  async #attempt(delivery: Delivery): Promise<readonly DeliveryResult[]> {
    try {
      return await this.#options.deliver(delivery.shipment, this.#aborting.signal);
    } catch (error) {
      const { code, message } = asGatewayError(error);
      this.#options.log.warn('delivery-threw', { copy: delivery.id, code, reason: message });
      const reply = replyFor('next-hop-failed');
      return delivery.shipment.recipients.map((recipient) => ({ recipient, status: 'deferred', reply }));
    }
  }

  async #waitForRoom(): Promise<boolean> {
    return this.#options.clock.sleep(FULL_DISK_WAIT_MS, this.#stopping.signal).then(
      () => true,
      () => false,
    );
  }

  async #tidy(now: Date): Promise<void> {
    if (Math.abs(now.getTime() - this.#tidiedAt.getTime()) < TIDY_EVERY_MS) return;
    this.#tidiedAt = now;
    await this.#options.queue.tidy(now);
  }

  /** Until something happens in the queue, a shipment ends, the next copy is due, or a minute has passed. */
  async #sleep(): Promise<void> {
    if (this.#isAwake) return;
    const { queue, clock } = this.#options;
    const now = clock.now().getTime();
    const next = queue.nextDueAt()?.getTime() ?? Infinity;
    const timer = new AbortController();
    // What is due already waits for a free place, whose shipment wakes us at its end.
    const waitMs = next > now ? Math.min(next - now, LONGEST_WAIT_MS) : LONGEST_WAIT_MS;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      clock.sleep(waitMs, timer.signal).then(resolve, resolve);
    });
    this.#wake = () => undefined;
    timer.abort();
  }

  #wakeUp(): void {
    this.#isAwake = true;
    this.#wake();
  }

  #onLeg(leg: string): number {
    return [...this.#running.values()].filter((running) => running.leg === leg).length;
  }
}

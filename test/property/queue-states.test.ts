// Whatever happens to a queue, crashes at any moment included, each recipient is in exactly one state, moves only
// forward, and is reported exactly once where it was not reached.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as fc from 'fast-check';
import type { CommittedMessage } from '../../src/core/commit.ts';
import type { DeliveryResult } from '../../src/core/delivery.ts';
import type { Delivery } from '../../src/queue/message-types.ts';
import { openQueue, type Queue } from '../../src/queue/queue.ts';
import {
  allDue,
  bytesOf,
  committed,
  finished,
  makeFolder,
  ManualClock,
  messageText,
  MINUTE_MS,
  queueOptions,
  recipients,
  resultsOf,
} from '../support/storage.ts';

type Status = DeliveryResult['status'];

/** `cut`: the process dies after that many turns of the event loop, with the operation under way. */
type Operation =
  | {
      readonly kind: 'commit';
      readonly copies: readonly { readonly size: number; readonly recipients: number }[];
      readonly refused: number;
      readonly sender: string | null;
      readonly cut?: number | undefined;
    }
  | {
      readonly kind: 'attempt';
      readonly limit: number;
      readonly statuses: readonly Status[];
      readonly cut?: number | undefined;
    }
  | { readonly kind: 'advance'; readonly minutes: number }
  | { readonly kind: 'restart' }
  /** Takes deliveries and dies before any is settled. */
  | { readonly kind: 'crash' };

// A few turns are what a commit of small bodies takes; files take more.
const cut = fc.option(fc.oneof({ weight: 3, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.nat(15) }), {
  nil: undefined,
  freq: 3,
});
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      copies: fc.array(
        fc.record({ size: fc.constantFrom(0, 500, 90_000), recipients: fc.integer({ min: 1, max: 3 }) }),
        {
          minLength: 1,
          maxLength: 2,
        },
      ),
      refused: fc.nat(2),
      sender: fc.constantFrom('alice@contoso.example', null),
      cut,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('attempt' as const),
      limit: fc.integer({ min: 1, max: 4 }),
      statuses: fc.array(fc.constantFrom<Status>('delivered', 'deferred', 'failed'), {
        minLength: 1,
        maxLength: 4,
      }),
      cut,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), minutes: fc.constantFrom(1, 2, 11) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('restart' as const, 'crash' as const) }) },
);

const retry = { delaysMs: [MINUTE_MS], expireAfterMs: 10 * MINUTE_MS, jitter: () => 0.5 } as const;

/** The queue under test beside what must be true of it. */
class Run {
  readonly clock = new ManualClock();
  readonly root: string;
  queue!: Queue;
  #lives = 0;
  #addresses = 0;
  /** What each recipient's state must be. */
  readonly states = new Map<string, string>();
  /** Recipients that must be in a report, at the end. */
  readonly unreached = new Set<string>();
  readonly silent = new Set<string>();
  /** Recipients named by each report that was seen, by the report's id. */
  readonly reports = new Map<string, readonly string[]>();

  constructor(root: string) {
    this.root = root;
  }

  get folder(): string {
    return join(this.root, `life-${this.#lives}`);
  }

  async open(): Promise<void> {
    this.queue = await openQueue(queueOptions(this.folder, this.clock, { retry }));
  }

  async restart(): Promise<void> {
    await this.queue[Symbol.asyncDispose]();
    await this.open();
  }

  /** What a killed process would leave on the disk at this moment becomes the folder of the next life. */
  snapshot(): () => Promise<void> {
    const from = this.folder;
    this.#lives += 1;
    copyFolder(from, this.folder);
    const dying = this.queue;
    return async () => {
      await dying[Symbol.asyncDispose]();
      await this.open();
    };
  }

  nextAddress(): string {
    this.#addresses += 1;
    return `r${this.#addresses}@x.example`;
  }

  async apply(operation: Operation): Promise<void> {
    switch (operation.kind) {
      case 'commit':
        return this.#commit(operation);
      case 'attempt':
        return this.#attempt(operation);
      case 'advance':
        return this.clock.advance(operation.minutes * MINUTE_MS);
      case 'restart':
        return this.restart();
      case 'crash':
        allDue(this.queue, this.clock);
        return this.snapshot()();
    }
  }

  async #commit({ copies, refused, sender, cut }: Extract<Operation, { kind: 'commit' }>): Promise<void> {
    const queued: string[] = [];
    const rejected = Array.from({ length: refused }, () => this.nextAddress());
    const message: CommittedMessage = committed({
      sender,
      copies: copies.map((copy) => {
        const addresses = Array.from({ length: copy.recipients }, () => this.nextAddress());
        queued.push(...addresses);
        return finished({ text: messageText('', copy.size), recipients: recipients(...addresses) });
      }),
      refused: rejected.flatMap((address) =>
        recipients(address).map((recipient) => ({ recipient, explanation: 'no' })),
      ),
    });
    const isThere = await this.#perhapsCut(cut, this.queue.commit(message), () => {
      const seen = queued.filter((address) => this.seen().has(address));
      assert.ok(seen.length === 0 || seen.length === queued.length, 'all copies or none');
      return seen.length > 0;
    });
    if (!isThere) return;
    for (const address of queued) this.states.set(address, 'queued');
    if (sender === null) for (const address of queued) this.silent.add(address);
    else for (const address of rejected) this.unreached.add(address);
  }

  async #attempt({ limit, statuses, cut }: Extract<Operation, { kind: 'attempt' }>): Promise<void> {
    for (const [at, delivery] of this.queue.due(this.clock.now(), limit).entries()) {
      const results = resultsOf(delivery, 'delivered').map((result, position) => {
        const status = statuses[(at + position) % statuses.length] ?? 'delivered';
        return { ...result, ...resultsOf(delivery, status)[position] };
      });
      if (await this.#settle(delivery, results, cut)) return;
    }
  }

  /** Settles and books; returns whether the process died. */
  async #settle(delivery: Delivery, results: readonly DeliveryResult[], cut?: number): Promise<boolean> {
    const isReport = delivery.shipment.leg.kind === 'tenant';
    if (isReport) this.reports.set(delivery.id, await namedIn(delivery));
    const before = new Map(this.states);
    const after = new Map(this.states);
    const isExpired = this.clock.now().getTime() >= delivery.firstAt.getTime() + retry.expireAfterMs;
    for (const { recipient, status } of isReport ? [] : results) {
      const { key } = recipient.address;
      assert.equal(before.get(key), 'queued', `${key} was closed and is sent again`);
      after.set(key, status === 'deferred' ? (isExpired ? 'expired' : 'queued') : status);
    }
    const settled = this.queue.settle(delivery, results, this.clock.now());
    const isThere = await this.#perhapsCut(cut, settled, () => {
      const seen = this.seen();
      const changed = [...after].filter(([key, state]) => before.get(key) !== state);
      const done = changed.filter(([key, state]) => seen.get(key) === state);
      assert.ok(done.length === 0 || done.length === changed.length, 'all of an attempt or nothing');
      return done.length > 0;
    });
    if (isThere) {
      for (const [key, state] of after) this.states.set(key, state);
      for (const [key, state] of after) {
        if ((state === 'failed' || state === 'expired') && !this.silent.has(key)) this.unreached.add(key);
      }
    }
    return cut !== undefined;
  }

  /** Waits for the operation, or dies in it and asks the next life whether it took place. */
  async #perhapsCut(
    cut: number | undefined,
    running: Promise<unknown>,
    tookPlace: () => boolean,
  ): Promise<boolean> {
    if (cut === undefined) {
      await running;
      return true;
    }
    let isAcknowledged = false;
    const watched = running.then(() => (isAcknowledged = true));
    for (let turn = 0; turn < cut; turn += 1) await nextTurn();
    const wasAcknowledged = isAcknowledged;
    const revive = this.snapshot();
    await watched;
    await revive();
    return wasAcknowledged || tookPlace();
  }

  /** States by address, as the queue has them; an address that is there twice is an error. */
  seen(): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const entry of this.queue.list({ state: 'all', limit: 10_000 })) {
      for (const { address, state } of entry.isReport
        ? []
        : entry.copies.flatMap((copy) => copy.recipients)) {
        assert.ok(!found.has(address), `${address} is queued twice`);
        found.set(address, state);
      }
    }
    return found;
  }

  /** Delivers all that is left. */
  async drain(): Promise<void> {
    while (this.queue.counts().copies > 0) {
      this.clock.advance(MINUTE_MS);
      for (const delivery of allDue(this.queue, this.clock)) {
        await this.#settle(delivery, resultsOf(delivery, 'delivered'));
      }
    }
  }

  check(): void {
    assert.deepEqual(this.seen(), this.states);
    assert.equal(this.queue.counts().damaged, 0);
  }
}

async function namedIn(delivery: Delivery): Promise<readonly string[]> {
  const text = (await bytesOf(delivery.shipment.body.open())).toString('latin1');
  return [...text.matchAll(/^Final-Recipient: rfc822; (\S+)\r$/gm)].map((match) => match[1] ?? '');
}

/** Rows first: a file that a row names was there before the row. Runs in one go, so that no row is written meanwhile. */
function copyFolder(from: string, to: string): void {
  mkdirSync(join(to, 'bodies'), { recursive: true, mode: 0o700 });
  const rows = readdirSync(from).filter((name) => name.startsWith('queue.db'));
  const bodies = readdirSync(join(from, 'bodies')).map((name) => join('bodies', name));
  for (const name of [...rows, ...bodies]) {
    try {
      copyFileSync(join(from, name), join(to, name));
    } catch (error) {
      // Renamed or removed by a call that was under way.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
}

test('property: any sequence of commits, attempts, restarts and crashes keeps each recipient exactly once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 3, maxLength: 14 }), async (operations) => {
      await using folder = await makeFolder();
      const run = new Run(folder.path);
      await run.open();
      try {
        for (const each of operations) {
          await run.apply(each);
          run.check();
        }
        await run.restart();
        await run.drain();
        run.check();
        const reported = [...run.reports.values()].flat();
        assert.deepEqual(reported.toSorted(), [...run.unreached].toSorted());
      } finally {
        await run.queue[Symbol.asyncDispose]();
      }
    }),
    { numRuns: 40 },
  );
});

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Deliver, DeliveryResult, Shipment } from '../../../src/core/delivery.ts';
import { GatewayError } from '../../../src/core/errors.ts';
import { formatLeg, type LegName } from '../../../src/core/leg.ts';
import { openLog, silentLog } from '../../../src/core/log.ts';
import { openQueue, type Queue } from '../../../src/queue/queue.ts';
import { type RunnerOptions, startRunner } from '../../../src/queue/runner.ts';
import {
  allDue,
  committed,
  finished,
  makeFolder,
  ManualClock,
  MINUTE_MS,
  queueOptions,
  resultsOf,
  testTenant,
} from '../../support/storage.ts';

const retry = { delaysMs: [MINUTE_MS], expireAfterMs: 10 * MINUTE_MS, jitter: () => 0.5 } as const;
const tenantLeg: LegName = { kind: 'tenant', tenant: testTenant };

/** Next hops in memory: each shipment waits until the test answers it. */
class NextHops {
  readonly waiting: {
    readonly shipment: Shipment;
    readonly signal: AbortSignal;
    answer(status: DeliveryResult['status']): void;
    fail(error: Error): void;
  }[] = [];
  /** All shipments so far. */
  readonly seen: Shipment[] = [];

  readonly deliver: Deliver = (shipment, signal) =>
    new Promise((resolve, reject) => {
      this.seen.push(shipment);
      this.waiting.push({
        shipment,
        signal,
        answer: (status) => resolve(resultsOf({ shipment }, status)),
        fail: reject,
      });
    });

  /** Answers the shipment that has waited longest. */
  answer(status: DeliveryResult['status'] = 'delivered'): void {
    (this.waiting.shift() ?? assert.fail('nothing is being sent')).answer(status);
  }
}

/** Lets what is under way go on until `isDone`; no time passes. */
async function until(isDone: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 20_000; turn += 1) {
    if (isDone()) return;
    await nextTurn();
  }
  assert.fail(`never: ${what}`);
}

/** Long enough for anything that is going to happen without time or answers. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await nextTurn();
}

interface Bench extends AsyncDisposable {
  readonly queue: Queue;
  readonly clock: ManualClock;
  readonly hops: NextHops;
  start(more?: Partial<RunnerOptions>): ReturnType<typeof startRunner>;
}

async function openBench(): Promise<Bench> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder());
  const clock = new ManualClock();
  const queue = stack.use(await openQueue(queueOptions(folder.path, clock, { retry })));
  const hops = new NextHops();
  return {
    queue,
    clock,
    hops,
    start: (more) =>
      startRunner({ queue, deliver: hops.deliver, clock, log: silentLog, concurrency: 4, ...more }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const openCopies = (queue: Queue): number => queue.counts().copies;

test('what is committed is sent at once and settled', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  await using runner = bench.start();
  const id = await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  assert.equal(hops.seen[0]?.id, `${id}-1`);
  assert.equal(runner.running(), 1);
  hops.answer();
  await until(() => openCopies(queue) === 0 && runner.running() === 0, 'settled');
});

test('what waited while no runner ran is sent at its start', async () => {
  await using bench = await openBench();
  await bench.queue.commit(committed());
  await using _ = bench.start();
  await until(() => bench.hops.waiting.length === 1, 'sent');
  bench.hops.answer();
  await until(() => openCopies(bench.queue) === 0, 'settled');
});

test('what was deferred is tried again when it is due, not before', async () => {
  await using bench = await openBench();
  const { queue, clock, hops } = bench;
  await using _ = bench.start();
  await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.answer('deferred');
  await until(() => queue.counts().inFlight === 0 && clock.sleepers() > 0, 'deferred');
  clock.advance(MINUTE_MS - 1);
  await rest();
  assert.equal(hops.seen.length, 1);
  clock.advance(1);
  await until(() => hops.seen.length === 2, 'sent again');
  hops.answer();
  await until(() => openCopies(queue) === 0, 'settled');
});

test('an operator who says retry does not wait for the clock', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  await using _ = bench.start();
  const id = await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.answer('deferred');
  await until(() => queue.counts().inFlight === 0, 'deferred');
  await queue.retry(id);
  await until(() => hops.waiting.length === 1, 'sent again');
  hops.answer();
  await until(() => openCopies(queue) === 0, 'settled');
});

test('a failure brings its report to the return leg, by the same runner', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  await using _ = bench.start();
  await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.answer('failed');
  await until(() => hops.waiting.length === 1, 'report sent');
  assert.equal(hops.waiting[0]?.shipment.sender, null);
  assert.deepEqual(hops.waiting[0]?.shipment.leg, tenantLeg);
  hops.answer();
  await until(() => openCopies(queue) === 0, 'settled');
});

test('a delivery that throws defers its recipients, whatever was thrown', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  await using _ = bench.start();
  const id = await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.waiting.shift()?.fail(new TypeError('secret-canary'));
  await until(() => queue.counts().inFlight === 0, 'settled');
  const [copy] = queue.show(id)?.copies ?? [];
  assert.equal(copy?.attempts, 1);
  assert.equal(copy.recipients[0]?.state, 'queued');
  assert.match(copy.recipients[0]?.reply ?? '', /^451 4\.4\.1 /);
  assert.doesNotMatch(copy.recipients[0]?.reply ?? '', /canary/);
});

test('no more run than allowed, in total and per leg: a hanging leg leaves room for the others', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  await using runner = bench.start({ concurrency: 4 });
  const running = (kind: string): number =>
    hops.waiting.filter(({ shipment }) => shipment.leg.kind === kind).length;
  for (let count = 0; count < 6; count += 1) await queue.commit(committed());
  await until(() => running('internet') === 3, 'three of four on one leg');
  await rest();
  assert.equal(running('internet'), 3);
  for (let count = 0; count < 2; count += 1) {
    await queue.commit(committed({ copies: [finished({ leg: tenantLeg })] }));
  }
  await until(() => running('tenant') === 1, 'the fourth place');
  await rest();
  assert.equal(runner.running(), 4);
  let most = 0;
  while (openCopies(queue) > 0) {
    await until(() => hops.waiting.length > 0 || openCopies(queue) === 0, 'going on');
    most = Math.max(most, runner.running());
    if (hops.waiting.length > 0) hops.answer();
    await rest();
  }
  assert.equal(most, 4);
  assert.equal(hops.seen.length, 8);
  assert.equal(new Set(hops.seen.map(({ id }) => id)).size, 8);
});

test('stop starts nothing more and waits for what runs', async () => {
  await using bench = await openBench();
  const { queue, hops } = bench;
  const runner = bench.start({ concurrency: 1 });
  await queue.commit(committed());
  await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  let isStopped = false;
  const stopped = runner.stop().then(() => (isStopped = true));
  await rest();
  assert.equal(isStopped, false);
  assert.equal(hops.waiting[0]?.signal.aborted, false);
  hops.answer();
  await stopped;
  assert.equal(openCopies(queue), 1);
  assert.equal(hops.seen.length, 1);
});

test('stop aborts what still runs after the grace time; it stays queued', async () => {
  await using bench = await openBench();
  const { queue, clock, hops } = bench;
  const runner = bench.start({ graceMs: 5_000 });
  await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  const stopped = runner.stop();
  await until(() => clock.sleepers() > 0, 'grace');
  const [sending] = hops.waiting;
  sending?.signal.addEventListener('abort', () => sending.fail(new Error('aborted')));
  clock.advance(5_000);
  await stopped;
  assert.equal(sending?.signal.aborted, true);
  assert.equal(openCopies(queue), 1);
});

test('a full disk at settle: what was delivered is not forgotten, and is not sent twice', async () => {
  await using bench = await openBench();
  const { queue, clock, hops } = bench;
  let refusals = 2;
  // The real queue, but for a disk that is full twice.
  const settle: Queue['settle'] = (...given) =>
    refusals-- > 0 ? Promise.reject(new GatewayError('queue-full', 'no room')) : queue.settle(...given);
  const filling: Queue = new Proxy(queue, {
    get: (target, name) => {
      if (name === 'settle') return settle;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  await using _ = bench.start({ queue: filling });
  await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.answer();
  for (let round = 0; round < 2; round += 1) {
    await rest();
    assert.equal(openCopies(queue), 1);
    clock.advance(15_000);
  }
  await until(() => openCopies(queue) === 0, 'settled');
  assert.equal(hops.seen.length, 1);
});

test('a queue that has stopped ends the runner with a log record, not with a crash', async () => {
  const lines: string[] = [];
  const log = openLog('error', { write: (line) => void lines.push(line) });
  await using bench = await openBench();
  const runner = bench.start({ log });
  await rest();
  await bench.queue[Symbol.asyncDispose]();
  bench.clock.advance(MINUTE_MS);
  await until(() => lines.some((line) => line.includes('queue-runner-stopped')), 'logged');
  await runner.stop();
});

test('closed messages are forgotten while it runs', async () => {
  await using bench = await openBench();
  const { queue, clock, hops } = bench;
  await using _ = bench.start();
  const id = await queue.commit(committed());
  await until(() => hops.waiting.length === 1, 'sent');
  hops.answer();
  await until(() => openCopies(queue) === 0, 'settled');
  await rest();
  clock.advance(15 * 24 * 60 * MINUTE_MS);
  await until(() => queue.show(id) === undefined, 'forgotten');
});

test('shipments on one leg go out in the order in which they became due', async () => {
  await using bench = await openBench();
  const { queue, clock, hops } = bench;
  const ids: string[] = [];
  for (let count = 0; count < 5; count += 1) {
    ids.push(`${await queue.commit(committed())}-1`);
    clock.advance(1);
  }
  await using _ = bench.start({ concurrency: 1 });
  for (let count = 0; count < 5; count += 1) {
    await until(() => hops.waiting.length === 1, 'sent');
    hops.answer();
    await until(() => openCopies(queue) === 4 - count, 'settled');
  }
  assert.deepEqual(
    hops.seen.map(({ id }) => id),
    ids,
  );
  assert.deepEqual(new Set(hops.seen.map(({ leg }) => formatLeg(leg))), new Set(['internet']));
  assert.deepEqual(allDue(queue, clock), []);
});

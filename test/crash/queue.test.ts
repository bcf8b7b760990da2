// A process with a queue is killed around every call that changes the disk; another one opens what is left.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openQueue, type Queue } from '../../src/queue/queue.ts';
import type { Delivery } from '../../src/queue/message-types.ts';
import { parseReport } from '../support/reports.ts';
import {
  allDue,
  bytesOf,
  isOnDisk,
  makeFolder,
  ManualClock,
  MINUTE_MS,
  queueOptions,
  resultsOf,
} from '../support/storage.ts';
import { type ChildEnd, eachOf, killPoints, runChild } from './kill.ts';
import { MARKER, scenario } from './scenario.ts';

const bodies = new Map(scenario.flatMap(({ copies }) => copies).map((copy) => [copy.recipient, copy.body]));

/** States of all recipients of mail, reports apart; each may be there only once. */
function statesOf(queue: Queue): ReadonlyMap<string, string> {
  const states = new Map<string, string>();
  for (const entry of queue.list({ state: 'all', limit: 1_000 })) {
    for (const { address, state } of entry.isReport ? [] : entry.copies.flatMap((copy) => copy.recipients)) {
      assert.ok(!states.has(address), `${address} is there twice`);
      states.set(address, state);
    }
  }
  return states;
}

/** Each copy is in the state that the child was told of, or, where it was not told, before or after the step. */
function checkStates(states: ReadonlyMap<string, string>, said: ReadonlySet<string>): void {
  for (const [index, { copies }] of scenario.entries()) {
    const there = copies.filter(({ recipient }) => states.has(recipient));
    assert.ok(there.length === 0 || there.length === copies.length, `message ${index} is whole or absent`);
    if (said.has(`committed ${index}`))
      assert.equal(there.length, copies.length, `message ${index} was acknowledged`);
    if (!said.has(`committing ${index}`)) assert.equal(there.length, 0, `message ${index} was not begun`);
    for (const { recipient, status } of there) {
      const final = status === 'deferred' ? 'queued' : status;
      const legal = said.has(`settled ${recipient}`)
        ? [final]
        : said.has(`settling ${recipient}`)
          ? ['queued', final]
          : ['queued'];
      assert.ok(legal.includes(states.get(recipient) ?? ''), `${recipient} is ${states.get(recipient)}`);
    }
  }
}

/** Who is named in the reports that wait; the bodies of all other deliveries must be what was committed. */
async function checkBodies(deliveries: readonly Delivery[]): Promise<readonly string[]> {
  const named: string[] = [];
  for (const { shipment } of deliveries) {
    const bytes = await bytesOf(shipment.body.open());
    if (shipment.leg.kind === 'tenant') {
      const { status } = await parseReport(bytes);
      named.push(...status.slice(1).map((fields) => fields['final-recipient'] ?? ''));
    } else {
      assert.deepEqual(bytes, bodies.get(shipment.recipients[0].address.key));
    }
  }
  return named.toSorted();
}

/** Opens what a killed process left, checks all of it, sends the rest, and finds the queue empty. */
async function checkRecovery(folder: string, { said }: ChildEnd): Promise<void> {
  assert.equal(await isOnDisk(folder, MARKER), false, 'plaintext after the kill');
  const clock = new ManualClock();
  // Beyond the delay of what was deferred.
  clock.advance(5 * MINUTE_MS);
  await using queue = await openQueue(queueOptions(folder, clock));
  assert.equal(queue.counts().damaged, 0);
  const states = statesOf(queue);
  checkStates(states, said);

  const deliveries = allDue(queue, clock);
  const waiting = deliveries.flatMap(({ shipment }) => shipment.recipients.map(({ address }) => address.key));
  for (const [recipient, state] of states) {
    const times = waiting.filter((each) => each === recipient).length;
    assert.equal(times, state === 'queued' ? 1 : 0, `${recipient} is ${state} and due ${times} times`);
  }
  const named = await checkBodies(deliveries);
  const reported = [
    ...(states.get('failing@x.example') === 'failed' ? ['rfc822; failing@x.example'] : []),
    ...(states.has('pair-1@x.example') ? ['rfc822; pair-refused@x.example'] : []),
  ];
  assert.deepEqual(named, reported);

  const files = await readdir(join(folder, 'bodies'));
  const expected = deliveries
    .filter(({ shipment }) => shipment.body.size > 65_536)
    .map(({ id }) => `${id}.msg`);
  assert.deepEqual(files.toSorted(), expected.toSorted(), 'files of queued copies and nothing else');

  for (const delivery of deliveries)
    await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  assert.equal(queue.counts().copies, 0);
  assert.deepEqual(await readdir(join(folder, 'bodies')), []);
  assert.equal(await isOnDisk(folder, MARKER), false, 'plaintext after the recovery');
}

test('kill around every commit and settle: acknowledged mail is there once, the rest whole or absent', async (t) => {
  await using whole = await makeFolder();
  const ended = await runChild('queue', whole.path);
  assert.equal(ended.wasKilled, false);
  await checkRecovery(whole.path, ended);
  // What the points below rest on: files are synced, renamed, and their folder synced, before the rows are committed.
  assert.match(ended.calls.join(' '), /writev sync rename open sync BEGIN INSERT COMMIT/);
  assert.ok(ended.calls.filter((name) => name === 'unlink').length === 3);

  const points = killPoints(ended.calls);
  await eachOf(points, async (point) => {
    await using folder = await makeFolder();
    const killed = await runChild('queue', folder.path, point);
    assert.ok(killed.wasKilled, `the child was to be killed at ${point}`);
    await checkRecovery(folder.path, killed).catch((error: unknown) => {
      const place = `killed at ${point} (${ended.calls[Number.parseInt(point, 10) - 1]})`;
      throw new Error(place, { cause: error });
    });
  });
  t.diagnostic(`${points.length} points`);
});

test('kill again while a killed queue is opened: recovery starts over and loses nothing', async () => {
  await using source = await makeFolder();
  const { calls } = await runChild('queue', source.path);
  await using left = await makeFolder();
  const first = await runChild('queue', left.path, `${calls.lastIndexOf('rename') + 1}`);
  assert.ok((await readdir(join(left.path, 'bodies'))).some((name) => name.endsWith('.tmp')));
  const lives = async (
    point: string,
    check: (folder: string, end: ChildEnd) => Promise<void>,
  ): Promise<void> => {
    await using folder = await makeFolder();
    await cp(left.path, folder.path, { recursive: true });
    await check(folder.path, await runChild('queue', folder.path, point));
  };
  let startCalls = 0;
  await lives('', async (_, second) => {
    // Up to the transaction of the first commit.
    startCalls = second.calls.indexOf('INSERT') - 1;
    assert.ok(second.calls.slice(0, startCalls).includes('unlink'), 'the start removes the temporary file');
  });
  await eachOf(
    Array.from({ length: startCalls }, (_, index) => `${index + 1}`),
    (point) =>
      lives(point, async (folder, second) => {
        assert.ok(second.wasKilled && second.said.size === 0);
        await checkRecovery(folder, first);
      }),
  );
});

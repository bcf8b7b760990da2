// Commit, due and the operator's view; what an attempt leads to is in settle.test.ts.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Chunks } from '../../../src/core/bytes.ts';
import { Secret } from '../../../src/core/secret.ts';
import { openQueue } from '../../../src/queue/queue.ts';
import { ROW_BODY_BYTES } from '../../../src/queue/copy-store.ts';
import { parseReport } from '../../support/reports.ts';
import {
  allDue,
  bytesOf,
  committed,
  finished,
  isOnDisk,
  makeFolder,
  ManualClock,
  messageText,
  MINUTE_MS,
  oneDue,
  queueOptions,
  recipients,
  resultsOf,
  testTenant,
} from '../../support/storage.ts';

const clock = new ManualClock();
const large = messageText('plaintext-canary', 200_000);
const internet = { kind: 'internet' } as const;
const tenantLeg = { kind: 'tenant', tenant: testTenant } as const;

test('a committed message is due at once, with the bytes and the envelope it was given', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const message = committed({
    envelope: { ...committed().envelope, smtpUtf8: true, ret: 'HDRS', envid: 'QQ1' },
    copies: [
      finished({ recipients: recipients('bob@fabrikam.example', 'Ann@fabrikam.example'), is8bit: true }),
    ],
  });
  const id = await queue.commit(message);
  const { shipment, attempts, firstAt } = oneDue(queue, clock);
  assert.deepEqual(
    { ...shipment, body: await bytesOf(shipment.body.open()) },
    {
      id: `${id}-1`,
      leg: internet,
      sender: message.envelope.sender,
      recipients: recipients('bob@fabrikam.example', 'Ann@fabrikam.example'),
      body: messageText(),
      smtpUtf8: true,
      is8bit: true,
      ret: 'HDRS',
      envid: 'QQ1',
    },
  );
  assert.deepEqual([attempts, firstAt], [0, clock.now()]);
});

for (const size of [0, 1, ROW_BODY_BYTES - 1, ROW_BODY_BYTES, ROW_BODY_BYTES + 1, 300_000]) {
  test(`a body of ${size} bytes comes back after a restart, whole and by range`, async () => {
    await using folder = await makeFolder();
    const text = Buffer.alloc(size, 'plaintext-canary ');
    {
      await using queue = await openQueue(queueOptions(folder.path, clock));
      await queue.commit(committed({ copies: [finished({ text })] }));
    }
    await using queue = await openQueue(queueOptions(folder.path, clock));
    const { body } = oneDue(queue, clock).shipment;
    assert.equal(body.size, size);
    assert.deepEqual(await bytesOf(body.open()), text);
    const range = { start: Math.floor(size / 3), end: Math.floor(size / 2) };
    assert.deepEqual(await bytesOf(body.open(range)), text.subarray(range.start, range.end));
    assert.equal(await isOnDisk(folder.path, 'plaintext-canary'), false);
  });
}

test('all copies or none: an error in the last body leaves no row and no file', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const broken = new Error('the hold is gone');
  async function* dying(): AsyncGenerator<Uint8Array, void> {
    yield Buffer.alloc(100_000);
    throw broken;
  }
  const bad = finished({ body: { size: 200_000, open: (): Chunks => dying() } });
  const message = committed({ copies: [finished({ text: large }), finished(), bad] });
  await assert.rejects(queue.commit(message), (error) => error === broken);
  assert.deepEqual(queue.list({ state: 'all' }), []);
  assert.deepEqual(await readdir(join(folder.path, 'bodies')), []);
  assert.deepEqual(allDue(queue, clock), []);
});

for (const size of [10, 100_000]) {
  test(`a body that ends before the ${size} bytes it promised is not queued`, async () => {
    await using folder = await makeFolder();
    await using queue = await openQueue(queueOptions(folder.path, clock));
    const body = { size, open: () => finished({ text: Buffer.alloc(size - 1) }).body.open() };
    await assert.rejects(queue.commit(committed({ copies: [finished({ body })] })), { code: 'unplanned' });
    assert.equal(queue.counts().copies, 0);
    assert.deepEqual(await readdir(join(folder.path, 'bodies')), []);
  });
}

test('a recipient given twice is delivered to once', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const list = recipients('bob@fabrikam.example', 'BOB@fabrikam.example', 'ann@fabrikam.example');
  await queue.commit(committed({ copies: [finished({ recipients: list })] }));
  const delivery = oneDue(queue, clock);
  assert.deepEqual(
    delivery.shipment.recipients.map(({ address }) => address.text),
    ['bob@fabrikam.example', 'ann@fabrikam.example'],
  );
  await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  assert.deepEqual(allDue(queue, clock), []);
  assert.equal(queue.counts().copies, 0);
});

const refused = recipients('eve@fabrikam.example').map((recipient) => ({
  recipient,
  explanation: 'The rule partners wants encryption: ask Eve for her certificate.',
}));

test('refused recipients: the proven sender gets a report in the same commit, over the return leg', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await queue.commit(committed({ refused }));
  const due = allDue(queue, clock);
  const report = due.find(({ shipment }) => shipment.leg.kind === 'tenant');
  const copy = due.find((delivery) => delivery !== report);
  assert.ok(report && copy && due.length === 2);
  assert.deepEqual(copy.shipment.leg, internet);
  assert.deepEqual(report.shipment.leg, tenantLeg);
  assert.equal(report.shipment.sender, null);
  assert.deepEqual(report.shipment.recipients, recipients('alice@contoso.example'));
  const { status, text, original } = await parseReport(await bytesOf(report.shipment.body.open()));
  assert.equal(status.length, 2);
  assert.equal(status[1]?.['final-recipient'], 'rfc822; eve@fabrikam.example');
  assert.equal(status[1]?.['status'], '5.7.1');
  assert.match(text, /The rule partners wants encryption: ask Eve/);
  assert.match(original, /^Subject: \[not shown\]\r$/m);
});

test('refused, unproven: the report tells no rule', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await queue.commit(committed({ refused, isProven: false, returnLeg: internet }));
  const reports = allDue(queue, clock).filter(({ shipment }) => shipment.sender === null);
  assert.equal(reports.length, 1);
  const { text, status } = await parseReport(
    await bytesOf(reports[0]?.shipment.body.open() ?? assert.fail('no report')),
  );
  assert.equal(status[1]?.['status'], '5.7.1');
  assert.doesNotMatch(text, /partners|certificate/);
});

const quiet = [
  { ...refused[0], recipient: { ...refused[0]?.recipient, notify: ['NEVER'] } },
] as typeof refused;
const silent: readonly [string, Parameters<typeof committed>[0]][] = [
  ['the null sender', { refused, sender: null }],
  ['NOTIFY=NEVER', { refused: quiet }],
  ['nobody refused', {}],
];
for (const [name, more] of silent) {
  test(`no report of refusals: ${name}`, async () => {
    await using folder = await makeFolder();
    await using queue = await openQueue(queueOptions(folder.path, clock));
    await queue.commit(committed(more));
    assert.equal(allDue(queue, clock).length, 1);
  });
}

test('a commit without copies queues the report alone', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const id = await queue.commit(committed({ copies: [], refused }));
  assert.equal(queue.show(id)?.isReport, true);
  assert.deepEqual(oneDue(queue, clock).shipment.leg, tenantLeg);
});

test('a commit of nothing at all is an error, never a 250', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await assert.rejects(queue.commit(committed({ copies: [] })), { code: 'unplanned' });
  await assert.rejects(queue.commit(committed({ copies: [], refused, sender: null })), { code: 'unplanned' });
});

test('what is in flight is not due again until it is settled or released; legs take turns', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  for (let count = 0; count < 3; count += 1) await queue.commit(committed());
  await queue.commit(committed({ copies: [finished({ leg: tenantLeg })] }));
  const first = queue.due(clock.now(), 2);
  assert.deepEqual(first.map(({ shipment }) => shipment.leg.kind).toSorted(), ['internet', 'tenant']);
  const rest = queue.due(clock.now(), 10);
  assert.equal(rest.length, 2);
  assert.equal(new Set([...first, ...rest].map(({ id }) => id)).size, 4);
  assert.deepEqual(queue.due(clock.now(), 10), []);
  assert.equal(queue.nextDueAt(), undefined);
  assert.equal(queue.counts().inFlight, 4);
  rest.forEach((delivery) => queue.release(delivery));
  assert.deepEqual(
    queue.due(clock.now(), 10, (leg) => leg === 'internet'),
    [],
  );
  assert.equal(queue.due(clock.now(), 10).length, 2);
});

test('listeners hear of commits and releases, until they end', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  let heard = 0;
  const end = queue.onWork(() => (heard += 1));
  await queue.commit(committed());
  assert.equal(heard, 1);
  queue.release(oneDue(queue, clock));
  assert.equal(heard, 2);
  end();
  await queue.commit(committed());
  assert.equal(heard, 2);
});

test('the operator finds messages by state, address, domain and tenant, newest first', async () => {
  const time = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, time));
  const one = await queue.commit(committed());
  const done = oneDue(queue, time);
  time.advance(MINUTE_MS);
  const two = await queue.commit(
    committed({
      sender: 'carol@contoso.example',
      copies: [finished({ recipients: recipients('dan@x.example') })],
    }),
  );
  await queue.settle(done, resultsOf(done, 'delivered'), time.now());
  const ids = (filter: Parameters<typeof queue.list>[0]): string[] => queue.list(filter).map(({ id }) => id);
  assert.deepEqual(ids({}), [two]);
  assert.deepEqual(ids({ state: 'closed' }), [one]);
  assert.deepEqual(ids({ state: 'all' }), [two, one]);
  assert.deepEqual(ids({ state: 'all', limit: 1 }), [two]);
  assert.deepEqual(ids({ state: 'all', address: 'BOB@fabrikam.example' }), [one]);
  assert.deepEqual(ids({ state: 'all', address: 'carol@contoso.example' }), [two]);
  assert.deepEqual(ids({ state: 'all', address: '@x.example' }), [two]);
  assert.deepEqual(ids({ state: 'all', address: '@contoso.example' }), [two, one]);
  assert.deepEqual(ids({ state: 'all', address: 'x.example' }), []);
  assert.deepEqual(ids({ state: 'all', tenant: testTenant }), [two, one]);
  assert.deepEqual(ids({ state: 'all', tenant: 'another' }), []);
  assert.equal(queue.show(`${two}-1`)?.id, two);
  assert.equal(queue.show('none'), undefined);
  const [copy] = queue.show(two)?.copies ?? [];
  assert.deepEqual(copy, {
    id: `${two}-1`,
    leg: 'internet',
    direction: 'outbound',
    tenant: testTenant,
    rule: 'default',
    isEncrypted: false,
    sizeBytes: messageText().length,
    state: 'queued',
    isInFlight: false,
    attempts: 0,
    nextAt: time.now(),
    recipients: [{ address: 'dan@x.example', state: 'queued' }],
  });
});

test('no subject, header or body reaches the disk readable, nor the operator', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await queue.commit(committed({ copies: [finished(), finished({ text: large })], refused }));
  for (const canary of ['canary-subject', 'plaintext-canary', 'm1@contoso.example', 'ask Eve']) {
    assert.equal(await isOnDisk(folder.path, canary), false, canary);
  }
  assert.doesNotMatch(JSON.stringify(queue.list()), /canary/);
});

test('retry makes a deferred copy due now', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const id = await queue.commit(committed());
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, resultsOf(delivery, 'deferred'), clock.now());
  assert.deepEqual(allDue(queue, clock), []);
  assert.equal(await queue.retry(id), 1);
  assert.equal(await queue.retry('none'), 0);
  assert.equal(oneDue(queue, clock).attempts, 1);
});

test('remove ends a message with its bytes, but not while it is being sent', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const id = await queue.commit(committed({ copies: [finished({ text: large }), finished()] }));
  const deliveries = allDue(queue, clock);
  assert.equal(await queue.remove(id), 'in-flight');
  deliveries.forEach((delivery) => queue.release(delivery));
  assert.equal(await queue.remove(id), 'removed');
  assert.equal(await queue.remove(id), 'not-found');
  assert.deepEqual(allDue(queue, clock), []);
  assert.deepEqual(await readdir(join(folder.path, 'bodies')), []);
  const entry = queue.show(id);
  assert.ok(entry?.closedAt);
  assert.deepEqual(
    entry.copies.flatMap((copy) => copy.recipients.map(({ state }) => state)),
    ['removed', 'removed'],
  );
});

test('room: the limit of copies and the reserve of the disk are asked before mail is taken', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { maxCopies: 1 }));
  await queue.checkRoom();
  await assert.rejects(queue.checkRoom(Number.MAX_SAFE_INTEGER), { code: 'queue-full' });
  await queue.commit(committed());
  await assert.rejects(queue.checkRoom(), { code: 'queue-full' });
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  await queue.checkRoom();
});

test('tidy forgets closed messages after their time, and only those', async () => {
  const time = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, time, { keepClosedMs: 60 * MINUTE_MS }));
  const closed = await queue.commit(committed());
  const delivery = oneDue(queue, time);
  await queue.settle(delivery, resultsOf(delivery, 'delivered'), time.now());
  const open = await queue.commit(committed());
  time.advance(60 * MINUTE_MS);
  await queue.tidy(time.now());
  assert.deepEqual(queue.list({ state: 'all' }).length, 2);
  time.advance(1);
  await queue.tidy(time.now());
  assert.equal(queue.show(closed), undefined);
  assert.equal(queue.show(open)?.id, open);
});

test('a clock that ran ahead and was put right does not hold mail back', async () => {
  const wrong = new ManualClock();
  wrong.advance(400 * 24 * 60 * MINUTE_MS);
  await using folder = await makeFolder();
  {
    await using queue = await openQueue(queueOptions(folder.path, wrong));
    await queue.commit(committed());
  }
  await using queue = await openQueue(queueOptions(folder.path, clock));
  assert.equal(oneDue(queue, clock).attempts, 0);
});

test('erased: the key of a delivered copy is gone from the disk once the queue was tidied', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await queue.commit(committed());
  const wrapped = dekOnDisk(folder.path);
  const delivery = oneDue(queue, clock);
  assert.equal(await isOnDisk(folder.path, wrapped), true);
  await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  await queue.tidy(clock.now());
  assert.equal(await isOnDisk(folder.path, wrapped), false);
});

test('another KEK and a second owner are refused with a reason', async () => {
  await using folder = await makeFolder();
  const options = queueOptions(folder.path, clock);
  {
    await using queue = await openQueue(options);
    await queue.commit(committed());
    await assert.rejects(openQueue(options), { code: 'store-failed', message: /in use by process/ });
  }
  const other = { ...options, kek: new Secret(Buffer.alloc(32, 8)) };
  await assert.rejects(openQueue(other), { code: 'store-failed', message: /KEK is not the one/ });
  await using queue = await openQueue(options);
  assert.equal(allDue(queue, clock).length, 1);
});

test('the same bytes sealed twice differ, and every file is private', async () => {
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock));
  await queue.commit(committed({ copies: [finished({ text: large }), finished({ text: large })] }));
  const bodies = join(folder.path, 'bodies');
  const [one, other] = await Promise.all((await readdir(bodies)).map((name) => readFile(join(bodies, name))));
  assert.ok(one && other);
  assert.equal(one.length, other.length);
  assert.notDeepEqual(one, other);
});

/** The wrapped DEK of the only copy, read by another connection. */
function dekOnDisk(folder: string): Uint8Array {
  using database = new DatabaseSync(join(folder, 'queue.db'), { readOnly: true });
  const dek = database.prepare('SELECT dek FROM copies').get()?.['dek'];
  assert.ok(dek instanceof Uint8Array);
  return dek;
}

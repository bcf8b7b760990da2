// What an attempt makes of the recipients, and whom it is reported to.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeliveryResult } from '../../../src/core/delivery.ts';
import type { NotifyCondition } from '../../../src/core/envelope.ts';
import { openQueue, type Queue } from '../../../src/queue/queue.ts';
import { type ParsedReport, parseReport } from '../../support/reports.ts';
import {
  address,
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

const tenantLeg = { kind: 'tenant', tenant: testTenant } as const;
const internet = { kind: 'internet' } as const;
const retry = {
  delaysMs: [MINUTE_MS, 5 * MINUTE_MS],
  expireAfterMs: 60 * MINUTE_MS,
  jitter: () => 0.5,
} as const;

async function readReport(queue: Queue, clock: ManualClock): Promise<ParsedReport> {
  const { shipment } = oneDue(queue, clock);
  assert.equal(shipment.sender, null);
  return parseReport(await bytesOf(shipment.body.open()));
}

function statesOf(queue: Queue, id: string): Readonly<Record<string, string>> {
  const copies = queue.show(id)?.copies ?? [];
  return Object.fromEntries(
    copies.flatMap((copy) => copy.recipients).map((each) => [each.address, each.state]),
  );
}

test('delivered, deferred and failed in one attempt: each goes its own way, in one write', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const list = recipients('ok@x.example', 'busy@x.example', 'gone@x.example');
  const id = await queue.commit(committed({ copies: [finished({ recipients: list })] }));
  const delivery = oneDue(queue, clock);
  const statuses = ['delivered', 'deferred', 'failed'] as const;
  const results = statuses.flatMap((status, at) => resultsOf(delivery, status).slice(at, at + 1));
  await queue.settle(delivery, results, clock.now());
  assert.deepEqual(statesOf(queue, id), {
    'ok@x.example': 'delivered',
    'busy@x.example': 'queued',
    'gone@x.example': 'failed',
  });
  const { status, text } = await readReport(queue, clock);
  assert.deepEqual(
    status.slice(1).map((fields) => [fields['final-recipient'], fields['action'], fields['status']]),
    [['rfc822; gone@x.example', 'failed', '5.1.1']],
  );
  assert.match(text, /mx\.fabrikam\.example said: 550 5\.1\.1 No such user/);
  clock.advance(MINUTE_MS - 1);
  assert.deepEqual(allDue(queue, clock), []);
  clock.advance(1);
  const again = oneDue(queue, clock);
  assert.deepEqual(again.shipment.recipients, recipients('busy@x.example'));
  assert.equal(again.attempts, 1);
  await queue.settle(again, resultsOf(again, 'delivered'), clock.now());
  assert.ok(queue.show(id)?.closedAt);
});

test('while it is queued the operator sees the last reply; its text rests sealed and goes with the copy', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const id = await queue.commit(committed());
  const replies = (): unknown => queue.show(id)?.copies[0]?.recipients[0]?.reply;
  for (const [status, seen] of [
    ['deferred', '451 4.7.1 Try again later'],
    ['delivered', '250 2.0.0'],
  ] as const) {
    await queue.retry(id);
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, status), clock.now());
    assert.equal(replies(), seen);
    assert.equal(await isOnDisk(folder.path, 'Try again later'), false);
  }
});

test('a recipient without a result is deferred', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const id = await queue.commit(committed());
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, [], clock.now());
  assert.deepEqual(statesOf(queue, id), { 'bob@fabrikam.example': 'queued' });
});

test('a result for somebody else changes nobody', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const id = await queue.commit(committed());
  const delivery = oneDue(queue, clock);
  const stranger = { recipient: { address: address('eve@x.example') } };
  await queue.settle(delivery, resultsOf(delivery, 'delivered', stranger), clock.now());
  assert.deepEqual(statesOf(queue, id), { 'bob@fabrikam.example': 'queued' });
});

test('what stays deferred to the end of its time expires, and the sender is told once', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const id = await queue.commit(committed());
  let attempts = 0;
  for (; statesOf(queue, id)['bob@fabrikam.example'] === 'queued'; attempts += 1) {
    const next = queue.nextDueAt();
    assert.ok(next);
    clock.advance(next.getTime() - clock.now().getTime());
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, 'deferred'), clock.now());
  }
  assert.equal(attempts, 14);
  assert.deepEqual(statesOf(queue, id), { 'bob@fabrikam.example': 'expired' });
  const { status, text } = await readReport(queue, clock);
  assert.equal(status[1]?.['status'], '4.4.7');
  assert.equal(status[1]?.['action'], 'failed');
  assert.match(text, /could not be delivered in the time allowed/);
});

test('a report that cannot be delivered is not reported', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  await queue.commit(committed());
  for (let round = 0; round < 2; round += 1) {
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
  }
  assert.deepEqual(allDue(queue, clock), []);
  assert.equal(queue.counts().copies, 0);
});

const all: readonly NotifyCondition[] = ['SUCCESS', 'FAILURE', 'DELAY'];
const notified: readonly [
  string,
  DeliveryResult['status'],
  readonly NotifyCondition[] | undefined,
  boolean,
  boolean,
][] = [
  ['failure is reported by default', 'failed', undefined, false, true],
  ['failure is reported where it is asked for', 'failed', all, false, true],
  ['failure is not reported to NEVER', 'failed', ['NEVER'], false, false],
  ['failure is not reported to SUCCESS alone', 'failed', ['SUCCESS'], false, false],
  ['success is not reported by default', 'delivered', undefined, false, false],
  ['success is reported as relayed where the next hop will not do it', 'delivered', all, false, true],
  ['success is left to a next hop that knows DSN', 'delivered', all, true, false],
  ['a deferral is not reported', 'deferred', all, false, false],
];
for (const [name, status, notify, isDsnRelayed, isReported] of notified) {
  test(`NOTIFY (RFC 3461 §4.1): ${name}`, async () => {
    const clock = new ManualClock();
    await using folder = await makeFolder();
    await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
    const recipient = { address: address('bob@fabrikam.example'), ...(notify ? { notify } : {}) };
    await queue.commit(committed({ copies: [finished({ recipients: recipients(recipient) })] }));
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, status, { isDsnRelayed }), clock.now());
    const reports = allDue(queue, clock).filter(({ shipment }) => shipment.sender === null);
    assert.equal(reports.length, isReported ? 1 : 0);
  });
}

const told: readonly [string, Parameters<typeof committed>[0], 'proven' | 'everyone' | undefined, boolean][] =
  [
    ['a proven sender', {}, undefined, true],
    ['an unproven sender, by default', { isProven: false, returnLeg: internet }, undefined, true],
    [
      'an unproven sender, where only proven ones are told',
      { isProven: false, returnLeg: internet },
      'proven',
      false,
    ],
    ['the null sender', { sender: null }, undefined, false],
  ];
for (const [name, more, reportTo, isTold] of told) {
  test(`who is told of a failure: ${name}`, async () => {
    const clock = new ManualClock();
    await using folder = await makeFolder();
    const options = queueOptions(folder.path, clock, { retry, ...(reportTo ? { reportTo } : {}) });
    await using queue = await openQueue(options);
    const message = committed(more);
    await queue.commit(message);
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
    const legs = allDue(queue, clock).map(({ shipment }) => shipment.leg);
    assert.deepEqual(legs, isTold ? [message.returnLeg] : []);
  });
}

const subjects: readonly [string, Parameters<typeof finished>[0]][] = [
  ['outbound in clear', {}],
  ['outbound encrypted', { isEncrypted: true }],
  ['inbound, perhaps decrypted', { direction: 'inbound', leg: tenantLeg }],
];
for (const [name, more] of subjects) {
  test(`dsn-subject: ${name}`, async () => {
    const clock = new ManualClock();
    await using folder = await makeFolder();
    await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
    await queue.commit(committed({ copies: [finished(more)] }));
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
    const { original, mail } = await readReport(queue, clock);
    assert.deepEqual(
      original.split('\r\n').filter((line) => line.startsWith('Subject:')),
      ['Subject: [not shown]'],
    );
    assert.match(original, /^Message-ID: <m1@contoso\.example>\r$/m);
    assert.doesNotMatch(mail.text ?? '', /hello/);
  });
}

test('a refused recipient beside an encrypted copy: the subject is replaced too', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const refused = recipients('eve@x.example').map((recipient) => ({ recipient, explanation: 'no' }));
  await queue.commit(committed({ refused, copies: [finished(), finished({ isEncrypted: true })] }));
  const report = allDue(queue, clock).find(({ shipment }) => shipment.sender === null);
  const bytes = await bytesOf(report?.shipment.body.open() ?? assert.fail('no report'));
  assert.equal(bytes.includes('canary-subject'), false);
});

test('only short ASCII fields of the original come back, each once, and no body', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const text = Buffer.from(
    'Received: from inside.contoso.example\r\nFrom: a@contoso.example\r\nFrom: b@contoso.example\r\n' +
      `To: ${'x@y.example,\r\n '.repeat(400)}z@y.example\r\nSubject: gr\u00fcn\r\nX-Secret: canary\r\n\r\nbody-canary\r\n`,
  );
  await queue.commit(committed({ copies: [finished({ text })] }));
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
  const { original } = await readReport(queue, clock);
  assert.equal(original, 'From: a@contoso.example\r\nSubject: [not shown]\r\n');
});

test('our own reason for a failure stays in the log; only a remote answer is told', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  await queue.commit(committed());
  const delivery = oneDue(queue, clock);
  const reply = { code: 554, enhanced: '5.4.4', text: 'inner-host-canary 10.0.0.1' };
  const results = delivery.shipment.recipients.map(
    (recipient) => ({ recipient, status: 'failed', reply }) as const,
  );
  await queue.settle(delivery, results, clock.now());
  const { mail, status } = await readReport(queue, clock);
  assert.equal(status[1]?.['status'], '5.4.4');
  assert.doesNotMatch(mail.text ?? '', /inner-host-canary/);
});

const statuses: readonly [string, string, string][] = [
  ['5.7.26', '5.7.26', 'the status of the remote'],
  ['4.2.0', '5.0.0', 'a temporary status on a failure'],
  ['', '5.0.0', 'no status'],
  ['5.1', '5.0.0', 'half a status'],
];
for (const [enhanced, expected, name] of statuses) {
  test(`status in the report: ${name}`, async () => {
    const clock = new ManualClock();
    await using folder = await makeFolder();
    await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
    await queue.commit(committed());
    const delivery = oneDue(queue, clock);
    const reply = { code: 550, enhanced, text: 'no' };
    await queue.settle(delivery, resultsOf(delivery, 'failed', { reply }), clock.now());
    assert.equal((await readReport(queue, clock)).status[1]?.['status'], expected);
  });
}

test('a sender whose address is not ASCII gets a report that needs SMTPUTF8', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  await queue.commit(committed({ sender: 'grün@contoso.example' }));
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
  const { shipment } = oneDue(queue, clock);
  assert.deepEqual([shipment.smtpUtf8, shipment.is8bit], [true, true]);
});

test('the file of a large body goes with its last recipient', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const list = recipients('ok@x.example', 'busy@x.example');
  await queue.commit(committed({ copies: [finished({ recipients: list, text: messageText('', 100_000) })] }));
  const files = (): Promise<string[]> => readdir(join(folder.path, 'bodies'));
  const first = oneDue(queue, clock);
  await queue.settle(first, resultsOf(first, 'delivered').slice(0, 1), clock.now());
  assert.equal((await files()).length, 1);
  clock.advance(MINUTE_MS);
  const second = oneDue(queue, clock);
  await queue.settle(second, resultsOf(second, 'delivered'), clock.now());
  assert.deepEqual(await files(), []);
});

test('settling twice changes nothing the second time', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await using queue = await openQueue(queueOptions(folder.path, clock, { retry }));
  const id = await queue.commit(committed());
  const delivery = oneDue(queue, clock);
  await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  await queue.settle(delivery, resultsOf(delivery, 'failed'), clock.now());
  assert.deepEqual(statesOf(queue, id), { 'bob@fabrikam.example': 'delivered' });
  assert.deepEqual(allDue(queue, clock), []);
});

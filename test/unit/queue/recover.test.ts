// What a start makes of a disk that is not as it was left.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFile, readdir, readFile, stat, truncate, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { openLog } from '../../../src/core/log.ts';
import { openQueue } from '../../../src/queue/queue.ts';
import {
  allDue,
  bytesOf,
  committed,
  finished,
  makeFolder,
  ManualClock,
  messageText,
  MINUTE_MS,
  oneDue,
  queueOptions,
  resultsOf,
} from '../../support/storage.ts';

const large = messageText('plaintext-canary', 200_000);

/** A closed queue with one message; returns its id. */
async function makeQueue(folder: string, text: Uint8Array = messageText()): Promise<string> {
  await using queue = await openQueue(queueOptions(folder, new ManualClock()));
  return await queue.commit(committed({ copies: [finished({ text })] }));
}

function change(folder: string, sql: string, ...values: SQLInputValue[]): void {
  using database = new DatabaseSync(join(folder, 'queue.db'));
  assert.ok(Number(database.prepare(sql).run(...values).changes) > 0, sql);
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

test('temporary files go, files without a row are set aside, and the counts are logged', async () => {
  await using folder = await makeFolder();
  const id = await makeQueue(folder.path, large);
  const bodies = join(folder.path, 'bodies');
  await writeFile(join(bodies, 'half-1.msg.tmp'), 'half');
  await copyFile(join(bodies, `${id}-1.msg`), join(bodies, 'lost-1.msg'));
  const lines: string[] = [];
  const log = openLog('info', { write: (line) => void lines.push(line) });
  await using queue = await openQueue(queueOptions(folder.path, new ManualClock(), { log }));
  assert.deepEqual(await readdir(bodies), [`${id}-1.msg`]);
  assert.deepEqual(await readdir(join(folder.path, 'orphans')), ['lost-1.msg']);
  const recovered = lines.map((line) => JSON.parse(line)).find(({ event }) => event === 'queue-recovered');
  const { queued, damaged, orphans, temporary } = recovered;
  assert.deepEqual(
    { queued, damaged, orphans, temporary },
    { queued: 1, damaged: 0, orphans: 1, temporary: 1 },
  );
  assert.equal(queue.counts().copies, 1);
});

test('orphans are kept for their time and then removed', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await makeQueue(folder.path);
  const orphan = join(folder.path, 'orphans', 'lost-1.msg');
  await writeFile(orphan, 'sealed');
  const options = queueOptions(folder.path, clock, { keepClosedMs: MINUTE_MS });
  for (const [ageMs, isThere] of [
    [MINUTE_MS, true],
    [MINUTE_MS + 1_000, false],
  ] as const) {
    const at = new Date(clock.now().getTime() - ageMs);
    await utimes(orphan, at, at);
    const queue = await openQueue(options);
    await queue[Symbol.asyncDispose]();
    const found = await stat(orphan).then(
      () => true,
      () => false,
    );
    assert.equal(found, isThere);
  }
});

test('the file of a copy that was closed before a crash is set aside, not sent', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  const id = await makeQueue(folder.path, large);
  const path = join(folder.path, 'bodies', `${id}-1.msg`);
  const bytes = await readFile(path);
  {
    await using queue = await openQueue(queueOptions(folder.path, clock));
    const delivery = oneDue(queue, clock);
    await queue.settle(delivery, resultsOf(delivery, 'delivered'), clock.now());
  }
  await writeFile(path, bytes);
  await using queue = await openQueue(queueOptions(folder.path, clock));
  assert.deepEqual(allDue(queue, clock), []);
  assert.deepEqual(await readdir(join(folder.path, 'bodies')), []);
});

type Damage = (folder: string, id: string) => void | Promise<void>;
const damages: readonly [string, Uint8Array, Damage][] = [
  [
    'a record that was changed',
    messageText(),
    (folder) => change(folder, `UPDATE copies SET record = zeroblob(300)`),
  ],
  ['a lost key', messageText(), (folder) => change(folder, `UPDATE copies SET dek = NULL`)],
  ['a lost body', messageText(), (folder) => change(folder, `DELETE FROM bodies`)],
  [
    'a body that was cut',
    messageText(),
    (folder) => change(folder, `UPDATE bodies SET body = substr(body, 1, 90)`),
  ],
  ['a lost file', large, (folder, id) => unlink(join(folder, 'bodies', `${id}-1.msg`))],
  ['a file that was cut', large, (folder, id) => truncate(join(folder, 'bodies', `${id}-1.msg`), 100_000)],
  ['an empty file', large, (folder, id) => truncate(join(folder, 'bodies', `${id}-1.msg`), 0)],
  ['a changed end', large, (folder, id) => flip(join(folder, 'bodies', `${id}-1.msg`), 200_100)],
];
for (const [name, text, damage] of damages) {
  test(`${name} is damage: set aside, never sent, the rest goes on, the operator can remove it`, async () => {
    const clock = new ManualClock();
    await using folder = await makeFolder();
    const id = await makeQueue(folder.path, text);
    await damage(folder.path, id);
    await using queue = await openQueue(queueOptions(folder.path, clock));
    assert.equal(queue.counts().damaged, 1);
    assert.deepEqual(allDue(queue, clock), []);
    assert.equal(queue.show(id)?.copies[0]?.state, 'damaged');
    const other = await queue.commit(committed());
    assert.equal(oneDue(queue, clock).id, `${other}-1`);
    assert.equal(await queue.retry(id), 0);
    assert.equal(await queue.remove(id), 'removed');
    assert.equal(queue.counts().damaged, 0);
  });
}

test('a copy whose key, record and body were exchanged for those of another is damage: a row cannot send mail elsewhere', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  const one = await makeQueue(folder.path);
  const two = await makeQueue(folder.path);
  change(
    folder.path,
    `UPDATE copies SET (dek, record) = (SELECT dek, record FROM copies WHERE id = ?) WHERE id = ?`,
    `${one}-1`,
    `${two}-1`,
  );
  change(
    folder.path,
    `UPDATE bodies SET body = (SELECT body FROM bodies WHERE copy_id = ?) WHERE copy_id = ?`,
    `${one}-1`,
    `${two}-1`,
  );
  await using queue = await openQueue(queueOptions(folder.path, clock));
  assert.equal(oneDue(queue, clock).id, `${one}-1`);
  assert.equal(queue.counts().damaged, 1);
});

test('the plain columns decide nothing: leg and recipients come from the sealed record', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  await makeQueue(folder.path);
  change(folder.path, `UPDATE copies SET leg = 'smarthost'`);
  change(folder.path, `UPDATE recipients SET address = 'eve@evil.example'`);
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const { shipment } = oneDue(queue, clock);
  assert.deepEqual(shipment.leg, { kind: 'internet' });
  assert.deepEqual(
    shipment.recipients.map(({ address }) => address.text),
    ['bob@fabrikam.example'],
  );
});

test('damage in the middle of a file shows while it is sent: the attempt fails, and there is no other', async () => {
  const clock = new ManualClock();
  await using folder = await makeFolder();
  const id = await makeQueue(folder.path, large);
  await flip(join(folder.path, 'bodies', `${id}-1.msg`), 70_000);
  await using queue = await openQueue(queueOptions(folder.path, clock));
  const delivery = oneDue(queue, clock);
  await assert.rejects(bytesOf(delivery.shipment.body.open()), { code: 'store-failed' });
  await queue.settle(delivery, resultsOf(delivery, 'deferred'), clock.now());
  clock.advance(24 * 60 * MINUTE_MS);
  assert.deepEqual(allDue(queue, clock), []);
  assert.equal(queue.show(id)?.copies[0]?.state, 'damaged');
});

test('a file that is no database is an error, not an empty queue', async () => {
  await using folder = await makeFolder();
  await makeQueue(folder.path);
  await writeFile(join(folder.path, 'queue.db'), 'this is no database, whatever its name says'.repeat(200));
  await assert.rejects(openQueue(queueOptions(folder.path, new ManualClock())), { code: 'store-failed' });
});

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { checkFreeSpace } from '../../../src/storage/free-space.ts';
import { openQueueDatabase } from '../../../src/storage/queue-database.ts';
import { makeFolder } from '../../support/storage.ts';

/** SQLite's default. */
const PAGE_BYTES = 4096;
const schema = 'CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT';

test('writes of one turn share one commit and each has its own answer', async () => {
  await using folder = await makeFolder();
  using database = openQueueDatabase(join(folder.path, 'q.db'), schema);
  const mine = new Error('mine');
  const answers = await Promise.allSettled([
    database.write((sql) => sql.run('INSERT INTO t (value) VALUES (?)', 'a')),
    database.write((sql) => {
      sql.run('INSERT INTO t (value) VALUES (?)', 'undone');
      throw mine;
    }),
    database.write((sql) => sql.run('INSERT INTO t (id, value) VALUES (1, ?)', 'same key')),
    database.write((sql) => sql.run('INSERT INTO t (value) VALUES (?)', 'b')),
  ]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  );
  assert.equal(answers[1]?.status === 'rejected' && answers[1].reason, mine);
  assert.deepEqual(
    database.sql.all('SELECT value FROM t ORDER BY id').map((row) => row['value']),
    ['a', 'b'],
  );
  assert.equal(database.failure(), undefined);
});

test('a write is visible to another connection once it has resolved, and not before', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'q.db');
  using database = openQueueDatabase(path, schema);
  using other = new DatabaseSync(path, { readOnly: true });
  const count = (): unknown => other.prepare('SELECT count(*) AS n FROM t').get()?.['n'];
  const written = database.write((sql) => sql.run(`INSERT INTO t (value) VALUES ('a')`));
  assert.equal(count(), 0);
  await written;
  assert.equal(count(), 1);
});

test('fail stop: after a damaged page every later write is refused', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'q.db');
  {
    using sound = openQueueDatabase(path, schema);
    await sound.write((sql) => sql.run(`INSERT INTO t (value) VALUES ('a')`));
  }
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(PAGE_BYTES, 0xff), 0, PAGE_BYTES, PAGE_BYTES);
  await file.close();
  using database = openQueueDatabase(path, schema);
  await assert.rejects(
    database.write((sql) => sql.all('SELECT * FROM t')),
    { code: 'store-failed' },
  );
  assert.equal(database.failure()?.code, 'store-failed');
  await assert.rejects(
    database.write((sql) => sql.one('SELECT 1')),
    { code: 'store-failed' },
  );
});

test('a full database is queue-full, takes nothing of the write, and goes on when there is room again', async () => {
  await using folder = await makeFolder();
  using database = openQueueDatabase(join(folder.path, 'q.db'), schema);
  await database.write((sql) => sql.one('PRAGMA max_page_count = 4'));
  const [full, small] = await Promise.allSettled([
    database.write((sql) => sql.run('INSERT INTO t (value) VALUES (?)', 'x'.repeat(100_000))),
    database.write((sql) => sql.run('INSERT INTO t (value) VALUES (?)', 'small')),
  ]);
  assert.equal(full.status === 'rejected' && full.reason.code, 'queue-full');
  assert.equal(database.failure(), undefined);
  await database.write((sql) => sql.one('PRAGMA max_page_count = 100000'));
  await database.write((sql) => sql.run('INSERT INTO t (value) VALUES (?)', 'x'.repeat(100_000)));
  const rows = database.sql.all('SELECT length(value) AS n FROM t').map((row) => row['n']);
  assert.deepEqual(rows, small.status === 'fulfilled' ? [5, 100_000] : [100_000]);
});

test('the file is private, and closing answers the writes that wait', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'q.db');
  const database = openQueueDatabase(path, schema);
  const last = database.write((sql) => sql.run(`INSERT INTO t (value) VALUES ('last')`));
  database[Symbol.dispose]();
  assert.equal(await last, 1);
  await assert.rejects(
    database.write(() => 1),
    { code: 'store-failed', message: /closed/ },
  );
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  using again = openQueueDatabase(path, schema);
  assert.equal(again.sql.one('SELECT value FROM t')?.['value'], 'last');
});

test('a file that is no database is an error', async () => {
  await using folder = await makeFolder();
  assert.throws(() => openQueueDatabase(folder.path, schema), { code: 'store-failed' });
});

test('free space below the reserve is queue-full', async () => {
  await using folder = await makeFolder();
  await checkFreeSpace(folder.path, 0);
  await assert.rejects(checkFreeSpace(folder.path, Number.MAX_SAFE_INTEGER), { code: 'queue-full' });
  await assert.rejects(checkFreeSpace(join(folder.path, 'none'), 0), { code: 'store-failed' });
});

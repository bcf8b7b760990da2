import { test } from 'node:test';
import assert from 'node:assert/strict';
import { cp, chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { initKeyDatabase, type KeyDatabase, openKeyDatabase } from '../../../src/storage/key-database.ts';
import { makeKey } from '../../../src/storage/seal.ts';
import { isOnDisk, makeFolder, testKek } from '../../support/storage.ts';

const kek = testKek;

async function makeStore(
  records: Readonly<Record<string, string>> = {},
): Promise<Awaited<ReturnType<typeof makeFolder>>> {
  const folder = await makeFolder();
  await initKeyDatabase({ folder: folder.path, kek });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  for (const [name, value] of Object.entries(records)) await database.put(name, Buffer.from(value));
  return folder;
}

/** Changes rows behind the database's back, as someone with the disk could. */
async function changeRows(
  folder: string,
  change: (level: Level<string, Buffer>) => Promise<void>,
): Promise<void> {
  const level = new Level<string, Buffer>(join(folder, 'level'), {
    createIfMissing: false,
    valueEncoding: 'buffer',
  });
  await level.open();
  await change(level);
  await level.close();
}

const text = async (database: KeyDatabase, name: string): Promise<string | undefined> =>
  (await database.get(name))?.toString();

test('records are there after reopening, by name and by prefix, in order', async () => {
  await using folder = await makeStore({ 'a/2': 'two', 'a/1': 'one', 'b/1': 'other' });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  assert.equal(await text(database, 'a/1'), 'one');
  assert.equal(await text(database, 'a/3'), undefined);
  const found = [];
  for await (const { name, value } of database.list('a/')) found.push([name, value.toString()]);
  assert.deepEqual(found, [
    ['a/1', 'one'],
    ['a/2', 'two'],
  ]);
  assert.deepEqual(database.names(''), ['a/1', 'a/2', 'b/1']);
});

test('a batch is one change; the last operation on a name counts; a deletion of nothing is no error', async () => {
  await using folder = await makeStore({ old: 'x' });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  await database.batch([
    { kind: 'delete', name: 'old' },
    { kind: 'put', name: 'new', value: Buffer.from('1') },
    { kind: 'put', name: 'new', value: Buffer.from('2') },
    { kind: 'put', name: 'gone', value: Buffer.from('3') },
    { kind: 'delete', name: 'gone' },
    { kind: 'delete', name: 'never' },
  ]);
  assert.deepEqual(database.names(''), ['new']);
  assert.equal(await text(database, 'new'), '2');
});

test('reads during writes see the old or the new value, never an error', async () => {
  await using folder = await makeStore({ name: '0' });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  const writes = Array.from({ length: 20 }, (_, index) => database.put('name', Buffer.from(String(index))));
  for (let round = 0; round < 40; round += 1) assert.match((await text(database, 'name')) ?? '', /^\d+$/);
  await Promise.all(writes);
  assert.equal(await text(database, 'name'), '19');
});

test('another KEK, a missing sheet, a folder that others can enter and a second init are refused with what to do', async () => {
  await using folder = await makeStore({ a: 'x' });
  const { path } = folder;
  await assert.rejects(openKeyDatabase({ folder: path, kek: makeKey() }), {
    code: 'store-failed',
    message: /the KEK is not the one/,
  });
  await assert.rejects(initKeyDatabase({ folder: path, kek }), {
    code: 'store-failed',
    message: /has a key database/,
  });
  await chmod(path, 0o750);
  await assert.rejects(openKeyDatabase({ folder: path, kek }), {
    code: 'config-invalid',
    message: /chmod 700/,
  });
  await chmod(path, 0o700);
  await rm(join(path, 'store.json'));
  await assert.rejects(openKeyDatabase({ folder: path, kek }), {
    code: 'store-failed',
    message: /store\.json is missing/,
  });
  await assert.rejects(openKeyDatabase({ folder: join(path, 'none'), kek }), { code: 'store-failed' });
});

test('an open database cannot be opened again, and stays usable when that was tried', async () => {
  await using folder = await makeStore({ a: 'x' });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  await assert.rejects(openKeyDatabase({ folder: folder.path, kek }), { message: /in use by process/ });
  await database.put('b', Buffer.from('y'));
  assert.equal(await text(database, 'a'), 'x');
});

test('a missing CURRENT is an error, never an empty database', async () => {
  await using folder = await makeStore({ a: 'x' });
  await rm(join(folder.path, 'level', 'CURRENT'));
  await assert.rejects(openKeyDatabase({ folder: folder.path, kek }), { code: 'store-failed' });
  assert.equal((await readdir(join(folder.path, 'level'))).includes('CURRENT'), false);
});

test('a record that vanished, was damaged, was put under another name or is an older one is unreadable; others are served', async () => {
  await using folder = await makeStore({ a: 'first', b: 'other', c: 'third', d: 'fourth', e: 'fine' });
  let older: Buffer | undefined;
  await changeRows(folder.path, async (level) => {
    older = await level.get('record:a');
  });
  {
    await using database = await openKeyDatabase({ folder: folder.path, kek });
    await database.put('a', Buffer.from('second'));
  }
  await changeRows(folder.path, async (level) => {
    const record = await level.get('record:b');
    await level.put('record:a', older ?? Buffer.alloc(0));
    await level.put('record:d', record ?? Buffer.alloc(0));
    await level.del('record:b');
    await level.put('record:c', Buffer.alloc(120));
  });
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  for (const [name, why] of [
    ['a', /another time/],
    ['b', /is gone/],
    ['c', /another time/],
    ['d', /another time/],
  ] as const) {
    await assert.rejects(database.get(name), {
      code: 'key-unreadable',
      message: why,
      detail: { record: name },
    });
  }
  assert.equal(await text(database, 'e'), 'fine');
  assert.deepEqual(database.names(''), ['a', 'b', 'c', 'd', 'e']);
  await assert.rejects(
    async () => {
      for await (const { name } of database.list('')) assert.fail(`listed ${name}`);
    },
    { code: 'key-unreadable' },
  );
  await database.put('a', Buffer.from('again'));
  await database.delete('b');
  assert.equal(await text(database, 'a'), 'again');
  assert.equal(await database.get('b'), undefined);
});

test('a record with any byte flipped is unreadable and never another value', async () => {
  await using folder = await makeStore({ a: 'secret value', b: 'other' });
  let record: Buffer = Buffer.alloc(0);
  await changeRows(folder.path, async (level) => {
    record = (await level.get('record:a')) ?? record;
  });
  for (let at = 0; at < record.length; at += 5) {
    await changeRows(folder.path, async (level) => {
      const flipped = Buffer.from(record);
      flipped[at] = (flipped[at] ?? 0) ^ 0x10;
      await level.put('record:a', flipped);
    });
    await using database = await openKeyDatabase({ folder: folder.path, kek });
    await assert.rejects(database.get('a'), { code: 'key-unreadable' }, `flip at ${at}`);
    assert.equal(await text(database, 'b'), 'other');
  }
});

test('a replayed bucket, a replayed root and a missing index row stop the database', async () => {
  await using folder = await makeStore({ a: '1' });
  const bucket = 'index:ca'; // the bucket of the name `a`
  let before: (Buffer | undefined)[] = [];
  await changeRows(folder.path, async (level) => {
    before = [await level.get(bucket), await level.get('root')];
  });
  assert.ok(before[0]);
  {
    await using database = await openKeyDatabase({ folder: folder.path, kek });
    await database.put('a', Buffer.from('2'));
  }
  let after: Buffer | undefined;
  const put = async (row: string, value: Buffer | undefined): Promise<void> =>
    changeRows(folder.path, async (level) => {
      after = await level.get(row);
      if (value) await level.put(row, value);
      else await level.del(row);
    });
  for (const [row, value] of [
    [bucket, before[0]],
    ['root', before[1]],
    [bucket, undefined],
    ['root', undefined],
  ] as const) {
    await put(row, value);
    await assert.rejects(openKeyDatabase({ folder: folder.path, kek }), {
      code: 'store-failed',
      message: /not whole/,
    });
    await put(row, after);
  }
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  assert.equal(await text(database, 'a'), '2');
});

test('lost tail: a database that lost its last writes is refused, and serves what is left only with consent', async () => {
  await using folder = await makeStore({ a: '1' });
  await cp(join(folder.path, 'level'), join(folder.path, 'older'), { recursive: true });
  {
    await using database = await openKeyDatabase({ folder: folder.path, kek });
    await database.put('b', Buffer.from('2'));
    await database.put('c', Buffer.from('3'));
  }
  await rm(join(folder.path, 'level'), { recursive: true });
  await cp(join(folder.path, 'older'), join(folder.path, 'level'), { recursive: true });
  await assert.rejects(openKeyDatabase({ folder: folder.path, kek }), {
    code: 'store-failed',
    message: /lost its last 2 writes/,
  });
  {
    await using database = await openKeyDatabase({ folder: folder.path, kek, acceptLoss: true });
    assert.deepEqual(database.names(''), ['a']);
    assert.equal(await text(database, 'a'), '1');
    await database.put('d', Buffer.from('4'));
  }
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  assert.deepEqual(database.names(''), ['a', 'd']);
});

test('every byte of the LevelDB log flipped in turn: noticed or right, never an empty or wrong answer', async () => {
  await using folder = await makeStore({ a: 'first', b: 'second' });
  const logName = (await readdir(join(folder.path, 'level'))).find(
    (name) => name.endsWith('.log') || name.endsWith('.ldb'),
  );
  const files = (await readdir(join(folder.path, 'level'))).filter((name) => /\.(log|ldb)$/.test(name));
  assert.ok(logName);
  await cp(join(folder.path, 'level'), join(folder.path, 'copy'), { recursive: true });
  let noticed = 0;
  let right = 0;
  for (const name of files) {
    const original = await readFile(join(folder.path, 'copy', name));
    const step = Math.max(1, Math.floor(original.length / 60));
    for (let at = 0; at < original.length; at += step) {
      await rm(join(folder.path, 'level'), { recursive: true });
      await cp(join(folder.path, 'copy'), join(folder.path, 'level'), { recursive: true });
      const flipped = Buffer.from(original);
      flipped[at] = (flipped[at] ?? 0) ^ 0x40;
      await writeFile(join(folder.path, 'level', name), flipped);
      try {
        await using database = await openKeyDatabase({ folder: folder.path, kek });
        assert.equal(await text(database, 'a'), 'first', `${name} at ${at}`);
        assert.equal(await text(database, 'b'), 'second', `${name} at ${at}`);
        right += 1;
      } catch (error) {
        assert.ok(
          error instanceof Error &&
            'code' in error &&
            /^(store-failed|key-unreadable)$/.test(String(error.code)),
          String(error),
        );
        noticed += 1;
      }
    }
  }
  assert.ok(noticed > 10, `noticed ${noticed}, right ${right}`);
});

test('nothing readable is on the disk, and files are private', async () => {
  await using folder = await makeStore({ a: 'canary-of-the-private-key' });
  assert.equal(await isOnDisk(folder.path, 'canary-of-the-private-key'), false);
  for (const entry of await readdir(folder.path, { recursive: true })) {
    assert.equal((await stat(join(folder.path, entry))).mode & 0o077, 0, entry);
  }
});

test("a deleted record's bytes, and those of a replaced one, are gone from the disk", async () => {
  await using folder = await makeStore({ a: 'to be deleted', b: 'to be replaced', c: 'stays' });
  const rows: Buffer[] = [];
  await changeRows(folder.path, async (level) => {
    for (const row of ['record:a', 'record:b']) rows.push((await level.get(row)) ?? Buffer.alloc(0));
  });
  // The wrapped DEK: without it the record is noise even for the owner of the KEK.
  const deks = rows.map((row) => row.subarray(8, 8 + 73));
  for (const dek of deks) assert.equal(await isOnDisk(folder.path, dek), true);
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  await database.delete('a');
  await database.put('b', Buffer.from('new'));
  for (const dek of deks) assert.equal(await isOnDisk(folder.path, dek), false);
  assert.equal(await text(database, 'c'), 'stays');
});

test('names that LevelDB or the index could misread are refused', async () => {
  await using folder = await makeStore();
  await using database = await openKeyDatabase({ folder: folder.path, kek });
  for (const name of ['', 'x'.repeat(513), 'a\u0000b', '\uD800']) {
    assert.throws(() => database.put(name, Buffer.from('x')), { code: 'store-failed' });
  }
  for (const name of ['__proto__', 'constructor', 'é/ß', '\uFFFE', 'x'.repeat(512)])
    await database.put(name, Buffer.from(name));
  assert.equal(await text(database, '__proto__'), '__proto__');
  assert.equal(await text(database, 'toString'), undefined);
  assert.equal(database.names('').length, 5);
});

test('a closed database answers with an error', async () => {
  await using folder = await makeStore({ a: 'x' });
  const database = await openKeyDatabase({ folder: folder.path, kek });
  await database[Symbol.asyncDispose]();
  await assert.rejects(database.get('a'), { code: 'store-failed', message: /closed/ });
  await assert.rejects(database.put('a', Buffer.from('y')), { code: 'store-failed' });
});

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesSource } from '../../../src/core/bytes.ts';
import { silentLog } from '../../../src/core/log.ts';
import { openHolds } from '../../../src/storage/hold.ts';
import { bytesOf, chunked, isOnDisk, makeFolder } from '../../support/storage.ts';

const options = (folder: string) => ({ folder, memoryBytes: 1_000, log: silentLog });

for (const size of [0, 1, 999, 1_000, 1_001, 70_000, 200_000]) {
  test(`a hold of ${size} bytes opens many times, also at once and by range`, async () => {
    await using folder = await makeFolder();
    await using holds = await openHolds(options(folder.path));
    const bytes = randomBytes(size);
    await using hold = await holds.write(chunked(bytes, [300, 7_000]), 1_000_000);
    assert.equal(hold.size, size);
    assert.equal(hold.sha256, createHash('sha256').update(bytes).digest('hex'));
    const [first, second] = await Promise.all([bytesOf(hold.open()), bytesOf(hold.open())]);
    assert.deepEqual(first, bytes);
    assert.deepEqual(second, bytes);
    assert.deepEqual(await bytesOf(hold.open({ start: 10, end: 40 })), bytes.subarray(10, 40));
    assert.equal((await readdir(folder.path)).length, size > 1_000 ? 1 : 0);
  });
}

test('a large hold rests sealed, private, and goes when it is disposed', async () => {
  await using folder = await makeFolder();
  await using holds = await openHolds(options(folder.path));
  const hold = await holds.write(bytesSource(Buffer.from('canary '.repeat(20_000))).open(), 1_000_000);
  assert.equal(await isOnDisk(folder.path, 'canary'), false);
  const [name = ''] = await readdir(folder.path);
  assert.equal((await stat(join(folder.path, name))).mode & 0o777, 0o600);
  await hold[Symbol.asyncDispose]();
  await hold[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(folder.path), []);
  assert.throws(() => hold.open(), { code: 'unplanned' });
});

for (const limit of [500, 50_000]) {
  test(`a stream over ${limit} bytes is refused, its source closed, and nothing stays`, async () => {
    await using folder = await makeFolder();
    await using holds = await openHolds(options(folder.path));
    let isClosed = false;
    async function* endless(): AsyncGenerator<Uint8Array, void> {
      try {
        for (;;) yield Buffer.alloc(400);
      } finally {
        isClosed = true;
      }
    }
    await assert.rejects(holds.write(endless(), limit), { code: 'message-too-large' });
    assert.equal(isClosed, true);
    assert.deepEqual(await readdir(folder.path), []);
  });
}

test('a stream of exactly the limit is held', async () => {
  await using folder = await makeFolder();
  await using holds = await openHolds(options(folder.path));
  await using hold = await holds.write(chunked(Buffer.alloc(5_000), [999]), 5_000);
  assert.equal(hold.size, 5_000);
});

test('an error of the incoming stream passes unchanged and leaves nothing', async () => {
  await using folder = await makeFolder();
  await using holds = await openHolds(options(folder.path));
  const broken = new Error('connection lost');
  async function* dying(): AsyncGenerator<Uint8Array, void> {
    yield Buffer.alloc(5_000);
    yield Buffer.alloc(200_000);
    throw broken;
  }
  await assert.rejects(holds.write(dying(), 1_000_000), (error) => error === broken);
  assert.deepEqual(await readdir(folder.path), []);
});

test('opening removes what an earlier process left, and nothing else', async () => {
  await using folder = await makeFolder();
  await writeFile(join(folder.path, 'abc.hold'), 'left');
  await writeFile(join(folder.path, 'note.txt'), 'other');
  const holds = await openHolds(options(folder.path));
  assert.deepEqual(await readdir(folder.path), ['note.txt']);
  await holds[Symbol.asyncDispose]();
});

test('disposing the holds ends all of them', async () => {
  await using folder = await makeFolder();
  const holds = await openHolds(options(folder.path));
  await holds.write(bytesSource(Buffer.alloc(5_000)).open(), 1_000_000);
  await holds.write(bytesSource(Buffer.alloc(6_000)).open(), 1_000_000);
  assert.equal((await readdir(folder.path)).length, 2);
  await holds[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(folder.path), []);
});

test('a damaged hold file is noticed, not handed on', async () => {
  await using folder = await makeFolder();
  await using holds = await openHolds(options(folder.path));
  await using hold = await holds.write(bytesSource(Buffer.alloc(100_000)).open(), 1_000_000);
  const [name = ''] = await readdir(folder.path);
  await writeFile(join(folder.path, name), Buffer.alloc(100_000));
  await assert.rejects(bytesOf(hold.open()), { code: 'store-failed' });
});

for (const [place, size, at] of [
  ['in memory', 10, 5],
  ['where memory ends', 1_001, 1_000],
  ['in a file', 200_000, 150_000],
] as const) {
  test(`a byte that is not ASCII is noticed ${place}`, async () => {
    await using folder = await makeFolder();
    await using holds = await openHolds(options(folder.path));
    const bytes = Buffer.alloc(size, 'a');
    await using plain = await holds.write(chunked(bytes, [300, 7_000]), 1_000_000);
    assert.equal(plain.is8bit, false);
    bytes[at] = 0xe9;
    await using changed = await holds.write(chunked(bytes, [300, 7_000]), 1_000_000);
    assert.equal(changed.is8bit, true);
  });
}

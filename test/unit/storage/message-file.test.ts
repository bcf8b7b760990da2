import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesSource } from '../../../src/core/bytes.ts';
import { diskFiles, type Files } from '../../../src/storage/files.ts';
import {
  openMessageFile,
  prepareMessageFolder,
  removeMessageFile,
  writeMessageFile,
} from '../../../src/storage/message-file.ts';
import { makeKey } from '../../../src/storage/seal.ts';
import { bytesOf, chunked, isOnDisk, makeFolder } from '../../support/storage.ts';

const failed = { code: 'store-failed' };

test('a message file is sealed, private, and opens whole and by range', async () => {
  await using folder = await makeFolder();
  const key = makeKey();
  const bytes = Buffer.concat([Buffer.from('canary'), randomBytes(200_000)]);
  const written = await writeMessageFile(folder.path, key, 'id-1', bytesSource(bytes));
  assert.deepEqual(written, {
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  const body = openMessageFile(folder.path, key, 'id-1', bytes.length);
  assert.deepEqual(await bytesOf(body.open()), bytes);
  assert.deepEqual(await bytesOf(body.open({ start: 65_500, end: 65_600 })), bytes.subarray(65_500, 65_600));
  assert.equal(await isOnDisk(folder.path, 'canary'), false);
  assert.equal((await stat(join(folder.path, 'id-1.msg'))).mode & 0o777, 0o600);
  await removeMessageFile(folder.path, 'id-1');
  await removeMessageFile(folder.path, 'id-1');
  await assert.rejects(bytesOf(body.open()), failed);
});

test('an empty message has a file too', async () => {
  await using folder = await makeFolder();
  const key = makeKey();
  assert.equal((await writeMessageFile(folder.path, key, 'id', bytesSource(Buffer.alloc(0)))).bytes, 0);
  assert.equal((await bytesOf(openMessageFile(folder.path, key, 'id', 0).open())).length, 0);
});

test('corruption sweep: any byte flipped, any cut, zeros, trailing data, another name or key: never mail', async () => {
  await using folder = await makeFolder();
  const key = makeKey();
  await writeMessageFile(folder.path, key, 'id', bytesSource(Buffer.from('a small message\r\n')));
  const path = join(folder.path, 'id.msg');
  const good = await readFile(path);
  const read = (size = 17): Promise<Buffer> => bytesOf(openMessageFile(folder.path, key, 'id', size).open());
  assert.equal((await read()).length, 17);
  for (let at = 0; at < good.length; at += 1) {
    const flipped = Buffer.from(good);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
    await writeFile(path, flipped);
    await assert.rejects(read(), failed, `flip at ${at}`);
    await writeFile(path, good.subarray(0, at));
    await assert.rejects(read(), failed, `cut at ${at}`);
  }
  for (const variant of [
    Buffer.alloc(good.length),
    Buffer.concat([good, Buffer.of(1)]),
    Buffer.concat([good, good]),
  ]) {
    await writeFile(path, variant);
    await assert.rejects(read(), failed);
  }
  await writeFile(path, good);
  await assert.rejects(read(16), failed);
  await assert.rejects(bytesOf(openMessageFile(folder.path, makeKey(), 'id', 17).open()), failed);
  await rename(path, join(folder.path, 'other.msg'));
  await assert.rejects(bytesOf(openMessageFile(folder.path, key, 'other', 17).open()), failed);
});

test('an id is written once, and only plain ids are file names', async () => {
  await using folder = await makeFolder();
  const key = makeKey();
  const source = bytesSource(Buffer.from('x'));
  for (const id of ['../x', 'a/b', '', 'A', '.x', 'x.msg', 'x\u0000', '-x', 'x'.repeat(65)]) {
    await assert.rejects(writeMessageFile(folder.path, key, id, source), { code: 'unplanned' }, id);
    assert.throws(() => openMessageFile(folder.path, key, id, 1), { code: 'unplanned' });
  }
  assert.deepEqual(await readdir(folder.path), []);
});

for (const operation of ['create', 'write', 'sync', 'close', 'rename', 'syncFolder'] as const) {
  for (const code of ['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE']) {
    test(`${code} on ${operation}: an error with the right code, and no message under the name`, async () => {
      await using folder = await makeFolder();
      const key = makeKey();
      const files = failing(operation, code);
      await assert.rejects(
        writeMessageFile(folder.path, key, 'id', bytesSource(Buffer.alloc(90_000)), files),
        (error: Error) => {
          const isFull = code === 'ENOSPC' || code === 'EDQUOT';
          // A failed close reports itself as it is: the bytes were synced before.
          return (
            'code' in error &&
            (error.code === (isFull ? 'queue-full' : 'store-failed') || operation === 'close')
          );
        },
      );
      const left = await readdir(folder.path);
      if (operation !== 'syncFolder') assert.deepEqual(left, []);
    });
  }
}

test('an error of the source passes unchanged and leaves nothing', async () => {
  await using folder = await makeFolder();
  const broken = new Error('source');
  const source = {
    async *open(): AsyncGenerator<Uint8Array, void> {
      yield Buffer.alloc(300_000);
      throw broken;
    },
  };
  await assert.rejects(writeMessageFile(folder.path, makeKey(), 'id', source), (error) => error === broken);
  assert.deepEqual(await readdir(folder.path), []);
});

test('a message file of many chunks is written in few calls', async () => {
  await using folder = await makeFolder();
  let writes = 0;
  const files: Files = {
    ...diskFiles,
    create: async (path) => {
      const file = await diskFiles.create(path);
      return {
        ...file,
        write: async (bytes) => {
          writes += 1;
          await file.write(bytes);
        },
      };
    },
  };
  const bytes = randomBytes(1_000_000);
  await writeMessageFile(folder.path, makeKey(), 'id', { open: () => chunked(bytes, [100]) }, files);
  assert.ok(writes < 20, `${writes} writes`);
});

test('preparing the folder removes temporary files only', async () => {
  await using folder = await makeFolder();
  const inner = join(folder.path, 'bodies');
  assert.equal(await prepareMessageFolder(inner), 0);
  await writeFile(join(inner, 'a.msg.tmp'), 'half');
  await writeFile(join(inner, 'b.msg'), 'whole');
  assert.equal(await prepareMessageFolder(inner), 1);
  assert.deepEqual(await readdir(inner), ['b.msg']);
});

/** The disk, with one operation that fails. */
function failing(operation: string, code: string): Files {
  const fail = async (): Promise<never> => {
    throw Object.assign(new Error(`${code} injected`), { code });
  };
  return {
    ...diskFiles,
    ...(operation === 'rename' || operation === 'syncFolder' ? { [operation]: fail } : {}),
    create: async (path) => {
      if (operation === 'create') return fail();
      const file = await diskFiles.create(path);
      const close = async (): Promise<void> => {
        await file.close();
        if (operation === 'close') await fail();
      };
      return {
        ...file,
        close,
        ...(operation === 'write' || operation === 'sync' ? { [operation]: fail } : {}),
      };
    },
  };
}

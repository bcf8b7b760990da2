import { test } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createKekFile, readKek } from '../../../src/storage/kek.ts';
import { makeFolder } from '../../support/storage.ts';

const key = randomBytes(32);
const invalid = (message: RegExp) => ({ code: 'config-invalid', message });

const encodings: readonly [string, string | Buffer][] = [
  ['32 raw bytes', key],
  ['hex', key.toString('hex')],
  ['hex in capitals, with a line end', `${key.toString('hex').toUpperCase()}\n`],
  ['base64', key.toString('base64')],
  ['base64 without padding', key.toString('base64').replace('=', '')],
];

for (const [name, content] of encodings) {
  test(`the KEK is read from a file: ${name}`, async () => {
    await using folder = await makeFolder();
    const path = join(folder.path, 'kek');
    await writeFile(path, content, { mode: 0o600 });
    assert.deepEqual((await readKek(`file:${path}`)).reveal(), key);
  });
}

for (const [name, content] of [
  ['empty', ''],
  ['31 bytes', Buffer.alloc(31, 1)],
  ['63 digits', 'a'.repeat(63)],
  ['a word', 'password'],
] as const) {
  test(`a KEK that is no key is refused without showing it: ${name}`, async () => {
    await using folder = await makeFolder();
    const path = join(folder.path, 'kek');
    await writeFile(path, content, { mode: 0o600 });
    await assert.rejects(readKek(`file:${path}`), (error: Error) => {
      assert.match(error.message, /neither 32 bytes/);
      return content.length === 0 || !error.message.includes(String(content));
    });
  });
}

test('a KEK file that others can read, a link, a folder and a missing file are refused', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'kek');
  await writeFile(path, key, { mode: 0o600 });
  await symlink(path, join(folder.path, 'link'));
  await mkdir(join(folder.path, 'sub'));
  await assert.rejects(readKek(`file:${join(folder.path, 'link')}`), invalid(/symbolic link/));
  await assert.rejects(readKek(`file:${join(folder.path, 'sub')}`), invalid(/not a regular file/));
  await assert.rejects(readKek(`file:${join(folder.path, 'none')}`), invalid(/does not exist/));
  await assert.rejects(readKek('file:kek'), invalid(/absolute path/));
  for (const mode of [0o640, 0o604, 0o644, 0o610]) {
    await chmod(path, mode);
    await assert.rejects(readKek(`file:${path}`), invalid(/chmod 600/), mode.toString(8));
  }
  await chmod(path, 0o400);
  assert.deepEqual((await readKek(`file:${path}`)).reveal(), key);
});

test('the KEK is read from the environment and from a credential', async () => {
  await using folder = await makeFolder();
  await writeFile(join(folder.path, 'kek'), key, { mode: 0o440 });
  await chmod(join(folder.path, 'kek'), 0o440);
  const environment = { KEK: `${key.toString('hex')}\n`, CREDENTIALS_DIRECTORY: folder.path };
  assert.deepEqual((await readKek('env:KEK', { environment })).reveal(), key);
  assert.deepEqual((await readKek('credential:kek', { environment })).reveal(), key);
  await assert.rejects(readKek('credential:../kek', { environment }), invalid(/plain file name/));
  await assert.rejects(readKek('credential:kek', { environment: {} }), invalid(/CREDENTIALS_DIRECTORY/));
  await assert.rejects(readKek('env:NONE', { environment }), invalid(/not set/));
  await assert.rejects(readKek('vault:x', { environment }), invalid(/must start with/));
  await assert.rejects(readKek('', { environment }), invalid(/must start with/));
});

test('a new KEK file is private, random, and never replaces one', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'kek');
  await createKekFile(path);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const made = await readKek(`file:${path}`);
  assert.equal(made.reveal().length, 32);
  await assert.rejects(createKekFile(path), { code: 'store-failed' });
  assert.match(await readFile(path, 'latin1'), /^[0-9a-f]{64}\n$/);
});

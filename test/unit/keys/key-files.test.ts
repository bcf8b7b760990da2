import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readKeyFile, readPassword } from '../../../src/keys/key-files.ts';
import { makeFolder } from '../../support/storage.ts';

const folder = await makeFolder();
after(() => folder[Symbol.asyncDispose]());
const files: Readonly<Record<string, string>> = {
  plain: 'content',
  empty: '',
  limit: 'x'.repeat(1024 * 1024),
  large: 'x'.repeat(1024 * 1024 + 1),
  lf: 'canary\n',
  crlf: 'canary\r\n',
  blanks: ' canary \n\n',
  long: 'x'.repeat(1_001),
  utf8: 'pass\u00e9',
};
for (const [name, content] of Object.entries(files))
  await writeFile(join(folder.path, name), content, { mode: 0o600 });
await writeFile(join(folder.path, 'loose'), 'content');
await chmod(join(folder.path, 'loose'), 0o640);
await mkdir(join(folder.path, 'below'));
await writeFile(join(folder.path, 'below/deep'), 'deep');
await symlink(join(folder.path, 'plain'), join(folder.path, 'link'));
execFileSync('mkfifo', [join(folder.path, 'pipe')]);

test('files: relative to the folder, absolute, through links; and who else can read them', async () => {
  for (const [path, content, isLoose] of [
    ['plain', 'content', false],
    ['./below/../plain', 'content', false],
    ['link', 'content', false],
    ['empty', '', false],
    ['loose', 'content', true],
    [join(folder.path, 'below/deep'), 'deep', true],
  ] as const) {
    const file = await readKeyFile(folder.path, path);
    assert.deepEqual([file.bytes.toString(), file.isLoose], [content, isLoose], path);
  }
  assert.equal((await readKeyFile(folder.path, 'limit')).bytes.length, 1024 * 1024);
});

test('what is no file is refused at once, by its name as written', { timeout: 10_000 }, async () => {
  for (const [path, reason] of [
    ['none', 'none cannot be read: there is no such file'],
    ['below', 'below is not a regular file'],
    ['pipe', 'pipe is not a regular file'],
    ['/dev/zero', '/dev/zero is not a regular file'],
    ['large', 'large is larger than 1 MiB'],
    ['plain/x', 'plain/x cannot be read: ENOTDIR'],
    ['a\0b', 'a\0b cannot be read: ERR_INVALID_ARG_VALUE'],
  ] as const)
    await assert.rejects(readKeyFile(folder.path, path), { code: 'config-invalid', message: reason });
});

test('passwords: one final line end is not part of them, blanks are', async () => {
  const environment = { PASSWORD: 'canary\n', EMPTY: '' };
  for (const [reference, password] of [
    ['env:PASSWORD', 'canary\n'],
    ['env:EMPTY', ''],
    ['file:lf', 'canary'],
    ['file:crlf', 'canary'],
    ['file:blanks', ' canary \n'],
    ['file:empty', ''],
    ['file:utf8', 'pass\u00e9'],
  ] as const)
    assert.equal(
      (await readPassword(reference, folder.path, environment)).reveal().toString(),
      password,
      reference,
    );
});

test('password references that lead nowhere say so; no password in error', async () => {
  for (const [reference, reason] of [
    ['env:NONE', 'environment variable NONE with the password is not set'],
    ['file:none', 'none cannot be read: there is no such file'],
    ['file:long', 'long is too large for a password'],
    ['canary', 'password must be given as env:NAME or file:path'],
    ['ENV:canary', 'password must be given as env:NAME or file:path'],
    ['', 'password must be given as env:NAME or file:path'],
  ] as const)
    await assert.rejects(readPassword(reference, folder.path, {}), {
      code: 'config-invalid',
      message: reason,
    });
});

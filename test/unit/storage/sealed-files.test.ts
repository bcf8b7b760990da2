import assert from 'node:assert/strict';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import { Secret } from '../../../src/core/secret.ts';
import { openSealedFiles } from '../../../src/storage/sealed-files.ts';
import { makeFolder, testKek } from '../../support/storage.ts';

const isDamaged = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === 'store-failed' && !error.message.includes('canary');

test('what was written comes back, and does not lie about readable', async () => {
  await using folder = await makeFolder();
  const files = await openSealedFiles(folder.path, 'recipients', testKek);
  assert.equal(await files.read('one'), undefined);
  await files.write('one', Buffer.from('canary 1'));
  await files.write('one', Buffer.from('canary 2'));
  await files.write('two', Buffer.alloc(0));
  const again = await openSealedFiles(folder.path, 'recipients', testKek);
  assert.equal((await again.read('one'))?.toString(), 'canary 2');
  assert.equal((await again.read('two'))?.length, 0);
  assert.doesNotMatch(readFileSync(join(folder.path, 'one.sealed'), 'latin1'), /canary/);
});

test('another key, another purpose, another name, a changed byte: not what was written', async () => {
  await using folder = await makeFolder();
  const path = (name: string): string => join(folder.path, `${name}.sealed`);
  const files = await openSealedFiles(folder.path, 'recipients', testKek);
  await files.write('one', Buffer.from('canary'));
  const bytes = readFileSync(path('one'));
  writeFileSync(path('two'), bytes);
  await assert.rejects(files.read('two'), isDamaged);
  const otherKey = await openSealedFiles(folder.path, 'recipients', new Secret(Buffer.alloc(32, 8)));
  await assert.rejects(otherKey.read('one'), isDamaged);
  const otherPurpose = await openSealedFiles(folder.path, 'others', testKek);
  await assert.rejects(otherPurpose.read('one'), isDamaged);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(path('one'), bytes);
  await assert.rejects(files.read('one'), isDamaged);
});

test('sealed file names: plain ones only, and no symbolic links', async () => {
  await using folder = await makeFolder();
  const files = await openSealedFiles(folder.path, 'recipients', testKek);
  for (const name of ['', '../x', 'a/b', '.x', 'A', 'x\0'])
    await assert.rejects(files.write(name, Buffer.from('x')), /is not plain/);
  await files.write('one', Buffer.from('x'));
  symlinkSync(join(folder.path, 'one.sealed'), join(folder.path, 'link.sealed'));
  await assert.rejects(files.read('link'), isDamaged);
});

test('the leftovers of a write that was cut off are removed', async () => {
  await using folder = await makeFolder();
  const leftover = join(folder.path, 'one.sealed.0123456789ab.tmp');
  writeFileSync(leftover, 'x');
  await openSealedFiles(folder.path, 'recipients', testKek);
  assert.throws(() => readFileSync(leftover), /ENOENT/);
});

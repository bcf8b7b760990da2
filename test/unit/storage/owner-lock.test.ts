import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { acquireOwnerLock } from '../../../src/storage/owner-lock.ts';
import { makeFolder } from '../../support/storage.ts';

const lockModule = new URL('../../../src/storage/owner-lock.ts', import.meta.url).href;

/** A process that takes the lock, says so, and lives on. */
async function startOwner(folder: string): Promise<ReturnType<typeof spawn>> {
  const script = `const { acquireOwnerLock } = await import(${JSON.stringify(lockModule)});
    await acquireOwnerLock(${JSON.stringify(folder)}); console.log('locked'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

async function acquireAndRelease(folder: string): Promise<void> {
  const lock = await acquireOwnerLock(folder);
  await lock[Symbol.asyncDispose]();
}

test('a second owner in the same process is refused until the first has ended', async () => {
  await using folder = await makeFolder();
  const lock = await acquireOwnerLock(folder.path);
  await assert.rejects(acquireOwnerLock(folder.path), {
    code: 'store-failed',
    message: new RegExp(`process ${process.pid}`),
  });
  // The failed attempt must not have loosened the lock.
  await assert.rejects(acquireOwnerLock(folder.path), { code: 'store-failed' });
  await lock[Symbol.asyncDispose]();
  await lock[Symbol.asyncDispose]();
  await acquireAndRelease(folder.path);
});

test('another process is refused with the id of the owner, and a killed owner leaves no lock', async () => {
  await using folder = await makeFolder();
  const owner = await startOwner(folder.path);
  await assert.rejects(acquireOwnerLock(folder.path), {
    code: 'store-failed',
    message: new RegExp(`in use by process ${owner.pid}:`),
  });
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  await acquireAndRelease(folder.path);
});

test('a process id left by a crash says nothing, whoever has that id now', async () => {
  await using folder = await makeFolder();
  await writeFile(join(folder.path, 'owner.pid'), '1\n');
  await acquireAndRelease(folder.path);
});

test('the lock makes its folder, private', async () => {
  await using folder = await makeFolder();
  const inner = join(folder.path, 'a', 'b');
  const lock = await acquireOwnerLock(inner);
  await assert.rejects(acquireOwnerLock(inner), { code: 'store-failed' });
  assert.equal((await stat(inner)).mode & 0o777, 0o700);
  assert.equal((await stat(join(inner, 'owner.lock'))).mode & 0o777, 0o600);
  await lock[Symbol.asyncDispose]();
});

// A process with holds is killed around every call that changes the disk: what it left cannot be read, and is removed.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { silentLog } from '../../src/core/log.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { isOnDisk, makeFolder } from '../support/storage.ts';
import { eachOf, killPoints, runChild } from './kill.ts';
import { MARKER } from './scenario.ts';

test('kill while messages are held: nothing readable is left, and the next start removes all of it', async () => {
  await using whole = await makeFolder();
  const { calls } = await runChild('hold', whole.path);
  assert.deepEqual(await readdir(whole.path), []);
  assert.ok(calls.includes('writev') && calls.includes('unlink'));
  let leftovers = 0;
  await eachOf(killPoints(calls), async (point) => {
    await using folder = await makeFolder();
    const { wasKilled } = await runChild('hold', folder.path, point);
    assert.ok(wasKilled);
    assert.equal(await isOnDisk(folder.path, MARKER), false);
    leftovers += (await readdir(folder.path)).length;
    await using _ = await openHolds({ folder: folder.path, memoryBytes: 1_000, log: silentLog });
    assert.deepEqual(await readdir(folder.path), [], `killed at ${point}`);
  });
  assert.ok(leftovers > 0, 'the kills left files, or the test shows nothing');
});

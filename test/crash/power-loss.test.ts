// The order of writes, against a disk that forgets what was not synced. The same order with one sync left out must fail
// here: otherwise the test shows nothing.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bytesSource } from '../../src/core/bytes.ts';
import { writeDurableFile } from '../../src/storage/durable-file.ts';
import type { Files, NewFile } from '../../src/storage/files.ts';
import { openMessageFile, writeMessageFile } from '../../src/storage/message-file.ts';
import { makeKey } from '../../src/storage/seal.ts';
import { bytesOf, makeFolder, messageText } from '../support/storage.ts';
import { type DiskState, ModelDisk, statesAfterCut } from './disk-model.ts';

const message = messageText('whole', 70_000);
const key = makeKey();
const FOLDER = '/queue/bodies';

interface Findings {
  states: number;
  /** An acknowledged message that is not there or not whole. */
  lost: number;
  /** Bytes that were read without an error and are not the message. */
  wrong: number;
}

/** Writes one message and looks at every state after a cut, before and after the acknowledgement. */
async function explore(through: (disk: ModelDisk) => Files = (disk) => disk): Promise<Findings> {
  const disk = new ModelDisk();
  await writeMessageFile(FOLDER, key, 'id', bytesSource(message), through(disk));
  const findings: Findings = { states: 0, lost: 0, wrong: 0 };
  for (const [index, moment] of disk.moments.entries()) {
    const isAcknowledged = index === disk.moments.length - 1;
    for (const state of statesAfterCut(moment)) {
      const read = await readFrom(state);
      findings.states += 1;
      if (read !== undefined && !read.equals(message)) findings.wrong += 1;
      if (isAcknowledged && !read?.equals(message)) findings.lost += 1;
    }
  }
  return findings;
}

async function readFrom(state: DiskState): Promise<Buffer | undefined> {
  await using folder = await makeFolder();
  for (const [path, bytes] of state) {
    await mkdir(join(folder.path, dirname(path)), { recursive: true });
    await writeFile(join(folder.path, path), bytes);
  }
  const body = openMessageFile(join(folder.path, FOLDER), key, 'id', message.length);
  return bytesOf(body.open()).catch((error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'store-failed');
    return undefined;
  });
}

/** The disk, but for some calls that do nothing. */
function without(...left: readonly ('sync' | 'syncFolder')[]): (disk: ModelDisk) => Files {
  return (disk) => ({
    create: async (path) => {
      const file: NewFile = await disk.create(path);
      return left.includes('sync') ? { ...file, sync: async () => undefined } : file;
    },
    rename: (from, to) => disk.rename(from, to),
    unlink: (path) => disk.unlink(path),
    syncFolder: async () => (left.includes('syncFolder') ? undefined : disk.syncFolder()),
    list: () => disk.list(),
  });
}

test('power loss at any moment: an acknowledged message is whole, and no other bytes are ever taken for it', async () => {
  const { states, lost, wrong } = await explore();
  assert.ok(states >= 20, `${states} states`);
  assert.deepEqual({ lost, wrong }, { lost: 0, wrong: 0 });
});

for (const left of [['sync'], ['syncFolder'], ['sync', 'syncFolder']] as const) {
  test(`the model finds what is lost without ${left.join(' and ')}; wrong bytes are never read even then`, async () => {
    const { lost, wrong } = await explore(without(...left));
    assert.ok(lost > 0);
    assert.equal(wrong, 0);
  });
}

const PATH = '/keys/mark';

/** Contents of the file after a cut at any moment, and after the last one; `gone` where it is not there. */
async function replaceOnDisk(
  through: (disk: ModelDisk) => Files = (disk) => disk,
): Promise<{ readonly ever: ReadonlySet<string>; readonly finally: ReadonlySet<string> }> {
  const disk = new ModelDisk(new Map([[PATH, Buffer.from('old bytes')]]));
  await writeDurableFile(PATH, Buffer.from('new bytes'), through(disk));
  const contents = disk.moments.map((moment) =>
    statesAfterCut(moment).map((state) => state.get(PATH)?.toString('latin1') ?? 'gone'),
  );
  return { ever: new Set(contents.flat()), finally: new Set(contents.at(-1)) };
}

test('a small file is replaced as a whole: old or new, and new once it is acknowledged', async () => {
  const found = await replaceOnDisk();
  assert.deepEqual(found.ever, new Set(['old bytes', 'new bytes']));
  assert.deepEqual(found.finally, new Set(['new bytes']));
});

test('the model finds a small file that is half without its sync, and old without that of its folder', async () => {
  assert.ok((await replaceOnDisk(without('sync'))).ever.has('new '));
  assert.ok((await replaceOnDisk(without('syncFolder'))).finally.has('old bytes'));
});

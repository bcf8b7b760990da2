import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { openProgress } from '../../../src/cli/progress.ts';

/** What a run of two seconds writes, with a chunk of 1 MiB each 100 ms. */
function shownOn(isTTY: boolean): string {
  let shown = '';
  const writable = new Writable({
    write(chunk: Buffer, _encoding, done) {
      shown += chunk.toString();
      done();
    },
  });
  const stderr = Object.assign(writable, { isTTY });
  let now = 0;
  const io = { stdin: process.stdin, stdout: stderr, stderr, env: {}, signal: new AbortController().signal };
  const progress = openProgress(io, { now: () => new Date(now) });
  for (; now < 2_000; now += 100) progress.add(1_048_576);
  progress.close();
  return shown;
}

test('progress: on a terminal after a second, then at a bounded rate, and gone at the end', () => {
  const shown = shownOn(true);
  const counts = [...shown.matchAll(/\r([\d.]+) MiB processed/g)].map(([, count]) => count);
  assert.deepEqual(counts, ['11.0', '13.0', '15.0', '17.0', '19.0']);
  assert.ok(shown.endsWith('\r\u001b[K'));
});

test('progress: nothing where standard error is no terminal', () => {
  assert.equal(shownOn(false), '');
});

// Time that passes when it is told to: in order, each thing at its own time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openLabClock } from '../../../src/lab/lab-clock.ts';

test('what falls due happens in order and at its time; what it plans happens too; the rest waits', async () => {
  const clock = openLabClock(new Date(0));
  const seen: string[] = [];
  const note = (name: string) => (): void => void seen.push(`${name} ${clock.now().getTime()}`);
  clock.after(300, note('third'));
  clock.after(100, async () => {
    note('first')();
    await Promise.resolve();
    clock.after(100, note('second'));
  });
  const forget = clock.after(250, note('never'));
  clock.after(1000, note('later'));
  forget();
  await clock.advance(500);
  assert.deepEqual(seen, ['first 100', 'second 200', 'third 300']);
  assert.equal(clock.now().getTime(), 500);
  await clock.advance(499);
  assert.equal(seen.length, 3);
  await clock.advance(1);
  assert.equal(seen[3], 'later 1000');
});

// slowloris: absolute deadlines, on a clock that the test moves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultLimits } from '../../../src/core/limits.ts';
import { SessionDeadlines } from '../../../src/smtp/deadlines.ts';
import { testClock } from '../../support/smtp.ts';

const limits = {
  ...defaultLimits,
  idleTimeoutMs: 60_000,
  sessionTimeoutMs: 600_000,
  minDataBytesPerSecond: 500,
  minRateAfterMs: 30_000,
};

function start() {
  const clock = testClock();
  const state = { expired: 0 };
  const deadlines = new SessionDeadlines({ clock, limits, onExpired: () => void (state.expired += 1) });
  return { clock, deadlines, state };
}

test('a command must be complete within the command deadline', async () => {
  const { clock, deadlines, state } = start();
  deadlines.awaitCommand();
  await clock.advance(59_999);
  assert.equal(state.expired, 0);
  await clock.advance(1);
  assert.equal(state.expired, 1);
});

test('commands without MAIL are good for twice that, then it ends', async () => {
  const { clock, deadlines, state } = start();
  for (let second = 0; second < 11; second += 1) {
    deadlines.awaitCommand();
    await clock.advance(10_000);
    deadlines.pause();
  }
  deadlines.awaitCommand();
  assert.equal(state.expired, 0);
  await clock.advance(10_000);
  assert.equal(state.expired, 1);
});

test('with MAIL the session deadline counts, and bytes extend it', async () => {
  const { clock, deadlines, state } = start();
  deadlines.noteMail();
  deadlines.received(4 * 1024 * 1024);
  for (let minute = 0; minute < 10; minute += 1) {
    deadlines.awaitCommand();
    await clock.advance(59_000);
  }
  deadlines.awaitCommand();
  await clock.advance(50_000);
  deadlines.awaitCommand();
  assert.equal(state.expired, 0, '640 s are within 600 s and the extra minute');
  await clock.advance(20_000);
  assert.equal(state.expired, 1);
});

test('content must come at the minimal rate', async () => {
  const { clock, deadlines, state } = start();
  deadlines.noteMail();
  deadlines.awaitData();
  for (let second = 0; second < 200; second += 1) {
    deadlines.received(500);
    await clock.advance(1_000);
  }
  assert.equal(state.expired, 0, '500 B/s will do');
  for (let second = 0; second < 61; second += 1) {
    deadlines.received(250);
    await clock.advance(1_000);
  }
  assert.equal(state.expired, 1, 'at 250 B/s the 30 s in hand last a minute');
});

test('the time that we take does not count', async () => {
  const { clock, deadlines, state } = start();
  deadlines.noteMail();
  deadlines.awaitData();
  await clock.advance(20_000);
  deadlines.pause();
  await clock.advance(300_000);
  deadlines.resumeData();
  await clock.advance(9_000);
  assert.equal(state.expired, 0);
  await clock.advance(2_000);
  assert.equal(state.expired, 1);
});

test('a stopped session never expires', async () => {
  const { clock, deadlines, state } = start();
  deadlines.awaitCommand();
  deadlines.stop();
  deadlines.awaitCommand();
  await clock.advance(10_000_000);
  assert.equal(state.expired, 0);
});

test('waits that are over in time share one timer', async () => {
  const inner = testClock();
  let sleeps = 0;
  const clock = {
    now: () => inner.now(),
    sleep: (ms: number, signal?: AbortSignal) => {
      sleeps += 1;
      return inner.sleep(ms, signal);
    },
  };
  let expired = 0;
  const deadlines = new SessionDeadlines({ clock, limits, onExpired: () => void (expired += 1) });
  deadlines.noteMail();
  for (let command = 0; command < 1_000; command += 1) {
    deadlines.awaitCommand();
    await inner.advance(10);
    deadlines.pause();
  }
  assert.equal(sleeps, 1);
  deadlines.awaitCommand();
  await inner.advance(59_999);
  assert.equal(expired, 0);
  await inner.advance(1);
  assert.equal(expired, 1);
});

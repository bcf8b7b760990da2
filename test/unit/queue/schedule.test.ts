import { test } from 'node:test';
import assert from 'node:assert/strict';
import {
  defaultRetryPolicy,
  longestDelayMs,
  nextAttempt,
  type RetryPolicy,
} from '../../../src/queue/schedule.ts';

const firstAt = new Date('2026-03-01T12:00:00Z');
const policy: RetryPolicy = { delaysMs: [60_000, 300_000], expireAfterMs: 3_600_000, jitter: () => 0.5 };
const later = (ms: number): Date => new Date(firstAt.getTime() + ms);

const cases: readonly [string, number, number, number | 'expired'][] = [
  ['the first delay follows the first attempt', 1, 0, 60_000],
  ['the second delay follows the second', 2, 60_000, 360_000],
  ['the last delay repeats', 40, 600_000, 900_000],
  ['no attempt counts as one', 0, 0, 60_000],
  ['the last attempt falls on the end of the time allowed', 3, 3_500_000, 3_600_000],
  ['at the end it is expired', 3, 3_600_000, 'expired'],
  ['long after the end too', 3, 90_000_000, 'expired'],
  ['a clock that was set back waits one delay', 2, -86_400_000, -86_100_000],
];

for (const [name, attempts, nowMs, expected] of cases) {
  test(name, () => {
    const next = nextAttempt(firstAt, attempts, later(nowMs), policy);
    assert.deepEqual(next, expected === 'expired' ? expected : later(expected));
  });
}

test('jitter spreads by a tenth to both sides and never beyond the longest delay', () => {
  const at = (jitter: number): number => {
    const next = nextAttempt(firstAt, 2, firstAt, { ...policy, jitter: () => jitter });
    return next === 'expired' ? NaN : next.getTime() - firstAt.getTime();
  };
  assert.equal(at(0), 270_000);
  assert.equal(at(0.999_999), 330_000);
  assert.equal(longestDelayMs(policy), 330_000);
});

test('the default policy tries within minutes and gives up after two days', () => {
  let now = firstAt;
  let attempts = 0;
  for (;;) {
    attempts += 1;
    const next = nextAttempt(firstAt, attempts, now, defaultRetryPolicy);
    if (next === 'expired') break;
    assert.ok(next > now, 'time goes on');
    now = next;
  }
  assert.equal(now.getTime() - firstAt.getTime(), 2 * 86_400_000);
  assert.ok(attempts > 40 && attempts < 70, `${attempts} attempts`);
});

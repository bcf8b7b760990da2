// When a copy is tried again, and when it is given up. Pure: time and chance are arguments.
import type { NonEmpty } from '../core/non-empty.ts';

export interface RetryPolicy {
  /** Delay after the first, second, ... attempt; the last one repeats. */
  readonly delaysMs: NonEmpty<number>;
  /** Age at which a copy that is still deferred expires. */
  readonly expireAfterMs: number;
  /** A number in [0, 1): spreads attempts by 10 % to both sides. */
  readonly jitter: () => number;
}

const MINUTE_MS = 60_000;

export const defaultRetryPolicy: RetryPolicy = {
  delaysMs: [1, 2, 5, 10, 20, 30, 60].map((minutes) => minutes * MINUTE_MS) as unknown as NonEmpty<number>,
  expireAfterMs: 2 * 24 * 60 * MINUTE_MS,
  jitter: Math.random,
};

/**
 * The time of the next attempt after `attempts` that were deferred, or `expired`. The last attempt falls on the end of
 * the time allowed. A clock that was set back never makes the wait longer than one delay.
 */
export function nextAttempt(
  firstAt: Date,
  attempts: number,
  now: Date,
  policy: RetryPolicy,
): Date | 'expired' {
  const expiresAt = firstAt.getTime() + policy.expireAfterMs;
  if (now.getTime() >= expiresAt) return 'expired';
  const index = Math.min(Math.max(attempts, 1), policy.delaysMs.length) - 1;
  const delayMs = (policy.delaysMs[index] ?? policy.delaysMs[0]) * (0.9 + 0.2 * policy.jitter());
  return new Date(Math.min(now.getTime() + Math.round(delayMs), expiresAt));
}

/** The longest wait that `nextAttempt` can give: anything later in the queue comes from a clock that was wrong. */
export function longestDelayMs(policy: RetryPolicy): number {
  return Math.ceil(Math.max(...policy.delaysMs) * 1.1);
}

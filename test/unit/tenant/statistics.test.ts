// Counts of the proof by tenant and day.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { attest, type ProofFailure } from '../../../src/core/origin.ts';
import { openStatistics, type StatisticsStore } from '../../../src/tenant/statistics.ts';
import { TENANT_A, TENANT_B } from '../../support/policy.ts';

const DAY_MS = 86_400_000;
const missed = (condition: ProofFailure['condition']): ProofFailure => ({
  condition,
  error: 'dkim-missing',
  reason: 'x',
});

function worldAt(start: string) {
  let now = new Date(start).getTime();
  let bytes: Buffer | undefined;
  let writes = 0;
  const clock: Clock = {
    now: () => new Date(now),
    sleep: (_ms, signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('aborted')))),
  };
  const store: StatisticsStore = {
    read: async () => bytes,
    write: async (given) => {
      writes += 1;
      bytes = Buffer.from(given);
    },
  };
  return {
    open: () => openStatistics(store, clock, silentLog),
    pass: (days: number) => {
      now += days * DAY_MS;
    },
    writes: () => writes,
    damage: () => {
      bytes = Buffer.from('{');
    },
  };
}

test('sums by tenant over days, a message once for each condition', async () => {
  const world = worldAt('2026-07-10T23:00:00Z');
  await using statistics = await world.open();
  statistics.note(attest(TENANT_A, 'user', [missed('C8'), missed('C8'), missed('C9')]));
  statistics.note(attest(TENANT_A, 'user'));
  statistics.note(attest(TENANT_B, 'user', [missed('C3')]));
  assert.deepEqual(statistics.sum(TENANT_A, 7), { proven: 2, observed: { C8: 1, C9: 1 } });
  assert.deepEqual(statistics.sum(TENANT_B, 7), { proven: 1, observed: { C3: 1 } });
  world.pass(6);
  statistics.note(attest(TENANT_A, 'user', [missed('C8')]));
  assert.deepEqual(statistics.sum(TENANT_A, 7), { proven: 3, observed: { C8: 2, C9: 1 } });
  world.pass(1);
  assert.deepEqual(statistics.sum(TENANT_A, 7), { proven: 1, observed: { C8: 1 } });
  assert.deepEqual(statistics.sum(TENANT_A, 8), { proven: 3, observed: { C8: 2, C9: 1 } });
});

test('kept over a restart, for a month', async () => {
  const world = worldAt('2026-07-10T12:00:00Z');
  {
    await using statistics = await world.open();
    statistics.note(attest(TENANT_A, 'user', [missed('C8')]));
  }
  {
    await using statistics = await world.open();
    assert.deepEqual(statistics.sum(TENANT_A, 1), { proven: 1, observed: { C8: 1 } });
  }
  assert.equal(world.writes(), 1, 'nothing new, nothing written');
  world.pass(32);
  {
    await using statistics = await world.open();
    statistics.note(attest(TENANT_B, 'user'));
  }
  await using statistics = await world.open();
  assert.deepEqual(statistics.sum(TENANT_A, 40), { proven: 0, observed: {} });
});

test('what cannot be read is begun anew', async () => {
  const world = worldAt('2026-07-10T12:00:00Z');
  world.damage();
  await using statistics = await world.open();
  assert.deepEqual(statistics.sum(TENANT_A, 7), { proven: 0, observed: {} });
  statistics.note(attest(TENANT_A, 'user'));
  assert.equal(statistics.sum(TENANT_A, 7).proven, 1);
});

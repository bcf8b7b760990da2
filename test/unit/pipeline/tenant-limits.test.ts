import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTenantGate } from '../../../src/pipeline/tenant-limits.ts';
import { TENANT_A, TENANT_B } from '../../support/policy.ts';

const at = new Date('2026-07-10T08:59:00Z');
const next = new Date('2026-07-10T09:00:00Z');
const atLimit = { code: 'tenant-limit' };

test('messages in an hour, by tenant; waiting helps', () => {
  const gate = openTenantGate(() => 0);
  const limits = { messagesPerHour: 2, systemPerHour: 10 };
  for (let count = 0; count < 2; count += 1) gate.admit(TENANT_A, limits, 'user', at);
  for (let count = 0; count < 3; count += 1)
    assert.throws(() => gate.admit(TENANT_A, limits, 'user', at), atLimit);
  gate.admit(TENANT_B, limits, 'user', at);
  gate.admit(TENANT_A, limits, 'user', next);
});

test('reports and notifications have a limit of their own', () => {
  const gate = openTenantGate(() => 0);
  const limits = { systemPerHour: 1 };
  gate.admit(TENANT_A, limits, 'system', at);
  assert.throws(() => gate.admit(TENANT_A, limits, 'system', at), atLimit);
  for (let count = 0; count < 100; count += 1) gate.admit(TENANT_A, limits, 'user', at);
});

test('room in the queue, by tenant', () => {
  const gate = openTenantGate((tenant) => (tenant === TENANT_A ? 5 : 0));
  gate.checkRoom(TENANT_A, { systemPerHour: 1 });
  gate.checkRoom(TENANT_A, { maxQueued: 6, systemPerHour: 1 });
  assert.throws(() => gate.checkRoom(TENANT_A, { maxQueued: 5, systemPerHour: 1 }), atLimit);
  gate.checkRoom(TENANT_B, { maxQueued: 5, systemPerHour: 1 });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findBreaches } from '../../../scripts/check-dependencies.ts';
import { formatLeg, parseLeg } from '../../../src/core/leg.ts';
import { parseTenantId } from '../../../src/core/origin.ts';

test('a tenant id is a plain GUID that proves an organisation', () => {
  const id = '11111111-2222-3333-4444-55555555555A';
  assert.equal(parseTenantId(id), id.toLowerCase());
  const refused = [
    '',
    `{${id}}`,
    `${id} `,
    id.replaceAll('-', ''),
    '00000000-0000-0000-0000-000000000000',
    '84df9e7f-e9f6-40af-b435-aaaaaaaaaaaa',
  ];
  for (const text of refused) assert.equal(parseTenantId(text), undefined, text);
});

test('a leg survives being written to a queue row', () => {
  const tenant = parseTenantId('11111111-2222-3333-4444-555555555555');
  assert.ok(tenant);
  for (const leg of [{ kind: 'tenant', tenant }, { kind: 'internet' }, { kind: 'smarthost' }] as const)
    assert.deepEqual(parseLeg(formatLeg(leg)), leg);
  assert.equal(parseLeg('elsewhere'), undefined);
});

test('the dependency table holds: a proven origin is made by the proof alone', () => {
  assert.deepEqual(findBreaches(), []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyId } from '../../../src/core/key.ts';
import {
  addressName,
  formatOf,
  makeKeyId,
  parseAddressName,
  parseKeyId,
  privateName,
  readRecord,
  recordName,
  tenantOfName,
  writeRecord,
} from '../../../src/keys/records.ts';
import { bareRecord } from '../../support/keys.ts';
import { TENANT_A, TENANT_B } from '../../support/policy.ts';

const stored = bareRecord('1', { addresses: ['bob@fabrikam.example', '@fabrikam.example'] });
const { notAfter: _, ...endless } = bareRecord('2', { isRetired: true, hasPrivateKey: true, role: 'own' });

test('a record comes back as it was written', () => {
  for (const record of [stored, endless])
    assert.deepEqual(readRecord(writeRecord(record), TENANT_A, record.id), record);
});

/** Each makes the written record one that must not be read. */
const damages: readonly (readonly [string, (text: string) => string])[] = [
  ['cut', (text) => text.slice(0, -1)],
  ['empty', () => ''],
  ['null', () => 'null'],
  ['a list', () => '[]'],
  ['text', () => '"key"'],
  ['another id', (text) => text.replace(stored.id, bareRecord('2').id)],
  ['another tenant', (text) => text.replace(TENANT_A, TENANT_B)],
  ['no addresses', (text) => text.replace(/"addresses":\[[^\]]*\]/, '"addresses":[]')],
  ['addresses that are no text', (text) => text.replace(/"addresses":\[[^\]]*\]/, '"addresses":[1]')],
  ['no material', (text) => text.replace('"material"', '"other"')],
  ['an unknown role', (text) => text.replace('"partner"', '"root"')],
  ['an unknown source', (text) => text.replace('"policy"', '"mail"')],
  ['no start', (text) => text.replace('"notBefore"', '"other"')],
  ['a start that is no date', (text) => text.replace(/"notBefore":"[^"]*"/, '"notBefore":"soon"')],
  [
    'a private part that is neither there nor not',
    (text) => text.replace('"hasPrivateKey":false', '"hasPrivateKey":0'),
  ],
  ['no word on whether it is retired', (text) => text.replace('"isRetired"', '"other"')],
  ['an end that is no date', (text) => text.replace(/"notAfter":"[^"]*"/, '"notAfter":"later"')],
];

test('anything else is not a record', async (t) => {
  const text = writeRecord(stored).toString();
  for (const [name, damage] of damages) {
    await t.test(name, () => {
      assert.notEqual(damage(text), text);
      assert.equal(readRecord(Buffer.from(damage(text)), TENANT_A, stored.id), undefined);
    });
  }
});

test('key ids: format and fingerprint, in any letter case, nothing around them', () => {
  const sha1 = 'A'.repeat(40);
  assert.equal(makeKeyId('pgp', sha1), `pgp:${'a'.repeat(40)}`);
  assert.equal(parseKeyId(`pgp:${sha1}`), `pgp:${'a'.repeat(40)}`);
  assert.equal(formatOf(`pgp:${sha1}` as KeyId), 'pgp');
  assert.equal(formatOf(stored.id), 'smime');
  for (const text of [
    '',
    'pgp',
    'pgp:',
    'pgp:1234',
    `ssh:${sha1}`,
    `pgp:${sha1}:1`,
    `pgp:${sha1} `,
    `pgp:${sha1}/x`,
    `pgp:${'g'.repeat(40)}`,
  ])
    assert.equal(parseKeyId(text), undefined, text);
});

test('row names: one tenant never makes the name of another, an address comes back out of its name', () => {
  for (const make of [
    recordName,
    privateName,
    (tenant: typeof TENANT_A, id: KeyId) => addressName(tenant, id, 'x@y.example'),
  ]) {
    assert.notEqual(make(TENANT_A, stored.id), make(TENANT_B, stored.id));
    assert.equal(tenantOfName(make(TENANT_A, stored.id)), TENANT_A);
  }
  assert.equal(tenantOfName('key/other/row'), undefined);
  assert.equal(tenantOfName(''), undefined);
  for (const address of ['bob@fabrikam.example', '@fabrikam.example', 'a/b@fabrikam.example'])
    assert.deepEqual(parseAddressName(TENANT_A, addressName(TENANT_A, stored.id, address)), {
      id: stored.id,
      address,
    });
  assert.equal(parseAddressName(TENANT_A, `address/${TENANT_A}/no-slash`), undefined);
});

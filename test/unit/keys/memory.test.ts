import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyKeys } from '../../../src/keys/apply.ts';
import { memoryTenantKeys } from '../../../src/keys/memory.ts';
import type { TenantKeys } from '../../../src/keys/store.ts';
import { NOW, pgpKey, smimeKey, withStore } from '../../support/keys.ts';
import { makeKey } from '../../support/pgp.ts';
import { address, TENANT_A } from '../../support/policy.ts';

const declared = [
  smimeKey(['bob@fabrikam.example', 'b.ob@fabrikam.example']),
  smimeKey('@fabrikam.example', { notAfter: '250101000000Z' }),
  smimeKey('alice@contoso.example', { role: 'own' }),
  pgpKey(await makeKey('alice@contoso.example'), 'alice@contoso.example', { role: 'own' }),
];
const addresses = [
  'bob@fabrikam.example',
  'b.ob@fabrikam.example',
  'bob+tag@fabrikam.example',
  'carol@fabrikam.example',
  'alice@contoso.example',
  'nobody@else.example',
];

/** Everything that can be asked of these keys. */
async function answers(keys: TenantKeys): Promise<unknown> {
  const all: unknown[] = [await keys.inspect()];
  for (const text of addresses) {
    for (const format of ['smime', 'pgp'] as const) {
      const asked = address(text);
      for (const purpose of ['encrypt', 'sign'] as const)
        all.push(await keys.lookup(asked, format, purpose, NOW));
      all.push(await keys.ownKeysFor(asked, format), await keys.recordsFor(asked, format));
    }
  }
  for (const { record } of declared.filter(({ privateMaterial }) => privateMaterial))
    all.push(
      await keys.withPrivateKey(record.id, (material) => Promise.resolve(material.reveal().toString())),
    );
  return all;
}

test('keys in memory answer everything as the store does', () =>
  withStore(async ({ keys }) => {
    await applyKeys(keys, declared);
    const memory = await memoryTenantKeys(TENANT_A, declared);
    const expected = await answers(keys);
    assert.deepEqual(sorted(await answers(memory)), sorted(expected));
  }));

test('private material can be lent again and again, although each loan is wiped', async () => {
  const own = declared[2];
  assert(own?.privateMaterial);
  const keys = await memoryTenantKeys(TENANT_A, declared);
  for (let round = 0; round < 2; round += 1)
    await keys.withPrivateKey(own.record.id, (material) => {
      assert.deepEqual(material.reveal(), own.privateMaterial?.reveal());
      return Promise.resolve();
    });
});

test('no keys, no answers', async () => {
  const keys = await memoryTenantKeys(TENANT_A, []);
  assert.equal((await keys.lookup(address('bob@fabrikam.example'), 'smime', 'encrypt', NOW)).kind, 'none');
});

/** The order of records is the store's own where nothing is promised. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    Array.isArray(inner) ? inner.map((item) => JSON.stringify(item)).toSorted() : inner,
  );
}

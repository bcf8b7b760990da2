import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import { silentLog } from '../../../src/core/log.ts';
import { type AppliedKeys, applyKeys } from '../../../src/keys/apply.ts';
import type { KeyRows } from '../../../src/keys/key-index.ts';
import type { DeclaredKey } from '../../../src/keys/plan.ts';
import { privateName, recordName } from '../../../src/keys/records.ts';
import { openKeyStore, type TenantKeys } from '../../../src/keys/store.ts';
import {
  damageRow,
  makeStoreFolder,
  NOW,
  openStore,
  pgpKey,
  smimeKey,
  withStore,
} from '../../support/keys.ts';
import { makeKey } from '../../support/pgp.ts';
import { address, TENANT_A } from '../../support/policy.ts';

const bob = smimeKey('bob@fabrikam.example');
const carol = smimeKey('carol@fabrikam.example');
const alice = smimeKey('alice@contoso.example', { role: 'own' });
const alicePgp = pgpKey(await makeKey('alice@contoso.example'), 'alice@contoso.example', { role: 'own' });

/** Without the lists that are empty, ids as sets. */
function inShort(applied: AppliedKeys): Record<string, ReadonlySet<string>> {
  const lists = Object.entries(applied) as [string, readonly string[]][];
  return Object.fromEntries(
    lists.filter(([, ids]) => ids.length > 0).map(([name, ids]) => [name, new Set(ids)]),
  );
}

const ids = (...declared: readonly DeclaredKey[]): ReadonlySet<string> =>
  new Set(declared.map(({ record }) => record.id));

async function lookup(
  keys: TenantKeys,
  text: string,
  purpose: 'encrypt' | 'sign' = 'encrypt',
): Promise<string> {
  return (await keys.lookup(address(text), 'smime', purpose, NOW)).kind;
}

test('applying is idempotent, and says what it did', () =>
  withStore(async ({ keys, database }) => {
    const all = [bob, alice, alicePgp];
    assert.deepEqual(inShort(await applyKeys(keys, all)), { added: ids(...all) });
    const rows = database.names('');
    assert.deepEqual(inShort(await applyKeys(keys, all.toReversed())), { unchanged: ids(...all) });
    assert.deepEqual(database.names(''), rows);
    const moved = { ...bob, record: { ...bob.record, addresses: ['@fabrikam.example'] as const } };
    assert.deepEqual(inShort(await applyKeys(keys, [moved, alice, carol])), {
      added: ids(carol),
      updated: ids(bob),
      unchanged: ids(alice),
      retired: ids(alicePgp),
    });
    assert.deepEqual(inShort(await applyKeys(keys, [moved, alice])), {
      removed: ids(carol),
      unchanged: ids(bob, alice),
    });
    assert.equal(await lookup(keys, 'carol@fabrikam.example'), 'usable', 'by the domain key');
  }));

test('an own key that is left out decrypts on, does nothing else, and comes back with its declaration', () =>
  withStore(async ({ keys }) => {
    await applyKeys(keys, [alice]);
    assert.deepEqual(inShort(await applyKeys(keys, [])), { retired: ids(alice) });
    assert.deepEqual(inShort(await applyKeys(keys, [])), {});
    assert.equal(await lookup(keys, 'alice@contoso.example'), 'none');
    assert.equal(await lookup(keys, 'alice@contoso.example', 'sign'), 'none');
    assert.equal((await keys.ownKeysFor(address('alice@contoso.example'), 'smime')).length, 1);
    await keys.withPrivateKey(alice.record.id, (material) => {
      assert.deepEqual(material.reveal(), alice.privateMaterial?.reveal());
      return Promise.resolve();
    });
    assert.deepEqual(inShort(await applyKeys(keys, [alice])), { updated: ids(alice) });
    assert.equal(await lookup(keys, 'alice@contoso.example', 'sign'), 'usable');
  }));

test('only an explicit removal destroys an own key', () =>
  withStore(async ({ keys, database }) => {
    await applyKeys(keys, [alice]);
    await applyKeys(keys, []);
    assert.equal(await keys.remove(alice.record.id), true);
    assert.deepEqual(database.names(''), []);
  }));

test('keys that an operator added are left alone', () =>
  withStore(async ({ keys }) => {
    const manual = smimeKey('dave@fabrikam.example', { source: 'manual' });
    await keys.put(manual.record);
    assert.deepEqual(inShort(await applyKeys(keys, [bob])), { added: ids(bob) });
    assert.equal(await lookup(keys, 'dave@fabrikam.example'), 'usable');
  }));

test('a run that was cut off leaves no address without its key, and the next one completes it', async (t) => {
  const old = smimeKey('bob@fabrikam.example', { notBefore: '240101000000Z' });
  for (let writes = 0; writes < 4; writes += 1) {
    await t.test(`after ${writes} writes`, () =>
      withStore(async ({ keys, database }) => {
        await applyKeys(keys, [old, carol]);
        let left = writes;
        const failing: KeyRows = {
          get: (name) => database.get(name),
          names: (prefix) => database.names(prefix),
          batch(operations) {
            left -= 1;
            if (left < 0) throw new GatewayError('store-failed', 'disk full');
            return database.batch(operations);
          },
        };
        const cut = openKeyStore({ database: failing, log: silentLog }).forTenant(TENANT_A);
        await assert.rejects(applyKeys(cut, [bob, alice]), { code: 'store-failed' });
        const next = openKeyStore({ database, log: silentLog }).forTenant(TENANT_A);
        assert.equal(await lookup(next, 'bob@fabrikam.example'), 'usable');
        await applyKeys(next, [bob, alice]);
        assert.deepEqual(inShort(await applyKeys(next, [bob, alice])), { unchanged: ids(bob, alice) });
        assert.equal((await next.inspect()).records.length, 2);
      }),
    );
  }
});

/** Which row is hit, what is declared then, what apply answers. */
const repairs: readonly (readonly [
  string,
  string,
  readonly DeclaredKey[],
  Record<string, ReadonlySet<string>>,
])[] = [
  [
    'a damaged record that is declared is written anew',
    recordName(TENANT_A, alice.record.id),
    [bob, alice],
    { added: ids(alice), unchanged: ids(bob) },
  ],
  [
    'so is a damaged private part',
    privateName(TENANT_A, alice.record.id),
    [bob, alice],
    { added: ids(alice), unchanged: ids(bob) },
  ],
  [
    'a damaged partner key that is not declared stays and is named',
    recordName(TENANT_A, bob.record.id),
    [alice],
    { unchanged: ids(alice), unreadable: ids(bob) },
  ],
  [
    'a damaged own key that is not declared is never dropped',
    recordName(TENANT_A, alice.record.id),
    [bob],
    { unchanged: ids(bob), unreadable: ids(alice) },
  ],
  [
    'a damaged private part is not repaired by the public half',
    privateName(TENANT_A, alice.record.id),
    [bob, { record: { ...alice.record, role: 'partner', hasPrivateKey: false } }],
    { added: ids(alice), unchanged: ids(bob), unreadable: ids(alice) },
  ],
];

test('damage', async (t) => {
  for (const [name, row, declared, expected] of repairs) {
    await t.test(name, async () => {
      await using folder = await makeStoreFolder();
      {
        await using store = await openStore(folder.path);
        await applyKeys(store.keys, [bob, alice]);
      }
      await damageRow(folder.path, row, 'change');
      await using store = await openStore(folder.path);
      assert.deepEqual(inShort(await applyKeys(store.keys, declared)), expected);
    });
  }
});

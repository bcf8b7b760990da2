import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyId } from '../../../src/core/key.ts';
import { silentLog } from '../../../src/core/log.ts';
import type { Secret } from '../../../src/core/secret.ts';
import type { DeclaredKey } from '../../../src/keys/plan.ts';
import { addressName, privateName, recordName } from '../../../src/keys/records.ts';
import { openKeyStore, type TenantKeys } from '../../../src/keys/store.ts';
import {
  answer,
  damageRow,
  makeStoreFolder,
  NOW,
  openStore,
  pgpKey,
  smimeKey,
  withStore,
} from '../../support/keys.ts';
import { makeKey } from '../../support/pgp.ts';
import { address, TENANT_A, TENANT_B } from '../../support/policy.ts';
import { isOnDisk } from '../../support/storage.ts';

const bob = address('bob@fabrikam.example');
const exact = smimeKey('bob@fabrikam.example');
const domain = smimeKey('@fabrikam.example');
const own = smimeKey('alice@contoso.example', { role: 'own' });
const alice = address('alice@contoso.example');
const openPgp = await makeKey('bob@fabrikam.example');

async function put(keys: TenantKeys, ...declared: readonly DeclaredKey[]): Promise<void> {
  for (const { record, privateMaterial } of declared) await keys.put(record, privateMaterial);
}

const material = (keys: TenantKeys, id: KeyId): Promise<string> =>
  keys.withPrivateKey(id, (secret) => Promise.resolve(secret.reveal().toString()));

/** A store folder with these keys in it, closed. */
async function folderWith(...declared: readonly DeclaredKey[]): ReturnType<typeof makeStoreFolder> {
  const folder = await makeStoreFolder();
  await using store = await openStore(folder.path);
  await put(store.keys, ...declared);
  return folder;
}

test('look-ups by address, without +tag and by domain, in each format apart', () =>
  withStore(async ({ keys }) => {
    const pgp = pgpKey(openPgp, 'bob@fabrikam.example');
    await put(keys, exact, domain, pgp);
    const found = async (text: string, format: 'smime' | 'pgp' = 'smime'): Promise<unknown> => {
      const lookup = await keys.lookup(address(text), format, 'encrypt', NOW);
      return lookup.kind === 'usable'
        ? lookup.keys.map(({ record, matchedBy }) => [record.id, matchedBy])
        : lookup.kind;
    };
    assert.deepEqual(await found('bob@fabrikam.example'), [[exact.record.id, 'address']]);
    assert.deepEqual(await found('BOB@Fabrikam.Example'), [[exact.record.id, 'address']]);
    assert.deepEqual(await found('bob+list@fabrikam.example'), [[exact.record.id, 'plus-base']]);
    assert.deepEqual(await found('carol@fabrikam.example'), [[domain.record.id, 'domain']]);
    assert.deepEqual(await found('bob@fabrikam.example', 'pgp'), [[pgp.record.id, 'address']]);
    assert.equal(await found('carol@fabrikam.example', 'pgp'), 'none');
    assert.equal(await found('bob@sub.fabrikam.example'), 'none');
    assert.equal(await found('bob@notfabrikam.example'), 'none');
  }));

test('a key is judged at the time of the look-up', () =>
  withStore(async ({ keys }) => {
    await put(
      keys,
      smimeKey('bob@fabrikam.example', { notBefore: '260101000000Z', notAfter: '261231235959Z' }),
    );
    for (const [at, kind] of [
      ['2025-12-31T23:59:59Z', 'none'],
      ['2026-01-01T00:00:00Z', 'usable'],
      ['2026-12-31T23:59:59Z', 'usable'],
      ['2027-01-01T00:00:00Z', 'none'],
    ] as const)
      assert.equal((await keys.lookup(bob, 'smime', 'encrypt', new Date(at))).kind, kind, at);
    const [, , reasons] = answer(
      await keys.lookup(bob, 'smime', 'encrypt', new Date('2027-01-01T00:00:00Z')),
    );
    assert.match(String(reasons), /expired on 2026-12-31/);
  }));

test('the renewed key comes first, and the old one still decrypts', () =>
  withStore(async ({ keys }) => {
    const old = smimeKey('alice@contoso.example', {
      role: 'own',
      notBefore: '240101000000Z',
      notAfter: '250101000000Z',
    });
    const renewed = smimeKey('alice@contoso.example', { role: 'own', notBefore: '250101000000Z' });
    await put(keys, old, renewed, own);
    const lookup = await keys.lookup(alice, 'smime', 'sign', NOW);
    assert.deepEqual(answer(lookup).slice(0, 2), ['usable', [renewed.record.id, own.record.id]]);
    assert.deepEqual(
      (await keys.ownKeysFor(alice, 'smime')).map(({ id }) => id),
      [renewed.record.id, old.record.id, own.record.id],
    );
  }));

test('own keys for decryption: exact, without +tag, domain, retired; never a partner key', () =>
  withStore(async ({ keys }) => {
    const ofDomain = smimeKey('@contoso.example', { role: 'own', notBefore: '190101000000Z' });
    await put(keys, ofDomain, smimeKey('alice@contoso.example'));
    await keys.put({ ...own.record, isRetired: true }, own.privateMaterial);
    const ids = async (text: string): Promise<unknown> =>
      (await keys.ownKeysFor(address(text), 'smime')).map(({ id }) => id);
    assert.deepEqual(await ids('alice+tag@contoso.example'), [own.record.id, ofDomain.record.id]);
    assert.deepEqual(await ids('carol@contoso.example'), [ofDomain.record.id]);
    assert.deepEqual(await ids('carol@fabrikam.example'), []);
    assert.deepEqual(await keys.ownKeysFor(alice, 'pgp'), []);
  }));

test('records for verification: exact and domain, any role; a +tag is another person', () =>
  withStore(async ({ keys }) => {
    await put(keys, exact, domain, own);
    await keys.put({ ...own.record, addresses: ['bob@fabrikam.example'] });
    const ids = async (text: string): Promise<unknown> =>
      new Set((await keys.recordsFor(address(text), 'smime')).map(({ id }) => id));
    assert.deepEqual(
      await ids('bob@fabrikam.example'),
      new Set([exact.record.id, own.record.id, domain.record.id]),
    );
    assert.deepEqual(await ids('bob+x@fabrikam.example'), new Set([domain.record.id]));
    assert.deepEqual(await ids('alice@contoso.example'), new Set());
  }));

test('one tenant never sees the keys of another', () =>
  withStore(async ({ store, keys }) => {
    await put(keys, own);
    const other = store.forTenant(TENANT_B);
    assert.equal((await other.lookup(alice, 'smime', 'encrypt', NOW)).kind, 'none');
    assert.deepEqual(await other.ownKeysFor(alice, 'smime'), []);
    assert.equal(await other.get(own.record.id), undefined);
    assert.equal(await other.remove(own.record.id), false);
    await assert.rejects(material(other, own.record.id), { code: 'key-unreadable' });
    await assert.rejects(other.put(own.record, own.privateMaterial), { code: 'config-invalid' });
    assert.deepEqual(store.tenants(), [TENANT_A]);
    await put(other, smimeKey('bob@fabrikam.example', { tenant: TENANT_B }));
    assert.deepEqual(store.tenants().toSorted(), [TENANT_A, TENANT_B]);
    assert.equal(store.forTenant(TENANT_A), keys);
  }));

test('everything is there after reopening', async () => {
  await using folder = await folderWith(exact, own);
  await using store = await openStore(folder.path);
  assert.equal((await store.keys.lookup(bob, 'smime', 'encrypt', NOW)).kind, 'usable');
  assert.equal((await store.keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'usable');
  assert.deepEqual(await store.keys.get(exact.record.id), { ...exact.record, isRetired: false });
  assert.equal(await material(store.keys, own.record.id), own.privateMaterial?.reveal().toString());
  assert.equal((await store.keys.inspect()).records.length, 2);
});

test('private material is wiped after use, also after an error, and nothing of it is readable on the disk', async () => {
  await using folder = await folderWith(own);
  const pem = own.privateMaterial?.reveal().toString() ?? '';
  assert.equal(await isOnDisk(folder.path, pem.slice(40, 80)), false);
  await using store = await openStore(folder.path);
  let lent: Secret | undefined;
  const failed = store.keys.withPrivateKey(own.record.id, (secret) => {
    lent = secret;
    return Promise.reject(new Error('broken use'));
  });
  await assert.rejects(failed, /broken use/);
  assert(lent?.reveal().every((byte) => byte === 0));
  assert.equal(await material(store.keys, own.record.id), pem);
});

test('a record that is replaced: old addresses go, the private part stays', () =>
  withStore(async ({ keys }) => {
    await put(keys, own);
    await keys.put({ ...own.record, addresses: ['carol@contoso.example'] });
    assert.equal((await keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'none');
    assert.equal((await keys.lookup(address('carol@contoso.example'), 'smime', 'sign', NOW)).kind, 'usable');
    assert.equal(await material(keys, own.record.id), own.privateMaterial?.reveal().toString());
  }));

test('removal takes record, addresses and private part, from memory and disk', async () => {
  await using folder = await folderWith(own, exact);
  {
    await using store = await openStore(folder.path);
    assert.equal(await store.keys.remove(own.record.id), true);
    assert.equal(await store.keys.remove(own.record.id), false);
    assert.equal((await store.keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'none');
    assert.deepEqual(
      store.database.names('').filter((name) => name.includes(own.record.id)),
      [],
    );
  }
  await using store = await openStore(folder.path);
  await assert.rejects(material(store.keys, own.record.id), { code: 'key-unreadable' });
  assert.equal(await store.keys.get(exact.record.id).then((record) => record?.id), exact.record.id);
});

test('what could not be used later is refused at the door, and changes nothing', () =>
  withStore(async ({ keys, database }) => {
    const { record } = exact;
    for (const [bad, reason] of [
      [{ ...record, hasPrivateKey: true }, /without its private key/],
      [{ ...record, material: 'no PEM' }, /no certificate/],
      [{ ...record, material: domain.record.material }, /with another key/],
    ] as const)
      await assert.rejects(keys.put(bad), { code: 'config-invalid', message: reason });
    assert.deepEqual(database.names(''), []);
    await put(keys, exact);
  }));

/** Which row is hit, and how. */
const damages: readonly (readonly [string, string, 'change' | 'delete'])[] = [
  ['a changed record is unreadable, not none', recordName(TENANT_A, exact.record.id), 'change'],
  ['a vanished record is unreadable, not none', recordName(TENANT_A, exact.record.id), 'delete'],
];

test('damage', async (t) => {
  for (const [name, row, how] of damages) {
    await t.test(name, async () => {
      await using folder = await folderWith(exact, own);
      await damageRow(folder.path, row, how);
      await using store = await openStore(folder.path);
      const { keys, logged } = store;
      const lookup = await keys.lookup(bob, 'smime', 'encrypt', NOW);
      assert.deepEqual(answer(lookup), ['unreadable', [], ['the stored key is damaged']]);
      const [event] = logged.filter((line) => line.includes('key-unreadable'));
      assert(event?.includes(exact.record.id) && event.includes(TENANT_A));
      assert.deepEqual(await keys.recordsFor(bob, 'smime'), []);
      await assert.rejects(keys.get(exact.record.id), { code: 'key-unreadable' });
      const { records, unreadable } = await keys.inspect();
      assert.deepEqual([records.map(({ id }) => id), unreadable], [[own.record.id], [exact.record.id]]);
      assert.equal((await keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'usable');
      await put(keys, exact);
      assert.equal((await keys.lookup(bob, 'smime', 'encrypt', NOW)).kind, 'usable');
    });
  }
});

test('a damaged private part: signing looks usable, using it fails as unreadable, and inspection names it', async () => {
  await using folder = await folderWith(own);
  await damageRow(folder.path, privateName(TENANT_A, own.record.id), 'change');
  await using store = await openStore(folder.path);
  assert.equal((await store.keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'usable');
  await assert.rejects(material(store.keys, own.record.id), { code: 'key-unreadable' });
  assert.deepEqual((await store.keys.inspect()).unreadable, [own.record.id]);
});

test('a damaged record is still damaged, not absent, after the operator accepted the loss', async () => {
  await using folder = await folderWith(exact, own);
  await damageRow(folder.path, recordName(TENANT_A, exact.record.id), 'change');
  await damageRow(folder.path, recordName(TENANT_A, own.record.id), 'delete');
  await using store = await openStore(folder.path, true);
  assert.equal((await store.keys.lookup(bob, 'smime', 'encrypt', NOW)).kind, 'unreadable');
  const { unreadable } = await store.keys.inspect();
  assert.deepEqual(new Set(unreadable), new Set([exact.record.id, own.record.id]));
  assert.equal(await store.keys.remove(own.record.id), true);
  assert.deepEqual(store.database.names(privateName(TENANT_A, own.record.id)), []);
});

test('a lost address row makes the key damaged, since no look-up would find it', async () => {
  await using folder = await folderWith(exact);
  await damageRow(folder.path, addressName(TENANT_A, exact.record.id, 'bob@fabrikam.example'), 'delete');
  await using store = await openStore(folder.path, true);
  assert.deepEqual((await store.keys.inspect()).unreadable, [exact.record.id]);
  await put(store.keys, exact);
  assert.deepEqual((await store.keys.inspect()).unreadable, []);
  assert.equal((await store.keys.lookup(bob, 'smime', 'encrypt', NOW)).kind, 'usable');
});

test('a store that has stopped is neither "no key" nor "damaged"', async () => {
  await using folder = await folderWith(exact);
  const { keys, database } = await openStore(folder.path);
  assert.equal((await keys.lookup(bob, 'smime', 'encrypt', NOW)).kind, 'usable');
  await database[Symbol.asyncDispose]();
  await assert.rejects(put(keys, domain), { code: 'store-failed' });
  await assert.rejects(keys.lookup(bob, 'smime', 'encrypt', NOW), { code: 'store-failed' });
  await assert.rejects(keys.inspect(), { code: 'store-failed' });
});

test('a look-up during a change does not keep what it read before', async () => {
  await using folder = await folderWith(own);
  await using opened = await openStore(folder.path);
  const { database } = opened;
  // The same rows, with the read of the record held back until the change is through.
  const held = Promise.withResolvers<void>();
  const isRead = Promise.withResolvers<void>();
  const keys = openKeyStore({
    log: silentLog,
    database: {
      names: (prefix) => database.names(prefix),
      batch: (operations) => database.batch(operations),
      async get(name) {
        const value = await database.get(name);
        isRead.resolve();
        await held.promise;
        return value;
      },
    },
  }).forTenant(TENANT_A);
  const before = keys.lookup(alice, 'smime', 'sign', NOW);
  await isRead.promise;
  await keys.put({ ...own.record, isRetired: true });
  held.resolve();
  assert.equal((await before).kind, 'usable');
  assert.equal((await keys.lookup(alice, 'smime', 'sign', NOW)).kind, 'none');
});

test('writes of one tenant take turns', () =>
  withStore(async ({ keys }) => {
    const key = smimeKey(['a@x.example', 'b@x.example']);
    await Promise.all([
      keys.put(key.record),
      keys.put({ ...key.record, addresses: ['a@x.example'] }),
      keys.remove(key.record.id),
      keys.put({ ...key.record, addresses: ['b@x.example'] }),
    ]);
    assert.equal((await keys.lookup(address('a@x.example'), 'smime', 'encrypt', NOW)).kind, 'none');
    assert.equal((await keys.lookup(address('b@x.example'), 'smime', 'encrypt', NOW)).kind, 'usable');
  }));

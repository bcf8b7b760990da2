// What a store learns of the software behind its keys, and what a look-up says of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Announced } from '../../../src/core/key.ts';
import type { Lesson } from '../../../src/keys/capabilities.ts';
import { learnedName } from '../../../src/keys/records.ts';
import type { TenantKeys } from '../../../src/keys/store.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import { writeCapabilities } from '../../../src/smime/capabilities.ts';
import { altNames, emailName, extension, makeCertificate } from '../../support/certificates.ts';
import {
  damageRow,
  keyIdOf,
  makeStoreFolder,
  NOW,
  openStore,
  smimeKey,
  withStore,
} from '../../support/keys.ts';
import { address, TENANT_A, TENANT_B } from '../../support/policy.ts';

const BOB = 'bob@fabrikam.example';
const GCM = ['aes-256-gcm', 'aes-256-cbc'];
const CBC = ['aes-256-cbc'];
const bob = smimeKey(BOB);
const { id } = bob.record;

function lesson(ciphers: readonly string[], signedAt = '2026-05-01T00:00:00Z', from = BOB): Lesson {
  return { address: from, ciphers, signedAt: new Date(signedAt) };
}

async function announced(keys: TenantKeys, recipient = BOB): Promise<Announced | undefined> {
  const lookup = await keys.lookup(address(recipient), 'smime', 'encrypt', NOW);
  assert.equal(lookup.kind, 'usable');
  return lookup.keys[0].announces;
}

test('a look-up says what was learned, and of whom', () =>
  withStore(async ({ keys }) => {
    await keys.put({ ...bob.record, addresses: [BOB, '@fabrikam.example'] });
    assert.equal(await announced(keys), undefined);
    assert.equal(await keys.learn(id, lesson(GCM), NOW), 'changed');
    const heard = { by: 'learned', ciphers: GCM, at: new Date('2026-05-01T00:00:00Z') };
    assert.deepEqual(await announced(keys), heard);
    assert.deepEqual(await announced(keys, 'bob+tag@fabrikam.example'), heard);
    assert.equal(await announced(keys, 'carol@fabrikam.example'), undefined);
    const signing = await keys.lookup(address(BOB), 'smime', 'sign', NOW);
    assert.equal(signing.kind, 'none');
  }));

test('what was learned comes before what the certificate says', () =>
  withStore(async ({ keys }) => {
    const { certificate } = makeCertificate({
      extensions: [altNames(emailName(BOB)), extension(ID.smimeCapabilities, writeCapabilities())],
    });
    const own = keyIdOf('smime', certificate.fingerprint);
    await keys.put({ ...bob.record, id: own, material: certificate.pem });
    const said = await announced(keys);
    assert.deepEqual([said?.by, said?.ciphers[0]], ['certificate', 'aes-256-gcm']);
    await keys.learn(own, lesson(CBC), NOW);
    assert.deepEqual([(await announced(keys))?.by, (await announced(keys))?.ciphers], ['learned', CBC]);
  }));

test('nothing is learned of a key that the tenant does not have', () =>
  withStore(async ({ keys, store, database }) => {
    assert.equal(await keys.learn(id, lesson(GCM), NOW), 'nothing');
    await keys.put(bob.record);
    assert.equal(await store.forTenant(TENANT_B).learn(id, lesson(GCM), NOW), 'nothing');
    // Declared, and not theirs.
    assert.equal(await keys.learn(id, lesson(GCM, undefined, 'eve@fabrikam.example'), NOW), 'nothing');
    assert.equal(await keys.learn(id, lesson(GCM, undefined, 'bob@other.example'), NOW), 'nothing');
    assert.deepEqual(database.names('learned/'), []);
  }));

test('the latest signing time holds, also after reopening', async () => {
  await using folder = await makeStoreFolder();
  {
    await using store = await openStore(folder.path);
    await store.keys.put(bob.record);
    await store.keys.learn(id, lesson(GCM, '2026-05-02T00:00:00Z'), NOW);
  }
  await using store = await openStore(folder.path);
  assert.deepEqual((await announced(store.keys))?.ciphers, GCM);
  assert.equal(await store.keys.learn(id, lesson(CBC, '2026-05-01T00:00:00Z'), NOW), 'nothing');
  assert.deepEqual((await announced(store.keys))?.ciphers, GCM);
});

test('mail that says the same again is no write each', () =>
  withStore(async ({ keys, database }) => {
    await keys.put(bob.record);
    let writes = 0;
    const { batch } = database;
    database.batch = (operations) => {
      writes += 1;
      return batch.call(database, operations);
    };
    const answers = new Set<string>();
    for (let second = 10; second < 60; second += 1)
      answers.add(await keys.learn(id, lesson(GCM, `2026-05-01T00:00:${second}Z`), NOW));
    assert.deepEqual([...answers], ['changed', 'confirmed']);
    assert.equal(writes, 1);
    // What is in memory is the latest all the same.
    assert.equal(await keys.learn(id, lesson(CBC, '2026-05-01T00:00:48Z'), NOW), 'nothing');
  }));

test('it goes with the key, and can be forgotten alone', () =>
  withStore(async ({ keys, database }) => {
    await keys.put(bob.record);
    await keys.learn(id, lesson(GCM), NOW);
    assert.equal(await keys.forgetLearned(id), true);
    assert.equal(await keys.forgetLearned(id), false);
    assert.equal(await announced(keys), undefined);
    // Forgotten mail teaches again when it comes again.
    assert.equal(await keys.learn(id, lesson(GCM), NOW), 'changed');
    assert.equal(await keys.remove(id), true);
    assert.deepEqual(database.names(''), []);
    await keys.put(bob.record);
    assert.equal(await announced(keys), undefined);
  }));

test('damaged capabilities are nothing learned, and the key is used as ever', async () => {
  await using folder = await makeStoreFolder();
  {
    await using store = await openStore(folder.path);
    await store.keys.put(bob.record);
    await store.keys.learn(id, lesson(GCM), NOW);
  }
  await damageRow(folder.path, learnedName(TENANT_A, id), 'change');
  await using store = await openStore(folder.path);
  assert.equal(await announced(store.keys), undefined);
  assert.match(store.logged.join(''), /"event":"capabilities-unreadable"/);
  assert.deepEqual((await store.keys.inspect()).unreadable, []);
  assert.equal(await store.keys.learn(id, lesson(CBC), NOW), 'changed');
  assert.deepEqual((await announced(store.keys))?.ciphers, CBC);
});

test('a write that fails rejects, and what is there is read again', () =>
  withStore(async ({ keys, database }) => {
    await keys.put(bob.record);
    const { batch } = database;
    database.batch = () => Promise.reject(new Error('disk full'));
    await assert.rejects(keys.learn(id, lesson(GCM), NOW), /disk full/);
    database.batch = batch;
    assert.equal(await announced(keys), undefined);
  }));

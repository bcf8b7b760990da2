import assert from 'node:assert/strict';
import { test } from 'node:test';
import { preferenceReason } from '../../../src/core/key-preference.ts';
import type { KeyLookup, UsableKey } from '../../../src/core/key.ts';
import { trustedFirst } from '../../../src/pipeline/recipient-trust.ts';
import { bareRecord, keyIdOf } from '../../support/keys.ts';
import { createWorld, type TestPerson } from '../../support/smime.ts';

const world = await createWorld('known');
const other = await createWorld('unknown');
const emails = ['bob@fabrikam.example'];
const start = (day: number) => new Date(Date.now() - day * 86_400_000);
const people = {
  trusted: await world.person('bob', { emails, notBefore: start(5) }),
  newerTrusted: await world.person('bob', { emails, notBefore: start(2) }),
  untrusted: await other.person('bob', { emails, notBefore: start(1) }),
};

function usable({ certificate }: TestPerson, matchedBy: UsableKey['matchedBy'] = 'address'): UsableKey {
  const { fingerprint, pem, notBefore, notAfter } = certificate;
  const id = keyIdOf('smime', fingerprint);
  return { record: { ...bareRecord('1'), id, material: pem, notBefore, notAfter }, matchedBy };
}

const { trusted, newerTrusted, untrusted } = people;
const at = new Date();

function names(lookup: KeyLookup): readonly (string | undefined)[] {
  assert(lookup.kind === 'usable');
  return [...lookup.keys, ...(lookup.farther ?? [])].map(
    ({ record }) =>
      Object.entries(people).find(([, { certificate }]) => record.id.endsWith(certificate.fingerprint))?.[0],
  );
}

test('F69 of several certificates, one that leads to a trusted root comes before a newer one that does not', () => {
  const keys = [usable(untrusted), usable(newerTrusted), usable(trusted)] as const;
  const sorted = trustedFirst({ kind: 'usable', keys, rejected: [] }, world.trust, at);
  assert.deepEqual(names(sorted), ['newerTrusted', 'trusted', 'untrusted']);
  assert(sorted.kind === 'usable' && sorted.keys[2]);
  assert.equal(
    preferenceReason(sorted.keys[0], sorted.keys[2]),
    'another key leads to a trusted root, which this one does not',
  );
});

test('it is only an order: closer ones stay closer, one alone stays, and nothing is taken away', () => {
  const closer = trustedFirst(
    { kind: 'usable', keys: [usable(untrusted)], farther: [usable(trusted, 'domain')], rejected: [] },
    world.trust,
    at,
  );
  assert.deepEqual(names(closer), ['untrusted', 'trusted']);
  const alone: KeyLookup = { kind: 'usable', keys: [usable(untrusted)], rejected: [] };
  assert.equal(trustedFirst(alone, world.trust, at), alone);
  const none: KeyLookup = { kind: 'none', rejected: [] };
  assert.equal(trustedFirst(none, world.trust, at), none);
});

test('without anchors nobody is trusted, and the order stays', () => {
  const lookup: KeyLookup = {
    kind: 'usable',
    keys: [usable(untrusted), usable(trusted)],
    rejected: [],
  };
  assert.equal(trustedFirst(lookup, { anchors: [], intermediates: [] }, at), lookup);
});

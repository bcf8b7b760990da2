import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../src/core/secret.ts';
import { type DeclaredKey, type KeyChange, planKeyChanges } from '../../../src/keys/plan.ts';
import type { StoredKey } from '../../../src/keys/records.ts';
import { bareRecord } from '../../support/keys.ts';

const own = { role: 'own', hasPrivateKey: true } as const;

function declared(digit: string, more: Partial<StoredKey> = {}): DeclaredKey {
  const { isRetired: _, ...record } = bareRecord(digit, more);
  return { record, ...(record.hasPrivateKey && { privateMaterial: new Secret(`private ${digit}`) }) };
}

/** `kind digit`, in the order of the changes. */
function inShort(changes: readonly KeyChange[]): readonly string[] {
  return changes.map((change) => {
    const id = change.kind === 'remove' ? change.id : change.record.id;
    return `${change.kind} ${id.at(-1) ?? ''}`;
  });
}

const cases: readonly (readonly [string, readonly DeclaredKey[], readonly StoredKey[], readonly string[]])[] =
  [
    ['nothing of nothing', [], [], []],
    ['a new key', [declared('1')], [], ['add 1']],
    ['a key that is as declared', [declared('1')], [bareRecord('1')], []],
    [
      'other addresses',
      [declared('1', { addresses: ['@fabrikam.example'] })],
      [bareRecord('1')],
      ['update 1'],
    ],
    [
      'the same addresses in another order',
      [declared('1', { addresses: ['b@x.example', 'a@x.example'] })],
      [bareRecord('1', { addresses: ['a@x.example', 'b@x.example'] })],
      [],
    ],
    [
      'new material under the same id',
      [declared('1', { material: 'renewed' })],
      [bareRecord('1')],
      ['update 1'],
    ],
    ['another end', [declared('1', { notAfter: new Date('2030-01-01') })], [bareRecord('1')], ['update 1']],
    ['the private part came', [declared('1', own)], [bareRecord('1')], ['update 1']],
    ['the private part is not declared any more and stays', [declared('1')], [bareRecord('1', own)], []],
    ['a partner key that is not declared any more', [], [bareRecord('1')], ['remove 1']],
    ['an own key that is not declared any more is kept', [], [bareRecord('1', own)], ['retire 1']],
    ['a retired key stays retired', [], [bareRecord('1', { ...own, isRetired: true })], []],
    [
      'a retired key that is declared again',
      [declared('1', own)],
      [bareRecord('1', { ...own, isRetired: true })],
      ['update 1'],
    ],
    [
      'manual keys are left alone',
      [],
      [bareRecord('1', { source: 'manual' }), bareRecord('2', { ...own, source: 'manual' })],
      [],
    ],
    [
      'a manual key that the policy declares becomes its own',
      [declared('1')],
      [bareRecord('1', { source: 'manual' })],
      ['update 1'],
    ],
    [
      'what is new comes in before anything goes',
      [declared('1'), declared('3', { addresses: ['c@x.example'] })],
      [bareRecord('2'), bareRecord('3'), bareRecord('4', own)],
      ['add 1', 'update 3', 'retire 4', 'remove 2'],
    ],
  ];

test('the changes between a policy and a store', async (t) => {
  for (const [name, wanted, stored, changes] of cases) {
    await t.test(name, () => assert.deepEqual(inShort(planKeyChanges(wanted, stored)), changes));
  }
});

test('own keys carry their private material into the change, and nothing else does', () => {
  const changes = planKeyChanges([declared('1', own), declared('2')], [bareRecord('3', own)]);
  assert.deepEqual(
    changes.map((change) => 'privateMaterial' in change),
    [true, false, false],
  );
});

test('a retired key keeps everything but its use', () => {
  const stored = bareRecord('1', own);
  const [change] = planKeyChanges([], [stored]);
  assert(change?.kind === 'retire');
  assert.deepEqual(change.record, { ...stored, isRetired: true });
});

test('a key whose private part is stored stays an own key, also where the policy declares it as a partner', () => {
  const [change] = planKeyChanges(
    [declared('1', { addresses: ['c@x.example'] })],
    [bareRecord('1', { ...own, isRetired: true })],
  );
  assert(change?.kind === 'update');
  assert.equal(change.record.role, 'own');
  assert.equal(change.record.hasPrivateKey, true);
  assert.equal(change.record.isRetired, false);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyPurpose } from '../../../src/core/key.ts';
import { type Candidate, selectKeys } from '../../../src/keys/select.ts';
import { answer, bareRecord } from '../../support/keys.ts';

type Readable = Extract<Candidate, { kind: 'readable' }>;

const good = { usable: true } as const;

function candidate(
  digit: string,
  more: Partial<Omit<Readable, 'record'>> & Partial<Readable['record']> = {},
): Candidate {
  const { matchedBy = 'address', use = good, strength, ...record } = more;
  const bits = strength === undefined ? {} : { strength };
  return { kind: 'readable', record: bareRecord(digit, record), matchedBy, use, ...bits };
}

function damaged(digit: string): Candidate {
  return { kind: 'unreadable', id: bareRecord(digit).id };
}

function unusable(reason: string): Partial<Readable> {
  return { use: { usable: false, reason } };
}

const own = { role: 'own', hasPrivateKey: true } as const;
const RETIRED = 'the key is retired: no longer declared, kept for decryption only';
const NO_PRIVATE = 'the key has no private part here';
const CLOSER = 'a key of a closer match is used';
const DAMAGED = 'the stored key is damaged';

/** What it shows, the purpose, the candidates, the kind, the digits of the keys in their order, the reasons. */
const cases: readonly (readonly [
  string,
  KeyPurpose,
  readonly Candidate[],
  string,
  string,
  readonly string[],
])[] = [
  ['nothing matched', 'encrypt', [], 'none', '', []],
  ['one key', 'encrypt', [candidate('1')], 'usable', '1', []],
  [
    'exact before domain',
    'encrypt',
    [candidate('1', { matchedBy: 'domain' }), candidate('2')],
    'usable',
    '2',
    [CLOSER],
  ],
  [
    'exact before plus-base',
    'encrypt',
    [candidate('1', { matchedBy: 'plus-base' }), candidate('2')],
    'usable',
    '2',
    [CLOSER],
  ],
  [
    'plus-base before domain',
    'encrypt',
    [candidate('1', { matchedBy: 'domain' }), candidate('2', { matchedBy: 'plus-base' })],
    'usable',
    '2',
    [CLOSER],
  ],
  [
    'an older exact key before a newer domain key',
    'encrypt',
    [candidate('1', { notBefore: new Date(0) }), candidate('2', { matchedBy: 'domain' })],
    'usable',
    '1',
    [CLOSER],
  ],
  [
    'an expired exact key does not hide the domain key',
    'encrypt',
    [candidate('1', unusable('expired')), candidate('2', { matchedBy: 'domain' })],
    'usable',
    '2',
    ['expired'],
  ],
  [
    'the latest start first',
    'encrypt',
    [candidate('1'), candidate('2', { notBefore: new Date('2026-02-01') })],
    'usable',
    '21',
    [],
  ],
  [
    'then the stronger one',
    'encrypt',
    [candidate('1', { strength: 112, notAfter: new Date('2028-01-01') }), candidate('2', { strength: 128 })],
    'usable',
    '21',
    [],
  ],
  [
    'an unknown strength is the smallest',
    'encrypt',
    [candidate('1'), candidate('2', { strength: 112 })],
    'usable',
    '21',
    [],
  ],
  [
    'then the one that expires last',
    'encrypt',
    [candidate('1'), candidate('2', { notAfter: new Date('2028-01-01') })],
    'usable',
    '21',
    [],
  ],
  [
    'that never expires lasts longest',
    'encrypt',
    [candidate('1', { notAfter: new Date('9999-12-31') }), candidate('2', { notAfter: undefined as never })],
    'usable',
    '21',
    [],
  ],
  ['then by id', 'encrypt', [candidate('2'), candidate('1')], 'usable', '12', []],
  ['a partner key cannot sign', 'sign', [candidate('1')], 'none', '', [NO_PRIVATE]],
  ['an own key can', 'sign', [candidate('1', own)], 'usable', '1', []],
  [
    'an own key without its private part cannot',
    'sign',
    [candidate('1', { ...own, hasPrivateKey: false })],
    'none',
    '',
    [NO_PRIVATE],
  ],
  [
    'a retired key neither signs',
    'sign',
    [candidate('1', { ...own, isRetired: true })],
    'none',
    '',
    [RETIRED],
  ],
  ['nor encrypts', 'encrypt', [candidate('1', { ...own, isRetired: true })], 'none', '', [RETIRED]],
  ['damaged is not none', 'encrypt', [damaged('1')], 'unreadable', '', [DAMAGED]],
  [
    'damaged with a refused one is not none',
    'encrypt',
    [candidate('2', unusable('expired')), damaged('1')],
    'unreadable',
    '',
    [DAMAGED, 'expired'],
  ],
  [
    'damaged beside a usable one',
    'encrypt',
    [damaged('1'), candidate('2', { matchedBy: 'domain' })],
    'usable',
    '2',
    [DAMAGED],
  ],
  [
    'reasons in the order of ids',
    'encrypt',
    [candidate('3', unusable('c')), candidate('1', unusable('a')), candidate('2', unusable('b'))],
    'none',
    '',
    ['a', 'b', 'c'],
  ],
];

test('the keys that are chosen among those that match', async (t) => {
  for (const [name, purpose, candidates, kind, digits, reasons] of cases) {
    await t.test(name, () => {
      const ids = digits.split('').map((digit) => bareRecord(digit).id);
      assert.deepEqual(answer(selectKeys(candidates, purpose)), [kind, ids, reasons]);
    });
  }
});

test('a usable key says how it matched', () => {
  const lookup = selectKeys([candidate('1', { matchedBy: 'domain' })], 'encrypt');
  assert(lookup.kind === 'usable');
  assert.equal(lookup.keys[0].matchedBy, 'domain');
});

// Selection of keys over arbitrary candidates: it always answers, the order of declaration does not matter, and what it
// answers is explained completely.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { KeyLookup, KeyPurpose } from '../../src/core/key.ts';
import { type Candidate, selectKeys } from '../../src/keys/select.ts';
import { bareRecord } from '../support/keys.ts';

const day = fc.integer({ min: 0, max: 3 }).map((days) => new Date(days * 86_400_000));
const readable = fc.record({
  kind: fc.constant('readable' as const),
  record: fc
    .record({
      role: fc.constantFrom('own' as const, 'partner' as const),
      hasPrivateKey: fc.boolean(),
      isRetired: fc.boolean(),
      notBefore: day,
      end: fc.option(day, { nil: undefined }),
    })
    .map(({ end, ...more }) => {
      const { notAfter: _, ...record } = bareRecord('0', more);
      return { ...record, ...(end && { notAfter: end }) };
    }),
  matchedBy: fc.constantFrom('address' as const, 'plus-base' as const, 'domain' as const),
  strength: fc.constantFrom(0, 112, 128),
  use: fc.constantFrom({ usable: true } as const, { usable: false, reason: 'expired' } as const),
});
const damaged = fc.constant({ kind: 'unreadable' as const, id: bareRecord('0').id });
const candidates = fc
  .array(fc.oneof({ weight: 5, arbitrary: readable }, { weight: 1, arbitrary: damaged }), { maxLength: 12 })
  .map((list) =>
    list.map((candidate, index): Candidate => {
      const { id } = bareRecord(index.toString(16));
      return candidate.kind === 'readable'
        ? { ...candidate, record: { ...candidate.record, id } }
        : { ...candidate, id };
    }),
  );
const purpose = fc.constantFrom<KeyPurpose[]>('encrypt', 'sign');

function idOf(candidate: Candidate): string {
  return candidate.kind === 'readable' ? candidate.record.id : candidate.id;
}

function chosen(lookup: KeyLookup): readonly string[] {
  return lookup.kind === 'usable' ? lookup.keys.map(({ record }) => record.id) : [];
}

test('the order of the candidates does not matter', () => {
  fc.assert(
    fc.property(
      candidates.chain((list) =>
        fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
      ),
      purpose,
      ([list, shuffled], wanted) => {
        assert.deepEqual(selectKeys(shuffled, wanted), selectKeys(list, wanted));
      },
    ),
  );
});

test('no key is named twice, none is invented, and without a usable one every candidate has its reason', () => {
  fc.assert(
    fc.property(candidates, purpose, (list, wanted) => {
      const lookup = selectKeys(list, wanted);
      const named = [...chosen(lookup), ...lookup.rejected.map(({ id }) => id)];
      const given = list.map(idOf);
      assert.equal(new Set(named).size, named.length);
      assert(named.every((id) => given.includes(id)));
      if (lookup.kind !== 'usable') assert.equal(named.length, given.length);
    }),
  );
});

test('what is chosen may be used: never retired, refused by its material, or without a private part to sign', () => {
  fc.assert(
    fc.property(candidates, purpose, (list, wanted) => {
      const ids = chosen(selectKeys(list, wanted));
      for (const candidate of list.filter((each) => ids.includes(idOf(each)))) {
        assert(candidate.kind === 'readable');
        assert(candidate.use.usable && !candidate.record.isRetired);
        if (wanted === 'sign') assert(candidate.record.hasPrivateKey && candidate.record.role === 'own');
      }
    }),
  );
});

test('`none` is never answered while a candidate is damaged', () => {
  fc.assert(
    fc.property(candidates, purpose, (list, wanted) => {
      const isDamaged = list.some(({ kind }) => kind === 'unreadable');
      assert(!(isDamaged && selectKeys(list, wanted).kind === 'none'));
    }),
  );
});

test('one more candidate never takes the last usable key away', () => {
  fc.assert(
    fc.property(candidates, purpose, (list, wanted) => {
      const before = selectKeys(list.slice(1), wanted).kind;
      if (before === 'usable') assert.equal(selectKeys(list, wanted).kind, 'usable');
    }),
  );
});

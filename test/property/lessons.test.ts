// What lessons leave behind, in whatever order they come: the latest signing time of each address, bounded, never of the future.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  applyLesson,
  type Learned,
  type Lesson,
  MAX_ADDRESSES,
  readLearned,
  writeLearned,
} from '../../src/keys/capabilities.ts';

const NOW = new Date('2026-06-01T12:00:00Z');
const minute = (count: number) => new Date(NOW.getTime() + count * 60_000);

const lesson: fc.Arbitrary<Lesson> = fc.record({
  address: fc.constantFrom('a@b.example', 'c@b.example', 'd@b.example'),
  ciphers: fc.subarray(['aes-256-gcm', 'aes-256-cbc', '3des']),
  signedAt: fc.integer({ min: -50, max: 50 }).map(minute),
});
/** One signer says one thing at one time. */
const lessons = fc.uniqueArray(lesson, {
  selector: ({ address, signedAt }) => `${address} ${signedAt.getTime()}`,
  maxLength: 20,
});

function after(list: readonly Lesson[]): readonly Learned[] {
  return list.reduce<readonly Learned[]>((known, each) => applyLesson(known, each, NOW) ?? known, []);
}

const sorted = (known: readonly Learned[]) =>
  known.toSorted((one, other) => (one.address < other.address ? -1 : 1));

test('the order in which mail arrives does not matter, and the latest that is no future counts', () => {
  fc.assert(
    fc.property(
      lessons.chain((list) =>
        fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
      ),
      ([list, shuffled]) => {
        const known = sorted(after(list));
        assert.deepEqual(sorted(after(shuffled)), known);
        const counted = list.filter(({ signedAt }) => signedAt <= minute(10));
        for (const { address, ciphers, signedAt } of known) {
          const latest = counted
            .filter((each) => each.address === address)
            .toSorted((one, other) => other.signedAt.getTime() - one.signedAt.getTime())[0];
          assert.deepEqual([ciphers, signedAt], [latest?.ciphers, latest?.signedAt]);
        }
        assert.equal(known.length, new Set(counted.map(({ address }) => address)).size);
      },
    ),
  );
});

test('what is kept is bounded, and comes back from its row as it was', () => {
  const many = fc.array(
    fc.tuple(fc.integer({ min: 0, max: 99 }), lesson).map(([number, each]) => ({
      ...each,
      address: `${number}@b.example`,
    })),
    { maxLength: 100 },
  );
  fc.assert(
    fc.property(many, (list) => {
      const known = after(list);
      assert(known.length <= MAX_ADDRESSES);
      assert.deepEqual(readLearned(writeLearned(known)), known);
    }),
  );
});

test('no bytes make the reader of rows throw', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
      const read = readLearned(Buffer.from(text));
      assert(read === undefined || read.length <= MAX_ADDRESSES);
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  applyLesson,
  isNews,
  type Learned,
  type Lesson,
  MAX_ADDRESSES,
  readLearned,
  writeLearned,
} from '../../../src/keys/capabilities.ts';

const NOW = new Date('2026-06-01T12:00:00Z');
const BOB = 'bob@fabrikam.example';
const GCM = ['aes-256-gcm', 'aes-256-cbc'];
const CBC = ['aes-256-cbc'];

function lesson(signedAt: string, ciphers: readonly string[] = GCM, address = BOB): Lesson {
  return { address, ciphers, signedAt: new Date(signedAt) };
}

function known(signedAt: string, ciphers: readonly string[] = CBC, address = BOB): Learned {
  return { ...lesson(signedAt, ciphers, address), seenAt: new Date(signedAt) };
}

test('when mail teaches something', async (t) => {
  for (const [name, before, heard, expected] of [
    ['the first mail', [], lesson('2026-05-01T00:00:00Z'), GCM],
    ['later mail', [known('2026-05-01T00:00:00Z')], lesson('2026-05-01T00:00:01Z'), GCM],
    [
      'later mail that takes GCM back',
      [known('2026-05-01T00:00:00Z', GCM)],
      lesson('2026-05-02T00:00:00Z', CBC),
      CBC,
    ],
    [
      'later mail that announces no cipher',
      [known('2026-05-01T00:00:00Z', GCM)],
      lesson('2026-05-02T00:00:00Z', []),
      [],
    ],
    ['replayed mail, older', [known('2026-05-01T00:00:00Z')], lesson('2026-04-30T23:59:59Z'), undefined],
    ['replayed mail, the same', [known('2026-05-01T00:00:00Z')], lesson('2026-05-01T00:00:00Z'), undefined],
    ['a clock that is a little ahead', [], lesson('2026-06-01T12:09:59Z'), GCM],
    ['mail of the future', [], lesson('2026-06-01T12:10:01Z'), undefined],
    [
      'an address beyond all limits',
      [],
      lesson('2026-05-01T00:00:00Z', GCM, `${'a'.repeat(250)}@b.example`),
      undefined,
    ],
  ] as const) {
    await t.test(name, () => {
      const next = applyLesson(before, heard, NOW);
      assert.deepEqual(next?.find(({ address }) => address === BOB)?.ciphers, expected);
    });
  }
});

test('addresses of one key are known apart, and the longest unheard makes room', () => {
  let all: readonly Learned[] = [];
  for (let day = 1; day <= MAX_ADDRESSES + 1; day += 1) {
    const at = new Date(Date.UTC(2026, 0, day));
    all = applyLesson(all, { address: `p${day}@fabrikam.example`, ciphers: GCM, signedAt: at }, at) ?? [];
  }
  assert.equal(all.length, MAX_ADDRESSES);
  assert.equal(all[0]?.address, `p${MAX_ADDRESSES + 1}@fabrikam.example`);
  assert(!all.some(({ address }) => address === 'p1@fabrikam.example'));
});

test('mail that says what is known is written once in an hour', () => {
  const stored = [known('2026-05-01T00:00:00Z', GCM)];
  assert.equal(isNews([], lesson('2026-05-01T00:00:00Z')), true);
  assert.equal(isNews(stored, lesson('2026-05-01T00:59:59Z')), false);
  assert.equal(isNews(stored, lesson('2026-05-01T01:00:00Z')), true);
  assert.equal(isNews(stored, lesson('2026-05-01T00:00:01Z', CBC)), true);
});

test('a row comes back as it was written, and nothing else is taken for one', async (t) => {
  const list = [known('2026-05-01T00:00:00Z', GCM), known('2026-05-02T00:00:00Z', [], 'b@c.example')];
  assert.deepEqual(readLearned(writeLearned(list)), list);
  const good = JSON.parse(writeLearned(list).toString()) as Record<string, unknown>[];
  for (const [name, value] of [
    ['no JSON', '{'],
    ['no list', '{}'],
    ['too long', JSON.stringify(Array.from({ length: MAX_ADDRESSES + 1 }, () => good[0]))],
    ['no object', '[1]'],
    ['no address', JSON.stringify([{ ...good[0], address: 1 }])],
    ['no ciphers', JSON.stringify([{ ...good[0], ciphers: 'aes' }])],
    ['a cipher that is none', JSON.stringify([{ ...good[0], ciphers: ['AES 256'] }])],
    ['too many ciphers', JSON.stringify([{ ...good[0], ciphers: Array.from({ length: 17 }, () => 'a') }])],
    ['no date', JSON.stringify([{ ...good[0], signedAt: 'yesterday' }])],
  ] as const) {
    await t.test(name, () => assert.equal(readLearned(Buffer.from(value)), undefined));
  }
});

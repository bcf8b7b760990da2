import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bytesSource,
  type ByteSource,
  collect,
  concat,
  headOf,
  joinSources,
  rangeOf,
  rechunk,
} from '../../../src/core/bytes.ts';

const MAX = 10_000_000;
const read = (source: ByteSource, range?: { start: number; end?: number }) =>
  collect(source.open(range), MAX);

test('a range of a joined source is the range of the joined bytes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array(),
      fc.uint8Array(),
      fc.nat(40),
      fc.nat(40),
      async (first, second, one, other) => {
        const [start, end] = [Math.min(one, other), Math.max(one, other)];
        const whole = Buffer.concat([first, second]);
        const joined = joinSources(bytesSource(first), bytesSource(second));
        assert.ok((await read(joined, { start, end })).equals(whole.subarray(start, end)));
        const part = rangeOf(joined, { start, end });
        assert.equal(part.size, whole.subarray(start, end).length);
        assert.ok((await read(part)).equals(whole.subarray(start, end)));
        assert.ok((await read(part, { start: 1, end: 3 })).equals(whole.subarray(start, end).subarray(1, 3)));
      },
    ),
  );
});

test('a source opens many times, also at once', async () => {
  const source = bytesSource(Buffer.alloc(200_000, 'x'));
  const both = await Promise.all([read(source), read(source)]);
  assert.deepEqual(
    both.map(({ length }) => length),
    [200_000, 200_000],
  );
});

test('collect has a limit', async () => {
  await assert.rejects(collect(bytesSource(Buffer.alloc(11)).open(), 10), { code: 'message-too-large' });
});

test('rechunk and concat change no byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 20 })),
      fc.integer({ min: 1, max: 30 }),
      async (parts, least) => {
        async function* chunks() {
          yield* parts;
        }
        const sizes: number[] = [];
        const out: Uint8Array[] = [];
        for await (const chunk of rechunk(concat(Buffer.from('head'), chunks()), least)) {
          sizes.push(chunk.length);
          out.push(chunk);
        }
        assert.ok(Buffer.concat(out).equals(Buffer.concat([Buffer.from('head'), ...parts])));
        assert.ok(sizes.slice(0, -1).every((size) => size >= least));
      },
    ),
  );
});

test('the head of a stream, of any size, closes what is behind it', async () => {
  let isClosed = false;
  const stream = async function* (): AsyncGenerator<Uint8Array, void> {
    try {
      for (const text of ['ab', '', 'cde', 'f']) yield Buffer.from(text);
    } finally {
      isClosed = true;
    }
  };
  for (const [bytes, wanted] of [
    [1, 'a'],
    [2, 'ab'],
    [4, 'abcd'],
    [9, 'abcdef'],
  ] as const) {
    isClosed = false;
    assert.equal((await headOf(stream(), bytes)).toString(), wanted);
    assert.equal(isClosed, true);
  }
});

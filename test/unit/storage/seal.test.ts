import { test } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { bytesSource } from '../../../src/core/bytes.ts';
import { Secret } from '../../../src/core/secret.ts';
import {
  makeKey,
  openRecord,
  openSealedSource,
  openStream,
  sealedStreamBytes,
  sealRecord,
  sealStream,
} from '../../../src/storage/seal.ts';
import { bytesOf, chunked } from '../../support/storage.ts';

const SEGMENT = 65_536;
const HEADER = 32;
const failed = { code: 'store-failed' };

test('a sealed record opens only with its key and for its place', () => {
  const key = makeKey();
  const sealed = sealRecord(key, Buffer.from('value'), 'place-1');
  assert.equal(openRecord(key, sealed, 'place-1').toString(), 'value');
  assert.equal(sealed.includes('value'), false);
  assert.throws(() => openRecord(key, sealed, 'place-2'), failed);
  assert.throws(() => openRecord(makeKey(), sealed, 'place-1'), failed);
  assert.throws(() => openRecord(new Secret('short'), sealed, 'place-1'), failed);
  assert.notDeepEqual(sealRecord(key, Buffer.from('value'), 'place-1'), sealed);
});

test('a sealed record with any byte flipped, or cut anywhere, does not open', () => {
  const key = makeKey();
  const sealed = sealRecord(key, Buffer.from('some value'), 'place');
  for (let at = 0; at < sealed.length; at += 1) {
    const flipped = Buffer.from(sealed);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    assert.throws(() => openRecord(key, flipped, 'place'), failed, `flip at ${at}`);
    assert.throws(() => openRecord(key, sealed.subarray(0, at), 'place'), failed, `cut at ${at}`);
  }
  assert.throws(() => openRecord(key, Buffer.concat([sealed, Buffer.of(0)]), 'place'), failed);
});

for (const size of [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 3 * SEGMENT + 77]) {
  test(`a sealed stream of ${size} bytes opens again, whole and by range`, async () => {
    const key = makeKey();
    const plain = randomBytes(size);
    const sealed = await bytesOf(sealStream(key, chunked(plain, [1_000, 70_000, 3]), 'a'));
    assert.equal(sealed.length, sealedStreamBytes(size));
    assert.deepEqual(await bytesOf(openStream(key, chunked(sealed, [13, 50_000, 1]), 'a')), plain);
    const source = openSealedSource(key, bytesSource(sealed), size, 'a');
    for (const start of [0, 1, SEGMENT - 1, SEGMENT, size - 1, size, size + 5].filter((at) => at >= 0)) {
      for (const end of [start, start + 1, start + SEGMENT, size, size + 9]) {
        assert.deepEqual(
          await bytesOf(source.open({ start, end })),
          plain.subarray(start, Math.max(start, end)),
        );
      }
    }
  });
}

test('sealed stream, every truncation at and around a segment, trailing data and swapped segments are refused', async () => {
  const key = makeKey();
  const sealed = await bytesOf(sealStream(key, chunked(randomBytes(2 * SEGMENT + 100), [SEGMENT])));
  const whole = SEGMENT + 16;
  const cuts = [
    0,
    1,
    HEADER - 1,
    HEADER,
    HEADER + 15,
    HEADER + whole - 1,
    HEADER + whole,
    HEADER + 2 * whole,
    sealed.length - 1,
  ];
  const segment = (index: number): Buffer =>
    sealed.subarray(HEADER + index * whole, HEADER + (index + 1) * whole);
  const variants = [
    ...cuts.map((cut) => sealed.subarray(0, cut)),
    Buffer.concat([sealed, Buffer.of(0)]),
    Buffer.concat([sealed, segment(2)]),
    Buffer.concat([sealed.subarray(0, HEADER), segment(1), segment(0), segment(2)]),
    Buffer.concat([sealed.subarray(0, HEADER), segment(0), segment(0), segment(2)]),
    Buffer.concat([sealed.subarray(0, HEADER), segment(2)]),
    Buffer.alloc(sealed.length),
  ];
  for (const [index, variant] of variants.entries()) {
    await assert.rejects(bytesOf(openStream(key, bytesSource(variant).open())), failed, `variant ${index}`);
    if (variant.length !== sealed.length) {
      assert.throws(() => openSealedSource(key, bytesSource(variant), 2 * SEGMENT + 100), failed);
    }
  }
});

test('a range reads only authentic segments', async () => {
  const key = makeKey();
  const size = 3 * SEGMENT;
  const sealed = await bytesOf(sealStream(key, bytesSource(Buffer.alloc(size)).open()));
  sealed[HEADER + SEGMENT + 16 + 5] = 1;
  const source = openSealedSource(key, bytesSource(sealed), size);
  assert.equal((await bytesOf(source.open({ start: 0, end: SEGMENT }))).length, SEGMENT);
  await assert.rejects(bytesOf(source.open({ start: SEGMENT, end: SEGMENT + 1 })), failed);
  await assert.rejects(bytesOf(source.open()), failed);
});

test('property: a sealed stream is the identity for any chunking, and any flipped bit is noticed', async () => {
  const key = makeKey();
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 3_000 }),
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 }),
      fc.nat(),
      async (plain, sizes, where) => {
        const sealed = await bytesOf(sealStream(key, chunked(plain, sizes)));
        assert.deepEqual(await bytesOf(openStream(key, chunked(sealed, sizes))), Buffer.from(plain));
        const at = where % sealed.length;
        sealed[at] = (sealed[at] ?? 0) ^ (1 << (where % 8));
        await assert.rejects(bytesOf(openStream(key, chunked(sealed, sizes))), failed);
      },
    ),
    { numRuns: 100 },
  );
});

test('a sealed stream closes its input when the reader stops early', async () => {
  const key = makeKey();
  let isClosed = false;
  async function* input(): AsyncGenerator<Uint8Array, void> {
    try {
      for (;;) yield Buffer.alloc(SEGMENT);
    } finally {
      isClosed = true;
    }
  }
  for await (const chunk of sealStream(key, input())) {
    if (chunk.length > 1_000) break;
  }
  assert.equal(isClosed, true);
});

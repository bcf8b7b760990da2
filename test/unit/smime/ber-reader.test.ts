import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { BerError, BerReader, berLimits } from '../../../src/smime/ber-reader.ts';
import { inChunks } from '../../support/smime.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');

const octetStrings: readonly (readonly [string, string, string])[] = [
  ['primitive', '04 03 616263', 'abc'],
  ['empty', '04 00', ''],
  ['long form length', '04 81 03 616263', 'abc'],
  ['length with leading zeros', '04 84 00000003 616263', 'abc'],
  ['constructed, definite', '24 07 04 01 61 04 02 6263', 'abc'],
  ['constructed, indefinite', '24 80 04 01 61 04 02 6263 0000', 'abc'],
  ['nested twice', '24 80 24 80 04 01 61 0000 24 04 04 02 6263 0000', 'abc'],
  ['no pieces', '24 80 0000', ''],
  ['empty pieces', '24 80 04 00 04 01 61 04 00 0000', 'a'],
  ['piece that looks like an end mark', '24 80 04 02 0000 0000', '\0\0'],
];

test('octet strings in all BER forms', async (t) => {
  for (const [name, bytes, expected] of octetStrings) {
    for (const size of [1, 2, 3, 1_000]) {
      await t.test(`${name}, chunks of ${size}`, async () => {
        await using reader = new BerReader(inChunks(hex(bytes), size));
        assert.equal((await collect(reader.octets(0x04), 100)).toString('latin1'), expected);
        await reader.end();
      });
    }
  }
});

const refused: readonly (readonly [string, string, RegExp])[] = [
  ['nothing', '', /cut off/],
  ['cut in the header', '04', /cut off/],
  ['cut in the length', '04 82 01', /cut off/],
  ['cut in the content', '04 05 6162', /cut off/],
  ['4 GiB announced', '04 84 ffffffff 61', /cut off/],
  ['length of 127 octets', '04 ff 61', /out of range/],
  ['length of 7 octets', '04 87 00000000000001 61', /out of range/],
  ['indefinite primitive', '04 80 61 0000', /indefinite primitive/],
  ['no end mark', '24 80 04 01 61', /cut off/],
  ['half an end mark', '24 80 04 01 61 00', /cut off/],
  ['end mark in a definite container', '24 05 04 01 61 0000', /end mark/],
  ['piece longer than its container', '24 03 04 05 6162636465', /longer than its container/],
  ['piece of another type', '24 03 02 01 05', /another type/],
  ['another type', '0c 01 61', /missing/],
  ['tag of several octets', '24 80 1f 81 01 00 0000', /several octets/],
  ['trailing byte', '04 01 61 00', /after the end/],
  ['trailing byte after an indefinite one', '24 80 04 01 61 0000 0d', /after the end/],
  ['nested without end', '2480'.repeat(100), /too deeply/],
];

test('malformed octet strings are refused', async (t) => {
  for (const [name, bytes, reason] of refused) {
    for (const size of [1, 1_000]) {
      await t.test(`${name}, chunks of ${size}`, async () => {
        await using reader = new BerReader(inChunks(hex(bytes), size));
        await assert.rejects(
          async () => {
            await collect(reader.octets(0x04), 100);
            await reader.end();
          },
          (error) => error instanceof BerError && reason.test(error.message),
        );
      });
    }
  }
});

test('containers are walked, skipped and taken whole', async () => {
  const bytes = hex('30 80 02 01 05 30 80 06 01 2a 30 03 01 01 ff 0000 a0 02 05 00 31 00 0000');
  await using reader = new BerReader(bytesSource(bytes).open());
  assert.equal(await reader.isNext(0x30), true);
  await reader.enter(0x30);
  assert.deepEqual(await reader.element(), hex('02 01 05'));
  assert.deepEqual(await reader.element(), hex('30 80 06 01 2a 30 03 01 01 ff 0000'));
  await reader.skip();
  await reader.enter(0x31);
  assert.equal(await reader.peek(), undefined);
  await reader.leave();
  await reader.leave();
  await reader.end();
});

test('limits hold', async (t) => {
  const sequenceOfNulls = Buffer.concat([
    hex('24 80'),
    Buffer.from('0400'.repeat(1_000), 'hex'),
    hex('0000'),
  ]);
  await t.test('elements', async () => {
    await using reader = new BerReader(bytesSource(sequenceOfNulls).open(), {
      ...berLimits,
      maxElements: 1_000,
    });
    await assert.rejects(collect(reader.octets(0x04), 10), /too many elements/);
  });
  await t.test('elements, not exceeded', async () => {
    await using reader = new BerReader(bytesSource(sequenceOfNulls).open(), {
      ...berLimits,
      maxElements: 1_001,
    });
    assert.equal((await collect(reader.octets(0x04), 10)).length, 0);
  });
  await t.test('held element', async () => {
    await using reader = new BerReader(bytesSource(sequenceOfNulls).open(), {
      ...berLimits,
      maxElementBytes: 2_003,
    });
    await assert.rejects(reader.element(), /too large/);
  });
  await t.test('skipping is not bounded by the held size', async () => {
    await using reader = new BerReader(bytesSource(sequenceOfNulls).open(), {
      ...berLimits,
      maxElementBytes: 10,
    });
    await reader.skip();
    await reader.end();
  });
  await t.test('leaving a container too early', async () => {
    await using reader = new BerReader(bytesSource(hex('30 02 05 00')).open());
    await reader.enter(0x30);
    await assert.rejects(reader.leave(), /more elements/);
  });
  await t.test('ending inside a container', async () => {
    await using reader = new BerReader(bytesSource(hex('30 02 05 00')).open());
    await reader.enter(0x30);
    await assert.rejects(reader.end(), /not complete/);
  });
});

test('the source is closed', async () => {
  let isClosed = false;
  async function* source(): AsyncGenerator<Uint8Array, void> {
    try {
      yield hex('04 05 6162');
      yield hex('636465');
    } finally {
      isClosed = true;
    }
  }
  {
    await using reader = new BerReader(source());
    await reader.peek();
  }
  assert.equal(isClosed, true);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineBytesOf, nextLineByte } from '../../../src/mime/line-bytes.ts';

const ALL_BYTES = Buffer.alloc(64, 'x');

test('every byte value at every place, from every start, at every alignment', () => {
  for (const value of [0, 1, 9, 10, 12, 13, 14, 15, 32, 127, 128, 129, 137, 141, 142, 255]) {
    for (let offset = 0; offset < 4; offset += 1) {
      for (let place = 0; place < 24; place += 1) {
        const bytes = Buffer.from(ALL_BYTES).subarray(offset, offset + 24);
        bytes[place] = value;
        const lines = lineBytesOf(bytes);
        for (let from = 0; from <= bytes.length; from += 1) {
          const wanted = value <= 13 && place >= from ? place : bytes.length;
          assert.equal(nextLineByte(lines, from), wanted, `${value} at ${place} from ${from} (${offset})`);
        }
      }
    }
  }
});

test('the first of several is found, also where high bytes stand between', () => {
  const bytes = Buffer.from([0x80, 0xff, 0x0e, 0x8d, 0x0d, 0x00, 0x0a, 0xff, 0x8a, 0x0a, 0x61, 0x0d]);
  const lines = lineBytesOf(bytes);
  assert.deepEqual(
    Array.from(bytes, (_, from) => nextLineByte(lines, from)),
    [4, 4, 4, 4, 4, 5, 6, 9, 9, 9, 11, 11],
  );
});

test('no bytes, and fewer than a word', () => {
  for (let length = 0; length < 4; length += 1) {
    assert.equal(nextLineByte(lineBytesOf(Buffer.alloc(length, 'x')), 0), length);
  }
});

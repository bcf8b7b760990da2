import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { BerReader } from '../../../src/smime/ber-reader.ts';
import {
  element,
  END_OF_CONTENTS,
  indefinite,
  integer,
  octetPieces,
  octetString,
  oid,
  setOf,
} from '../../../src/smime/ber-writer.ts';
import { countOf, oidOf, parseDer } from '../../../src/smime/der.ts';
import { inChunks } from '../../support/smime.ts';

test('lengths are minimal at every border', () => {
  for (const size of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000]) {
    assert.equal(parseDer(octetString(Buffer.alloc(size))).content.length, size, String(size));
  }
});

test('numbers', () => {
  for (const value of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff_ffff]) {
    assert.equal(countOf(parseDer(integer(value))), value);
  }
});

test('object identifiers', () => {
  for (const dotted of [
    '1.2.840.113549.1.7.2',
    '2.5.29.14',
    '2.16.840.1.101.3.4.1.42',
    '0.9.2342.19200300.100.1.25',
    '2.999.1',
  ]) {
    assert.equal(oidOf(parseDer(oid(dotted))), dotted);
  }
});

test('a SET OF is sorted', () => {
  const parts = [octetString(Buffer.from('b')), integer(1), octetString(Buffer.from('a'))];
  assert.deepEqual(
    setOf(...parts),
    element(0x31, integer(1), octetString(Buffer.from('a')), octetString(Buffer.from('b'))),
  );
});

test('pieces come back as they were', async () => {
  const bytes = Buffer.alloc(200_000, 'postern ');
  for (const size of [1_000, 65_536, 70_000, 300_000]) {
    const written = Buffer.concat([
      indefinite(0xa0),
      await collect(octetPieces(inChunks(bytes, size)), 1_000_000),
      END_OF_CONTENTS,
    ]);
    await using reader = new BerReader(bytesSource(written).open());
    assert.deepEqual(await collect(reader.octets(0x80), 1_000_000), bytes);
    await reader.end();
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scanText, type TextFacts } from '../../../src/mime/text-facts.ts';
import { chunked, latin1 } from '../../support/mime.ts';

const clean: TextFacts = {
  is8bit: false,
  maxLineOctets: 0,
  hasTrailingBlanks: false,
  hasFromLine: false,
  hasBareLineEnd: false,
};

const cases: readonly (readonly [string, Partial<TextFacts>])[] = [
  ['', {}],
  ['\r\n', {}],
  ['abc\r\n', { maxLineOctets: 3 }],
  ['abc', { maxLineOctets: 3 }],
  ['a\r\nlonger\r\nb\r\n', { maxLineOctets: 6 }],
  ['\xe9\r\n', { maxLineOctets: 1, is8bit: true }],
  ['\x80', { maxLineOctets: 1, is8bit: true }],
  ['a \r\n', { maxLineOctets: 2, hasTrailingBlanks: true }],
  ['a\t\r\n', { maxLineOctets: 2, hasTrailingBlanks: true }],
  [' \r\n', { maxLineOctets: 1, hasTrailingBlanks: true }],
  ['a ', { maxLineOctets: 2, hasTrailingBlanks: true }],
  [' a\r\n', { maxLineOctets: 2 }],
  ['From x\r\n', { maxLineOctets: 6, hasFromLine: true }],
  ['a\r\nFrom x', { maxLineOctets: 6, hasFromLine: true }],
  [' From x\r\n', { maxLineOctets: 7 }],
  ['FroFrom x\r\n', { maxLineOctets: 9 }],
  ['Fr\tom x\r\n', { maxLineOctets: 7 }],
  ['From\r\n', { maxLineOctets: 4 }],
  ['from x\r\n', { maxLineOctets: 6 }],
  ['a\nb\r\n', { maxLineOctets: 1, hasBareLineEnd: true }],
  ['a\rb\r\n', { maxLineOctets: 2, hasBareLineEnd: true }],
  ['a\r\r\n', { maxLineOctets: 1, hasBareLineEnd: true }],
  ['a\r', { maxLineOctets: 1, hasBareLineEnd: true }],
  ['a\0b\r\n', { maxLineOctets: 3, hasBareLineEnd: true }],
];
for (const [text, facts] of cases) {
  test(`facts of ${JSON.stringify(text)}`, async () => {
    for (const sizes of [[], [1], [2], [3]]) {
      assert.deepEqual(await scanText(chunked(latin1(text), sizes)), { ...clean, ...facts });
    }
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeHeaderText } from '../../../src/mime/decoded-text.ts';

const cases: readonly (readonly [string, string])[] = [
  ['', ''],
  ['plain text', 'plain text'],
  ['=?utf-8?Q?=C3=A9?=', 'é'],
  ['=?UTF-8?B?w6k=?= x', 'é x'],
  ['=?iso-8859-1?q?=E9_b?=', 'é b'],
  ['=?utf-8?q?a?= =?utf-8?q?b?=', 'ab'],
  ['=?utf-8?q?a', '=?utf-8?q?a'],
  ['=?', '=?'],
];
for (const [value, wanted] of cases) {
  test(`header text ${value}`, () => assert.equal(decodeHeaderText(value), wanted));
}

for (const value of [
  '=?utf-8?Q?=FF?=',
  '=?no-such?Q?x?=',
  '=?utf-8?B?!!?=',
  '=?utf-8?X?a?=',
  '=?utf-16?B?/w==?=',
  '=?iso-2022-jp?B?GyQ=?=',
  '=?'.repeat(5000),
  `=?utf-8?q?${'='.repeat(100_000)}?=`,
]) {
  test(`bad display data does not throw: ${value.slice(0, 30)}`, () => {
    assert.equal(typeof decodeHeaderText(value), 'string');
  });
}

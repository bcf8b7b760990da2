import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeQuotedPrintable, encodeQuotedPrintable } from '../../../src/mime/quoted-printable.ts';
import { chunked, latin1, textOf } from '../../support/mime.ts';

const encodings: readonly (readonly [string, string, string])[] = [
  ['plain', 'hello\r\n', 'hello\r\n'],
  ['8-bit', 'caf\xe9\r\n', 'caf=E9\r\n'],
  ['equals sign', 'a=b', 'a=3Db'],
  ['trailing blank', '-- \r\nx\t\r\n', '=2D-=20\r\nx=09\r\n'],
  ['blank at the end', 'a ', 'a=20'],
  ['blank inside', 'a  b', 'a  b'],
  ['From line', 'From x\r\nFrome\r\n From y\r\n', '=46rom x\r\nFrome\r\n From y\r\n'],
  ['From at the end', 'From', 'From'],
  ['leading dot', '.\r\n..\r\na.b\r\n', '=2E\r\n=2E.\r\na.b\r\n'],
  ['bare line ends', 'a\rb\nc\r\r\n', 'a=0Db=0Ac=0D\r\n'],
  ['LF CR', '\n\r', '=0A=0D'],
  ['NUL', '\0', '=00'],
  ['75 characters', `${'x'.repeat(75)}\r\n`, `${'x'.repeat(75)}\r\n`],
  ['76 characters', 'x'.repeat(76), `${'x'.repeat(75)}=\r\nx`],
  ['an octet is not divided', `${'x'.repeat(73)}\xe9`, `${'x'.repeat(73)}=\r\n=E9`],
  ['From after a soft break', `${'x'.repeat(75)}From x`, `${'x'.repeat(75)}=\r\n=46rom x`],
];
for (const [name, text, wanted] of encodings) {
  test(`quoted-printable encoding: ${name}`, async () => {
    for (const sizes of [[], [1], [2, 3]]) {
      const encoded = await textOf(encodeQuotedPrintable(chunked(latin1(text), sizes)));
      assert.equal(encoded, wanted);
      assert.equal(await textOf(decodeQuotedPrintable(chunked(latin1(encoded), [3]))), text);
    }
  });
}

test('qp-delimiter: text becomes no delimiter, with or without a soft break', async () => {
  for (const sizes of [[], [1], [77]]) {
    const text = latin1(`${'x'.repeat(75)}--boundary\r\n--boundary\r\n-kept\r\n`);
    assert.equal(
      await textOf(encodeQuotedPrintable(chunked(text, sizes))),
      `${'x'.repeat(75)}=\r\n=2D-boundary\r\n=2D-boundary\r\n-kept\r\n`,
    );
  }
});

const decodings: readonly (readonly [string, string, string])[] = [
  ['soft break', 'a=\r\nb', 'ab'],
  ['soft break with blanks', 'a= \t\r\nb', 'ab'],
  ['soft break at the end', 'a=', 'a'],
  ['small hex digits', '=e9=c3', '\xe9\xc3'],
  ['no hex digits', '=zz=4=\r\n=4', '=zz=4=4'],
  ['equals twice', '==41', '=A'],
  ['padding', 'a \t\r\nb  ', 'a\r\nb'],
  ['bare CR', 'a \rb\r', 'a \rb\r'],
  ['bare LF keeps blanks', 'a \nb', 'a \nb'],
  ['soft break by bare LF is none', 'a=\nb', 'a=\nb'],
  ['8-bit', '\xe9', '\xe9'],
  ['a==b', 'a==b', 'a==b'],
];
for (const [name, text, wanted] of decodings) {
  test(`quoted-printable decoding: ${name}`, async () => {
    for (const sizes of [[], [1], [2], [3, 1]]) {
      assert.equal(await textOf(decodeQuotedPrintable(chunked(latin1(text), sizes))), wanted);
    }
  });
}

test('a run of blanks without end is content and does not grow memory', async () => {
  const run = ' '.repeat(5000);
  for (const sizes of [[], [1], [999]]) {
    assert.equal(
      await textOf(decodeQuotedPrintable(chunked(latin1(`a${run}\r\nb \r\n`), sizes))),
      `a${run}\r\nb\r\n`,
    );
  }
});

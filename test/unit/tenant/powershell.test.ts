import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { comment, quote, render } from '../../../src/tenant/powershell.ts';
import { tokenize, valueOf } from '../../support/powershell.ts';

test('hostile-names: a quoted value is one expression, in ASCII, that has this value', () => {
  for (const [text, expected] of [
    ['gw.example', "'gw.example'"],
    ['', "''"],
    ["it's", "'it''s'"],
    ["'; Remove-Everything; '", "'''; Remove-Everything; '''"],
    ['$(Get-Date) `n "x"', `'$(Get-Date) \`n "x"'`],
    ['\u2019; calc; \u2019', "('' + [char]0x2019 + '; calc; ' + [char]0x2019)"],
    ['a\u2018b\u201ac\u201bd', "('a' + [char]0x2018 + 'b' + [char]0x201a + 'c' + [char]0x201b + 'd')"],
    // In a Windows code page, the bytes of this letter in UTF-8 hold a quote.
    ['\u0411', "('' + [char]0x0411)"],
    ['\u{1f512}', "('' + [char]0xd83d + [char]0xdd12)"],
  ] as const) {
    assert.equal(quote(text), expected);
    assert.equal(valueOf(quote(text)), text);
  }
});

test('hostile-names: line ends and control characters are refused, and not shown', () => {
  for (const text of [
    'a\nb',
    'a\rb',
    'a\0b',
    'a\u001bb',
    'a\u0085b',
    'a\u2028b',
    'a\u2029b',
    'a\u007fb',
    '\t',
  ])
    assert.throws(
      () => quote(`secret${text}`),
      (error: Error) => !error.message.includes('secret'),
    );
});

test('hostile-names: whatever is quoted or in a comment stays in it', () => {
  const text = fc.string({
    unit: fc.constantFrom(...Array.from(`ab'"#$(){};\u2018\u2019\u201a\u201b\u201c\u0411\n\r\u2028 `)),
  });
  fc.assert(
    fc.property(text, (value) => {
      for (const line of comment(value)) assert.match(line, /^#[\x20-\x7e]*$/);
      if (/[\n\r\u2028]/.test(value)) return;
      const written = quote(value);
      assert.match(written, /^[\x20-\x7e]*$/);
      assert.equal(valueOf(written), value);
      const kinds = new Set(tokenize(written).map(({ kind }) => kind));
      assert.ok(!kinds.has('comment') && !kinds.has('expandable'), written);
    }),
  );
});

test('other values, and long comments', () => {
  assert.equal(render(true), '$true');
  assert.equal(render(0), '0');
  assert.equal(render(['a', "b'"]), "@('a', 'b''')");
  assert.equal(render({ code: '$x' }), '$x');
  const lines = comment(`${'word '.repeat(60)}end\nnext`);
  assert.ok(lines.length > 2 && lines.every((line) => line.length <= 110 && line.startsWith('# ')));
  assert.equal(lines.at(-1), '# next');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isAsciiAddress, parseAddress, parseDomain, plusBase } from '../../../src/core/address.ts';

const ACCEPTED: readonly (readonly [given: string, text: string, key: string])[] = [
  ['user@contoso.example', 'user@contoso.example', 'user@contoso.example'],
  ['First.Last@Contoso.Example', 'First.Last@contoso.example', 'first.last@contoso.example'],
  ['a+tag@b.example', 'a+tag@b.example', 'a+tag@b.example'],
  ['"needless"@b.example', 'needless@b.example', 'needless@b.example'],
  ['"a b"@b.example', '"a b"@b.example', 'a b@b.example'],
  ['"a\\"b"@b.example', '"a\\"b"@b.example', 'a"b@b.example'],
  ['"a@b"@c.example', '"a@b"@c.example', 'a@b@c.example'],
  ['grün@b.example', 'grün@b.example', 'grün@b.example'],
  ['a@bücher.example', 'a@xn--bcher-kva.example', 'a@xn--bcher-kva.example'],
];

const REFUSED = [
  '',
  '@',
  'a',
  'a@',
  '@b.example',
  'a@b',
  'a b@c.example',
  'a..b@c.example',
  '.a@c.example',
  'a.@c.example',
  '<a@b.example>',
  'a@b.example,c@d.example',
  'a@b.example ',
  ' a@b.example',
  'a@b.example\r\n',
  'a\0@b.example',
  'a@[127.0.0.1]',
  'a@127.0.0.1',
  'a@127.1',
  'a@b.0x7f',
  'a@b_c.example',
  'a@-b.example',
  'a@b..example',
  'a@b.example.',
  'a\u200b@b.example',
  'a@b\u00ad.example',
  '\u202ea@b.example',
  'a@b\uff0eexample',
  `${'a'.repeat(65)}@b.example`,
  '"a@b.example',
  'a"b@c.example',
  '""@b.example',
  '"a\r\nb"@c.example',
];

function base(text: string): string | undefined {
  const parsed = parseAddress(text);
  return parsed && plusBase(parsed)?.text;
}

function needsUtf8(text: string): boolean {
  const parsed = parseAddress(text);
  assert.ok(parsed);
  return !isAsciiAddress(parsed);
}

for (const [given, text, key] of ACCEPTED)
  test(`addr-table: ${JSON.stringify(given)} is ${text}`, () => {
    const parsed = parseAddress(given);
    assert.deepEqual([parsed?.text, parsed?.key], [text, key]);
  });

for (const given of REFUSED)
  test(`addr-table: ${JSON.stringify(given).slice(0, 60)} is no address`, () => {
    assert.equal(parseAddress(given), undefined);
  });

test('what parses parses again to the same', () => {
  fc.assert(
    fc.property(fc.emailAddress(), (given) => {
      const parsed = parseAddress(given);
      if (parsed) assert.deepEqual(parseAddress(parsed.text), parsed);
    }),
  );
});

test('the plus base is for look-ups, and only where there is a tag', () => {
  assert.equal(base('a+x+y@b.example'), 'a@b.example');
  assert.equal(base('a@b.example'), undefined);
  assert.equal(base('+a@b.example'), undefined);
});

test('an A-label domain and a quoted ASCII local part need no SMTPUTF8', () => {
  assert.deepEqual(['a@bücher.example', '"a b"@c.example', 'ü@c.example'].map(needsUtf8), [
    false,
    false,
    true,
  ]);
});

test('a domain is compared as lower-case A-labels', () => {
  assert.equal(parseDomain('BÜCHER.Example'), 'xn--bcher-kva.example');
  assert.equal(parseDomain('xn--bcher-kva.example'), 'xn--bcher-kva.example');
  assert.equal(parseDomain('localhost'), undefined);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddressList } from '../../../src/mime/address-list.ts';

const good: readonly (readonly [string, readonly (readonly [string | undefined, string])[], boolean])[] = [
  ['a@x.example', [[undefined, 'a@x.example']], false],
  ['<a@x.example>', [[undefined, 'a@x.example']], false],
  ['A B <a@x.example>', [['A B', 'a@x.example']], false],
  ['"B, A" <a@x.example>', [['B, A', 'a@x.example']], false],
  ['"a\\"b" <a@x.example>', [['a"b', 'a@x.example']], false],
  ['John Q. Public <a@x.example>', [['John Q. Public', 'a@x.example']], false],
  ['"x@evil.example" <a@x.example>', [['x@evil.example', 'a@x.example']], false],
  ['a@x.example (Comment (nested) \\) text)', [[undefined, 'a@x.example']], false],
  ['(c) A (d) <a@x.example> (e)', [['A', 'a@x.example']], false],
  [
    'a@x.example,b@y.example',
    [
      [undefined, 'a@x.example'],
      [undefined, 'b@y.example'],
    ],
    false,
  ],
  [
    'a@x.example , B <b@y.example>',
    [
      [undefined, 'a@x.example'],
      ['B', 'b@y.example'],
    ],
    false,
  ],
  ['=?utf-8?q?=C3=A9?= <a@x.example>', [['=?utf-8?q?=C3=A9?=', 'a@x.example']], false],
  ['Jörg <jörg@münchen.example>', [['Jörg', 'jörg@xn--mnchen-3ya.example']], false],
  ['"a b"@x.example', [[undefined, '"a b"@x.example']], false],
  ['"x@evil.example x"@contoso.example', [[undefined, '"x@evil.example x"@contoso.example']], false],
  ['""@y.example <a@x.example>', [], false],
  ['"" <a@x.example>', [['', 'a@x.example']], false],
  ['undisclosed-recipients:;', [], true],
  [
    'g: a@x.example, B <b@y.example>; , c@z.example',
    [
      [undefined, 'a@x.example'],
      ['B', 'b@y.example'],
      [undefined, 'c@z.example'],
    ],
    true,
  ],
];
for (const [value, mailboxes, hasGroup] of good) {
  test(`address list ${value}`, () => {
    const list = parseAddressList(value);
    if (mailboxes.length === 0 && !hasGroup) {
      assert.equal(list, undefined);
      return;
    }
    assert.deepEqual(
      list?.mailboxes.map((mailbox) => [mailbox.displayName, mailbox.address.text]),
      mailboxes,
    );
    assert.equal(list?.hasGroup, hasGroup);
  });
}

const bad: readonly string[] = [
  '',
  ' ',
  '<>',
  'a',
  'A B',
  'a@',
  '@x.example',
  'a@localhost',
  'a@[127.0.0.1]',
  'a@127.1',
  'a@x.example.',
  'a@@x.example',
  'a@b@x.example',
  'a@contoso.example(c)evil.example',
  'a(c)@x.example',
  'a @x.example',
  'a@ x.example',
  'a. b@x.example',
  'a@x.example b@y.example',
  'a@x.example <b@y.example>',
  'A <a@x.example> <b@y.example>',
  'A <a@x.example',
  'A a@x.example>',
  'A <<a@x.example>>',
  '<@r.example:a@x.example>',
  '<@r.example,@s.example:a@x.example>',
  'A, <a@x.example>',
  'a@x.example,',
  ',a@x.example',
  'a@x.example,,b@y.example',
  'a@x.example; b@y.example',
  'g: a@x.example',
  'g: h: a@x.example;;',
  ': a@x.example;',
  '"A <a@x.example>',
  'A (unclosed <a@x.example>',
  'A ) <a@x.example>',
  'a@x.example\r\nBcc: b@y.example',
  'a@x.example\0',
  'a@x.example\nb',
  'a\u00ad@x.example',
  'a@x\uff0eexample',
  'a@x\u3002example',
  '\u202ea@x.example',
  `${'('.repeat(50)}${')'.repeat(50)} a@x.example`,
];
for (const value of bad) {
  test(`address list is refused: ${JSON.stringify(value.slice(0, 50))}`, () => {
    assert.equal(parseAddressList(value), undefined);
  });
}

test('long lists are read in linear time and bounded', () => {
  const many = Array.from({ length: 9_000 }, (_, index) => `u${index}@x.example`).join(', ');
  assert.equal(parseAddressList(many)?.mailboxes.length, 9_000);
  assert.equal(parseAddressList(`${many}, ${many}`), undefined);
  assert.equal(parseAddressList(`"${'\\a'.repeat(100_000)}`), undefined);
  assert.equal(parseAddressList('a.'.repeat(100_000)), undefined);
  assert.equal(parseAddressList('"a"'.repeat(50_000)), undefined);
});

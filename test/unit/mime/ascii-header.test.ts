// Fields with 8-bit bytes: what they become, and that a reader finds the same text in them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { asciiField, namesUtf8Address } from '../../../src/mime/ascii-header.ts';
import { parseAddressList } from '../../../src/mime/address-list.ts';
import { parseContentType, parseDisposition } from '../../../src/mime/content-type.ts';
import { decodeHeaderText } from '../../../src/mime/decoded-text.ts';
import { fieldValue, type HeaderField, parseHeaderSection } from '../../../src/mime/header-section.ts';
import { limits } from '../../support/mime.ts';

function field(bytes: string, encoding: 'utf8' | 'latin1' = 'utf8'): HeaderField {
  const [first] = parseHeaderSection(Buffer.from(`${bytes}\r\n`, encoding), limits).fields;
  assert.ok(first);
  return first;
}

function ascii(bytes: string, encoding: 'utf8' | 'latin1' = 'utf8', charset?: string): string {
  const made = asciiField(field(bytes, encoding), charset);
  const text = made.raw.toString('latin1');
  assert.match(text, /^[\t\r\n\x20-\x7e]*$/);
  parseHeaderSection(made.raw, limits);
  for (const line of text.split('\r\n')) assert.ok(line.length <= 980);
  return text;
}

const table: readonly (readonly [string, string])[] = [
  ['Subject: one gr\u00fc\u00dfe \u20ac two', 'Subject: one =?utf-8?B?Z3LDvMOfZSDigqw=?= two\r\n'],
  ['Content-Description: \u00e4\r\n \u00f6', 'Content-Description: =?utf-8?B?w6Qgw7Y=?=\r\n'],
  [
    'From: J\u00fcrgen A <j@x.example>, "B, C" <b@x.example>, d@x.example',
    'From: =?utf-8?B?SsO8cmdlbiBB?= <j@x.example>,\r\n "B, C" <b@x.example>,\r\n d@x.example\r\n',
  ],
  ['To: "J\u00fcr,gen" <j@x.example>', 'To: =?utf-8?B?SsO8cixnZW4=?= <j@x.example>\r\n'],
  ['Content-Type: a/b; name="\u00e9 \\"x"', "Content-Type: a/b;\r\n name*=utf-8''%C3%A9%20%22x\r\n"],
  [
    'Content-Type: a/b; name="\u00e9"; name*=utf-8\'\'%C3%A9; x=y',
    "Content-Type: a/b; name*=utf-8''%C3%A9; x=y\r\n",
  ],
  ["Content-Type: a/b; name*=utf-8''\u00e9", "Content-Type: a/b;\r\n name*=utf-8''%C3%A9\r\n"],
  ['Content-Type: a/b; charset=utf-8;\r\n name=x', 'Content-Type: a/b; charset=utf-8;\r\n name=x\r\n'],
];
for (const [before, after] of table) {
  test(`as ASCII: ${JSON.stringify(before)}`, () => assert.equal(ascii(before), after));
}

test('the charset of the part is that of its header, as far as anybody knows', () => {
  assert.equal(
    ascii('Subject: caf\xe9', 'latin1', 'Windows-1252'),
    'Subject: =?windows-1252?B?Y2Fm6Q==?=\r\n',
  );
  for (const none of [undefined, 'us-ascii', 'utf-8', 'not a charset', ''])
    assert.equal(ascii('Subject: caf\xe9', 'latin1', none), 'Subject: =?iso-8859-1?B?Y2Fm6Q==?=\r\n');
});

test('an address beyond ASCII is told apart', () => {
  assert.equal(namesUtf8Address(field('To: \u00c4 <j\u00f6@x.example>')), true);
  assert.equal(namesUtf8Address(field('To: \u00c4 <a@x.example>')), false);
  assert.equal(namesUtf8Address(field('Subject: j\u00f6@x.example')), false);
});

test('an address with 8-bit letters stays readable', () => {
  assert.equal(decodeHeaderText(ascii('To: <j\u00f6@x.example>')), 'To: <j\u00f6@x.example>\r\n');
});

test('8-bit bytes around a media type are refused', () => {
  for (const bytes of ['Content-Type: t\u00e4xt/plain', 'Content-Disposition: (\u00e4) inline'])
    assert.throws(() => ascii(bytes), { code: 'mime-malformed' });
});

test('a long file name is written in sections', () => {
  const name = `${'\u00e9'.repeat(400)}.png`;
  const written = ascii(`Content-Disposition: attachment; filename="${name}"`);
  assert.match(written, /\r\n filename\*0\*=utf-8''%C3/);
  assert.equal(
    parseDisposition(
      written
        .slice(written.indexOf(':') + 1)
        .replace(/\r\n(?= )/g, '')
        .trim(),
    )?.parameters.get('filename'),
    name,
  );
});

test('any text reads the same afterwards', () => {
  const word = fc.array(fc.constantFrom('\u00e4', '\u20ac', '\u{1f600}', 'a', 'b', '.', '=', '?'), {
    minLength: 1,
    maxLength: 90,
  });
  const text = fc
    .array(
      word.map((letters) => letters.join('')),
      { minLength: 1, maxLength: 6 },
    )
    .map((words) => words.join(' '));
  const named = (made: string) => decodeHeaderText(fieldValue(field(made.slice(0, -2))));
  fc.assert(
    fc.property(text, (value) => {
      assert.equal(named(ascii(`Subject: ${value}`)), value);
      const type = parseContentType(
        fieldValue(field(ascii(`Content-Type: a/b; name="${value}"; x=y`).slice(0, -2))),
      );
      assert.equal(type.parameters.get('name'), value);
      assert.equal(type.parameters.get('x'), 'y');
      const list = parseAddressList(fieldValue(field(ascii(`To: "${value}" <a@x.example>`).slice(0, -2))));
      assert.equal(decodeHeaderText(list?.mailboxes[0]?.displayName ?? ''), value);
    }),
    { numRuns: 300 },
  );
});

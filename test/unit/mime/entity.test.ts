import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entityHeader, splitFields, unwrapMessage, wrapMessage } from '../../../src/mime/entity.ts';
import { makeField, parseHeaderSection } from '../../../src/mime/header-section.ts';
import { chunked, latin1, limits, textOf } from '../../support/mime.ts';

const OUTER =
  'Received: x\r\n\ty\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=iso-8859-1\r\n' +
  'Subject: \xe9\r\nContent-Transfer-Encoding: quoted-printable\r\nmime-version: 1.0\r\n';
const outer = parseHeaderSection(latin1(OUTER), limits);

test('fields are divided byte for byte and in order', () => {
  const { outer: kept, content } = splitFields(outer);
  assert.equal(
    kept.map((field) => field.raw.toString('latin1')).join(''),
    'Received: x\r\n\ty\r\nSubject: \xe9\r\n',
  );
  assert.equal(
    entityHeader(content).toString('latin1'),
    'Content-Type: text/plain;\r\n charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n',
  );
});

test('an entity without Content-Type gets the default in words', () => {
  assert.equal(entityHeader([]).toString(), 'Content-Type: text/plain; charset=us-ascii\r\n\r\n');
  const encoding = makeField('Content-Transfer-Encoding', '7bit');
  assert.equal(
    entityHeader([encoding]).toString(),
    'Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n',
  );
});

test('a wrapped message has exactly one MIME-Version', async () => {
  const type = makeField('Content-Type', 'text/plain');
  const wrapped = await textOf(wrapMessage(outer.fields.slice(0, 2), [type], chunked(latin1('body\r\n'))));
  assert.equal(
    wrapped,
    'Received: x\r\n\ty\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nbody\r\n',
  );
});

test('inner-headers: only Content-* fields come out of an encrypted entity', async () => {
  const inner =
    'From: evil@x.example\r\nContent-Type: text/html\r\nX-MS-Exchange-CrossTenant-Id: 1\r\nMIME-Version: 1.0\r\n' +
    'Received: forged\r\nSubject: other\r\ncontent-disposition: inline\r\n\r\n<p>\xe9\r\n';
  for (const sizes of [[], [1], [7]]) {
    assert.equal(
      await textOf(unwrapMessage(outer, chunked(latin1(inner), sizes), limits)),
      'Received: x\r\n\ty\r\nSubject: \xe9\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n' +
        'content-disposition: inline\r\n\r\n<p>\xe9\r\n',
    );
  }
});

test('an inner entity with bare line feeds comes out with CRLF', async () => {
  const inner = 'Content-Type: text/plain\n\na\n.\nb';
  assert.equal(
    await textOf(unwrapMessage(outer, chunked(latin1(inner), [1]), limits)),
    'Received: x\r\n\ty\r\nSubject: \xe9\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\r\n.\r\nb\r\n',
  );
});

const refused: readonly (readonly [string, string])[] = [
  ['no header at all, just text\r\n\r\n', 'header-malformed'],
  ['Content-Type: text/plain\r\n\r\na\0b', 'bare-line-end'],
  [`Content-Type: ${'x'.repeat(1000)}\r\n\r\n`, 'header-malformed'],
];
for (const [inner, code] of refused) {
  test(`an inner entity is refused: ${JSON.stringify(inner.slice(0, 30))}`, async () => {
    await assert.rejects(textOf(unwrapMessage(outer, chunked(latin1(inner)), limits)), { code });
  });
}

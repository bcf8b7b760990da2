import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HeaderProtection } from '../../../src/core/plan.ts';
import { compareHeaders, withSubject } from '../../../src/mime/header-compare.ts';
import { divideFields } from '../../../src/mime/header-protection.ts';
import { parseHeaderSection, writeHeaderSection } from '../../../src/mime/header-section.ts';
import { prepareEntity } from '../../../src/mime/prepare.ts';
import { type ProtectedHeader, readProtectedHeader } from '../../../src/mime/protected-header.ts';
import { latin1, limits, sourceOf, textOf } from '../../support/mime.ts';

const clear: HeaderProtection = { hp: 'clear', isSubjectHidden: false };
const cipher: HeaderProtection = { hp: 'cipher', isSubjectHidden: false };
const confidential: HeaderProtection = { hp: 'cipher', isSubjectHidden: true };

function section(...lines: readonly string[]) {
  return parseHeaderSection(latin1(lines.map((line) => `${line}\r\n`).join('')), limits);
}

function divide(protection: HeaderProtection | undefined, ...lines: readonly string[]) {
  const { outer, content } = divideFields(section(...lines), protection);
  const textLines = (fields: typeof outer) =>
    writeHeaderSection(fields).toString('latin1').split('\r\n').slice(0, -1);
  return { outer: textLines(outer), content: textLines(content) };
}

test('without protection nothing is copied', () => {
  assert.deepEqual(divide(undefined, 'Subject: s', 'Content-Type: a/b'), {
    outer: ['Subject: s'],
    content: ['Content-Type: a/b'],
  });
});

test('clear: what the author wrote is inside too; trace fields, Bcc and those of Exchange are not', () => {
  const trace = [
    'Received: x',
    'DKIM-Signature: x',
    'X-MS-Exchange-CrossTenant-Id: x',
    'Bcc: b@remote.example',
  ];
  assert.deepEqual(divide(clear, ...trace, 'From: a@contoso.example', 'Subject: s', 'Content-Type: a/b'), {
    outer: [...trace, 'From: a@contoso.example', 'Subject: s'],
    content: ['From: a@contoso.example', 'Subject: s', 'Content-Type: a/b;', ' hp="clear"'],
  });
});

test('cipher: what stands outside is told inside', () => {
  assert.deepEqual(divide(cipher, 'From: a@contoso.example', 'Subject: one', ' two').content, [
    'From: a@contoso.example',
    'Subject: one',
    ' two',
    'HP-Outer: From: a@contoso.example',
    'HP-Outer: Subject: one',
    ' two',
    'Content-Type: text/plain; charset=us-ascii; hp="cipher"',
  ]);
});

test('thread-topic: no other field gives the Subject away', () => {
  const secret = '=?utf-8?Q?Gro=C3=9Fe_Pl=C3=A4ne?=';
  const { outer, content } = divide(
    confidential,
    `Subject: Re: ${secret}`,
    `Thread-Topic: ${secret}`,
    `X-Original-Subject: AW: Große Pläne`.replace(/[^\x20-\x7e]/g, (found) =>
      Buffer.from(found).toString('latin1'),
    ),
    'Keywords: k',
    'Comments: c',
    'X-Other: kept',
    'Content-Type: text/html; charset=utf-8;',
  );
  assert.deepEqual(outer, ['Subject: [...]', 'X-Other: kept']);
  assert.deepEqual(content.slice(0, 2), [`Subject: Re: ${secret}`, `Thread-Topic: ${secret}`]);
  assert.deepEqual(content.slice(-3), [
    'HP-Outer: Subject: [...]',
    'Content-Type: text/html; charset=utf-8;',
    ' hp="cipher"',
  ]);
});

test('two Subjects are both hidden', () => {
  const { outer } = divide(confidential, 'Subject: one', 'Subject: two');
  assert.deepEqual(outer, ['Subject: [...]', 'Subject: [...]']);
});

test('parameters of an earlier life are not kept', () => {
  const { content } = divide(
    cipher,
    'Content-Type: text/plain; hp="clear"; charset=utf-8; hp-legacy-display=1',
  );
  assert.deepEqual(content, ['Content-Type: text/plain; charset=utf-8;', ' hp="cipher"']);
});

test('lines that a signature covers end without blanks and stay short', () => {
  const long = `Subject: ${'x'.repeat(950)}`;
  assert.deepEqual(divide(cipher, 'Subject: a \t', ' b ').content.slice(0, 2), ['Subject: a', ' b']);
  const { content } = divide(cipher, long);
  assert.ok(content.every((line) => line.length <= 998));
  assert.deepEqual(content.slice(0, 3), [long, 'HP-Outer:', ` ${long}`]);
});

test('the prepared entity begins with the protected fields, also where its text is encoded anew', async () => {
  const message = latin1('Subject: s\r\nMIME-Version: 1.0\r\n\r\ncaf\xe9\r\n');
  const { outer, entity } = await prepareEntity(sourceOf(message.toString('latin1')), limits, confidential);
  assert.equal(writeHeaderSection(outer).toString(), 'Subject: [...]\r\n');
  assert.equal(
    await textOf(entity.open()),
    'Subject: s\r\nHP-Outer: Subject: [...]\r\nContent-Type: text/plain;\r\n hp="cipher"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n',
  );
});

const sound = { isDecrypted: true, isSound: true };
const from = 'From: a@remote.example';

function found(form: ProtectedHeader['form'], ...lines: readonly string[]): ProtectedHeader {
  return { form, header: section(...lines) };
}

function compare(inner: ProtectedHeader, outer: readonly string[], layers = sound): string {
  const compared = compareHeaders(inner, section(...outer), layers);
  if (!compared) return 'none';
  const { subject, differs } = compared.outcome;
  assert.equal(compared.subject !== undefined, subject === 'restored');
  return [subject, ...differs].join(' ');
}

for (const placeholder of [
  '[...]',
  '...',
  '=?utf-8?B?4oCm?=',
  'Encrypted Message',
  '=?utf-8?Q?p=E2=89=A1p?=',
  '',
]) {
  test(`placeholders: ${placeholder}`, () => {
    assert.equal(compare(found('v1', 'Subject: s', from), [`Subject: ${placeholder}`, from]), 'restored');
  });
}

test('subject kept: not if nothing was decrypted or a signature is broken', () => {
  const inner = found('hp-clear', 'Subject: s', from);
  const outer = ['Subject: [...]', from];
  assert.equal(compare(inner, outer, { isDecrypted: false, isSound: true }), 'kept');
  assert.equal(compare(inner, outer, { isDecrypted: true, isSound: false }), 'kept');
});

test('a Subject that is no placeholder stays, unless its author told of it', () => {
  const inner = found('hp-cipher', 'Subject: s', from);
  assert.equal(compare(inner, ['Subject: t', from]), 'differs');
  assert.equal(compare({ ...inner, outer: section('Subject: t', from) }, ['Subject: t', from]), 'restored');
  assert.equal(compare(inner, ['Subject:  s', from]), 'same');
});

test('two subjects, inside or outside, are never taken for one', () => {
  assert.equal(compare(found('v1', 'Subject: s', 'Subject: t'), ['Subject: ...']), 'differs');
  assert.equal(compare(found('v1', 'Subject: s'), ['Subject: ...', 'Subject: u']), 'differs');
});

test('what servers write anew is no difference', () => {
  const inner = found(
    'hp-clear',
    'Subject: =?utf-8?Q?caf=C3=A9?=',
    'From: "A" <a@remote.example>',
    'To: b@contoso.example, C <c@contoso.example>',
    'Date: Tue, 2 Jun 2026 08:00:00 +0000',
  );
  const outer = [
    'Subject: =?iso-8859-1?B?Y2Fm6Q==?=',
    'From: Other Name <a@remote.example>',
    'To: <b@contoso.example>,',
    ' <c@contoso.example>',
    'Date: Tue, 02 Jun 2026 10:00:00 +0200 (CEST)',
  ];
  assert.equal(compare(inner, outer, { isDecrypted: false, isSound: true }), 'same');
});

test('what was changed, added or taken away is told by name; From against the outside, the rest against what was told', () => {
  const signed = { isDecrypted: false, isSound: true };
  assert.equal(
    compare(
      found('hp-clear', 'Subject: s', from),
      ['Subject: s', 'From: e@evil.example', 'Cc: x@y.example'],
      signed,
    ),
    'same from cc',
  );
  assert.equal(
    compare(found('v1', 'Subject: s', 'To: b@contoso.example'), ['Subject: s', from], signed),
    'same to',
  );
  const hidden = {
    ...found('hp-cipher', 'Subject: s', from, 'Cc: c@contoso.example'),
    outer: section('Subject: ...', 'From: x@y.example'),
  };
  assert.equal(compare(hidden, ['Subject: ...', from]), 'restored');
});

test('a Subject in UTF-8 comes out as encoded words', () => {
  const subject = 'ä€😀'.repeat(12);
  const header = parseHeaderSection(Buffer.from(`Subject: ${subject}\r\n`), limits);
  const compared = compareHeaders({ form: 'v1', header }, section('X: 1', 'Subject: ...', 'Y: 2'), sound);
  assert.ok(compared?.subject);
  const text = writeHeaderSection(
    withSubject(section('X: 1', 'Subject: ...', 'Y: 2'), compared.subject).fields,
  ).toString();
  assert.match(text, /^X: 1\r\nSubject: (=\?UTF-8\?B\?[A-Za-z0-9+/=]+\?=(\r\n )?)+\r\nY: 2\r\n$/);
  const words = [...text.matchAll(/\?B\?([^?]+)\?=/g)].map(([, word]) =>
    Buffer.from(word ?? '', 'base64').toString(),
  );
  assert.equal(words.join(''), subject);
});

const wrapped = 'Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nMessage-ID: <1@x>\r\n\r\ntext\r\n';

test('a message inside is a protected header only if it is this message', async () => {
  const read = await readProtectedHeader(
    sourceOf(`Subject: ...\r\n${wrapped}`),
    section('Content-Type: message/rfc822'),
    limits,
  );
  assert.ok(read);
  assert.equal(compare(read, ['Subject: ...']), 'restored');
  assert.equal(compare(read, ['Subject: see below', 'Message-ID: <1@x>']), 'differs');
  assert.equal(compare(read, ['Subject: Fwd: inner', 'Message-ID: <2@x>']), 'none');
});

const unread: readonly (readonly [string, string])[] = [
  ['a layer inside', 'Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n'],
  ['a CMS object', 'Content-Type: application/pkcs7-mime\r\n\r\nx\r\n'],
  [
    'a wrapped message with layers of its own',
    'Content-Type: message/rfc822\r\n\r\nSubject: s\r\nContent-Type: application/pkcs7-mime\r\n\r\nx\r\n',
  ],
  [
    'a headers part that cannot be read',
    'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nno header\r\n--b--\r\n',
  ],
  ['no Subject', 'Content-Type: text/plain\r\n\r\nx\r\n'],
];
for (const [name, text] of unread) {
  test(`no protected header: ${name}`, async () => {
    assert.equal(
      await readProtectedHeader(sourceOf(text), section('Content-Type: text/plain'), limits),
      undefined,
    );
  });
}

test('headers part: in base64 too', async () => {
  const part = `Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from('Subject: s\r\n').toString('base64')}`;
  const text = `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n${part}\r\n--b\r\n\r\nx\r\n--b--\r\n`;
  assert.equal((await readProtectedHeader(sourceOf(text), section('X: 1'), limits))?.form, 'memory-hole');
});

// Mail as it really comes, on its whole way through this folder: door, structure, wrapping, preparing, unwrapping. Each
// test is named by what has to hold.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource, concat, rangeOf } from '../../../src/core/bytes.ts';
import { normaliseMessage } from '../../../src/mime/canonical.ts';
import { decodeHeaderText } from '../../../src/mime/decoded-text.ts';
import { entityHeader, splitFields, unwrapMessage, wrapMessage } from '../../../src/mime/entity.ts';
import {
  fieldsNamed,
  fieldValue,
  parseHeaderSection,
  readMessage,
} from '../../../src/mime/header-section.ts';
import { makeBoundary, makeContentType, writeMultipart } from '../../../src/mime/multipart-writer.ts';
import { scanParts } from '../../../src/mime/part-scanner.ts';
import { prepareEntity } from '../../../src/mime/prepare.ts';
import { mimeShape, readParts, scanStructure } from '../../../src/mime/shape.ts';
import { scanText } from '../../../src/mime/text-facts.ts';
import { decodeTransfer } from '../../../src/mime/transfer-encoding.ts';
import { bytesOf, chunked, latin1, limits, readWithMailsplit, sourceOf, textOf } from '../../support/mime.ts';

function door(text: string, bareLineEnds: 'normalise' | 'refuse' = 'normalise'): Promise<string> {
  return textOf(normaliseMessage(chunked(latin1(text), [5]), { bareLineEnds, limits }));
}

/** A message with its Content-* fields moved inside, as encryption does it, and back. */
async function wrapAndUnwrap(text: string): Promise<{ inner: string; back: string }> {
  const { header, body } = await readMessage(chunked(latin1(text)), limits);
  const { outer, content } = splitFields(header);
  const inner = await textOf(concat(entityHeader(content), body));
  const wrapped = await textOf(wrapMessage(outer, [makeContentType('application/x')], chunked(latin1('?'))));
  const wrappedHeader = (await readMessage(chunked(latin1(wrapped)), limits)).header;
  return { inner, back: await textOf(unwrapMessage(wrappedHeader, chunked(latin1(inner), [3]), limits)) };
}

/** A signed message as it leaves, and the bytes that were signed. */
async function sign(text: string): Promise<{ message: Buffer; signed: Buffer }> {
  const { outer, entity } = await prepareEntity(sourceOf(text), limits);
  const signed = await bytesOf(entity.open());
  const boundary = makeBoundary();
  const parts = [entity.open(), latin1('Content-Type: application/pkcs7-signature\r\n\r\nMIA=\r\n')];
  const type = makeContentType('multipart/signed', { protocol: 'application/pkcs7-signature', boundary });
  return { message: await bytesOf(wrapMessage(outer, [type], writeMultipart(boundary, parts))), signed };
}

const LATIN =
  'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n';

test('charset and transfer encoding move inside with the body, and come back', async () => {
  const text = `Subject: s\r\nMIME-Version: 1.0\r\n${LATIN}Content-Language: de\r\n\r\n=E9\r\n`;
  const { inner, back } = await wrapAndUnwrap(text);
  assert.equal(inner, `${LATIN}Content-Language: de\r\n\r\n=E9\r\n`);
  assert.equal(back, text);
});

for (const text of [
  'Subject: \xc3\xa9\xff\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\xe9\xff\r\n',
  'Subject: =?utf-8?Q?=FF?=\r\nMIME-Version: 1.0\r\nContent-Type: a/b; name=\r\nContent-Disposition: attachment\r\n\r\nx\r\n',
  'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type:\r\n\r\nx\r\n',
  'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset="\xe9"; x\r\n\r\na==b\r\n',
]) {
  test(`odd bytes come through every step: ${JSON.stringify(text.slice(0, 60))}`, async () => {
    assert.equal(await door(text, 'refuse'), text);
    assert.equal((await wrapAndUnwrap(text)).back, text);
    await scanStructure(sourceOf(text), limits);
    const { header } = await readMessage(chunked(latin1(text)), limits);
    for (const field of header.fields) decodeHeaderText(fieldValue(field));
    assert.notEqual(mimeShape(header).kind, 'ambiguous');
    const { signed } = await sign(text);
    assert.ok(signed.includes('\r\n\r\n'));
  });
}

test('mail without any MIME field is plain ASCII text, and can be wrapped', async () => {
  const { inner, back } = await wrapAndUnwrap('Subject: cron\r\n\r\nbody\r\n');
  assert.equal(inner, 'Content-Type: text/plain; charset=us-ascii\r\n\r\nbody\r\n');
  assert.equal(
    back,
    'Subject: cron\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nbody\r\n',
  );
});

for (const version of ['', 'MIME-Version: 1.0\r\nmime-version: 1.0\r\n', 'MIME-Version: 1.0 (x)\r\n']) {
  test(`what is written has one MIME-Version and one Content-Type: ${JSON.stringify(version)}`, async () => {
    const { message } = await sign(`${version}Subject: s\r\n${LATIN}\r\n=E9\r\n`);
    const { header } = await readMessage(chunked(message), limits);
    assert.deepEqual(fieldsNamed(header, 'MIME-Version').map(fieldValue), ['1.0']);
    assert.equal(fieldsNamed(header, 'Content-Type').length, 1);
  });
}

const attachment = 'Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==';
const nested =
  'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\npreamble\r\n--m\r\n' +
  'Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>\r\n\r\n--a--\r\n' +
  `--m\r\n${attachment}\r\n--m--\r\nepilogue\r\n`;
for (const [name, text] of [
  ['nested multiparts and an epilogue', nested],
  ['a multipart without its last line', nested.slice(0, nested.indexOf('--m--'))],
  ['a body of one line', 'Subject: s\r\n\r\nx\r\n'],
  ['an empty body', 'Subject: s\r\n\r\n'],
  ['blank lines at the end', 'Subject: s\r\n\r\nx\r\n\r\n\r\n'],
] as const) {
  test(`what was signed is exactly the first part of what is sent: ${name}`, async () => {
    const { message, signed } = await sign(text);
    const source = bytesSource(message);
    const [first, second, ...more] = await readParts(source, limits);
    assert.ok(first && second && more.length === 0);
    assert.deepEqual(await bytesOf(rangeOf(source, first.entity).open()), signed);
  });
}

test('line feeds and a missing last line end are settled at the door, before anything is signed', async () => {
  const text = await door('Subject: s\r\n\r\none\ntwo');
  assert.equal(text, 'Subject: s\r\n\r\none\r\ntwo\r\n');
  const { signed } = await sign(text);
  assert.deepEqual((await scanText(chunked(signed))).hasBareLineEnd, false);
});

const fragile: readonly (readonly [string, string])[] = [
  [
    'an umlaut in 8bit on the second of two lines',
    'Content-Type: text/plain; charset=utf-8\r\n\r\none\r\n\xc3\xa4\r\n',
  ],
  [
    'a long line under a label that is wrong',
    `Content-Transfer-Encoding: 7bit\r\n\r\n${'\xe4'.repeat(2000)}\r\n`,
  ],
  ['an HTML line of 1,500', `Content-Type: text/html\r\n\r\n<p>${'x'.repeat(1500)}</p>\r\n`],
  ['a line of 990', `Content-Type: text/html\r\n\r\n${'x'.repeat(990)}\r\n`],
  ['a signature delimiter and trailing tabs', 'Content-Type: text/plain\r\n\r\n-- \r\nme\t\t\r\n'],
  ['a From line', 'Content-Type: text/plain\r\n\r\nFrom here on\r\n'],
];
for (const [name, text] of fragile) {
  test(`nothing is left for the next server to encode: ${name}`, async () => {
    const { signed } = await sign(`Subject: s\r\n${text}`);
    const facts = await scanText(chunked(signed));
    assert.deepEqual(facts, { ...facts, is8bit: false, hasTrailingBlanks: false, hasFromLine: false });
    assert.ok(facts.maxLineOctets <= 78, `${facts.maxLineOctets}`);
    const [leaf] = (await readWithMailsplit(signed)).parts;
    const decoded = await textOf(decodeTransfer(chunked(leaf?.body ?? latin1('')), leaf?.encoding));
    assert.equal(decoded, text.slice(text.indexOf('\r\n\r\n') + 4));
  });
}

const signedPart =
  'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=s\r\n\r\n--s\r\n' +
  'Content-Type: text/plain; charset=iso-8859-1 \r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe9 \r\nFrom x\r\n--s \r\n' +
  'Content-Type: application/pgp-signature\r\n\r\nx\r\n--s--';
for (const [name, head, tail] of [
  ['in multipart/mixed', 'Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n', '\r\n--m--\r\n'],
  ['in a message that a rule has wrapped', 'Content-Type: message/rfc822\r\n\r\nSubject: in\r\n', '\r\n'],
  [
    'in a message attached to multipart/mixed',
    'Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n',
    '\r\n--m--\r\n',
  ],
] as const) {
  test(`a signed part ${name} is seen, and keeps its bytes when all of it is signed`, async () => {
    const text = `Subject: s\r\n${head}${signedPart}${tail}`;
    const { signed } = await sign(text);
    assert.ok(signed.toString('latin1').includes(signedPart));
    const parts = await scanParts(chunked(signed), limits, { depth: 'all', isMeasured: false });
    assert.ok(parts.some((part) => part.contentType.mediaType === 'multipart/signed'));
    assert.ok((await scanStructure(bytesSource(signed), limits)).is8bit);
  });
}

test('a signed part with 8-bit bytes or bare line feeds has the range of its raw bytes', async () => {
  const entity = 'Content-Type: message/rfc822\r\n\r\nSubject: \xe9\n\n\xe9 \nline\n';
  const text = `Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n${entity}\r\n--s\r\n\r\nsig\r\n--s--\r\n`;
  const [first] = await readParts(sourceOf(text), limits);
  assert.equal(text.slice(first?.entity.start, first?.entity.end), entity);
});

test('parts that are fine are not wrapped anew', async () => {
  for (const body of ['QUJD'.repeat(18), 'QUJD'.repeat(15)]) {
    const text = `Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n${body}\r\n${body}\r\n`;
    assert.equal((await sign(`Subject: s\r\n${text}`)).signed.toString(), text);
  }
});

test('a boundary of punctuation and an inner multipart without end neither add nor lose parts', async () => {
  const boundary = '=_?: ()';
  const text =
    `Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n--${boundary}\r\n` +
    'Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n' +
    `--${boundary}\r\n\r\nthree\r\n--${boundary}--\r\n`;
  const facts = await scanStructure(sourceOf(text), limits);
  assert.deepEqual([facts.parts, facts.depth, facts.isMalformed], [5, 2, false]);
  assert.equal((await readWithMailsplit(latin1(text))).parts.length, 5);
});

test('a header that other programs end elsewhere is refused at the door', async () => {
  for (const head of [
    'Received: a\r\n \r\n b',
    'Received: a\r\n\t\r\nSubject: s',
    'Subject : s',
    '>From x',
  ]) {
    await assert.rejects(door(`${head}\r\n\r\nbody\r\n`), { code: 'header-malformed' });
  }
});

for (const [name, protocol, wanted] of [
  ['PGP', '; protocol="application/pgp-signature"', 'application/pgp-signature'],
  ['S/MIME under its old name', '; protocol=application/X-PKCS7-Signature', 'application/x-pkcs7-signature'],
  ['nothing', '', undefined],
] as const) {
  test(`the protocol parameter says who verifies: ${name}`, () => {
    const header = `Content-Type: multipart/signed${protocol}; boundary=b\r\n`;
    const shape = mimeShape(parseHeaderSection(latin1(header), limits));
    assert.equal(shape.kind === 'multipart-signed' ? shape.protocol : 'other', wanted);
  });
}

test('a report that carries an encrypted message is a report', async () => {
  const text =
    'Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n--r\r\n\r\nfailed\r\n--r\r\n' +
    'Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n' +
    'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=e\r\n\r\n--e\r\n\r\n--e--\r\n--r--\r\n';
  const { header } = await readMessage(chunked(latin1(text)), limits);
  assert.equal(mimeShape(header).kind, 'multipart-report');
});

for (const type of ['text/calendar; Method=request', 'TEXT/CALENDAR; charset=utf-8; METHOD="REQUEST"']) {
  test(`an invitation is known whatever the letter case, and keeps its method: ${type}`, async () => {
    const calendar = `Content-Type: ${type}\r\n\r\nBEGIN:VCALENDAR\r\n`;
    const text = `Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\n${calendar}--a--\r\n`;
    assert.ok((await scanStructure(sourceOf(text), limits)).isCalendar);
    assert.equal((await wrapAndUnwrap(text)).back, text);
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prepareEntity } from '../../../src/mime/prepare.ts';
import { bytesOf, chunkedSource, latin1, limits, sourceOf, textOf } from '../../support/mime.ts';

const TYPE = 'Content-Type: text/plain; charset=iso-8859-1\r\n';
const mixed = 'Content-Type: multipart/mixed; boundary=b\r\n';
const encoding = (name: string) => `Content-Transfer-Encoding: ${name}\r\n`;
const QP = encoding('quoted-printable');
const BASE64 = encoding('base64');

/** The prepared entity of a message with an outer field; the same for every cut. */
async function prepare(text: string): Promise<string> {
  const message = latin1(`Subject: s\r\nMIME-Version: 1.0\r\n${text}`);
  const { entity, outer } = await prepareEntity(chunkedSource(message, [7]), limits);
  assert.deepEqual(
    outer.map((field) => field.raw.toString()),
    ['Subject: s\r\n'],
  );
  const first = await textOf(entity.open());
  assert.equal(await textOf(entity.open()), first);
  return first;
}

const line = (octets: number) => `${'x'.repeat(octets)}\r\n`;
const untouched: readonly (readonly [string, string])[] = [
  ['plain text', `${TYPE}\r\nbody\r\n`],
  ['long lines that relays leave alone', `${TYPE}\r\n${line(980)}`],
  [
    'base64 in lines of 72',
    `Content-Type: image/png\r\n${BASE64}\r\n${`${'QUJD'.repeat(18)}\r\n`.repeat(3)}`,
  ],
  ['quoted-printable in lines of 60', `${TYPE}${QP}\r\n${'=E4'.repeat(19)}=\r\n=E4\r\n`],
  [
    'a part with an encoding that is not known',
    `Content-Type: a/b\r\n${encoding('x-uue')}\r\nbegin \r\ne\r\n`,
  ],
  ['a part in the quotes of an encoding', `${TYPE}${encoding('"base64"')}\r\nYQ== \r\n`],
  [
    'multipart/signed',
    `Content-Type: multipart/signed; boundary=b\r\n\r\n\xe9 \r\n--b \r\n${TYPE}\r\n\xe9 \r\n--b--\r\n`,
  ],
  [
    'multipart/encrypted',
    `Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\n\xe9 \r\n--b--\r\n`,
  ],
  [
    'multipart/signed in a forwarded message, with all that would be changed elsewhere',
    `${mixed}${encoding('8bit')}\r\n--b\r\nContent-Type: message/rfc822\r\n${encoding('8bit')}\r\nSubject: in\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nFrom \xe9 \r\n${line(1500)}\r\n--s--\r\n--b--\r\n`,
  ],
  [
    'text that begins with From and a colon, or has it within a line',
    `${TYPE}\r\nFrom: x\r\n>From x\r\na From b\r\n`,
  ],
  ['a CMS object', `Content-Type: application/pkcs7-mime\r\n${encoding('binary')}\r\n\xe9 \r\n`],
  ['a CMS object by its name', `Content-Type: application/octet-stream; name=smime.p7m\r\n\r\n\xe9 \r\n`],
  ['a delivery report', 'Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a \r\n'],
  [
    'a structure that cannot be read but is clean',
    `${mixed.replace('=b', '=')}\r\n--b\r\nno header\r\n--b--\r\n`,
  ],
  [
    'a part header that cannot be read, over a clean body',
    `${mixed}\r\n--b\r\nno header\r\n\r\nx\r\n--b--\r\n`,
  ],
];
for (const [name, text] of untouched) {
  test(`passes byte for byte: ${name}`, async () => {
    assert.equal(await prepare(text), text);
  });
}

const changes: readonly (readonly [string, string, string])[] = [
  ['8-bit text', `${TYPE}${encoding('8bit')}\r\ncaf\xe9\r\n`, `${TYPE}${QP}\r\ncaf=E9\r\n`],
  ['8-bit text without a label', `${TYPE}\r\ncaf\xe9\r\n`, `${TYPE}${QP}\r\ncaf=E9\r\n`],
  [
    '8-bit text under a wrong label',
    `${TYPE}${encoding('7bit')}\r\ncaf\xe9\r\n`,
    `${TYPE}${QP}\r\ncaf=E9\r\n`,
  ],
  [
    '8-bit data',
    `Content-Type: image/png\r\n${encoding('binary')}\r\n\xff\xd8`,
    `Content-Type: image/png\r\n${BASE64}\r\n/9g=\r\n`,
  ],
  ['8-bit body without any field', '\r\ncaf\xe9\r\n', `Content-Type: text/plain\r\n${QP}\r\ncaf=E9\r\n`],
  [
    'a label that says too much',
    `${TYPE}${encoding('8bit')}\r\nplain\r\n`,
    `${TYPE}${encoding('7bit')}\r\nplain\r\n`,
  ],
  ['trailing blanks', `${TYPE}\r\n-- \r\nx\t\r\n`, `${TYPE}${QP}\r\n=2D-=20\r\nx=09\r\n`],
  ['From line', `${TYPE}\r\nFrom x\r\n`, `${TYPE}${QP}\r\n=46rom x\r\n`],
  [
    'From line at the end of a text without line end',
    `${TYPE}\r\nx\r\nFrom `,
    `${TYPE}${QP}\r\nx\r\n=46rom=20`,
  ],
  [
    'flowed text, whose blanks at line ends have a meaning (RFC 3676 §4.2)',
    `Content-Type: text/plain; format=flowed\r\n\r\none \r\ntwo\r\n`,
    `Content-Type: text/plain; format=flowed\r\n${QP}\r\none=20\r\ntwo\r\n`,
  ],
  [
    'From line in an attached message',
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n\r\nFrom x\r\n--b--\r\n`,
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n${QP}\r\n=46rom x\r\n--b--\r\n`,
  ],
  [
    'one line of 1,500',
    `${TYPE}\r\n${line(1500)}`,
    `${TYPE}${QP}\r\n${`${'x'.repeat(75)}=\r\n`.repeat(19)}${line(75)}`,
  ],
  [
    'exchange-line: one line of 990',
    `${TYPE}\r\n${line(990)}`,
    `${TYPE}${QP}\r\n${`${'x'.repeat(75)}=\r\n`.repeat(13)}${line(15)}`,
  ],
  [
    'base64 in one line',
    `Content-Type: a/b\r\n${BASE64}\r\n${'QUJD'.repeat(300)}\r\n`,
    `Content-Type: a/b\r\n${BASE64}\r\n${`${'QUJD'.repeat(19)}\r\n`.repeat(15)}${'QUJD'.repeat(15)}\r\n`,
  ],
  [
    'base64 in lines of 100',
    `Content-Type: a/b\r\n${BASE64}\r\n${`${'QUJD'.repeat(25)}\r\n`.repeat(2)}`,
    `Content-Type: a/b\r\n${BASE64}\r\n${`${'QUJD'.repeat(19)}\r\n${'QUJD'.repeat(6)}\r\n`.repeat(2)}`,
  ],
  [
    'base64 with 8-bit and control characters, a From line, and a bare line end',
    `Content-Type: a/b\r\n${BASE64}\r\nQU\xe9JD\x01\r\nFrom QUI=\r\n\t\r\nQUJD\nQUJD\rQUJD \r`,
    `Content-Type: a/b\r\n${BASE64}\r\nQUJD\r\nFromQUI=\r\n\r\nQUJD\r\nQUJD\r\nQUJD\r\n`,
  ],
  [
    'no-new-delimiter: base64 lines that would be delimiters without their blanks',
    `${mixed}\r\n--b\r\n${BASE64}\r\nQUJD\r\n-- b\r\n- -b--\r\n\t--b\r\n--b--\r\n`,
    `${mixed}\r\n--b\r\n${BASE64}\r\nQUJD\r\nb\r\nb\r\nb\r\n--b--\r\n`,
  ],
  ['base64 text stays base64', `${TYPE}${BASE64}\r\nYQ== \r\n`, `${TYPE}${BASE64}\r\nYQ==\r\n`],
  [
    'qp-delimiter: text that was kept from being a delimiter',
    `${mixed}\r\n--b\r\n${TYPE}${QP}\r\nx\r\n=2D-b--\r\n=E9 \r\n--b--\r\n`,
    `${mixed}\r\n--b\r\n${TYPE}${QP}\r\nx\r\n=2D-b--\r\n=E9\r\n--b--\r\n`,
  ],
  [
    'parts one by one, the others stay',
    `${mixed}${encoding('8bit')}\r\n--b\r\n${TYPE}\r\ncaf\xe9\r\n--b\r\nX: kept \r\n\r\nclean\r\n--b\r\n\r\n-- \r\n--b--\r\n`,
    `${mixed}${encoding('7bit')}\r\n--b\r\n${TYPE}${QP}\r\ncaf=E9\r\n--b\r\nX: kept \r\n\r\nclean\r\n--b\r\n${QP}\r\n=2D-=20\r\n--b--\r\n`,
  ],
  [
    'preamble and epilogue go if they are not clean, and stay if they are',
    `${mixed}\r\npr\xe9\r\n--b\r\n${mixed.replace('=b', '=c')}\r\npre\r\n--c\r\n\r\nx\r\n--c--\r\npost\r\n--b--\r\npost \r\n`,
    `${mixed}\r\n\r\n--b\r\n${mixed.replace('=b', '=c')}\r\npre\r\n--c\r\n\r\nx\r\n--c--\r\npost\r\n--b--\r\n`,
  ],
  [
    'a multipart that calls itself a CMS object',
    'Content-Type: multipart/mixed; boundary=b; name=x.p7m\r\n\r\n--b\r\n\r\n\xe9\r\n--b--\r\n',
    `Content-Type: multipart/mixed; boundary=b; name=x.p7m\r\n\r\n--b\r\n${QP}\r\n=E9\r\n--b--\r\n`,
  ],
  [
    'blanks at the end of delimiters',
    `${mixed}\r\n--b \r\n\r\nx\r\n--b--\t\r\n`,
    `${mixed}\r\n--b\r\n\r\nx\r\n--b--\r\n`,
  ],
  [
    'inside an attached message, which gets the MIME-Version that its label needs',
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n${encoding('8bit')}\r\nSubject: in\r\n\r\ncaf\xe9\r\n--b--\r\n`,
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n${encoding('7bit')}\r\nSubject: in\r\nMIME-Version: 1.0\r\n${QP}\r\ncaf=E9\r\n--b--\r\n`,
  ],
  [
    'inside a digest, where what has no type is a message',
    `Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n\r\ncaf\xe9\r\n--b--\r\n`,
    `Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n${QP}\r\ncaf=E9\r\n--b--\r\n`,
  ],
  [
    'beside a signed part, which keeps its 8-bit bytes and so the label above it',
    `${mixed}${encoding('8bit')}\r\n--b\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n\xe9 \r\n--s--\r\n--b\r\n\r\n\xe9\r\n--b--\r\n`,
    `${mixed}${encoding('8bit')}\r\n--b\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n\xe9 \r\n--s--\r\n--b\r\n${QP}\r\n=E9\r\n--b--\r\n`,
  ],
  ...['8-bit', '8 bit', '7bits', '6bit', 'utf-8'].map(
    (label) =>
      [
        `odd labels: ${label} is no encoding`,
        `${TYPE}${encoding(label)}\r\ncaf\xe9\r\n`,
        `${TYPE}${QP}\r\ncaf=E9\r\n`,
      ] as const,
  ),
  [
    'a delivery report with 8-bit text',
    'Content-Type: message/delivery-status\r\n\r\nDiagnostic-Code: smtp; caf\xe9\r\n',
    `Content-Type: message/delivery-status\r\n${QP}\r\nDiagnostic-Code: smtp; caf=E9\r\n`,
  ],
  [
    'an 8-bit file name over a clean body',
    `${mixed}\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1; name="caf\xe9.txt"\r\n\r\nx\r\n--b--\r\n`,
    `${mixed}\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1;\r\n name*=iso-8859-1''caf%E9.txt\r\n\r\nx\r\n--b--\r\n`,
  ],
  [
    'an 8-bit file name of the message itself',
    'Content-Type: image/png\r\nContent-Disposition: attachment; filename=caf\xc3\xa9.png; size=3\r\n\r\nx\r\n',
    "Content-Type: image/png\r\nContent-Disposition: attachment;\r\n filename*=utf-8''caf%C3%A9.png; size=3\r\n\r\nx\r\n",
  ],
  [
    'the header of a forwarded message',
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: J\xc3\xbcrgen <j@x.example>\r\nSubject: gr\xc3\xbc\xc3\x9fe aus\r\n K\xc3\xb6ln\r\n\r\nx\r\n--b--\r\n`,
    `${mixed}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: =?utf-8?B?SsO8cmdlbg==?= <j@x.example>\r\nSubject: =?utf-8?B?Z3LDvMOfZQ==?= aus\r\n =?utf-8?B?S8O2bG4=?=\r\n\r\nx\r\n--b--\r\n`,
  ],
];
for (const [name, text, wanted] of changes) {
  test(`encoded anew: ${name}`, async () => {
    assert.equal(await prepare(text), wanted);
  });
}

test('a message without fields of content gets the default in words', async () => {
  const wanted = 'Content-Type: text/plain; charset=us-ascii\r\n\r\nbody\r\n';
  assert.equal(await prepare('\r\nbody\r\n'), wanted);
});

const refused: readonly (readonly [string, string])[] = [
  ['a part whose header cannot be read', `${mixed}\r\n--b\r\nno header\r\n\r\n\xe9\r\n--b--\r\n`],
  ['a part with two encodings', `${TYPE}${QP}${BASE64}\r\n\xe9\r\n`],
  ['a part with two types', `${TYPE}Content-Type: text/html\r\n\r\n\xe9\r\n`],
  ['a multipart without boundary', 'Content-Type: multipart/mixed\r\n\r\n\xe9\r\n'],
  ['a multipart in base64', `${mixed}${BASE64}\r\n--b\r\n\r\n\xe9\r\n--b--\r\n`],
  ['8-bit bytes in an encoding of its own', `Content-Type: a/b\r\n${encoding('x-yenc')}\r\n\xe9\r\n`],
  ['8-bit bytes in the quotes of an encoding', `${TYPE}${encoding('"base64"')}\r\n\xe9\r\n`],
  ['8-bit bytes in half a message', 'Content-Type: message/partial\r\n\r\n\xe9\r\n'],
  ['8-bit bytes where a media type stands', 'Content-Type: text/pl\xe4in\r\n\r\nx\r\n'],
  ['an 8-bit header that cannot be read', `${mixed}\r\n--b\r\nno h\xe9ader\r\n\r\nx\r\n--b--\r\n`],
  ['parts after the closing delimiter', `${mixed}\r\n--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\n\xe9\r\n--b--\r\n`],
];
for (const [name, text] of refused) {
  test(`what must be changed and cannot be read is refused: ${name}`, async () => {
    await assert.rejects(prepareEntity(sourceOf(text), limits), { code: 'mime-malformed' });
  });
}

test('limits hold', async () => {
  const text = `${mixed}\r\n${'--b\r\n\r\nx\r\n'.repeat(20)}--b--\r\n`;
  await assert.rejects(prepareEntity(sourceOf(text), { ...limits, maxParts: 10 }), {
    code: 'mime-malformed',
  });
  const long = { ...limits, maxHeaderLines: 1 };
  await assert.rejects(prepareEntity(sourceOf('A: 1\r\nB: 2\r\n\r\n'), long), { code: 'header-malformed' });
});

test('30 MB of 8-bit text is encoded in pieces', async () => {
  const head = latin1(`${TYPE}\r\n`);
  const piece = latin1('caf\xe9 und mehr \r\n'.repeat(4_096));
  const count = 460;
  const message = {
    size: head.length + piece.length * count,
    async *open(range?: { start: number; end?: number }) {
      if ((range?.start ?? 0) === 0) yield head;
      for (let index = 0; index < count; index += 1) yield piece;
    },
  };
  const { entity } = await prepareEntity(message, limits);
  let largest = 0;
  let size = 0;
  for await (const chunk of entity.open()) {
    largest = Math.max(largest, chunk.length);
    size += chunk.length;
  }
  const entityHead =
    (await bytesOf((await prepareEntity(sourceOf(`${TYPE}\r\n\xe9`), limits)).entity.open())).length - 3;
  assert.equal(size, entityHead + 'caf=E9 und mehr=20\r\n'.length * 4_096 * count);
  assert.ok(largest < 400_000);
});

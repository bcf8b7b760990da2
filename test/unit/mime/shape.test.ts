import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHeaderSection } from '../../../src/mime/header-section.ts';
import { type MimeShape, mimeShape, readParts, scanStructure } from '../../../src/mime/shape.ts';
import { chunkedSource, latin1, limits, sourceOf } from '../../support/mime.ts';

function shapeOf(header: string): MimeShape {
  return mimeShape(parseHeaderSection(latin1(header), limits));
}

const shapes: readonly (readonly [string, MimeShape['kind']])[] = [
  ['', 'plain'],
  ['Subject: x\r\n', 'plain'],
  ['Content-Type:\r\n', 'plain'],
  ['Content-Type: text/plain; name=x.p7m\r\n', 'plain'],
  ['Content-Type: application/pkcs7-mime\r\n', 'smime-opaque-candidate'],
  ['CONTENT-TYPE: Application/X-PKCS7-MIME; smime-type=enveloped-data\r\n', 'smime-opaque-candidate'],
  ['Content-Type: application/octet-stream; name=smime.p7m\r\n', 'smime-opaque-candidate'],
  [
    'Content-Type: image/png\r\nContent-Disposition: attachment; filename="SMIME.P7M"\r\n',
    'smime-opaque-candidate',
  ],
  ["Content-Type: application/octet-stream; name*=utf-8''a.p7s\r\n", 'smime-opaque-candidate'],
  ['Content-Type: text\r\nContent-Disposition: attachment; filename=a.p7m\r\n', 'smime-opaque-candidate'],
  ['Content-Type: application/octet-stream; name=a.p7m.exe\r\n', 'plain'],
  ['Content-Type: application/octet-stream\r\n', 'plain'],
  ['Content-Type: multipart/mixed; boundary=b\r\n', 'plain'],
  ['Content-Type: multipart/report; boundary=b; report-type=delivery-status\r\n', 'multipart-report'],
  ['Content-Type: multipart/signed; boundary=b\r\n', 'multipart-signed'],
  ['Content-Type: multipart/encrypted; boundary=b\r\n', 'multipart-encrypted'],
  ['Content-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: 8BIT\r\n', 'multipart-signed'],
  ['Content-Type: multipart/signed\r\n', 'ambiguous'],
  ['Content-Type: multipart/mixed; boundary=a; boundary=b\r\n', 'ambiguous'],
  ['Content-Type: text/plain\r\ncontent-type: application/pkcs7-mime\r\n', 'ambiguous'],
  ['Content-Type: multipart/signed; boundary=b; protocol=a; protocol=c\r\n', 'ambiguous'],
  ['Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n', 'ambiguous'],
  ['Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n', 'ambiguous'],
  ['Content-Disposition: inline\r\nContent-Disposition: attachment; filename=x.p7m\r\n', 'ambiguous'],
];
for (const [header, kind] of shapes) {
  test(`opaque-name and other labels: ${JSON.stringify(header)}`, () =>
    assert.equal(shapeOf(header).kind, kind));
}

test('the protocol comes in lower case, and is missing where there is none', () => {
  const signed = shapeOf(
    'Content-Type: multipart/signed; boundary=b; protocol="Application/PGP-Signature"\r\n',
  );
  assert.equal(signed.kind === 'multipart-signed' && signed.protocol, 'application/pgp-signature');
  assert.ok(!('protocol' in shapeOf('Content-Type: multipart/signed; boundary=b\r\n')));
  assert.ok(!('protocol' in shapeOf('Content-Type: multipart/encrypted; boundary=b; protocol=""\r\n')));
});

const HEAD = 'Subject: x\r\nContent-Type: multipart/signed; boundary="b"\r\n\r\n';

/** Entities and bodies of the children, in text. */
async function partsOf(text: string, sizes: readonly number[] = []): Promise<string[][]> {
  const parts = await readParts(chunkedSource(latin1(text), sizes), limits);
  return parts.map((part) => [
    text.slice(part.entity.start, part.entity.end),
    text.slice(part.body.start, part.body.end),
  ]);
}

const bodies: readonly (readonly [string, string, readonly (readonly [string, string])[]])[] = [
  [
    'two parts',
    '--b\r\nA: 1\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n',
    [
      ['A: 1\r\n\r\none', 'one'],
      ['\r\ntwo', 'two'],
    ],
  ],
  ['preamble and epilogue', 'pre\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\n', [['\r\none', 'one']]],
  ['lines kept at the end', '--b\r\n\r\none\r\n\r\n\r\n--b--\r\n', [['\r\none\r\n\r\n', 'one\r\n\r\n']]],
  ['blanks after the delimiter', '--b \t\r\n\r\none\r\n--b-- \r\n', [['\r\none', 'one']]],
  [
    'longer and other lines',
    '--b\r\n\r\n--bb\r\n --b\r\n--b x\r\n--\r\n---b\r\n--B\r\n--b--x\r\n--b---\r\n--b--\r\n',
    [
      [
        '\r\n--bb\r\n --b\r\n--b x\r\n--\r\n---b\r\n--B\r\n--b--x\r\n--b---',
        '--bb\r\n --b\r\n--b x\r\n--\r\n---b\r\n--B\r\n--b--x\r\n--b---',
      ],
    ],
  ],
  ['empty body', '--b\r\nA: 1\r\n\r\n--b--\r\n', [['A: 1\r\n', '']]],
  ['blank line only', '--b\r\n\r\n--b--\r\n', [['', '']]],
  ['empty body after a blank line', '--b\r\nA: 1\r\n\r\n\r\n--b--\r\n', [['A: 1\r\n\r\n', '']]],
  [
    'nothing at all',
    '--b\r\n--b\r\n--b--\r\n',
    [
      ['', ''],
      ['', ''],
    ],
  ],
  ['header cut by a delimiter', '--b\r\nA: 1\r\n--b--\r\n', [['A: 1', '']]],
  ['no closing delimiter', '--b\r\n\r\none\r\n', [['\r\none\r\n', 'one\r\n']]],
  ['closing delimiter without CRLF', '--b\r\n\r\none\r\n--b--', [['\r\none', 'one']]],
  ['no delimiter', 'text\r\n', []],
  ['closed at once', '--b--\r\n', []],
  [
    'an inner multipart',
    '--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\nend\r\n--b--\r\n',
    [
      [
        'Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\nend',
        '--c\r\n\r\nx\r\n--c--\r\nend',
      ],
    ],
  ],
  [
    'an inner multipart without end',
    '--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--b--\r\n',
    [['Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx', '--c\r\n\r\nx']],
  ],
  [
    'an inner multipart without boundary',
    '--b\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n--b--\r\n',
    [['Content-Type: multipart/mixed\r\n\r\nx', 'x']],
  ],
  ['bytes', '--b\r\nA: \xe9\r\n\r\n\xff\0\xe9\r\n--b--\r\n', [['A: \xe9\r\n\r\n\xff\0\xe9', '\xff\0\xe9']]],
  [
    'a delimiter by bare line feed is text',
    '--b\r\n\r\none\n--b--\ntwo\r\n--b--\r\n',
    [['\r\none\n--b--\ntwo', 'one\n--b--\ntwo']],
  ],
  [
    'a long line of blanks is text',
    `--b\r\n\r\n--b${' '.repeat(2000)}\r\n--b--\r\n`,
    [[`\r\n--b${' '.repeat(2000)}`, `--b${' '.repeat(2000)}`]],
  ],
];
for (const [name, body, wanted] of bodies) {
  test(`ranges of children: ${name}`, async () => {
    for (const sizes of [[], [1], [2], [3], [7, 2]])
      assert.deepEqual(await partsOf(HEAD + body, sizes), wanted);
  });
}

const ODD_BOUNDARY = '=_?: ()';
test(`the boundary may be ${ODD_BOUNDARY}`, async () => {
  const text = `Content-Type: multipart/mixed; boundary="${ODD_BOUNDARY}"\r\n\r\n--${ODD_BOUNDARY}\r\n\r\none\r\n--${ODD_BOUNDARY}--\r\n`;
  assert.deepEqual(await partsOf(text), [['\r\none', 'one']]);
});

const ambiguous: readonly (readonly [string, string])[] = [
  ['no multipart', 'Subject: x\r\n\r\n--b\r\n\r\none\r\n--b--\r\n'],
  ['message', 'Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n'],
  ['no boundary', 'Content-Type: multipart/signed\r\n\r\n'],
  [
    'Content-Type twice',
    'Content-Type: multipart/signed; boundary=b\r\nContent-Type: multipart/signed; boundary=c\r\n\r\n',
  ],
  [
    'base64',
    'Content-Type: multipart/signed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\n--b--\r\n',
  ],
  ['delimiter after the closing one', `${HEAD}--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nother\r\n--b--\r\n`],
  [
    'one boundary on two levels',
    `${HEAD}--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n`,
  ],
  [
    'closing form as inner boundary',
    `${HEAD}--b\r\nContent-Type: multipart/mixed; boundary="b--"\r\n\r\n--b--\r\n`,
  ],
  ['part header without colon', `${HEAD}--b\r\nno header\r\n\r\none\r\n--b--\r\n`],
  [
    'part with Content-Type twice',
    `${HEAD}--b\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\none\r\n--b--\r\n`,
  ],
  ['part header with a bare line feed', `${HEAD}--b\r\nA: b\nC: d\r\n\r\none\r\n--b--\r\n`],
];
for (const [name, text] of ambiguous) {
  test(`signed-ambiguous: ${name}`, async () => {
    for (const sizes of [[], [1]]) await assert.rejects(partsOf(text, sizes), { code: 'mime-malformed' });
  });
}

const plain = { isCalendar: false, hasTnef: false, parts: 1, depth: 0, is8bit: false, isMalformed: false };
const mixed = 'Content-Type: multipart/mixed; boundary=b\r\n\r\n';
const structures: readonly (readonly [string, string, Partial<typeof plain>])[] = [
  ['plain', 'Subject: x\r\n\r\nbody\r\n', {}],
  ['no body', 'Subject: x\r\n', {}],
  ['8-bit body', '\r\n\xe9\r\n', { is8bit: true }],
  ['8-bit header is not body', 'Subject: \xe9\r\n\r\nx\r\n', {}],
  ['8-bit part header', `${mixed}--b\r\nX: \xe9\r\n\r\nx\r\n--b--\r\n`, { is8bit: true, parts: 2, depth: 1 }],
  ['8-bit preamble', `${mixed}\xe9\r\n--b\r\n\r\nx\r\n--b--\r\n`, { is8bit: true, parts: 2, depth: 1 }],
  [
    'calendar',
    'CONTENT-TYPE: Text/Calendar; METHOD=request\r\n\r\nBEGIN:VCALENDAR\r\n',
    { isCalendar: true },
  ],
  ['calendar without method', 'Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n', {}],
  [
    'calendar in a part',
    `${mixed}--b\r\nContent-Type: text/calendar; method="REPLY"\r\n\r\nx\r\n--b--\r\n`,
    { isCalendar: true, parts: 2, depth: 1 },
  ],
  [
    'calendar in an attached message',
    `${mixed}--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/calendar; method=x\r\n\r\nx\r\n--b--\r\n`,
    { isCalendar: true, parts: 3, depth: 2 },
  ],
  [
    'calendar in an alternative inside, as Exchange writes it',
    `${mixed}--b\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\ncontent-type: TEXT/CALENDAR; charset="utf-8"; Method=Request\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--a--\r\n--b--\r\n`,
    { isCalendar: true, parts: 4, depth: 2 },
  ],
  ['TNEF of the registered name', 'content-type: Application/Vnd.MS-TNEF\r\n\r\nx\r\n', { hasTnef: true }],
  [
    'TNEF by the name in its type, in an alternative',
    `${mixed.replace('mixed', 'alternative')}--b\r\nContent-Type: application/octet-stream; name=winmail.dat\r\n\r\nx\r\n--b--\r\n`,
    { hasTnef: true, parts: 2, depth: 1 },
  ],
  ['TNEF', 'Content-Type: application/ms-tnef\r\n\r\nx\r\n', { hasTnef: true }],
  [
    'TNEF by name',
    'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="WinMail.DAT"\r\n\r\nx\r\n',
    { hasTnef: true },
  ],
  [
    'external body is a leaf',
    'Content-Type: message/external-body; access-type=local-file; name="/etc/passwd"\r\n\r\nContent-Type: text/plain\r\n\r\n',
    {},
  ],
  [
    'partial is a leaf',
    'Content-Type: message/partial; id=a; number=1\r\n\r\nContent-Type: text/calendar; method=x\r\n\r\n',
    {},
  ],
  [
    'base64 message is a leaf',
    'Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n',
    {},
  ],
  ['malformed part', `${mixed}--b\r\nnope\r\n\r\nx\r\n--b--\r\n`, { isMalformed: true, parts: 2, depth: 1 }],
  ['no boundary', 'Content-Type: multipart/mixed\r\n\r\nx\r\n', { isMalformed: true }],
  [
    'inner multipart without end',
    `${mixed}--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n`,
    { parts: 4, depth: 2 },
  ],
];
for (const [name, text, facts] of structures) {
  test(`structure: ${name}`, async () => {
    for (const sizes of [[], [1], [5, 2]]) {
      assert.deepEqual(await scanStructure(chunkedSource(latin1(text), sizes), limits), {
        ...plain,
        ...facts,
      });
    }
  });
}

test('mime-bomb: nesting and parts are bounded', async () => {
  const levels = Array.from(
    { length: 2_000 },
    (_, index) => `Content-Type: multipart/mixed; boundary=b${index}\r\n\r\n--b${index}\r\n`,
  );
  await assert.rejects(scanStructure(sourceOf(levels.join('')), limits), { code: 'mime-malformed' });
  const messages = 'Content-Type: message/rfc822\r\n\r\n'.repeat(2_000);
  await assert.rejects(scanStructure(sourceOf(messages), limits), { code: 'mime-malformed' });
  const many = mixed + '--b\r\n\r\nx\r\n'.repeat(5_000);
  await assert.rejects(scanStructure(sourceOf(many), limits), { code: 'mime-malformed' });
  await assert.rejects(readParts(sourceOf(many), limits), { code: 'mime-malformed' });
});

test('header-bomb: part headers are bounded, one by one and together', async () => {
  const one = `${mixed}--b\r\n${`X: ${'y'.repeat(900)}\r\n`.repeat(400)}\r\n--b--\r\n`;
  await assert.rejects(scanStructure(sourceOf(one), limits), { code: 'mime-malformed' });
  const endless = `${mixed}--b\r\n${'y'.repeat(400_000)}`;
  await assert.rejects(scanStructure(chunkedSource(latin1(endless), [8_192]), limits), {
    code: 'mime-malformed',
  });
  const together = mixed + `--b\r\n${`X: ${'y'.repeat(900)}\r\n`.repeat(200)}\r\n`.repeat(8);
  await assert.rejects(scanStructure(sourceOf(together), limits), { code: 'mime-malformed' });
});

test('longline: 30 MB in one line, or in lines of dashes, are read in bounded memory and time', async () => {
  for (const piece of [
    Buffer.alloc(65_536, 'x'),
    Buffer.alloc(65_536, '-'),
    Buffer.alloc(65_536, '--\r\n'),
    Buffer.alloc(65_536, '--b \r\n'),
  ]) {
    const message = { size: 0, open: () => pieces(latin1(mixed), piece, 480) };
    const before = process.memoryUsage().arrayBuffers;
    const facts = await scanStructure(message, limits).catch((error: unknown) => error);
    assert.ok(facts !== undefined);
    assert.ok(process.memoryUsage().arrayBuffers - before < 50_000_000);
    if (piece[4] === 0x62) break;
  }
});

async function* pieces(head: Buffer, piece: Buffer, count: number): AsyncGenerator<Uint8Array> {
  yield head;
  for (let index = 0; index < count; index += 1) yield piece;
}

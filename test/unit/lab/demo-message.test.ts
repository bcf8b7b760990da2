// Messages that users give to the demo: what is taken, how it is changed, what is refused, and when two show the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ByteSource, bytesSource, collect } from '../../../src/core/bytes.ts';
import {
  contentOf,
  demoMessage,
  readDemoMessage,
  readdressed,
  shown,
} from '../../../src/lab/demo-message.ts';

const HEAD = 'From: a@b.example\n';
const TYPE = 'Content-Type: text/plain\n';

const read = (text: string) => readDemoMessage(Buffer.from(text, 'latin1'));

const fingerprintOf = async (text: string) =>
  (await contentOf(bytesSource(Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1')))).fingerprint;
const signed = (part: string) =>
  `${HEAD}Content-Type: multipart/signed; boundary=q\n\n--q\n${part}\n--q\nContent-Type: application/pkcs7-signature\n\nMIAG\n--q--\n`;

async function textOf(source: ByteSource): Promise<string> {
  return (await collect(source.open(), source.size)).toString('latin1');
}

test('line ends, mailbox line and byte order mark', async () => {
  for (const [text, expected] of [
    ['From: a@b.example\n\nx\n', 'From: a@b.example\r\n\r\nx\r\n'],
    ['From: a@b.example\r\n\r\nx\r\n', 'From: a@b.example\r\n\r\nx\r\n'],
    ['From: a@b.example\r\n\r\nx\ny', 'From: a@b.example\r\n\r\nx\r\ny\r\n'],
    ['From: a@b.example\r\n\r\nx\ry\r\n', 'From: a@b.example\r\n\r\nx\r\ny\r\n'],
    ['From a@b.example Mon Jan  5\nFrom: a@b.example\n\nx\n', 'From: a@b.example\r\n\r\nx\r\n'],
    ['\u00ef\u00bb\u00bfFrom: a@b.example\n\nx\n', 'From: a@b.example\r\n\r\nx\r\n'],
    ['From: a@b.example\nSubject: no body', 'From: a@b.example\r\nSubject: no body\r\n'],
    ['From: a@b.example\n\nGr\u00fc\u00dfe\n', 'From: a@b.example\r\n\r\nGr\u00fc\u00dfe\r\n'],
  ] as const) {
    assert.equal(await textOf((await read(text)).source), expected);
  }
});

test('what is no message, or one that shows nothing here, is refused with the reason', async () => {
  for (const [text, reason] of [
    ['', /no header/],
    ['\nonly a body\n', /no header/],
    ['just text\n', /./],
    [`${HEAD}\na\0b\n`, /NUL/],
    ['From: a@b.example\rTo: c@d.example\r\rx\r', /bare CR/],
    [`${HEAD}${TYPE}${TYPE}\nx\n`, /more than one way: field Content-Type is repeated/],
    [`${HEAD}Content-Type: multipart/signed; boundary=a\n\n--a\n\nx\n--a--\n`, /signed or encrypted already/],
    [
      `${HEAD}Content-Type: multipart/encrypted; boundary=a\n\n--a\n\nx\n--a--\n`,
      /signed or encrypted already/,
    ],
    [`${HEAD}Content-Type: application/pkcs7-mime\n\nMIAG\n`, /signed or encrypted already/],
    [`${HEAD}\n${'x'.repeat(10_485_760)}`, /larger than the 10485760 bytes/],
  ] as const) {
    await assert.rejects(read(text), reason, text.slice(0, 60));
  }
});

test('the notes name what was changed, and nothing else', async () => {
  const plain = await read('Subject: x\r\n\r\nx\r\n');
  assert.deepEqual(plain.notes.slice(1), ['put in for the demo: From and To']);
  const changed = await read('from: a@b.example\nReceived: x\nReceived: y\nX-MS-Exchange-Foo: z\n\nx\n');
  assert.deepEqual(changed.notes.slice(1), [
    'put in for the demo: From and To; taken out of yours: from, Received, X-MS-Exchange-Foo',
    'line ends: LF became CRLF, as mail travels',
  ]);
});

test('other people, the same message', async () => {
  const { source } = await read(
    'Received: x\nFROM: a@b.example\nTo: c@d.example,\n e@f.example\nBcc: g@h.example\nSubject: s\nX-Own: y\n\nbody\n',
  );
  assert.equal(
    await textOf(await readdressed(source, 'u@contoso.example', 'bob@remote.example')),
    'From: u@contoso.example\r\nTo: bob@remote.example\r\nSubject: s\r\nX-Own: y\r\n\r\nbody\r\n',
  );
});

test('a terminal gets a few lines, and none of its control sequences', async () => {
  const { source } = await read(
    `Received: x\n${HEAD}Subject: \u001b]0;title\u0007s\n\n${'long '.repeat(60)}\n2\n3\n4\n5\n6\n`,
  );
  const lines = (await shown(source)).split('\n');
  assert.deepEqual(lines.slice(0, 3), ['From: a@b.example', 'Subject:  ]0;title s', '']);
  assert.equal(lines[3]?.length, 110);
  assert.deepEqual(lines.slice(4), ['2', '3', '4', '5', '...']);
});

test('the same content in another encoding and structure compares equal, other content does not', async () => {
  for (const [one, other, isSame] of [
    [
      `${HEAD}Content-Type: text/html\n\n<p>x</p>  \n\n`,
      signed('Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p>x</p> =20\n\n'),
      true,
    ],
    [`${HEAD}\nGr\n`, signed('\nGr\n'), true],
    [
      `${HEAD}${TYPE}Content-Transfer-Encoding: base64\n\nR3IK\n`,
      `${HEAD}${TYPE}Content-Transfer-Encoding: quoted-printable\n\nG=72\n`,
      true,
    ],
    [`${HEAD}\nGr\n`, signed('\nGR\n'), false],
    [`${HEAD}Content-Type: text/html\n\n<p>x</p>\n`, `${HEAD}Content-Type: text/html\n\n<p>y</p>\n`, false],
  ] as const) {
    assert.equal((await fingerprintOf(one)) === (await fingerprintOf(other)), isSame, `${one}\n${other}`);
  }
  const { source, content } = await demoMessage();
  const text = await textOf(source);
  assert.equal(content.summary, '"Grüße", angebot.pdf (600 bytes)');
  assert.notEqual(await fingerprintOf(text.replace('AAcO', 'BAcO')), content.fingerprint);
  assert.notEqual(await fingerprintOf(text.replaceAll('angebot.pdf', 'other.pdf')), content.fingerprint);
});

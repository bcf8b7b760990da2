// What is inside a layer: entities, texts without a header, CMS without MIME around it, and what is none of them.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import { detectCms } from '../../../src/smime/detect.ts';
import { integer, octetString, oid, sequence, tagged } from '../../../src/smime/ber-writer.ts';
import { isLayerType, readLayerContent } from '../../../src/smime/layer-content.ts';
import { bytesOf } from '../../support/mime.ts';
import { inChunks } from '../../support/smime.ts';

async function read(
  content: string | Uint8Array,
  type: string = ID.data,
  size = 7,
): Promise<{ text: string; isBareText: boolean }> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const { entity, isBareText } = await readLayerContent(inChunks(bytes, size), type);
  return { text: (await bytesOf(entity)).toString('latin1'), isBareText };
}

const entities: readonly string[] = [
  'Content-Type: text/plain\r\n\r\nhi\r\n',
  'content-type:text/html\r\n\r\n<b>hi</b>\r\n',
  'MIME-Version: 1.0\r\n\r\nhi\r\n',
  'Subject: protected\r\n\r\nhi\r\n',
  'X-Odd: 1\r\n\r\nhi\r\n',
  'Odd: 1\r\nContent-Type: text/plain\r\n\r\nhi\r\n',
  '\r\nno header, as an entity has it\r\n',
];
for (const content of entities) {
  test(`an entity stays as it is: ${JSON.stringify(content.slice(0, 30))}`, async () => {
    assert.deepEqual(await read(content), { text: content, isBareText: false });
  });
}

test('bare line feeds of an entity become line ends', async () => {
  assert.equal((await read('Content-Type: text/plain\n\nhi')).text, 'Content-Type: text/plain\r\n\r\nhi\r\n');
});

const HEAD = 'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n';
const texts: readonly (readonly [string, string])[] = [
  ['This is a text.', 'This is a text.\r\n'],
  ['Dear Bob:\n\nhi\n', 'Dear Bob:\r\n\r\nhi\r\n'],
  ['Note: bring cake\r\n\r\nhi\r\n', 'Note: bring cake\r\n\r\nhi\r\n'],
  ['https://remote.example/\r\n\r\nhi\r\n', 'https://remote.example/\r\n\r\nhi\r\n'],
  ['<html><img src="http://e.example/">\r\n', '<html><img src=3D"http://e.example/">\r\n'],
  ['gr\u00fc\u00dfe \u20ac\r\n', 'gr=C3=BC=C3=9Fe =E2=82=AC\r\n'],
  ['From me\tto you \r\n', '=46rom me\tto you=20\r\n'],
];
for (const [content, body] of texts) {
  test(`bare text: ${JSON.stringify(content.slice(0, 30))}`, async () => {
    for (const size of [1, 3, 1_000])
      assert.deepEqual(await read(content, ID.data, size), { text: `${HEAD}${body}`, isBareText: true });
  });
}

test('bare text: what is not printable UTF-8 is neither', async () => {
  const text = 'a text that is long enough to be cut\r\n'.repeat(400);
  const changed = Buffer.from(text);
  randomBytes(16).copy(changed, 9_000);
  changed[9_000] = 0xff;
  for (const content of [
    changed,
    'bell \x07',
    'escape \x1b[2J',
    'c1 \u0085',
    Buffer.from('gr\xfc\xdfe', 'latin1'),
  ])
    await assert.rejects(read(content), { code: 'mime-malformed' });
  await assert.rejects(read(Buffer.from([0x61, 0xc3])), { code: 'mime-malformed' });
  await assert.rejects(read('nul \0'), { code: 'mime-malformed' });
});

test('an empty content is an empty entity', async () => {
  assert.deepEqual(await read(''), { text: '', isBareText: false });
});

const BODY = sequence(integer(1), octetString(Buffer.from('x')));
function unwrapped(text: string): Buffer {
  assert.match(
    text,
    /^Content-Type: application\/pkcs7-mime; name="smime\.p7m"\r\nContent-Transfer-Encoding: base64\r\n/,
  );
  return Buffer.from(text.slice(text.indexOf('\r\n\r\n')), 'base64');
}

test('a CMS structure without MIME around it is a layer', async () => {
  const cms = sequence(oid(ID.signedData), tagged(0, BODY));
  const { text, isBareText } = await read(cms);
  assert.deepEqual(unwrapped(text), cms);
  assert.equal(isBareText, false);
});

test('a content of a CMS type gets its ContentInfo back, with and without its own head', async () => {
  for (const [type, name] of [
    [ID.signedData, 'signed'],
    [ID.envelopedData, 'enveloped'],
    [ID.authEnvelopedData, 'auth-enveloped'],
    [ID.compressedData, 'compressed'],
  ] as const) {
    assert.equal(isLayerType(type), true);
    for (const content of [BODY, BODY.subarray(2)]) {
      const cms = unwrapped((await read(content, type)).text);
      assert.equal(detectCms(cms), name);
      const head = cms.indexOf(oid(type)) + oid(type).length;
      const isWhole = content === BODY;
      assert.deepEqual(cms.subarray(head, head + 2), Buffer.from([0xa0, 0x80]));
      assert.deepEqual(
        cms.subarray(head + 2),
        Buffer.concat([
          isWhole ? Buffer.alloc(0) : Buffer.from([0x30, 0x80]),
          content,
          Buffer.alloc(isWhole ? 4 : 6),
        ]),
      );
    }
  }
  assert.equal(isLayerType('1.2.840.113549.1.9.16.1.1'), false);
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { decodeBase64, decodeTransfer, encodeBase64 } from '../../../src/mime/transfer-encoding.ts';
import { bytesOf, chunked, latin1, textOf } from '../../support/mime.ts';

test('base64 of every length up to three lines equals that of Buffer, in lines', async () => {
  for (let length = 0; length <= 172; length += 1) {
    const bytes = randomBytes(length);
    const wanted = bytes.toString('base64').replace(/.{1,76}/g, '$&\r\n');
    assert.equal(await textOf(encodeBase64(chunked(bytes, [1, 5, 57]))), wanted);
  }
});

test('base64 of more than one block', async () => {
  const bytes = randomBytes(200_001);
  for (const sizes of [[], [49_000], [1000, 3]]) {
    const encoded = await bytesOf(encodeBase64(chunked(bytes, sizes)));
    assert.equal(encoded.toString(), bytes.toString('base64').replace(/.{1,76}/g, '$&\r\n'));
    assert.deepEqual(await bytesOf(decodeBase64(chunked(encoded, [777]))), bytes);
  }
});

for (const damage of ['-', '_', '=', '\xff', ' ', '\0', '\r', '\n']) {
  test(`base64-rows: ${JSON.stringify(damage)} among clean lines is skipped or ends a group`, async () => {
    const rows = randomBytes(57 * 20)
      .toString('base64')
      .replace(/.{76}/g, '$&\r\n');
    for (const at of [0, 1, 77, 78, 200, 77 + 78 * 5, rows.length - 3]) {
      const text = rows.slice(0, at) + damage + rows.slice(at + 1);
      const groups = text.replace(/[^A-Za-z0-9+/=]/g, '').split('=');
      const wanted = Buffer.concat(groups.map((group) => Buffer.from(group, 'base64')));
      for (const sizes of [[], [78], [100, 7]]) {
        assert.deepEqual(await bytesOf(decodeBase64(chunked(latin1(text), sizes))), wanted);
      }
    }
  });
}

test('base64-rows: a row of the same length with another line end holds one character more', async () => {
  const bytes = randomBytes(57 * 6);
  const characters = bytes.toString('base64');
  const rows = [76, 152, 228, 305, 381].map((end, index, ends) => {
    return `${characters.slice(ends[index - 1] ?? 0, end)}${index === 3 ? '\n' : '\r\n'}`;
  });
  const text = latin1(rows.join('') + characters.slice(381));
  assert.deepEqual(await bytesOf(decodeBase64(chunked(text))), bytes);
});

const decodings: readonly (readonly [string, string])[] = [
  ['', ''],
  ['aGVsbG8=', 'hello'],
  ['aGVsbG8', 'hello'],
  ['aGVsbG8=\r\n', 'hello'],
  ['a G\tV\r\ns\nb*G8=', 'hello'],
  ['aGVs!\xe9bG8=', 'hello'],
  ['aGk=aGk=', 'hihi'],
  ['aGk==aGk', 'hihi'],
  ['====', ''],
  ['a', ''],
  ['aG', 'h'],
  ['-_', ''],
];
for (const [text, wanted] of decodings) {
  test(`base64 decoding of ${JSON.stringify(text)}`, async () => {
    for (const sizes of [[], [1], [2, 3]]) {
      assert.equal(await textOf(decodeBase64(chunked(latin1(text), sizes))), wanted);
    }
  });
}

const labels: readonly (readonly [string | undefined, string, string])[] = [
  [undefined, 'a=3D', 'a=3D'],
  ['', 'a=3D', 'a=3D'],
  ['8bit', 'a=3D\xe9', 'a=3D\xe9'],
  ['x-unknown', 'a=3D', 'a=3D'],
  [' Quoted-Printable ', 'a=3D', 'a='],
  ['BASE64', 'YQ==', 'a'],
  // Decoded exactly once.
  ['quoted-printable', 'a=3D3Db', 'a=3Db'],
];
for (const [label, text, wanted] of labels) {
  test(`transfer decoding of ${text} under ${label}`, async () => {
    assert.equal(await textOf(decodeTransfer(chunked(latin1(text)), label)), wanted);
  });
}

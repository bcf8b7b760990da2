import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContentType } from '../../../src/mime/content-type.ts';
import { fieldValue } from '../../../src/mime/header-section.ts';
import { makeBoundary, makeContentType, writeMultipart } from '../../../src/mime/multipart-writer.ts';
import { readParts } from '../../../src/mime/shape.ts';
import { chunked, latin1, limits, sourceOf, textOf } from '../../support/mime.ts';

test('boundaries are valid, unlike, and occur in no encoded text', () => {
  const boundary = makeBoundary();
  assert.match(boundary, /^=_[0-9a-f]{36}$/);
  assert.notEqual(makeBoundary(), boundary);
  assert.equal(
    makeBoundary((size) => Buffer.alloc(size, 1)),
    `=_${'01'.repeat(18)}`,
  );
});

test('parts are written byte for byte and one after the other', async () => {
  let isFirstRead = false;
  const first = async function* () {
    yield latin1('A: b\r\n\r\nbody');
    isFirstRead = true;
  };
  const second = async function* () {
    assert.ok(isFirstRead);
    yield latin1('\r\nsignature\r\n');
  };
  const body = await textOf(writeMultipart('b', [first(), second(), latin1('\r\n')]));
  assert.equal(body, '--b\r\nA: b\r\n\r\nbody\r\n--b\r\n\r\nsignature\r\n\r\n--b\r\n\r\n\r\n--b--\r\n');
  const message = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${body}`;
  const parts = await readParts(sourceOf(message), limits);
  assert.deepEqual(
    parts.map((part) => message.slice(part.entity.start, part.entity.end)),
    ['A: b\r\n\r\nbody', '\r\nsignature\r\n', '\r\n'],
  );
});

test('a multipart of no parts is closed', async () => {
  assert.equal(await textOf(writeMultipart('b', [])), '--b--\r\n');
  assert.equal(await textOf(writeMultipart('b', [chunked(latin1(''))])), '--b\r\n\r\n--b--\r\n');
});

test('the content type is folded, quoted and reads back', () => {
  const parameters = { protocol: 'application/pkcs7-signature', micalg: 'sha-256', boundary: makeBoundary() };
  const field = makeContentType('multipart/signed', parameters);
  for (const line of field.raw.toString().trimEnd().split('\r\n')) assert.ok(line.length <= 76, line);
  const parsed = parseContentType(fieldValue(field));
  assert.deepEqual(Object.fromEntries(parsed.parameters), parameters);
  assert.deepEqual(parsed.defects, []);
  assert.equal(
    makeContentType('text/plain', { name: 'a"b\\' }).raw.toString(),
    'Content-Type: text/plain; name="a\\"b\\\\"\r\n',
  );
  assert.throws(() => makeContentType('text/plain', { name: 'a\r\nBcc: x' }), { code: 'header-malformed' });
});

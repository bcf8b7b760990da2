import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fieldValue,
  fieldsNamed,
  makeField,
  parseHeaderSection,
  readMessage,
  writeHeaderSection,
} from '../../../src/mime/header-section.ts';
import { chunked, latin1, limits, textOf } from '../../support/mime.ts';

const malformed = { code: 'header-malformed' };

test('fields keep their bytes, order and letter case', () => {
  const bytes = latin1('Received: a\r\n\tb\r\nSUBJECT:x\r\nX-Empty:\r\nX-Bytes: \xe9\xff\r\n');
  const header = parseHeaderSection(bytes, limits);
  assert.deepEqual(
    header.fields.map((field) => field.name),
    ['Received', 'SUBJECT', 'X-Empty', 'X-Bytes'],
  );
  assert.deepEqual(writeHeaderSection(header.fields), bytes);
});

const refused: readonly (readonly [string, string])[] = [
  ['no colon', 'Subject\r\n'],
  ['no name', ': x\r\n'],
  ['blank before the colon', 'Subject : x\r\n'],
  ['first line is folded', ' Subject: x\r\n'],
  ['mbox line', 'From a@b Mon\r\nSubject: x\r\n'],
  ['name outside ASCII', 'S\xfcbject: x\r\n'],
  ['bare LF', 'Subject: x\nBcc: y\r\n'],
  ['bare CR', 'Subject: x\rBcc: y\r\n'],
  ['CR CR LF', 'Subject: x\r\r\n'],
  ['NUL', 'Subject: x\0\r\n'],
  ['folded line of blanks', 'Subject: x\r\n \t\r\n y\r\n'],
  ['last line of blanks', 'Subject: x\r\n \r\n'],
  ['line over 998 octets', `Subject: ${'x'.repeat(990)}\r\n`],
  ['last line without end', 'Subject: x'],
  ['last line with CR only', 'Subject: x\r'],
  ['too many lines', 'X: y\r\n'.repeat(limits.maxHeaderLines + 1)],
  ['too many folded lines', `X: y\r\n${' y\r\n'.repeat(limits.maxHeaderLines)}`],
  ['too many bytes', `X: ${'y'.repeat(900)}\r\n`.repeat(300)],
];
for (const [name, text] of refused) {
  test(`header is refused: ${name}`, () => {
    assert.throws(() => parseHeaderSection(latin1(text), limits), malformed);
  });
}

test('a line of 998 octets passes', () => {
  assert.equal(parseHeaderSection(latin1(`X: ${'y'.repeat(995)}\r\n`), limits).fields.length, 1);
});

const values: readonly (readonly [string, string])[] = [
  ['X: a\r\n', 'a'],
  ['X:a\r\n', 'a'],
  ['X: a\r\n b\r\n\tc\r\n', 'a b\tc'],
  ['X:\r\n a\r\n', 'a'],
  ['X: a: b \r\n', 'a: b'],
  ['X: \xe9\r\n', '\xe9'],
  ['X: \xc3\xa9\r\n', 'é'],
  ['X: =?utf-8?q?=C3=A9?=\r\n', '=?utf-8?q?=C3=A9?='],
];
for (const [text, value] of values) {
  test(`value of ${JSON.stringify(text)}`, () => {
    assert.equal(parseHeaderSection(latin1(text), limits).fields.map(fieldValue).join(), value);
  });
}

test('value-trim: a no-break space is part of the value', () => {
  const [field] = parseHeaderSection(Buffer.from('X: \u00a0id\ufeff\r\n'), limits).fields;
  assert.equal(field && fieldValue(field), '\u00a0id\ufeff');
});

test('fields are found in any letter case, each occurrence', () => {
  const header = parseHeaderSection(latin1('From: a\r\nFROM: b\r\nTo: c\r\n'), limits);
  assert.deepEqual(fieldsNamed(header, 'from').map(fieldValue), ['a', 'b']);
});

test('make-field-injection: a value cannot start another field or end the section', () => {
  for (const value of [
    'a\r\nBcc: evil@x.example',
    'a\r\n\r\nbody',
    'a\r\n',
    'a\nb',
    'a\rb',
    'a\0b',
    'a\r\n \r\n b',
  ]) {
    assert.throws(() => makeField('X', value), malformed, JSON.stringify(value));
  }
  for (const name of ['', 'a b', 'a:b\r\nc', 'é']) assert.throws(() => makeField(name, 'x'), malformed);
  assert.equal(makeField('X', 'a;\r\n b').raw.toString(), 'X: a;\r\n b\r\n');
  assert.equal(makeField('X', 'é').raw.toString(), 'X: é\r\n');
});

const messages: readonly (readonly [string, number, string, boolean])[] = [
  ['A: b\r\n\r\nbody\r\n', 1, 'body\r\n', true],
  ['A: b\r\n\r\n', 1, '', true],
  ['A: b\r\n', 1, '', false],
  ['\r\nbody', 0, 'body', true],
  ['\r\n\r\nbody', 0, '\r\nbody', true],
  ['', 0, '', false],
  ['A: b\r\n\r\n\r\n\r\nx', 1, '\r\n\r\nx', true],
];
for (const [text, fields, body, hasBlankLine] of messages) {
  test(`message ${JSON.stringify(text)} in every chunking`, async () => {
    for (let size = 1; size <= text.length + 1; size += 1) {
      const read = await readMessage(chunked(latin1(text), [size]), limits);
      assert.equal(read.header.fields.length, fields);
      assert.equal(read.hasBlankLine, hasBlankLine);
      assert.equal(await textOf(read.body), body);
    }
  });
}

test('a header section without end is refused at the limit, not read on', async () => {
  let read = 0;
  const endless = async function* () {
    for (;;) {
      read += 1000;
      yield Buffer.alloc(1000, 'x');
    }
  };
  await assert.rejects(readMessage(endless(), limits), malformed);
  assert.ok(read <= limits.maxHeaderBytes + 2000, `${read} bytes read`);
});

test('the source is closed after an error, and when the body is left unread', async () => {
  let closed = 0;
  const source = async function* (text: string) {
    try {
      yield latin1(text);
      yield latin1('more');
    } finally {
      closed += 1;
    }
  };
  await assert.rejects(readMessage(source('bad\r\n\r\n'), limits), malformed);
  assert.equal(closed, 1);
  const { body } = await readMessage(source('A: b\r\n\r\n'), limits);
  await body[Symbol.asyncIterator]().return?.();
  assert.equal(closed, 2);
});

test('a header that comes byte by byte is read in linear time', async () => {
  const bytes = Buffer.from(`${`X: ${'y'.repeat(120)}\r\n`.repeat(1900)}\r\nbody`);
  const { header } = await readMessage(chunked(bytes, [1]), limits);
  assert.equal(header.fields.length, 1900);
});

test('blanks: a long value full of blanks is trimmed in linear time', () => {
  const start = performance.now();
  const line = ` y${' '.repeat(990)}\r\n`;
  const section = parseHeaderSection(latin1(`X:${line.repeat(260)}`), limits);
  for (const field of section.fields) {
    for (let count = 0; count < 200; count += 1) assert.equal(fieldValue(field).at(-1), 'y');
  }
  // Quadratic, this takes minutes.
  assert.ok(performance.now() - start < 30_000);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContentType, parseDisposition } from '../../../src/mime/content-type.ts';

const clean: readonly (readonly [string, string, Record<string, string>])[] = [
  ['text/plain', 'text/plain', {}],
  ['TEXT/Plain ; Charset=UTF-8', 'text/plain', { charset: 'UTF-8' }],
  ['text/plain;', 'text/plain', {}],
  ['text/plain; charset=us-ascii ; ', 'text/plain', { charset: 'us-ascii' }],
  ['multipart/mixed; boundary="a b"', 'multipart/mixed', { boundary: 'a b' }],
  ['multipart/mixed; boundary="=_?: ()"', 'multipart/mixed', { boundary: '=_?: ()' }],
  ['multipart/mixed; boundary=----=_Part_1', 'multipart/mixed', { boundary: '----=_Part_1' }],
  ['a/b; x="a\\"b\\\\"', 'a/b', { x: 'a"b\\' }],
  ['a/b; x="a;b=c"', 'a/b', { x: 'a;b=c' }],
  ['a/b; x=""', 'a/b', { x: '' }],
  ["a/b; name*=utf-8'en'%e2%82%ac%20x", 'a/b', { name: '€ x' }],
  ["a/b; name*=iso-8859-1''%e9", 'a/b', { name: 'é' }],
  ['a/b; name*0="abc"; name*1=def', 'a/b', { name: 'abcdef' }],
  ["a/b; name*1=def; name*0*=utf-8''%c3", 'a/b', { name: '\ufffddef' }],
  ["a/b; name*0*=utf-8''%c3; name*1*=%a9; name*2=z", 'a/b', { name: 'éz' }],
  ["a/b; name*=no-such-charset''%e9", 'a/b', { name: 'é' }],
  ["a/b; name=plain; name*=utf-8''best", 'a/b', { name: 'best' }],
  ['a/b; name=é', 'a/b', { name: 'é' }],
];
for (const [value, mediaType, parameters] of clean) {
  test(`content type ${value}`, () => {
    const parsed = parseContentType(value);
    assert.equal(parsed.mediaType, mediaType);
    assert.deepEqual(Object.fromEntries(parsed.parameters), parameters);
    assert.deepEqual(parsed.defects, []);
  });
}

const defective: readonly (readonly [string, string, string | undefined])[] = [
  ['', 'text/plain', undefined],
  ['text', 'text/plain', undefined],
  ['text/', 'text/plain', undefined],
  ['/plain', 'text/plain', undefined],
  ['text plain', 'text/plain', undefined],
  ['text/plain charset=x', 'text/plain', undefined],
  ['(c)multipart/mixed; boundary=b', 'text/plain', undefined],
  ['multipart/mixed', 'multipart/mixed', undefined],
  ['multipart/mixed; boundary=""', 'multipart/mixed', ''],
  ['multipart/mixed; boundary=a; boundary=b', 'multipart/mixed', 'a'],
  ['multipart/mixed; boundary=a; BOUNDARY=a', 'multipart/mixed', 'a'],
  ['multipart/mixed; boundary="a "', 'multipart/mixed', 'a '],
  ['multipart/mixed; boundary=(c)a', 'multipart/mixed', '(c)a'],
  ['multipart/mixed; boundary=a (c)', 'multipart/mixed', 'a (c)'],
  ['multipart/mixed; boundary=a b', 'multipart/mixed', 'a b'],
  ['multipart/mixed; boundary="a', 'multipart/mixed', '"a'],
  ['multipart/mixed; boundary="a"b', 'multipart/mixed', '"a"b'],
  ['multipart/mixed; boundary="=?us-ascii?q?a?="', 'multipart/mixed', '=?us-ascii?q?a?='],
  ["multipart/mixed; boundary*=us-ascii''a", 'multipart/mixed', 'a'],
  ['multipart/mixed; boundary*0=a; boundary*1=b', 'multipart/mixed', 'ab'],
  ['multipart/mixed; boundary="\u00e9"', 'multipart/mixed', '\u00e9'],
  [`multipart/mixed; boundary=${'a'.repeat(201)}`, 'multipart/mixed', 'a'.repeat(201)],
  ['multipart/mixed; boundary=a; ;; =x', 'multipart/mixed', 'a'],
  ['multipart/mixed; boundary=a; name*0=x; name*2=y', 'multipart/mixed', 'a'],
  ['multipart/mixed; boundary=a; name*0=x; name*0=y', 'multipart/mixed', 'a'],
];
for (const [value, mediaType, boundary] of defective) {
  test(`defective content type ${value.slice(0, 60)}`, () => {
    const parsed = parseContentType(value);
    assert.equal(parsed.mediaType, mediaType);
    assert.equal(parsed.parameters.get('boundary'), boundary);
    assert.notDeepEqual(parsed.defects, []);
  });
}

test('a missing content type is text/plain in US-ASCII and no defect', () => {
  const parsed = parseContentType(undefined);
  assert.equal(parsed.mediaType, 'text/plain');
  assert.equal(parsed.parameters.get('charset'), 'us-ascii');
  assert.deepEqual(parsed.defects, []);
});

test('parameters are bounded, and parsing them is linear', () => {
  const many = `a/b${'; p=1'.repeat(40_000)}`;
  const parsed = parseContentType(many);
  assert.ok(parsed.parameters.size <= 100);
  assert.ok(parsed.defects.length <= 200);
  parseContentType(`a/b; x="${'\\'.repeat(200_000)}`);
  parseContentType(`a/b; x=${' '.repeat(200_000)}y`);
});

test('disposition and file name', () => {
  assert.equal(parseDisposition(undefined), undefined);
  assert.equal(parseDisposition('INLINE')?.kind, 'inline');
  const parsed = parseDisposition('attachment; filename="../../etc/passwd"');
  assert.equal(parsed?.parameters.get('filename'), '../../etc/passwd');
  const extended = parseDisposition("attachment; filename*0*=utf-8''%c3%a4; filename*1=.p7m");
  assert.equal(extended?.parameters.get('filename'), 'ä.p7m');
  const broken = parseDisposition('=?x?=; filename=a');
  assert.equal(broken?.kind, 'attachment');
  assert.equal(broken?.parameters.get('filename'), 'a');
  assert.notDeepEqual(broken?.defects, []);
});

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { asGatewayError, errorTable, GatewayError, replyFor } from '../../../src/core/errors.ts';

const codes = Object.keys(errorTable) as (keyof typeof errorTable)[];

test('every code is documented', () => {
  const page = readFileSync('docs/errors.md', 'utf8');
  assert.deepEqual(
    codes.filter((code) => !page.includes(`| \`${code}\` |`)),
    [],
  );
});

test('every code has a test that names it, its text, or a reply that no other code has', () => {
  const own = 'test/unit/core/errors.test.ts';
  const tests = globSync('test/**/*.{ts,txt}')
    .filter((file) => file !== own)
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const replyOf = (code: (typeof codes)[number]) => `${errorTable[code].code} ${errorTable[code].enhanced}`;
  const isTested = (code: (typeof codes)[number]) =>
    new RegExp(`(?<![a-z-])${code}(?![a-z-])`).test(tests) ||
    tests.includes(errorTable[code].text) ||
    (codes.filter((other) => replyOf(other) === replyOf(code)).length === 1 && tests.includes(replyOf(code)));
  assert.deepEqual(
    codes.filter((code) => !isTested(code)),
    [],
  );
});

test('basic code, enhanced code and text fit together', () => {
  for (const code of codes) {
    const { code: basic, enhanced, text } = errorTable[code];
    assert.match(enhanced, new RegExp(`^${String(basic)[0]}\\.[0-7]\\.\\d{1,2}$`), code);
    assert.match(text, /^[\x20-\x7e]{1,200}$/, code);
  }
});

test('what nobody planned for is 451: the sender keeps the mail', () => {
  const error = asGatewayError(new TypeError('x is not a function'));
  assert.equal(error.code, 'unplanned');
  assert.deepEqual(replyFor(error.code), {
    code: 451,
    enhanced: '4.3.0',
    text: 'Temporary local problem, please try again',
  });
  const known = new GatewayError('queue-full', 'disk');
  assert.equal(asGatewayError(known), known);
});

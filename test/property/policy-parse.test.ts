// The policy parser over damaged and random text: never an exception, every problem with a place inside the file.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { parsePolicy } from '../../src/policy/parse.ts';
import { policyText } from '../support/policy.ts';

const whole = policyText(
  `rules:
  - name: r
    when: { subject_tag: "[secure]", recipient: [remote.example], header: { name: X, matches: "a+" } }
    sign: auto
    encrypt: required
    fallback: refuse
otherwise: { sign: auto, encrypt: when-possible, fallback: plain }`,
  `keys:
  own:
    - { for: contoso.example, smime: { certificate: c, key: k }, pgp: { key: p } }
inbound: { on_invalid_signature: refuse }
`,
);

function check(text: string): void {
  const result = parsePolicy(text, 'p.yaml');
  if (!('problems' in result)) return;
  const lines = text.split(/\r\n|\r|\n/).length + 1;
  for (const { file, line, column, message } of result.problems) {
    assert.equal(file, 'p.yaml');
    assert.ok(line >= 1 && line <= lines && column >= 1, `${line}:${column}`);
    assert.ok(message.length > 0 && message.length < 1_000);
  }
}

test('a valid policy with any piece cut out or replaced', () => {
  fc.assert(
    fc.property(
      fc.nat(whole.length),
      fc.nat(40),
      fc.constantFrom(
        '',
        '[',
        '{',
        ']',
        '"',
        '\n',
        '- ',
        ': ',
        'null',
        '~',
        '5',
        '*a',
        '&a ',
        '!x ',
        '\t',
        '\0',
        '__proto__: ',
        '# ',
      ),
      (at, length, piece) => check(whole.slice(0, at) + piece + whole.slice(at + length)),
    ),
    { numRuns: 1_000 },
  );
});

test('a valid policy with any value replaced by any JSON value', () => {
  const starts = [...whole.matchAll(/: (?=\S)/g)].map((match) => match.index + 2);
  fc.assert(
    fc.property(fc.constantFrom(...starts), fc.jsonValue(), (at, value) => {
      const end = /[,\n}]/.exec(whole.slice(at))?.index ?? 0;
      check(whole.slice(0, at) + JSON.stringify(value) + whole.slice(at + end));
    }),
    { numRuns: 1_000 },
  );
});

test('any text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => check(text)),
    { numRuns: 1_000 },
  );
});

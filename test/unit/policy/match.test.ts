import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FactField } from '../../../src/core/facts.ts';
import { matchConditions } from '../../../src/policy/match.ts';
import { isMatch, parsePattern } from '../../../src/policy/pattern.ts';
import { address, factsOf, type FactsInput, policyOf, policyText } from '../../support/policy.ts';

const patterns: readonly [pattern: string, address: string, matches: boolean][] = [
  ['User@Remote.Example', 'user@remote.example', true],
  ['user@remote.example', 'user+tag@remote.example', false],
  ['user@remote.example', 'xuser@remote.example', false],
  ['remote.example', 'a@remote.example', true],
  ['remote.example', 'a@x.remote.example', false],
  ['remote.example', 'a@xremote.example', false],
  ['*@remote.example', 'a@REMOTE.example', true],
  ['*@remote.example', 'a@x.remote.example', false],
  ['*.remote.example', 'a@x.y.remote.example', true],
  ['*.remote.example', 'a@remote.example', false],
  ['*.remote.example', 'a@xremote.example', false],
  ['bücher.example', 'a@xn--bcher-kva.example', true],
  ['*.xn--bcher-kva.example', 'a@x.bücher.example', true],
  ['büro@remote.example', 'BÜRO@remote.example', true],
];

for (const [text, target, expected] of patterns) {
  test(`pattern ${text} and ${target}: ${expected}`, () => {
    const pattern = parsePattern(text);
    assert.ok(pattern);
    assert.equal(isMatch(pattern, address(target)), expected);
  });
}

for (const text of [
  '*',
  '@',
  '*@*',
  '*@*.example',
  'a*@remote.example',
  '*.',
  '*.*.example',
  '@remote.example',
  '127.0.0.1',
  'remote',
  'a b@remote.example',
  ' remote.example',
  '**@remote.example',
]) {
  test(`no pattern: ${JSON.stringify(text)}`, () => {
    assert.equal(parsePattern(text), undefined);
  });
}

const field = (name: string, ...values: string[]): { fields: FactField[] } => ({
  fields: values.map((value) => ({ name, value })),
});

const conditions: readonly [when: string, facts: Partial<FactsInput>, matches: boolean][] = [
  ['subject_tag: "[secure]"', { subject: 'Re: [SECURE] x' }, true],
  ['subject_tag: "[secure]"', { subject: 'secure' }, false],
  ['subject_tag: "[secure]"', {}, false],
  ['subject_tag: "[secure]"', field('x-subject', '[secure]'), false],
  ['subject_tag: "[secure]"', field('subject', 'x', '[secure]'), true],
  ['subject_tag: "[geheim-ü]"', { subject: '[GEHEIM-Ü]' }, true],
  ['header: { name: X-Label, equals: Secret }', field('x-label', 'SECRET'), true],
  ['header: { name: X-Label, equals: Secret }', field('x-label', 'secrets'), false],
  ['header: { name: X-Label, equals: Secret }', field('x-label', 'public', 'secret'), true],
  ['header: { name: x-LABEL, contains: cre }', field('x-label', 'Secret'), true],
  ['header: { name: X-Label, matches: "^s.*t$" }', field('x-label', 'secret'), true],
  ['header: { name: X-Label, matches: "^s.*t$" }', field('x-label', 'SECRET'), false],
  ['header: { name: X-Label, matches: "(?i)CRE" }', field('x-label', 'secret'), true],
  ['header: { name: X-Label, present: true }', field('x-label', ''), true],
  ['header: { name: X-Label, present: true }', {}, false],
  ['header: { name: X-Label, present: false }', {}, true],
  ['header: { name: X-Label, present: false }', field('x-label', ''), false],
  ['calendar: true', { isCalendar: true }, true],
  ['calendar: false', { isCalendar: true }, false],
  ['eight_bit: true', { is8bit: true }, true],
  ['eight_bit: true', {}, false],
  ['eight_bit: false', {}, true],
  ['eight_bit: false', { is8bit: true }, false],
  ['tnef: true', { hasTnef: true }, true],
  ['tnef: true', {}, false],
  ['tnef: false', { hasTnef: true }, false],
  ['automatic: false', {}, true],
  ['automatic: true', {}, false],
  ['shape: [signed, encrypted]', { shape: { kind: 'encrypted', format: 'pgp' } }, true],
  ['shape: [signed, encrypted]', {}, false],
  ['sender: [contoso.example]', {}, true],
  [
    'sender: [user@contoso.example]',
    { from: 'other@contoso.example', sender: 'user@contoso.example' },
    false,
  ],
  ['sender: [user@contoso.example]', { from: '', sender: 'user@contoso.example' }, true],
  ['sender: [contoso.example]', { from: '', sender: null }, false],
  ['recipient: [other.example, remote.example]', {}, true],
  ['recipient: [other.example]', {}, false],
  ['recipient: [remote.example], calendar: true', {}, false],
  ['recipient: [remote.example], calendar: true', { isCalendar: true }, true],
];

for (const [when, facts, expected] of conditions) {
  test(`when { ${when} } and ${JSON.stringify(facts)}: ${expected}`, () => {
    const policy = policyOf(
      policyText(
        `rules: [{ name: r, when: { ${when} }, refuse: x }]\notherwise: { sign: none, encrypt: never }`,
      ),
    );
    const [rule] = policy.outbound.rules;
    assert.ok(rule);
    const all = factsOf({ to: ['bob@remote.example'], ...facts });
    const match = matchConditions(rule.when, all, address('bob@remote.example'));
    assert.equal(match.isMatched, expected, match.because);
  });
}

test('header-redos: an expression that explodes elsewhere is linear here', () => {
  const policy = policyOf(
    policyText(
      'rules: [{ name: r, when: { header: { name: X, matches: "^(a+)+$" } }, refuse: x }]\notherwise: { sign: none, encrypt: never }',
    ),
  );
  const facts = factsOf({ to: ['bob@remote.example'], ...field('x', `${'a'.repeat(20_000)}!`) });
  const [rule] = policy.outbound.rules;
  assert.ok(rule);
  const before = process.cpuUsage();
  assert.equal(matchConditions(rule.when, facts, address('bob@remote.example')).isMatched, false);
  assert.ok(process.cpuUsage(before).user < 5_000_000);
});

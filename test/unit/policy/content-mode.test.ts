// How S/MIME content is encrypted: for one recipient, for those who share a copy, and what is said of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Plan } from '../../../src/core/plan.ts';
import { decideOutbound } from '../../../src/policy/decide.ts';
import { explainPlan } from '../../../src/policy/explain.ts';
import {
  factsOf,
  type FactsInput,
  policyOf,
  policyText,
  problemsOf,
  provenOrigin,
} from '../../support/policy.ts';

const bob = 'bob@remote.example';
const carol = 'carol@remote.example';
const dave = 'dave@other.example';

function planFor(facts: FactsInput, smime: string): Plan {
  const rule = `otherwise: { sign: none, encrypt: required, smime: { ${smime} } }`;
  return decideOutbound(policyOf(policyText(rule)), factsOf(facts), provenOrigin());
}

/** `bob+carol gcm (certificate, learned)` for each copy. */
function contents(facts: FactsInput, smime: string): readonly string[] {
  return planFor(facts, smime).copies.map(({ recipients, steps }) => {
    const names = recipients.map(({ address }) => address.key.split('@')[0]).join('+');
    const content = steps.find((step) => step.kind === 'encrypt')?.content;
    return content ? `${names} ${content.mode} (${content.by.join(', ')})` : names;
  });
}

const auto = 'content: auto';

test('one recipient: the rule, then learned, then the certificate, then what everybody reads', async (t) => {
  for (const [smime, key, expected] of [
    [auto, 'smime', 'bob cbc (default)'],
    [auto, 'smime@gcm', 'bob gcm (certificate)'],
    [auto, 'smime@cbc', 'bob cbc (certificate)'],
    [auto, 'smime+gcm', 'bob gcm (learned)'],
    [auto, 'smime+cbc', 'bob cbc (learned)'],
    ['content: cbc', 'smime+gcm', 'bob cbc (rule)'],
    ['content: gcm', 'smime', 'bob gcm (rule)'],
    ['content: gcm', 'smime+cbc', 'bob gcm (rule)'],
    ['', 'smime+gcm', 'bob gcm (learned)'],
  ] as const)
    await t.test(`${smime}, ${key}`, () =>
      assert.deepEqual(contents({ to: [bob], keys: { [bob]: key } }, smime), [expected]),
    );
});

test('keys are derived where all recipients of a copy announce it, and no rule names a mode', async (t) => {
  for (const [name, smime, bobs, carols, expected] of [
    ['all do', auto, 'smime+hkdf', 'smime@hkdf', true],
    ['one does not', auto, 'smime+hkdf', 'smime+gcm', undefined],
    ['one says nothing', auto, 'smime+hkdf', 'smime', undefined],
    ['a rule', 'content: gcm', 'smime+hkdf', 'smime+hkdf', undefined],
  ] as const)
    await t.test(name, () => {
      const facts = { to: [bob, carol], keys: { [bob]: bobs, [carol]: carols } };
      const plan = planFor(facts, smime);
      const step = plan.copies[0]?.steps.find(({ kind }) => kind === 'encrypt');
      assert(step?.kind === 'encrypt');
      assert.equal(step.content?.isKeyDerived, expected);
      assert.equal(explainPlan(plan, factsOf(facts)).includes('GCM with a derived key'), expected === true);
    });
});

test('OpenPGP has no content mode', () => {
  assert.deepEqual(contents({ to: [bob], keys: { [bob]: 'pgp' } }, auto), ['bob']);
});

test('F61 several recipients: the best that all of them read, or a copy for each mode', async (t) => {
  const three = [bob, carol, dave];
  for (const [name, keys, smime, ...expected] of [
    ['all read GCM', ['+gcm', '@gcm', '+gcm'], auto, 'bob+carol+dave gcm (certificate, learned)'],
    ['one reads CBC', ['+gcm', '+cbc', '@gcm'], auto, 'bob+carol+dave cbc (learned)'],
    ['two reasons for CBC', ['', '+gcm', '+cbc'], auto, 'bob+carol+dave cbc (default, learned)'],
    [
      'separate',
      ['+gcm', '', '@gcm'],
      'group: separate',
      'bob+dave gcm (certificate, learned)',
      'carol cbc (default)',
    ],
    ['separate, all alike', ['+gcm', '+gcm', '+gcm'], 'group: separate', 'bob+carol+dave gcm (learned)'],
    ['the rule', ['', '+gcm', '+cbc'], 'content: gcm', 'bob+carol+dave gcm (rule)'],
  ] as const)
    await t.test(name, () => {
      const known = Object.fromEntries(three.map((address, index) => [address, `smime${keys[index] ?? ''}`]));
      assert.deepEqual(contents({ to: three, keys: known }, smime), expected);
    });
});

test('a hidden recipient decides for nobody else, and has a copy alone as ever', async (t) => {
  const keys = { [bob]: 'smime+gcm', [carol]: 'smime', [dave]: 'smime+gcm' };
  for (const [smime, ...expected] of [
    [auto, 'bob gcm (learned)', 'carol cbc (default)', 'dave gcm (learned)'],
    ['group: separate', 'bob gcm (learned)', 'carol cbc (default)', 'dave gcm (learned)'],
  ] as const)
    await t.test(smime, () =>
      assert.deepEqual(contents({ to: [bob], hidden: [carol, dave], keys }, smime), expected),
    );
});

test('the mode and its reason are explained, for the copy and for each recipient', () => {
  const facts = { to: [bob, carol], keys: { [bob]: 'smime+gcm', [carol]: 'smime@cbc' } };
  const text = explainPlan(planFor(facts, auto), factsOf(facts));
  assert.match(text, /encrypts with smime \(address\), for it AES-256-GCM \(learned\)/);
  assert.match(text, /encrypt to .* as AES-256-CBC \(by what the certificate announces\)/);
  assert.match(text, /for bob@remote\.example: .*, announces AES-GCM in mail signed 2026-05-01\n/);
  assert.match(text, /for carol@remote\.example: .*, its certificate announces no AES-GCM\n/);
  const plain = explainPlan(planFor({ to: [bob], keys: { [bob]: 'smime' } }, auto), factsOf({ to: [bob] }));
  assert.match(plain, / as AES-256-CBC \(nothing is announced\)/);
});

test('what a rule may say of it', () => {
  const problems = (smime: string, encrypt = 'required') =>
    problemsOf(policyText(`otherwise: { sign: none, encrypt: ${encrypt}, smime: { ${smime} } }`)).join();
  assert.match(problems('content: des'), /allowed: auto, cbc, gcm/);
  assert.match(problems('group: each'), /allowed: common, separate/);
  assert.match(problems('content: gcm, group: separate'), /separate goes with content: auto/);
  assert.match(problems('content: gcm', 'never'), /no meaning beside encrypt: never/);
  assert.equal(problems('content: auto, group: separate'), '');
});

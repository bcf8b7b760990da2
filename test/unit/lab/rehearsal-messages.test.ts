// The messages that a rehearsal makes for the rules of a policy, and how it judges what became of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect } from '../../../src/core/bytes.ts';
import type { TenantMessage } from '../../../src/lab/exchange-record.ts';
import { planMessages, type RehearsalMessage } from '../../../src/lab/rehearsal-messages.ts';
import { rowFor } from '../../../src/lab/rehearsal-rows.ts';
import type { Observed } from '../../../src/lab/rehearsal-watch.ts';
import type { Policy } from '../../../src/policy/schema.ts';
import { policyOf, policyText } from '../../support/policy.ts';

function policyWith(rules: string, keys = ''): Policy {
  return policyOf(policyText(`${rules}\notherwise: { sign: none, encrypt: never }`, keys));
}

const rule = (when: string, name = 'r') => `rules:
  - { name: ${name}, when: ${when}, sign: none, encrypt: required }`;

async function madeFor(when: string): Promise<{ mail: RehearsalMessage; text: string } | string> {
  const { messages, left } = planMessages(policyWith(rule(when)));
  const mail = messages.find((each) => each.rule === 'r');
  if (!mail) return left.map(({ reason }) => reason).join();
  return { mail, text: (await collect(mail.message.open(), mail.message.size)).toString() };
}

const MADE: readonly (readonly [when: string, RegExp])[] = [
  ["{ subject_tag: '[secure]' }", /^Subject: \[secure\] Rehearsal\r$/m],
  ['{ header: { name: Subject, contains: Angebot } }', /^Subject: Angebot\r$/m],
  [
    '{ header: { name: Sensitivity, equals: Company-Confidential } }',
    /^sensitivity: Company-Confidential\r$/m,
  ],
  ['{ header: { name: X-Wish, present: true } }', /^x-wish: rehearsal\r$/m],
  ["{ header: { name: X-Wish, matches: '^(?:a|b)c\\.[0-9]+$' } }", /^x-wish: ac\.0\r$/m],
  ["{ header: { name: X-Wish, matches: 'one|two' } }", /^x-wish: one\r$/m],
  ['{ automatic: true }', /^Auto-Submitted: auto-generated\r$/m],
  ['{ calendar: true }', /method=REQUEST/],
  ['{ shape: [signed] }', /^Content-Type: multipart\/signed/m],
  ['{ shape: [encrypted] }', /^Content-Type: multipart\/encrypted/m],
  ["{ recipient: ['*.remote.example'] }", /^To: user@sub\.remote\.example\r$/m],
  ['{ sender: [x.example, chair@contoso.example] }', /^From: chair@contoso\.example\r$/m],
];

test('a message for each condition', async () => {
  for (const [when, expected] of MADE) {
    const made = await madeFor(when);
    assert.ok(typeof made !== 'string', `${when}: ${JSON.stringify(made)}`);
    assert.match(made.text, expected, when);
  }
});

const LEFT: readonly (readonly [when: string, RegExp])[] = [
  ['{ sender: [x.example] }', /senders are not in/],
  ['{ recipient: [contoso.example] }', /recipients are in/],
  ['{ header: { name: From, contains: x } }', /which the lab writes/],
  ['{ header: { name: Subject, present: false } }', /every message has subject/],
  ["{ header: { name: X-Wish, matches: '\\p{Greek}{3}' } }", /no value was found/],
];

test('no message where none can be made, and the reason', async () => {
  for (const [when, expected] of LEFT) {
    const reason = await madeFor(when);
    assert.ok(typeof reason === 'string', when);
    assert.match(reason, expected, when);
  }
});

test('the fixed list: partners, an unknown address, the Internet, service mail, a forgery', () => {
  const keys = `keys:
  own: [{ for: ann@contoso.example, pgp: { key: ann.asc } }]
  partners: [{ for: bob@remote.example, pgp: { key: bob.asc } }, { for: isp.example, pgp: { key: isp.asc } }]`;
  const { messages } = planMessages(policyWith('', keys));
  assert.deepEqual(
    messages.map(({ by, from, to, template }) => [by, from, to, template]),
    [
      ['tenant', 'ann@contoso.example', 'bob@remote.example', 'user'],
      ['tenant', 'ann@contoso.example', 'user@isp.example', 'user'],
      ['tenant', 'ann@contoso.example', 'somebody@unknown.example', 'user'],
      ['Internet', 'somebody@unknown.example', 'ann@contoso.example', 'user'],
      ['tenant', 'postmaster@contoso.example', 'somebody@unknown.example', 'ndr'],
      ['tenant', 'ann@contoso.example', 'somebody@unknown.example', 'oof'],
      ['hostile tenant', 'x@evil.example', 'bob@remote.example', 'user'],
      ['hostile tenant', 'x@evil.example', 'bob@remote.example', 'user'],
    ],
  );
  assert.equal(new Set(messages.map(({ messageId }) => messageId)).size, messages.length);
});

const policy = policyWith(rule("{ subject_tag: '[secure]' }", 'secure'));
const { messages } = planMessages(policy);
const mailFor = (title: string): RehearsalMessage =>
  messages.find((mail) => mail.title.includes(title)) ?? assert.fail(title);
const answer = (code: number, text: string) =>
  ({ recipient: 'x', stage: 'data', code, text, transaction: 1 }) as const;
const nothing = { rules: [], outcomes: [], leg: undefined, arrival: undefined, attribution: undefined };

function arrivedAs(type: string, more: Partial<TenantMessage> = {}): Observed['arrival'] {
  const received = Buffer.from(`Content-Type: ${type}\r\n\r\ntext`);
  const message = {
    direction: 'incoming',
    tenant: 'contoso',
    isInternal: false,
    received,
    tls: undefined,
    ...more,
  };
  return { kind: 'tenant', message: message as TenantMessage };
}

const taken: Observed = { ...nothing, answer: answer(250, '2.0.0 Queued'), leg: 'internet' };
const ENVELOPED = 'application/pkcs7-mime;\r\n smime-type=enveloped-data; name=smime.p7m';

const JUDGED: readonly (readonly [mail: string, Observed, problem: RegExp | undefined])[] = [
  ['rule secure', { ...taken, rules: ['secure'], arrival: arrivedAs(ENVELOPED) }, undefined],
  ['rule secure', { ...taken, rules: ['secure'], arrival: arrivedAs('text/plain') }, /left unprotected/],
  [
    'rule secure',
    { ...taken, rules: ['secure'], arrival: arrivedAs('multipart/signed') },
    /left unprotected/,
  ],
  ['rule secure', { ...nothing, rules: ['secure'], answer: answer(550, '5.7.1 no key') }, undefined],
  ['unknown address', { ...taken, rules: ['otherwise'], arrival: arrivedAs('text/plain') }, undefined],
  ['unknown address', { ...nothing, answer: answer(550, '5.7.1 Relaying denied') }, /before any rule/],
  ['unknown address', { ...nothing, answer: answer(451, '4.3.0 Later'), rules: ['secure'] }, /not taken now/],
  ['unknown address', { ...nothing, answer: undefined, isDirect: true }, /no rule of the tenant/],
  ['unknown address', { ...taken, rules: ['otherwise'] }, /never arrived/],
  [
    'unknown address',
    { ...taken, arrival: arrivedAs('text/plain', { direction: 'originating' }) },
    /mail of the sender’s tenant/,
  ],
  [
    'unknown address',
    { ...taken, arrival: arrivedAs('text/plain', { tls: { presentedNames: ['a.gw.example'] } as never }) },
    /showed a certificate/,
  ],
  [
    'from the Internet',
    { ...taken, attribution: { reply: '550 5.7.51 No' } as never },
    /Exchange Online refused it/,
  ],
  ['from the Internet', { ...taken, arrival: arrivedAs('text/plain', { isInternal: true }) }, /as internal/],
  ['hostile', { ...nothing, answer: answer(550, '5.7.1 Relaying denied') }, undefined],
  ['hostile', { ...taken, arrival: arrivedAs('text/plain') }, /stranger’s mail/],
  ['hostile', { ...nothing, answer: answer(451, '4.3.0 Later') }, /stranger’s mail/],
];

test('what is wrong with a row', () => {
  for (const [title, observed, problem] of JUDGED) {
    const { problems, left } = rowFor(policy, mailFor(title), observed);
    const text = problems.join('; ');
    if (problem) assert.match(text, problem, `${title}: ${left}`);
    else assert.equal(text, '', `${title}: ${left}`);
  }
});

test('a message that an earlier rule took says so', () => {
  const row = rowFor(policy, mailFor('rule secure'), {
    ...taken,
    rules: ['other'],
    arrival: arrivedAs('text/plain'),
  });
  assert.deepEqual(row.notes, ['an earlier rule took it: other']);
});

test('forged stamps that would be taken are worth a word, and no fault', () => {
  const mail = mailFor('forge all stamps');
  const accepted = rowFor(policy, mail, { ...taken, rules: ['otherwise'], arrival: arrivedAs('text/plain') });
  assert.deepEqual(accepted.problems, []);
  assert.match(accepted.notes.join(), /proof\.secret: require refuses it/);
  const refused = rowFor(policy, mail, { ...nothing, answer: answer(550, '5.7.1 No') });
  assert.deepEqual([refused.problems, refused.notes], [[], []]);
});

// What happens to whom: rules and facts in, copies and refusals out. Names of cases are those of the threat model.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideInbound, decideOutbound } from '../../../src/policy/decide.ts';
import { explainPlan } from '../../../src/policy/explain.ts';
import {
  factsOf,
  type FactsInput,
  keyId,
  policyOf,
  policyText,
  provenOrigin,
  summary,
  TENANT_B,
} from '../../support/policy.ts';

const bob = 'bob@remote.example';
const carol = 'carol@other.example';
const dave = 'dave@remote.example';
const tag = 'confidential [Secure]';

const policy = policyOf(
  policyText(`rules:
  - name: stop
    when: { recipient: ["*.blocked.example", blocked.example] }
    refuse: "No mail to this partner."
  - name: bob first
    when: { recipient: [bob@remote.example], header: { name: X-Exempt, equals: "YES" } }
    sign: none
    encrypt: never
  - name: demand pgp
    when: { sender: [press@contoso.example] }
    sign: pgp
    encrypt: never
  - name: no double
    when: { shape: [encrypted], sender: [strict@contoso.example] }
    sign: none
    encrypt: required
    already_encrypted: refuse
  - name: invitations
    when: { subject_tag: "[secure]", calendar: true, sender: [cal@contoso.example] }
    sign: auto
    encrypt: required
    calendar: exempt
  - name: confidential
    when: { subject_tag: "[secure]" }
    sign: auto
    encrypt: required
    formats: [pgp, smime]
    fallback: refuse
otherwise: { sign: auto, encrypt: when-possible, fallback: plain }`),
);

const outbound = (input: FactsInput) => decideOutbound(policy, factsOf(input), provenOrigin());

const signedByClient = { kind: 'signed', format: 'smime', form: 'detached' } as const;
const encryptedByClient = { kind: 'encrypted', format: 'pgp' } as const;

const cases: readonly [name: string, facts: FactsInput, ...expected: string[]][] = [
  ['no keys at all', { to: [bob] }, 'bob otherwise: strip'],
  [
    'F1, F11 key for one only',
    { to: [bob, carol], keys: { [bob]: 'smime' } },
    'bob otherwise: strip, encrypt smimex1',
    'carol otherwise: strip',
  ],
  [
    'F2 different formats',
    { to: [bob, carol], keys: { [bob]: 'smime', [carol]: 'pgp' } },
    'bob otherwise: strip, encrypt smimex1',
    'carol otherwise: strip, encrypt pgpx1',
  ],
  [
    'F112 both formats: the order of the rule',
    { to: [bob], subject: tag, keys: { [bob]: 'smime pgp' } },
    'bob confidential: strip, encrypt pgpx1',
  ],
  [
    'identical bytes share a copy',
    { to: [bob, dave, carol], keys: { [bob]: 'smime', [dave]: 'smime' } },
    'bob+dave otherwise: strip, encrypt smimex2',
    'carol otherwise: strip',
  ],
  [
    'bcc: a hidden recipient has a ciphertext of its own',
    { to: [bob, carol], hidden: [dave], keys: { [bob]: 'pgp', [carol]: 'pgp', [dave]: 'pgp' } },
    'bob+carol otherwise: strip, encrypt pgpx2',
    'dave otherwise: strip, encrypt pgpx1',
  ],
  [
    'bcc: two hidden recipients are hidden from each other',
    { to: [], hidden: [bob, dave], keys: { [bob]: 'smime', [dave]: 'smime' } },
    'bob otherwise: strip, encrypt smimex1',
    'dave otherwise: strip, encrypt smimex1',
  ],
  [
    'hidden recipients share what is not encrypted',
    { to: [bob], hidden: [dave], signing: 'smime' },
    'bob+dave otherwise: strip, sign smime',
  ],
  [
    'F17 two rules, two copies',
    {
      to: [bob, carol],
      subject: tag,
      keys: { [carol]: 'pgp' },
      fields: [
        { name: 'subject', value: tag },
        { name: 'x-exempt', value: 'yes' },
      ],
    },
    'bob bob first: strip',
    'carol confidential: strip, encrypt pgpx1',
  ],
  ['F8, F9 required without key', { to: [bob], subject: tag }, 'bob confidential: encryption-required'],
  [
    'F12 one bad key stops one recipient only',
    { to: [bob, carol], subject: tag, keys: { [bob]: 'smime?', [carol]: 'smime' } },
    'carol confidential: strip, encrypt smimex1',
    'bob confidential: encryption-required',
  ],
  [
    'unreadable: never plain, though the rule would allow it',
    { to: [bob], keys: { [bob]: 'smime!' } },
    'bob otherwise: key-unreadable',
  ],
  [
    'unreadable: not passed over for the other format',
    { to: [bob], keys: { [bob]: 'smime! pgp' } },
    'bob otherwise: key-unreadable',
  ],
  [
    'unreadable: no matter, where the preferred format is usable',
    { to: [bob], keys: { [bob]: 'smime pgp!' } },
    'bob otherwise: strip, encrypt smimex1',
  ],
  [
    'unreadable: a look-up that nobody made',
    { to: [bob], encryptionKeys: new Map() },
    'bob otherwise: key-unreadable',
  ],
  ['unreadable: key of the sender', { to: [bob], signing: 'smime!' }, 'bob otherwise: key-unreadable'],
  [
    'F10 refused by rule',
    { to: [bob, 'x@a.blocked.example', 'y@blocked.example'] },
    'bob otherwise: strip',
    'x stop: refused-by-rule',
    'y stop: refused-by-rule',
  ],
  ['domain pattern is no suffix', { to: ['x@notblocked.example'] }, 'x otherwise: strip'],
  [
    'S/MIME: sign, then encrypt',
    { to: [bob], keys: { [bob]: 'smime' }, signing: 'smime' },
    'bob otherwise: strip, sign smime, encrypt smimex1',
  ],
  [
    'OpenPGP: signed and encrypted in one',
    { to: [bob], keys: { [bob]: 'pgp' }, signing: 'pgp' },
    'bob otherwise: strip, sign+encrypt pgpx1',
  ],
  [
    'auto follows the encryption, never mixes',
    { to: [bob, carol], keys: { [bob]: 'pgp' }, signing: 'smime' },
    'bob otherwise: strip, encrypt pgpx1',
    'carol otherwise: strip, sign smime',
  ],
  [
    'auto without encryption: pgp where there is no smime',
    { to: [bob], signing: 'pgp' },
    'bob otherwise: strip, sign pgp',
  ],
  [
    'signature demanded',
    { to: [bob], from: 'press@contoso.example', signing: 'smime pgp' },
    'bob demand pgp: strip, sign pgp',
  ],
  [
    'F22 signature demanded, no key',
    { to: [bob], from: 'press@contoso.example', signing: 'smime' },
    'bob demand pgp: signing-key-missing',
  ],
  [
    'no-from: nobody to sign for',
    { to: [bob], from: '', sender: 'press@contoso.example', signing: 'pgp' },
    'bob demand pgp: signing-key-missing',
  ],
  [
    'no-from: auto leaves it unsigned',
    { to: [bob], from: '', sender: 'user@contoso.example', signing: 'pgp' },
    'bob otherwise: strip',
  ],
  [
    'sender-fallback: MAIL FROM does not stand in for a clear From',
    { to: [bob], from: 'user@contoso.example', sender: 'press@contoso.example', signing: '' },
    'bob otherwise: strip',
  ],
  [
    'signed by the client: not signed again',
    { to: [bob], shape: signedByClient, signing: 'smime', keys: { [bob]: 'smime' } },
    'bob otherwise: strip, encrypt smimex1',
  ],
  [
    'signed by the client: a demand is fulfilled',
    { to: [bob], from: 'press@contoso.example', shape: signedByClient },
    'bob demand pgp: strip',
  ],
  [
    'F5, F6 encrypted by the client: passed once, not wrapped',
    { to: [bob], subject: tag, shape: encryptedByClient, keys: { [bob]: 'smime pgp' }, signing: 'pgp' },
    'bob confidential: strip',
  ],
  [
    'F5 encrypted by the client: refused',
    { to: [bob], from: 'strict@contoso.example', shape: encryptedByClient },
    'bob no double: refused-by-rule',
  ],
  [
    'F18 when-possible leaves invitations alone',
    { to: [bob], isCalendar: true, keys: { [bob]: 'smime' }, signing: 'smime' },
    'bob otherwise: strip',
  ],
  [
    'F18 required stays required for invitations',
    { to: [bob], subject: tag, isCalendar: true, keys: { [bob]: 'smime' } },
    'bob confidential: strip, encrypt smimex1',
  ],
  [
    'F18 required stays required for invitations, no key',
    { to: [bob], subject: tag, isCalendar: true },
    'bob confidential: encryption-required',
  ],
  [
    'F18 exempt in words',
    {
      to: [bob],
      from: 'cal@contoso.example',
      subject: tag,
      isCalendar: true,
      keys: { [bob]: 'smime' },
      signing: 'smime',
    },
    'bob invitations: strip',
  ],
  [
    'F18 a demanded signature signs invitations too',
    { to: [bob], from: 'press@contoso.example', isCalendar: true, signing: 'pgp' },
    'bob demand pgp: strip, sign pgp',
  ],
  [
    'F16 the first rule wins',
    {
      to: [bob, dave],
      fields: [
        { name: 'subject', value: tag },
        { name: 'x-exempt', value: 'Yes' },
      ],
    },
    'bob bob first: strip',
    'dave confidential: encryption-required',
  ],
];

for (const [name, input, ...expected] of cases) {
  test(`outbound: ${name}`, () => {
    assert.deepEqual(summary(outbound(input)), expected);
  });
}

for (const messageClass of ['system', 'forwarded', 'hybrid'] as const) {
  test(`outbound: class ${messageClass} is relayed as it is`, () => {
    const facts = factsOf({ to: [bob], subject: tag, keys: { [bob]: 'smime' }, signing: 'smime' });
    const plan = decideOutbound(policy, facts, provenOrigin(messageClass));
    assert.deepEqual(summary(plan), [`bob class:${messageClass}: strip`]);
    assert.equal(plan.copies[0]?.mustEncrypt, false);
  });
}

test('outbound: the step names the keys, and every encrypted copy must encrypt', () => {
  const plan = outbound({ to: [bob, dave], keys: { [bob]: 'pgp', [dave]: 'pgp' }, signing: 'pgp' });
  assert.deepEqual(plan.copies[0]?.steps[1], {
    kind: 'encrypt',
    format: 'pgp',
    keys: [keyId('pgp', bob), keyId('pgp', dave)],
    sign: keyId('pgp', 'user@contoso.example'),
  });
  assert.equal(plan.copies[0]?.mustEncrypt, true);
  assert.equal(outbound({ to: [bob] }).copies[0]?.mustEncrypt, false);
});

test('outbound: T40 recipients of another hosted tenant leave over its leg, all others by deliver', () => {
  const legs = { tenantOf: (domain: string) => (domain === 'remote.example' ? TENANT_B : undefined) };
  const plan = decideOutbound(policy, factsOf({ to: [bob, carol] }), provenOrigin(), legs);
  assert.deepEqual(
    plan.copies.map((copy) => copy.leg),
    [{ kind: 'tenant', tenant: TENANT_B }, { kind: 'internet' }],
  );
});

test('outbound: explanations name rule and recipient and say what to do', () => {
  const [missing] = outbound({ to: [bob], subject: tag }).refusals;
  assert.match(
    missing?.explanation ?? '',
    /^Rule "confidential" requires encryption for bob@remote\.example, but no /,
  );
  assert.match(missing?.explanation ?? '', /Ask the recipient/);
  const [expired] = outbound({ to: [bob], subject: tag, keys: { [bob]: 'smime?' } }).refusals;
  assert.match(expired?.explanation ?? '', /cannot be used/);
  const [stopped] = outbound({ to: ['x@blocked.example'] }).refusals;
  assert.equal(stopped?.explanation, 'No mail to this partner.');
});

test('F14 outbound: the trace says for each rule why it did not match, and what the match led to', () => {
  const { trace } = outbound({ to: [bob], subject: tag, keys: { [bob]: 'smime' } });
  assert.deepEqual(
    trace.map(({ rule, matched }) => `${rule} ${matched}`),
    [
      'stop false',
      'bob first false',
      'demand pgp false',
      'no double false',
      'invitations false',
      'confidential true',
    ],
  );
  assert.match(trace[1]?.because ?? '', /does not hold: header x-exempt equals "YES"/);
  assert.equal(
    trace.at(-1)?.because,
    'subject has the tag "[secure]"; encrypts with smime (address), for it AES-256-CBC (default); no usable smime key of the sender: not signed',
  );
});

test('F14 outbound: the explanation in words shows rules, steps and refusals, but no subject', () => {
  const facts = factsOf({ to: [bob, carol], subject: `secret plan ${tag}`, keys: { [bob]: 'smime' } });
  const text = explainPlan(decideOutbound(policy, facts, provenOrigin()), facts);
  assert.match(text, /^Message from user@contoso\.example, 1000 bytes, plain, 2 recipient\(s\)\n/);
  assert.match(text, / {2}-> confidential: subject has the tag/);
  assert.match(
    text,
    /Copy 1 over internet, by confidential, must be encrypted\n {2}to bob@remote\.example\n {2}1\. strip header fields \(outbound\)\n {2}2\. encrypt to smime:bob@remote\.example as AES-256-CBC \(nothing is announced\)\n/,
  );
  assert.match(text, /Refused carol@other\.example, by confidential: 550 5\.7\.1 \(encryption-required\)\n/);
  assert.doesNotMatch(text, /secret plan/);
});

const anna = 'anna@contoso.example';
const otto = 'otto@contoso.example';
const enveloped = { kind: 'encrypted', format: 'smime', cms: 'enveloped' } as const;
const remote = { from: bob };
const full = 'inbound: strip, decrypt, verify, compare-header, mark';
const asItCame = ['anna+otto inbound: strip, mark'];

const inboundCases: readonly [
  name: string,
  facts: Omit<FactsInput, 'to'>,
  expected: readonly string[],
  section?: string,
][] = [
  ['plain is delivered as it came', remote, ['anna+otto inbound: strip']],
  [
    'signed is verified once for all',
    { ...remote, shape: signedByClient },
    ['anna+otto inbound: strip, verify, compare-header, mark'],
  ],
  [
    'wrong-rcpt-decrypt: encrypted is opened per recipient',
    { ...remote, shape: enveloped },
    [`anna ${full}`, `otto ${full}`],
  ],
  ['inbound-automatic: null sender', { ...remote, sender: null, shape: enveloped }, asItCame],
  ['inbound-automatic: Auto-Submitted, report', { ...remote, isAutomatic: true, shape: enveloped }, asItCame],
  [
    'inbound-automatic: List-Id',
    { ...remote, shape: enveloped, fields: [{ name: 'list-id', value: '<l.example>' }] },
    asItCame,
  ],
  [
    'inbound-automatic: Precedence: list',
    { ...remote, shape: enveloped, fields: [{ name: 'precedence', value: 'List' }] },
    asItCame,
  ],
  [
    'Precedence: first-class is no list',
    { ...remote, shape: enveloped, fields: [{ name: 'precedence', value: 'first-class' }] },
    [`anna ${full}`, `otto ${full}`],
  ],
  ['decrypt off', { ...remote, shape: enveloped }, asItCame, 'inbound: { decrypt: false }'],
  [
    'verify and mark off',
    { ...remote, shape: enveloped },
    ['anna inbound: strip, decrypt, compare-header', 'otto inbound: strip, decrypt, compare-header'],
    'inbound: { verify: false, mark: false }',
  ],
];

for (const [name, facts, expected, section] of inboundCases) {
  test(`inbound: ${name}`, () => {
    const decided = decideInbound(
      policyOf(policyText(undefined, section)),
      factsOf({ ...facts, to: [anna, otto] }),
    );
    assert.deepEqual(summary(decided), expected);
    assert.deepEqual(decided.refusals, []);
    assert.ok(decided.copies.every(({ leg, mustEncrypt }) => leg.kind === 'tenant' && !mustEncrypt));
  });
}

test('inbound: each copy is opened with the keys of its recipient only', () => {
  const plan = decideInbound(policy, factsOf({ ...remote, shape: enveloped, to: [anna, otto] }));
  for (const copy of plan.copies) {
    const decrypt = copy.steps.find((step) => step.kind === 'decrypt');
    assert.deepEqual(decrypt?.owner, copy.recipients);
  }
});

test('inbound: on_invalid_signature reaches the step', () => {
  const strict = policyOf(policyText(undefined, 'inbound: { on_invalid_signature: refuse }'));
  const plan = decideInbound(strict, factsOf({ ...remote, shape: signedByClient, to: [anna] }));
  assert.deepEqual(plan.copies[0]?.steps[1], { kind: 'verify', onInvalid: 'refuse' });
});

test('weak algorithms are named in the steps that may read them', () => {
  const reading = policyOf(policyText(undefined, 'inbound: { weak_algorithms: [3des, sha1] }'));
  const plan = decideInbound(reading, factsOf({ ...remote, shape: enveloped, to: [anna] }));
  const named = plan.copies[0]?.steps.flatMap((step) => ('weak' in step ? [step.kind, step.weak] : []));
  assert.deepEqual(named, ['decrypt', ['3des', 'sha1'], 'verify', ['3des', 'sha1']]);
});

test('a hidden Subject stands on top of the text unless the rule says otherwise', () => {
  const stepsOf = (lines: string, input: FactsInput) => {
    const rules = policyOf(policyText(`rules: []\notherwise: { sign: auto, ${lines} }`));
    const { copies } = decideOutbound(rules, factsOf(input), provenOrigin());
    return copies.flatMap(({ steps }) => steps.map(({ kind }) => kind));
  };
  const hidden = 'encrypt: when-possible, fallback: plain, protect_headers: confidential-subject';
  const withKeys = { to: [bob], keys: { [bob]: 'smime' }, signing: 'smime' } as const;
  assert.deepEqual(stepsOf(hidden, withKeys), ['strip', 'legacy-display', 'sign', 'encrypt']);
  assert.deepEqual(stepsOf(`${hidden}, legacy_display: false`, withKeys), ['strip', 'sign', 'encrypt']);
  // Not encrypted, or the Subject is not hidden: nothing to show.
  assert.deepEqual(stepsOf(hidden, { to: [bob], signing: 'smime' }), ['strip', 'sign']);
  const shown = hidden.replace('confidential-subject', 'signed');
  assert.deepEqual(stepsOf(shown, withKeys), ['strip', 'sign', 'encrypt']);
  assert.deepEqual(stepsOf(hidden, { ...withKeys, shape: signedByClient }), ['strip', 'encrypt']);
});

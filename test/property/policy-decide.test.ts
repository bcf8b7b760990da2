// Properties of the decision over random policies and messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Facts } from '../../src/core/facts.ts';
import type { KeyFormat, KeyLookup } from '../../src/core/key.ts';
import type { NonEmpty } from '../../src/core/non-empty.ts';
import type { Copy, Plan } from '../../src/core/plan.ts';
import type { Shape } from '../../src/core/shape.ts';
import { decideInbound, decideOutbound } from '../../src/policy/decide.ts';
import { explainPlan } from '../../src/policy/explain.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import type { Conditions, Policy, Rule, Treatment } from '../../src/policy/schema.ts';
import { factsOf, policyOf, policyText, provenOrigin } from '../support/policy.ts';

const RUNS = { numRuns: 500 };

const addresses = ['a', 'b', 'c', 'd'].flatMap((name) => [
  `${name}@remote.example`,
  `${name}@x.other.example`,
]);
const patterns = [
  'a@remote.example',
  'remote.example',
  '*.other.example',
  'user@contoso.example',
  'contoso.example',
];

const pattern = fc.constantFrom(...patterns).map((text) => parsePattern(text) ?? assert.fail(text));
const patternList = fc.array(pattern, { minLength: 1, maxLength: 2 }) as unknown as fc.Arbitrary<
  NonEmpty<NonNullable<ReturnType<typeof parsePattern>>>
>;

const shape = fc.constantFrom<Shape>(
  { kind: 'plain' },
  { kind: 'plain' },
  { kind: 'signed', format: 'smime', form: 'detached' },
  { kind: 'signed', format: 'pgp', form: 'detached' },
  { kind: 'encrypted', format: 'pgp' },
  { kind: 'encrypted', format: 'smime', cms: 'enveloped' },
);

const conditions: fc.Arbitrary<Conditions> = fc.record(
  {
    sender: patternList,
    recipient: patternList,
    subjectTag: fc.constantFrom('[x]', '[y]'),
    isCalendar: fc.boolean(),
    hasTnef: fc.boolean(),
    is8bit: fc.boolean(),
    isAutomatic: fc.boolean(),
  },
  { requiredKeys: [], noNullPrototype: true },
);

const treatment: fc.Arbitrary<Treatment> = fc.oneof(
  { weight: 1, arbitrary: fc.constant({ kind: 'refuse', text: 'no' } as const) },
  {
    weight: 6,
    arbitrary: fc.record(
      {
        kind: fc.constant('protect' as const),
        sign: fc.constantFrom('none', 'auto', 'smime', 'pgp'),
        encrypt: fc.constantFrom('never', 'when-possible', 'required'),
        formats: fc.constantFrom<NonEmpty<KeyFormat>>(['smime'], ['pgp'], ['smime', 'pgp'], ['pgp', 'smime']),
        alreadyEncrypted: fc.constantFrom('pass', 'refuse'),
        isCalendarExempt: fc.boolean(),
        protectHeaders: fc.constantFrom('off', 'signed', 'confidential-subject'),
        hasLegacyDisplay: fc.boolean(),
        smime: fc.record(
          {
            content: fc.constantFrom('auto', 'auto', 'cbc', 'gcm'),
            group: fc.constantFrom('common', 'separate'),
            mlKem: fc.constantFrom('off', 'beside', 'instead'),
          },
          { noNullPrototype: true },
        ),
      },
      { noNullPrototype: true },
    ),
  },
);

const base = policyOf(policyText());

const policy: fc.Arbitrary<Policy> = fc
  .record({ rules: fc.array(fc.tuple(conditions, treatment), { maxLength: 4 }), otherwise: treatment })
  .map(({ rules, otherwise }) => ({
    ...base,
    outbound: {
      deliver: 'internet',
      dkim: [],
      rules: rules.map(([when, treatment], index): Rule => ({
        name: `rule ${index}`,
        when,
        treatment,
        position: base.tenant.leg.position,
      })),
      otherwise,
    },
  }));

const keyWords = fc.constantFrom(
  '',
  'smime',
  'pgp',
  'smime pgp',
  'pgp',
  'smime pgp',
  'smime+gcm',
  'smime+cbc',
  'smime@gcm pgp',
  'smime!',
  'pgp!',
  'smime? pgp',
  'smime! pgp',
  'smime?',
);

const facts: fc.Arbitrary<Facts> = fc
  .record({
    recipients: fc.uniqueArray(fc.tuple(fc.constantFrom(...addresses), fc.boolean(), keyWords), {
      selector: ([address]) => address,
      minLength: 1,
    }),
    from: fc.constantFrom('user@contoso.example', 'other@contoso.example', ''),
    sender: fc.constantFrom('user@contoso.example', null),
    signing: keyWords,
    shape,
    subject: fc.constantFrom('', 'about [x]', '[Y] and more'),
    isCalendar: fc.boolean(),
    hasTnef: fc.boolean(),
    is8bit: fc.boolean(),
    isAutomatic: fc.boolean(),
  })
  .map(({ recipients, ...rest }) =>
    factsOf({
      ...rest,
      to: recipients.filter(([, isHidden]) => !isHidden).map(([address]) => address),
      hidden: recipients.filter(([, isHidden]) => isHidden).map(([address]) => address),
      keys: Object.fromEntries(recipients.map(([address, , words]) => [address, words])),
    }),
  );

const keysOf = (copy: Copy) => copy.steps.flatMap((step) => (step.kind === 'encrypt' ? step.keys : []));

function isKeyOf(lookups: Readonly<Record<KeyFormat, KeyLookup>> | undefined, key: string): boolean {
  return Object.values(lookups ?? {}).some(
    (lookup) => lookup.kind === 'usable' && lookup.keys.some(({ record }) => record.id === key),
  );
}

function keysOfAll(list: readonly { readonly address: { readonly key: string } }[]): readonly string[] {
  return list.map(({ address }) => address.key).toSorted();
}

function everyRecipientOnce(plan: Plan, { envelope }: Facts): void {
  const answered = [
    ...plan.copies.flatMap((copy) => copy.recipients),
    ...plan.refusals.map(({ recipient }) => recipient),
  ];
  assert.deepEqual(keysOfAll(answered), keysOfAll(envelope.recipients));
}

test('outbound: each recipient is in exactly one copy or refusal, and has one line of trace that decided', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      const plan = decideOutbound(policy, facts, provenOrigin());
      everyRecipientOnce(plan, facts);
      for (const { address } of facts.envelope.recipients)
        assert.equal(plan.trace.filter((line) => line.recipient === address.text && line.matched).length, 1);
    }),
    RUNS,
  );
});

test('outbound: mustEncrypt and an encrypt step always go together, and strip comes first', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      for (const copy of decideOutbound(policy, facts, provenOrigin()).copies) {
        const encrypts = copy.steps.filter((step) => step.kind === 'encrypt').length;
        assert.equal(encrypts, copy.mustEncrypt ? 1 : 0);
        const isRewritten = copy.steps.some(({ kind }) => kind === 'sign' || kind === 'encrypt');
        const strip = { kind: 'strip', direction: 'outbound' };
        assert.deepEqual(copy.steps[0], isRewritten ? { ...strip, isRewritten } : strip);
      }
    }),
    RUNS,
  );
});

test("outbound: a copy has a key of each recipient and of nobody else; a hidden recipient's key is alone", () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      for (const copy of decideOutbound(policy, facts, provenOrigin()).copies) {
        const keys = keysOf(copy);
        if (keys.length === 0) continue;
        assert.equal(keys.length, copy.recipients.length);
        for (const { address } of copy.recipients) {
          assert.ok(keys.some((key) => isKeyOf(facts.encryptionKeys.get(address.key), key)));
          if (!facts.visible.has(address.key)) assert.equal(copy.recipients.length, 1);
        }
      }
    }),
    RUNS,
  );
});

test('outbound: in clear only where the rule that decided allows it', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      if (facts.shape.kind === 'encrypted') return;
      for (const copy of decideOutbound(policy, facts, provenOrigin()).copies) {
        const rule = policy.outbound.rules.find(({ name }) => name === copy.rule);
        const treatment = rule?.treatment ?? policy.outbound.otherwise;
        assert.ok(treatment.kind === 'protect');
        if (copy.mustEncrypt) continue;
        const isExempt = facts.isCalendar && (treatment.isCalendarExempt || treatment.encrypt !== 'required');
        assert.ok(treatment.encrypt !== 'required' || isExempt);
        if (treatment.encrypt !== 'when-possible' || isExempt) continue;
        for (const { address } of copy.recipients)
          for (const format of treatment.formats)
            assert.equal(facts.encryptionKeys.get(address.key)?.[format].kind, 'none');
      }
    }),
    RUNS,
  );
});

test('outbound: what the client signed or encrypted gets no signature of ours, what it encrypted no other step', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      if (facts.shape.kind === 'plain') return;
      for (const { steps } of decideOutbound(policy, facts, provenOrigin()).copies) {
        assert.ok(
          steps.every(
            (step) => step.kind !== 'sign' && !(step.kind === 'encrypt' && step.sign !== undefined),
          ),
        );
        if (facts.shape.kind === 'encrypted') assert.equal(steps.length, 1);
      }
    }),
    RUNS,
  );
});

test('outbound: signatures are made with a key of the From address only', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      for (const { steps } of decideOutbound(policy, facts, provenOrigin()).copies)
        for (const step of steps) {
          const key = step.kind === 'sign' ? step.key : step.kind === 'encrypt' ? step.sign : undefined;
          if (key !== undefined) assert.ok(facts.from && isKeyOf(facts.signingKeys, key));
        }
    }),
    RUNS,
  );
});

test('outbound: the decision is deterministic, changes nothing, and can be explained', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      const before = structuredClone({ facts, rules: policy.outbound });
      const plan = decideOutbound(policy, facts, provenOrigin());
      assert.deepEqual(decideOutbound(policy, facts, provenOrigin()), plan);
      assert.deepEqual({ facts, rules: policy.outbound }, before);
      assert.ok(explainPlan(plan, facts).endsWith('\n'));
    }),
    RUNS,
  );
});

const contentOf = (copy: Copy) => copy.steps.find((step) => step.kind === 'encrypt')?.content?.mode;

test('outbound: AES-GCM only for recipients who announce it, or where the rule that decided says so', () => {
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      for (const copy of decideOutbound(policy, facts, provenOrigin()).copies) {
        const rule = policy.outbound.rules.find(({ name }) => name === copy.rule);
        const treatment = rule?.treatment ?? policy.outbound.otherwise;
        assert.ok(treatment.kind === 'protect');
        const mode = contentOf(copy);
        if (mode === undefined) continue;
        const { content, group } = treatment.smime;
        if (content !== 'auto') assert.equal(mode, content);
        else {
          const reads = copy.recipients.map(({ address }) => {
            const lookup = facts.encryptionKeys.get(address.key)?.smime;
            return lookup?.kind === 'usable' && lookup.keys[0].announces?.ciphers.includes('aes-256-gcm');
          });
          assert.equal(mode, reads.every(Boolean) ? 'gcm' : 'cbc');
          if (group === 'separate') assert.equal(new Set(reads.map(Boolean)).size, 1);
        }
      }
    }),
    RUNS,
  );
});

test('outbound: the order of the recipients changes neither who shares a copy nor how it is encrypted', () => {
  const groups = (plan: Plan) =>
    plan.copies
      .map((copy) => JSON.stringify([keysOfAll(copy.recipients), copy.rule, contentOf(copy)]))
      .toSorted();
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      const [first, ...others] = facts.envelope.recipients;
      const turned = { ...facts.envelope, recipients: [...others.toReversed(), first] as const };
      assert.deepEqual(
        groups(decideOutbound(policy, { ...facts, envelope: turned as never }, provenOrigin())),
        groups(decideOutbound(policy, facts, provenOrigin())),
      );
    }),
    RUNS,
  );
});

test('outbound: other classes are never signed or encrypted', () => {
  fc.assert(
    fc.property(
      policy,
      facts,
      fc.constantFrom('system', 'forwarded', 'hybrid'),
      (policy, facts, messageClass) => {
        const plan = decideOutbound(policy, facts, provenOrigin(messageClass));
        everyRecipientOnce(plan, facts);
        assert.ok(plan.copies.every(({ steps }) => steps.length === 1));
      },
    ),
    RUNS,
  );
});

test('inbound: each recipient is in one copy; what is decrypted has one recipient, its owner', () => {
  fc.assert(
    fc.property(facts, (facts) => {
      const plan = decideInbound(base, facts);
      everyRecipientOnce(plan, facts);
      assert.deepEqual(decideInbound(base, facts), plan);
      for (const copy of plan.copies) {
        const decrypt = copy.steps.find((step) => step.kind === 'decrypt');
        if (!decrypt) continue;
        assert.deepEqual(decrypt.owner, copy.recipients);
        assert.equal(copy.recipients.length, 1);
        assert.ok(!facts.isAutomatic && facts.envelope.sender !== null && facts.shape.kind === 'encrypted');
      }
    }),
    RUNS,
  );
});

test('the generator reaches copies with several keys, combined signatures and refusals', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(policy, facts, (policy, facts) => {
      const plan = decideOutbound(policy, facts, provenOrigin());
      for (const refusal of plan.refusals) seen.add(refusal.error);
      for (const copy of plan.copies) {
        if (keysOf(copy).length > 1) seen.add('several keys');
        for (const step of copy.steps)
          seen.add(step.kind === 'encrypt' && step.sign ? 'combined' : step.kind);
      }
    }),
    RUNS,
  );
  for (const kind of [
    'several keys',
    'combined',
    'sign',
    'encrypt',
    'strip',
    'refused-by-rule',
    'encryption-required',
    'signing-key-missing',
    'key-unreadable',
  ])
    assert.ok(seen.has(kind), kind);
});

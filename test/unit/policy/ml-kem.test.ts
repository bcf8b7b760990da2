// ML-KEM certificates of recipients: never used unless a rule says so, and what each mode makes of what is known.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyLookup } from '../../../src/core/key.ts';
import type { MlKemMode } from '../../../src/core/plan.ts';
import { selectKeys } from '../../../src/keys/select.ts';
import { withoutRevoked } from '../../../src/pipeline/recipient-revocation.ts';
import { decideOutbound } from '../../../src/policy/decide.ts';
import { explainPlan } from '../../../src/policy/explain.ts';
import { chooseKeys } from '../../../src/policy/ml-kem.ts';
import { bareRecord } from '../../support/keys.ts';
import { factsOf, policyOf, policyText, provenOrigin } from '../../support/policy.ts';
import { createWorld } from '../../support/smime.ts';

const UNASKED = 'an ML-KEM certificate, which only a rule with smime: ml_kem uses';
const rejected = [{ id: bareRecord('9').id, reason: 'expired' }] as const;
const none: KeyLookup = { kind: 'none', rejected: [] };
const unreadable: KeyLookup = { kind: 'unreadable', rejected };
const known = (digit: string): KeyLookup => ({
  kind: 'usable',
  keys: [{ record: bareRecord(digit), matchedBy: 'address' }],
  rejected: [],
});

/** The other certificates, those for ML-KEM, and per mode: the kind, the key, the one beside it. */
const table: readonly (readonly [string, KeyLookup, KeyLookup, string, string, string])[] = [
  ['both', known('1'), known('2'), 'usable 1', 'usable 1 2', 'usable 2'],
  ['ML-KEM alone', none, known('2'), 'none', 'usable 2', 'usable 2'],
  ['ML-KEM that cannot be checked', known('1'), unreadable, 'usable 1', 'usable 1', 'unreadable'],
  ['ML-KEM that cannot be checked, alone', none, unreadable, 'none', 'unreadable', 'unreadable'],
  ['revoked ML-KEM', known('1'), none, 'usable 1', 'usable 1', 'usable 1'],
  ['the other is damaged', unreadable, known('2'), 'unreadable', 'unreadable', 'usable 2'],
];

test('what a rule makes of ML-KEM certificates', async (t) => {
  for (const [title, other, mlKem, ...expected] of table) {
    for (const [index, mode] of (['off', 'beside', 'instead'] as const).entries()) {
      await t.test(`${title}, ${mode}`, () => {
        const { lookup, beside } = chooseKeys({ ...other, mlKem }, mode);
        const [key] = lookup.kind === 'usable' ? lookup.keys : [];
        const digits = [key?.record.id, beside].flatMap((id) => id?.at(-1) ?? []);
        assert.equal([lookup.kind, ...digits].join(' '), expected[index]);
      });
    }
  }
});

test('an ML-KEM certificate is apart from the others from the start', () => {
  const candidate = (digit: string, isMlKem: boolean) =>
    ({
      kind: 'readable',
      record: bareRecord(digit),
      matchedBy: 'address',
      use: { usable: true, isMlKem },
    }) as const;
  const lookup = selectKeys([candidate('1', false), candidate('2', true)], 'encrypt');
  assert(lookup.kind === 'usable' && lookup.mlKem?.kind === 'usable');
  assert.deepEqual(
    [lookup.keys, lookup.mlKem.keys].map((keys) => keys.map(({ record }) => record.id.at(-1))),
    [['1'], ['2']],
  );
  assert.equal(selectKeys([candidate('2', true)], 'encrypt').kind, 'none');
});

function planned(mode: MlKemMode | undefined, smime: KeyLookup): readonly string[] {
  const setting = mode === undefined ? '' : `, smime: { ml_kem: ${mode} }`;
  const policy = policyOf(policyText(`otherwise: { sign: none, encrypt: required${setting} }`));
  const encryptionKeys = new Map([['bob@remote.example', { smime, pgp: none }]]);
  const facts = factsOf({ to: ['bob@remote.example'], encryptionKeys });
  const plan = decideOutbound(policy, facts, provenOrigin());
  const steps = plan.copies.flatMap((copy) => copy.steps);
  const keys = steps.flatMap((step) => (step.kind === 'encrypt' ? step.keys : []));
  return [
    keys.map((id) => id.at(-1)).join('+') || 'refused',
    ...explainPlan(plan, facts)
      .split('\n')
      .filter((line) => line.includes('ML-KEM')),
  ];
}

test('the plan, and how it is explained', () => {
  const both = { ...known('1'), mlKem: known('2') };
  const alone = { ...none, mlKem: known('2') };
  assert.deepEqual(planned(undefined, both), ['1']);
  assert.equal(planned('beside', both)[0], '1+2');
  assert.match(planned('beside', both).join('\n'), /and to ML-KEM beside it/);
  assert.equal(planned('instead', both)[0], '2');
  assert.equal(planned('instead', known('1'))[0], '1');
  const [refused, ...reasons] = planned('off', alone);
  assert.equal(refused, 'refused');
  assert.ok(reasons.join('\n').includes(UNASKED), reasons.join('\n'));
});

test('a revoked ML-KEM certificate is taken out as any other', async () => {
  const world = await createWorld('ML-KEM revocation');
  const [good, revoked] = [await world.person('good'), await world.person('revoked')];
  const lookupOf = (digit: string, material: string): KeyLookup => ({
    kind: 'usable',
    keys: [{ record: { ...bareRecord(digit), material }, matchedBy: 'address' }],
    rejected: [],
  });
  const lookup = {
    ...lookupOf('1', good.certificate.pem),
    mlKem: lookupOf('2', revoked.certificate.pem),
  };
  const state = (isRevoked: boolean) =>
    ({
      state: isRevoked ? 'revoked' : 'good',
      isTemporary: false,
      reason: 'certificate was revoked',
    }) as const;
  const revocation = {
    isRequired: false,
    check: ([leaf]: readonly { readonly fingerprint: string }[]) =>
      Promise.resolve(state(leaf?.fingerprint === revoked.certificate.fingerprint)),
  };
  const found = await withoutRevoked(lookup, { ...world.trust, online: { revocation } }, new Date());
  assert.deepEqual([found.kind, found.mlKem?.kind], ['usable', 'none']);
});

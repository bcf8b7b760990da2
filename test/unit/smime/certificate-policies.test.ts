// Certificate policies along a path (RFC 5280 §6.1, RFC 9618): made-up paths for the table, and floods for the bounds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCertificate } from '../../../src/smime/certificate.ts';
import { validateChain } from '../../../src/smime/chain.ts';
import type { PolicyInputs } from '../../../src/smime/policy-graph.ts';
import {
  caExtension,
  element,
  extension,
  inhibitAny,
  makeCertificate,
  makeDer,
  mappings,
  name,
  oid,
  policies,
  policyConstraints,
  type RawIdentity,
  sequence,
} from '../../support/certificates.ts';

const at = new Date('2026-06-01T00:00:00Z');
const [A, B, C, ANY] = ['1.3.6.1.4.1.99999.1', '1.3.6.1.4.1.99999.2', '1.3.6.1.4.1.99999.3', '2.5.29.32.0'];
const root = makeCertificate({ subject: name('Postern test root'), extensions: [caExtension()] });

/** The verdict on a path below the root: extensions of each CA from the top, those of the leaf last. */
function judge(path: readonly (readonly Buffer[])[], inputs: PolicyInputs = {}, isSelfIssued = false) {
  const made: RawIdentity[] = [];
  for (const [index, extensions] of path.entries()) {
    const isLeaf = index === path.length - 1;
    const subject = name(isLeaf ? 'User' : isSelfIssued ? 'CA' : `CA ${index}`);
    const issuer = made.at(-1) ?? root;
    made.push(makeCertificate({ subject, issuer, extensions: [caExtension(), ...extensions] }));
  }
  const [leaf, ...issuers] = made.toReversed().map(({ certificate }) => certificate);
  assert(leaf);
  const trust = { anchors: [root.certificate], intermediates: [], at, policies: inputs };
  const result = validateChain(leaf, issuers, trust, 'sign');
  return result.trusted ? 'valid' : result.reason;
}

const NONE = 'no certificate policy holds for the whole path';
const OTHER = 'the path holds for none of the certificate policies that are asked for';
const asked = (...acceptable: readonly string[]): PolicyInputs => ({ acceptable, isExplicitRequired: true });
const explicit: PolicyInputs = { isExplicitRequired: true };

const cases: readonly (readonly [
  string,
  readonly (readonly Buffer[])[],
  (PolicyInputs | undefined)?,
  string?,
])[] = [
  ['no policies, none asked for', [[], []]],
  ['no policies, one asked for', [[], []], explicit, NONE],
  ['the same policy throughout', [[policies(A)], [policies(A)]], asked(A)],
  ['one of several', [[policies(A, B)], [policies(B, C)]], asked(B)],
  ['a policy that only the leaf has', [[policies(A)], [policies(A, B)]], asked(B), OTHER],
  ['a policy that only the CA has', [[policies(A, B)], [policies(A)]], asked(B), OTHER],
  ['a CA without policies between', [[policies(A)], [], [policies(A)]], asked(A), NONE],
  ['different policies, none asked for', [[policies(A)], [policies(B)]]],
  ['a set without being explicit asks for nothing', [[policies(A)], [policies(B)]], { acceptable: [C] }],
  ['nothing is acceptable', [[policies(A)], [policies(A)]], asked(), OTHER],
  ['anyPolicy of the CA', [[policies(ANY)], [policies(A)]], asked(A)],
  ['anyPolicy of the leaf', [[policies(A)], [policies(ANY)]], asked(A)],
  ['anyPolicy of the leaf is not more than the CA has', [[policies(A)], [policies(ANY)]], asked(B), OTHER],
  ['anyPolicy throughout', [[policies(ANY)], [policies(ANY)]], asked(A)],
  [
    'anyPolicy is inhibited from the start',
    [[policies(ANY)], [policies(A)]],
    { ...asked(A), isAnyInhibited: true },
    NONE,
  ],
  ['anyPolicy is inhibited below', [[policies(A), inhibitAny(0)], [policies(ANY)]], asked(A), NONE],
  [
    'anyPolicy is inhibited one further below',
    [[policies(A), inhibitAny(1)], [policies(ANY)], [policies(A)]],
    asked(A),
  ],
  ['the CA demands a policy', [[policies(A), policyConstraints({ explicit: 0 })], [policies(B)]], {}, NONE],
  ['the CA demands a policy further below', [[policies(A), policyConstraints({ explicit: 3 })], [], []]],
  ['the leaf demands one of itself', [[policies(A)], [policyConstraints({ explicit: 0 })]], {}, NONE],
  ['mapped to the policy of the leaf', [[policies(A), mappings([A, B])], [policies(B)]], asked(A)],
  [
    'a mapped policy no longer holds by itself',
    [[policies(A), mappings([A, B])], [policies(A)]],
    explicit,
    NONE,
  ],
  [
    'the policy asked for is in the words of the first CA',
    [[policies(A), mappings([A, B])], [policies(B)]],
    asked(B),
    OTHER,
  ],
  [
    'mapped twice',
    [[policies(A), mappings([A, B])], [policies(B), mappings([B, C])], [policies(C)]],
    asked(A),
  ],
  ['mapped to two', [[policies(A), mappings([A, B], [A, C])], [policies(C)]], asked(A)],
  ['two mapped to one', [[policies(A, B), mappings([A, C], [B, C])], [policies(C)]], asked(B)],
  ['mapped below anyPolicy', [[policies(ANY), mappings([A, B])], [policies(B)]], asked(A)],
  [
    'mapping is inhibited from the start',
    [[policies(A), mappings([A, B])], [policies(B)]],
    { ...asked(A), isMappingInhibited: true },
    NONE,
  ],
  [
    'mapping is inhibited by the CA above',
    [[policies(A), policyConstraints({ mapping: 0 })], [policies(A), mappings([A, B])], [policies(B)]],
    asked(A),
    NONE,
  ],
  [
    'anyPolicy is mapped',
    [[policies(A), mappings([ANY, B])], [policies(A)]],
    {},
    'an issuing certificate maps anyPolicy',
  ],
];

test('certificate policies', async (t) => {
  for (const [title, path, inputs, expected = 'valid'] of cases)
    await t.test(title, () => assert.equal(judge(path, inputs), expected));
  await t.test('self-issued certificates do not count', () => {
    const path = [[policies(A), policyConstraints({ explicit: 2 })], [policies(A)], [policies(B)]];
    assert.equal(judge(path), NONE);
    assert.equal(judge(path, {}, true), 'valid');
  });
  await t.test('a pinned certificate is taken without a policy', () => {
    const trust = { anchors: [root.certificate], intermediates: [], at, policies: asked(A) };
    assert.equal(validateChain(root.certificate, [], trust, 'sign').trusted, true);
  });
});

test('critical qualifiers that are not known', () => {
  const withQualifier = (id: string) =>
    extension('2.5.29.32', sequence(sequence(oid(A), sequence(sequence(oid(id), element(0x05))))), true);
  assert.equal(judge([[policies(A)], [withQualifier('1.3.6.1.5.5.7.2.1')]], asked(A)), 'valid');
  assert.equal(
    judge([[policies(A)], [withQualifier('1.2.3')]], asked(A)),
    'critical extension 2.5.29.32 is not supported',
  );
});

test('policy flood: a graph that would be a tree of 22 to the 8th ends at once', () => {
  const ids = Array.from({ length: 22 }, (_, index) => `1.3.6.1.4.1.99999.9.${index}`);
  const all = ids.flatMap((one) => ids.map((other) => [one, other] as const));
  const level = [policies(...ids), mappings(...all)];
  const path = [...Array.from({ length: 8 }, () => level), [policies(...ids)]];
  const started = performance.now();
  assert.equal(judge(path, asked(ids[3] ?? '')), 'valid');
  assert.equal(judge(path, asked(A)), OTHER);
  assert(performance.now() - started < 2_000);
});

test('more policies than any CA has are refused', () => {
  const ids = Array.from({ length: 501 }, (_, index) => `1.3.6.1.4.1.99999.${index}`);
  assert.throws(() => parseCertificate(makeDer({ extensions: [policies(...ids)] }).der), {
    code: 'config-invalid',
    message: 'certificate has too many certificate policies',
  });
});

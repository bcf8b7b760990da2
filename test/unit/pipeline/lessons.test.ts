import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SignatureResult, StageOutcome } from '../../../src/core/outcome.ts';
import { openLog } from '../../../src/core/log.ts';
import type { KeyStore } from '../../../src/keys/store.ts';
import { openLearning } from '../../../src/pipeline/learning.ts';
import { lessonsOf } from '../../../src/pipeline/lessons.ts';
import type { LoadedPolicy } from '../../../src/pipeline/policy-set.ts';
import { keyIdOf, NOW } from '../../support/keys.ts';
import { address, policyOf, policyText, TENANT_A } from '../../support/policy.ts';

const bob = address('bob@fabrikam.example');
const key = keyIdOf('smime', 'b'.repeat(64));
const signedAt = new Date('2026-05-01T00:00:00Z');
const GCM = ['aes-256-gcm', 'aes-256-cbc'];
const good: SignatureResult = {
  format: 'smime',
  integrity: 'intact',
  trust: 'trusted',
  signer: [bob.key],
  keyId: key,
  signedAt,
  capabilities: GCM,
};
const decrypted: StageOutcome = {
  kind: 'decrypted',
  format: 'smime',
  keyId: 'x',
  authenticated: false,
  algorithm: 'aes-256-cbc',
  signatures: [],
};

function verified(...changes: readonly Partial<SignatureResult>[]): StageOutcome {
  const [first = {}, ...others] = changes;
  const made = (change: Partial<SignatureResult>) => ({ ...good, ...change });
  const signatures = [made(first), ...others.map(made)] as const;
  return { kind: 'verified', format: 'smime', form: 'detached', signatures };
}

function loaded(inbound = '{}'): LoadedPolicy {
  return { policy: policyOf(policyText(undefined, `inbound: ${inbound}`)) } as LoadedPolicy;
}

function taught(outcomes: readonly StageOutcome[], from: typeof bob | undefined = bob) {
  return lessonsOf({ direction: 'inbound', loaded: loaded() }, outcomes, from);
}

const lesson = { tenant: TENANT_A, key, lesson: { address: bob.key, ciphers: GCM, signedAt } };

test('what teaches something', async (t) => {
  for (const [name, outcomes] of [
    ['a signature of the author', [{ kind: 'headers' }, verified({})]],
    ['one inside what was decrypted', [decrypted, verified({})]],
    [
      'one whose revocation cannot be checked, where the policy takes it',
      [verified({ revocation: 'unknown' })],
    ],
    ['one of several signers', [verified({ signer: ['x@fabrikam.example'] }, {})]],
  ] as const)
    await t.test(name, () => assert.deepEqual(taught(outcomes), [lesson]));
});

test('a certificate that the signature names to encrypt to is learned about as well', () => {
  const other = keyIdOf('smime', 'c'.repeat(64));
  assert.deepEqual(taught([verified({ encryptionKeyId: other })]), [lesson, { ...lesson, key: other }]);
  assert.deepEqual(taught([verified({ encryptionKeyId: key })]), [lesson]);
  assert.deepEqual(taught([verified({ encryptionKeyId: other, trust: 'untrusted' })]), []);
});

test('what teaches nothing', async (t) => {
  const { capabilities: _, ...silent } = good;
  const { signedAt: __, ...timeless } = good;
  const only = (signature: SignatureResult): StageOutcome => ({
    kind: 'verified',
    format: 'smime',
    form: 'opaque',
    signatures: [signature],
  });
  const rows: readonly (readonly [string, readonly StageOutcome[], (typeof bob | undefined)?])[] = [
    ['no signature', [{ kind: 'not-verified', reason: 'not-signed' }]],
    ['a broken one', [verified({ integrity: 'broken' })]],
    ['an unchecked one', [verified({ integrity: 'unchecked' })]],
    ['an untrusted one', [verified({ trust: 'untrusted' })]],
    ['a revoked one', [verified({ revocation: 'revoked' })]],
    ['a weak one', [verified({ weak: true })]],
    ['of somebody else', [verified({ signer: ['eve@fabrikam.example'] })]],
    ['of a signer without an address', [verified({ signer: [] })]],
    ['OpenPGP', [verified({ format: 'pgp' })]],
    ['a signer without a key id', [only({ ...good, keyId: 'smime:short' })]],
    ['no capabilities', [only(silent)]],
    ['no signing time', [only(timeless)]],
    ['beside a broken one', [verified({}, { integrity: 'broken' })]],
    ['inside a broken one', [verified({ integrity: 'broken' }), verified({})]],
    ['around a ciphertext', [verified({}), decrypted]],
  ];
  for (const [name, outcomes] of rows) await t.test(name, () => assert.deepEqual(taught(outcomes), []));
  await t.test('no single author', () =>
    assert.deepEqual(lessonsOf({ direction: 'inbound', loaded: loaded() }, [verified({})], undefined), []),
  );
  await t.test('outbound', () =>
    assert.deepEqual(lessonsOf({ direction: 'outbound', loaded: loaded() }, [verified({})], bob), []),
  );
  await t.test('learn_capabilities: false', () => {
    const off = loaded('{ learn_capabilities: false }');
    assert.deepEqual(lessonsOf({ direction: 'inbound', loaded: off }, [verified({})], bob), []);
  });
});

/** A store whose answers are made by the test. */
function storeOf(learn: () => Promise<unknown>): KeyStore {
  return { forTenant: () => ({ learn }), tenants: () => [] } as unknown as KeyStore;
}

function capture() {
  const lines: string[] = [];
  return { lines, log: openLog('info', { write: (line) => void lines.push(line) }) };
}

test('lessons wait for the store and nobody for them; the end waits for all', async () => {
  const { lines, log } = capture();
  const first = Promise.withResolvers<string>();
  let calls = 0;
  const learning = openLearning(
    storeOf(() => (calls++ === 0 ? first.promise : Promise.resolve('confirmed'))),
    log,
  );
  learning.take([lesson, lesson], NOW);
  await Promise.resolve();
  assert.equal(calls, 1);
  first.resolve('changed');
  await learning[Symbol.asyncDispose]();
  assert.equal(calls, 2);
  assert.equal(lines.filter((line) => line.includes('"event":"capabilities-learned"')).length, 1);
});

test('a store that fails is logged, and later lessons are tried', async () => {
  const { lines, log } = capture();
  let calls = 0;
  const learning = openLearning(
    storeOf(() => (calls++ === 0 ? Promise.reject(new Error('disk')) : Promise.resolve('changed'))),
    log,
  );
  learning.take([lesson, lesson], NOW);
  await learning[Symbol.asyncDispose]();
  assert.match(lines[0] ?? '', /"event":"capabilities-not-learned"/);
  assert.match(lines[1] ?? '', /"event":"capabilities-learned"/);
});

test('a store that hangs is not waited for without end', async () => {
  const { lines, log } = capture();
  const learning = openLearning(
    storeOf(() => new Promise(() => undefined)),
    log,
  );
  learning.take(
    Array.from({ length: 201 }, () => lesson),
    NOW,
  );
  assert.equal(lines.filter((line) => line.includes('too many wait')).length, 1);
  await Promise.resolve();
});

// Algorithms that only some software writes, both ways against OpenSSL and gpgsm where they know them: AES-GCM, the weak
// ones of older mail, capabilities.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { SignatureResult, StageOutcome } from '../../src/core/outcome.ts';
import type { WeakAlgorithm } from '../../src/core/plan.ts';
import { decryptMessage, encryptMessage, verifyMessage } from '../../src/smime/message.ts';
import {
  chunkedSource,
  cmsMail,
  createWorld,
  limits,
  runStage,
  SAMPLE_ENTITY,
  SAMPLE_MESSAGE,
  SAMPLE_UNWRAPPED,
  signedMail,
  type TestPerson,
} from '../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-algorithms-'));
after(() => rmSync(folder, { recursive: true }));
const world = await createWorld('algorithms');
const people = {
  rsa: await personCalled('rsa', 'rsa'),
  p256: await personCalled('p256', 'p256'),
  p384: await personCalled('p384', 'p384'),
};
const keyTypes = ['rsa', 'p256', 'p384'] as const;
file('entity', SAMPLE_ENTITY);

function file(name: string, bytes?: Uint8Array | string): string {
  const path = join(folder, name);
  if (bytes !== undefined) writeFileSync(path, bytes);
  return path;
}

async function personCalled(name: string, keyType: 'rsa' | 'p256' | 'p384'): Promise<TestPerson> {
  const person = await world.person(name, {
    keyType,
    keyUsage: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
  });
  file(`${name}.key`, person.keyPem);
  file(`${name}.crt`, person.certificatePem);
  return person;
}

/** The legacy provider has RC2. */
function openssl(...args: readonly string[]): Buffer {
  const providers = ['-provider', 'legacy', '-provider', 'default'];
  return execFileSync('openssl', [...args, ...providers], {
    maxBuffer: 10_000_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function encryptedBy(options: readonly string[], type: keyof typeof people): Buffer {
  const recipient = ['-recip', file(`${type}.crt`)];
  const fixed = ['-encrypt', '-binary', '-outform', 'DER', '-in', file('entity')];
  return openssl('cms', ...fixed, ...options, ...recipient);
}

async function opened(
  cms: Buffer,
  person: TestPerson,
  weak: readonly WeakAlgorithm[],
): Promise<{ bytes: Buffer; outcome: StageOutcome }> {
  return runStage(decryptMessage(chunkedSource(cmsMail(cms), 3_001), [person.decryption], { limits, weak }));
}

async function judged(message: Buffer, weak: readonly WeakAlgorithm[]): Promise<SignatureResult> {
  const { outcome } = await runStage(
    verifyMessage(chunkedSource(message, 3_001), world.trust, { limits, weak }),
  );
  assert.equal(outcome.kind, 'verified');
  return outcome.signatures[0];
}

test('openssl decrypts what we encrypt with AES-GCM', async (t) => {
  const certificates = [people.rsa.certificate, people.p256.certificate, people.p384.certificate] as const;
  const { bytes } = await runStage(
    encryptMessage(chunkedSource(SAMPLE_MESSAGE, 4_099).open(), certificates, { limits, content: 'gcm' }),
  );
  assert.match(bytes.toString('latin1'), /smime-type=authEnveloped-data/);
  for (const type of keyTypes) {
    await t.test(type, () => {
      const key = ['-inkey', file(`${type}.key`), '-recip', file(`${type}.crt`)];
      const args = ['-decrypt', '-binary', '-in', file('ours.eml', bytes), ...key];
      assert.deepEqual(openssl('cms', ...args), SAMPLE_ENTITY);
    });
  }
  await t.test('ours again', async () => {
    const again = await runStage(
      decryptMessage(chunkedSource(bytes, 1_001), [people.p384.decryption], { limits }),
    );
    assert.deepEqual(
      [again.outcome.kind === 'decrypted' && again.outcome.algorithm, again.bytes.includes(SAMPLE_ENTITY)],
      ['aes-256-gcm', true],
    );
  });
});

const weakCiphers: readonly (readonly [string, readonly string[], WeakAlgorithm, string])[] = [
  ['3DES', ['-des3'], '3des', 'des-ede3-cbc'],
  ['3DES, streamed', ['-des3', '-stream', '-indef'], '3des', 'des-ede3-cbc'],
  ['RC2, 40 bits', ['-rc2-40-cbc'], 'rc2', 'rc2-cbc'],
  ['RC2, 64 bits', ['-rc2-64-cbc'], 'rc2', 'rc2-cbc'],
  ['RC2, 128 bits', ['-rc2-cbc'], 'rc2', 'rc2-cbc'],
];

test('weak ciphers of openssl are read where they are named, and nowhere else', async (t) => {
  for (const [name, options, weak, algorithm] of weakCiphers) {
    await t.test(name, async () => {
      const cms = encryptedBy(options, 'rsa');
      const { bytes, outcome } = await opened(cms, people.rsa, [weak]);
      assert.equal(outcome.kind, 'decrypted', JSON.stringify(outcome));
      assert.deepEqual([outcome.algorithm, outcome.weak, outcome.authenticated], [algorithm, true, false]);
      assert.deepEqual(bytes, SAMPLE_UNWRAPPED);
      const others = (['3des', 'rc2', 'sha1'] as const).filter((other) => other !== weak);
      assert.deepEqual((await opened(cms, people.rsa, others)).outcome, {
        kind: 'not-decrypted',
        reason: 'unsupported',
      });
    });
  }
});

test('a weak cipher to an elliptic curve', async () => {
  const { bytes, outcome } = await opened(encryptedBy(['-des3', '-aes256-wrap'], 'p256'), people.p256, [
    '3des',
  ]);
  assert.equal(outcome.kind, 'decrypted', JSON.stringify(outcome));
  assert.deepEqual(bytes, SAMPLE_UNWRAPPED);
});

test('weak digests of openssl', async (t) => {
  for (const [digest, weak, integrity, isMarked] of [
    ['sha1', ['sha1'], 'intact', true],
    ['sha1', ['3des', 'rc2'], 'broken', undefined],
    ['sha1', [], 'broken', undefined],
    ['md5', ['sha1'], 'broken', undefined],
    ['sha256', ['sha1'], 'intact', undefined],
  ] as const) {
    await t.test(`${digest}, ${weak.join(' ') || 'nothing'} allowed`, async () => {
      const signer = ['-signer', file('rsa.crt'), '-inkey', file('rsa.key'), '-md', digest];
      const shared = ['-sign', '-binary', '-outform', 'DER', '-in', file('entity')];
      const message = signedMail(SAMPLE_ENTITY, openssl('cms', ...shared, ...signer));
      const result = await judged(message, weak);
      assert.deepEqual([result.integrity, result.weak], [integrity, isMarked]);
      if (digest !== 'sha256') assert.match(result.reason ?? '', /which can be forged/);
    });
  }
});

test('what openssl announces is learned', async () => {
  const signer = ['-signer', file('rsa.crt'), '-inkey', file('rsa.key')];
  const shared = ['-sign', '-binary', '-outform', 'DER', '-in', file('entity')];
  const result = await judged(signedMail(SAMPLE_ENTITY, openssl('cms', ...shared, ...signer)), []);
  assert.deepEqual(result.capabilities?.slice(0, 3), ['aes-256-cbc', 'aes-192-cbc', 'aes-128-cbc']);
});

test('a signature without capabilities announces nothing', async () => {
  const without = ['-sign', '-nosmimecap', '-binary', '-outform', 'DER', '-in', file('entity')];
  const signer = ['-signer', file('rsa.crt'), '-inkey', file('rsa.key')];
  const result = await judged(signedMail(SAMPLE_ENTITY, openssl('cms', ...without, ...signer)), []);
  assert.equal(result.capabilities, undefined);
});

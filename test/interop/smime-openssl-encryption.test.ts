// Every way to a content key that OpenSSL's cms command has, both ways: curves, key derivations, key wraps, OAEP parameters.
// What mail programs write by default is in smime-openssl.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { after, test } from 'node:test';
import type { StageOutcome } from '../../src/core/outcome.ts';
import type { WeakAlgorithm } from '../../src/core/plan.ts';
import { decryptMessage, encryptMessage } from '../../src/smime/message.ts';
import { type FilePerson, keyOptions, OpensslPeople } from '../support/openssl-people.ts';
import { chunkedSource, cmsMail, limits, mail, runStage } from '../support/smime.ts';

const people = new OpensslPeople();
after(() => people[Symbol.dispose]());
const ENTITY = mail('Content-Type: text/plain', '', 'for her only', '');
const MESSAGE = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), ENTITY]);
people.file('entity', ENTITY);
const curve = (namedCurve: string): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve });
const rsa = people.person('rsa', generateKeyPairSync('rsa', { modulusLength: 2_048 }));
const CURVES = ['P-256', 'P-384', 'P-521', 'brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1'] as const;
const onCurve = new Map(CURVES.map((name) => [name, people.person(name, curve(name))] as const));
const HASHES = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const;
const WRAPS = ['aes128-wrap', 'aes192-wrap', 'aes256-wrap'] as const;
const CIPHERS = [
  'aes-128-cbc',
  'aes-192-cbc',
  'aes-256-cbc',
  'aes-128-gcm',
  'aes-192-gcm',
  'aes-256-gcm',
] as const;

async function read(
  person: FilePerson,
  options: readonly string[],
  keyed: readonly string[] = [],
  weak: readonly WeakAlgorithm[] = [],
): Promise<StageOutcome> {
  const fixed = ['-encrypt', '-binary', '-outform', 'DER', '-in', people.file('entity')];
  const cms = people.openssl('cms', ...fixed, ...options, '-recip', person.crt, ...keyOptions(keyed));
  const { bytes, outcome } = await runStage(
    decryptMessage(chunkedSource(cmsMail(cms), 3_001), [person.decryption], { limits, weak }),
  );
  if (outcome.kind === 'decrypted') assert.ok(bytes.includes('for her only'));
  return outcome;
}

test('we read each curve with each KDF and each key wrap', async (t) => {
  for (const [title, person] of onCurve) {
    for (const hash of HASHES) {
      for (const wrap of WRAPS) {
        await t.test(`${title}, ${hash}, ${wrap}`, async () => {
          const outcome = await read(person, ['-aes256', `-${wrap}`], [`ecdh_kdf_md:${hash}`]);
          assert.deepEqual([outcome.kind, 'weak' in outcome], ['decrypted', false]);
        });
      }
    }
  }
});

test('we read each content cipher, to RSA with OAEP and to a curve', async (t) => {
  for (const cipher of CIPHERS) {
    for (const [title, person, keyed] of [
      ['RSA', rsa, ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha256']],
      ['P-521', onCurve.get('P-521'), []],
    ] as const) {
      await t.test(`${cipher}, ${title}`, async () => {
        assert.ok(person);
        const outcome = await read(person, [`-${cipher}`, '-keyid'], keyed);
        assert.equal(outcome.kind === 'decrypted' && outcome.algorithm, cipher);
        assert.equal(outcome.kind === 'decrypted' && outcome.authenticated, cipher.endsWith('gcm'));
      });
    }
  }
});

test('we read OAEP with each hash, each mask and each label', async (t) => {
  for (const hash of HASHES) {
    for (const mask of HASHES) {
      for (const label of hash === mask ? ['', '00', '706f737465726e'] : ['', '706f737465726e']) {
        await t.test(`${hash}, ${mask}, ${label || 'no label'}`, async () => {
          const outcome = await read(
            rsa,
            ['-aes256'],
            [
              'rsa_padding_mode:oaep',
              `rsa_oaep_md:${hash}`,
              `rsa_mgf1_md:${mask}`,
              ...(label ? [`rsa_oaep_label:${label}`] : []),
            ],
          );
          assert.equal(outcome.kind, 'decrypted');
        });
      }
    }
  }
});

test('a key wrap with Triple-DES is read where the policy names it, and marked', async (t) => {
  for (const [title, person] of onCurve) {
    await t.test(title, async () => {
      const options = ['-des3', '-des3-wrap'];
      const outcome = await read(person, options, [], ['3des']);
      assert.deepEqual([outcome.kind, outcome.kind === 'decrypted' && outcome.weak], ['decrypted', true]);
      for (const weak of [[], ['rc2', 'sha1']] as const)
        assert.deepEqual(await read(person, options, [], weak), {
          kind: 'not-decrypted',
          reason: 'unsupported',
        });
    });
  }
});

test('openssl reads what we encrypt to each curve', async (t) => {
  const [first, ...others] = [rsa, ...onCurve.values()].map(({ decryption }) => decryption.certificate);
  assert.ok(first);
  for (const content of ['cbc', 'gcm'] as const) {
    const { bytes } = await runStage(
      encryptMessage(chunkedSource(MESSAGE, 999).open(), [first, ...others], { limits, content }),
    );
    const file = people.file(`ours-${content}.eml`, bytes);
    for (const [title, person] of [['RSA', rsa] as const, ...onCurve]) {
      await t.test(`${content}, ${title}`, () => {
        const key = ['-recip', person.crt, '-inkey', person.key];
        assert.deepEqual(people.openssl('cms', '-decrypt', '-binary', '-in', file, ...key), ENTITY);
      });
    }
  }
});

test('openssl reads past an ML-KEM recipient, and prints the structure that we write', async () => {
  const kem = people.person('ml-kem', generateKeyPairSync('ml-kem-768'));
  const certificates = [kem.decryption.certificate, rsa.decryption.certificate] as const;
  const { bytes } = await runStage(
    encryptMessage(chunkedSource(MESSAGE, 999).open(), certificates, { limits, content: 'gcm' }),
  );
  const file = people.file('ml-kem.eml', bytes);
  const key = ['-recip', rsa.crt, '-inkey', rsa.key];
  assert.deepEqual(people.openssl('cms', '-decrypt', '-binary', '-in', file, ...key), ENTITY);
  const printed = people.openssl('cms', '-cmsout', '-print', '-noout', '-in', file).toString();
  assert.match(printed, /d\.ori:\s+oriType: undefined \(1\.2\.840\.113549\.1\.9\.16\.13\.3\)/);
});

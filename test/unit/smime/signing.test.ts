// What each type of key signs with, seen by our own verification and in the structure itself.
import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import type { SignatureResult } from '../../../src/core/outcome.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import { algorithmIdentifier, integer, NULL, oid, sequence, tagged } from '../../../src/smime/ber-writer.ts';
import { parseDer } from '../../../src/smime/der.ts';
import { signMessage, verifyMessage } from '../../../src/smime/message.ts';
import { parsePss, pssVerifyKey } from '../../../src/smime/pss.ts';
import { signAttributes, signingDigest } from '../../../src/smime/signing.ts';
import { altNames, caExtension, emailName, makeCertificate, name } from '../../support/certificates.ts';
import { chunkedSource, limits, mail, runStage } from '../../support/smime.ts';

type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };

const root = makeCertificate({ subject: name('root'), extensions: [caExtension()] });
const MESSAGE = mail('From: a@contoso.example', 'Content-Type: text/plain', '', 'hello', '');
/** Its type in @types/node has the salt's length as a text, which node refuses. */
const makePss = generateKeyPairSync as unknown as (type: 'rsa-pss', options: object) => Keys;
const bound = (hashAlgorithm: string, mgf1HashAlgorithm: string, saltLength: number): Keys =>
  makePss('rsa-pss', { modulusLength: 2_048, hashAlgorithm, mgf1HashAlgorithm, saltLength });

async function signedWith(keys: Keys): Promise<{ message: Buffer; result: SignatureResult }> {
  const extensions = [altNames(emailName('a@contoso.example'))];
  const { certificate } = makeCertificate({ subject: name('a'), issuer: root, keys, extensions });
  const signer = { certificate, chain: [root.certificate], key: keys.privateKey };
  const { bytes } = await runStage(
    signMessage(chunkedSource(MESSAGE, 100), signer, { limits, at: new Date() }),
  );
  const trust = { anchors: [root.certificate], intermediates: [], at: new Date() };
  const { outcome } = await runStage(verifyMessage(chunkedSource(bytes, 99), trust, { limits }));
  assert.equal(outcome.kind, 'verified');
  return { message: bytes, result: outcome.signatures[0] };
}

const table: readonly (readonly [string, Keys, string, string])[] = [
  ['RSA', generateKeyPairSync('rsa', { modulusLength: 2_048 }), 'sha-256', ID.rsaEncryption],
  ['RSA-PSS', generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }), 'sha-256', ID.rsaPss],
  ['RSA-PSS bound to SHA-384', bound('sha384', 'sha384', 48), 'sha-384', ID.rsaPss],
  ['RSA-PSS, another hash in the mask', bound('sha256', 'sha512', 20), 'sha-256', ID.rsaPss],
  ['RSA-PSS, much salt', bound('sha256', 'sha256', 100), 'sha-256', ID.rsaPss],
  ['P-256', generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'sha-256', ID.ecdsaWithSha256],
  ['P-384', generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha-384', ID.ecdsaWithSha384],
  ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' }), 'sha-512', ID.ecdsaWithSha512],
  ['Ed25519', generateKeyPairSync('ed25519'), 'sha-512', ID.ed25519],
  ['Ed448', generateKeyPairSync('ed448'), 'unknown', ID.ed448],
];

test('each type of key signs as its standard says', async (t) => {
  for (const [title, keys, micalg, algorithm] of table) {
    await t.test(title, async () => {
      const { message, result } = await signedWith(keys);
      assert.deepEqual([result.integrity, result.trust], ['intact', 'trusted']);
      assert.match(message.toString('latin1'), new RegExp(`micalg="?${micalg}"?;`));
      const written = signAttributes(Buffer.from('x'), keys.privateKey).algorithm;
      assert.deepEqual(parseDer(written).children[0]?.raw, oid(algorithm));
    });
  }
});

test('Ed448 says how long its digest is (RFC 8419 §3.1)', () => {
  const { algorithm } = signingDigest(generateKeyPairSync('ed448').privateKey);
  assert.equal(algorithm.toString('hex'), '300f060960864801650304021202020200');
});

test('keys that cannot sign here', async (t) => {
  for (const [title, keys] of [
    ['RSA-PSS bound to SHA-1', bound('sha1', 'sha1', 20)],
    ['RSA-PSS bound to SHA-224', bound('sha224', 'sha256', 20)],
    ['X25519', generateKeyPairSync('x25519')],
    ['ML-KEM-768', generateKeyPairSync('ml-kem-768')],
  ] as const) {
    await t.test(title, () => {
      assert.throws(() => signingDigest(keys.privateKey), { code: 'signing-key-missing' });
    });
  }
});

const sha = (id: string): Buffer => algorithmIdentifier(id, NULL);
const mgf1 = (id: string): Buffer => algorithmIdentifier(ID.mgf1, sha(id));
const SHA1 = '1.3.14.3.2.26';
const parameters: readonly (readonly [string, Buffer, readonly [string, string, number] | undefined])[] = [
  ['all defaults', sequence(), ['sha1', 'sha1', 20]],
  [
    'hash, mask, salt',
    sequence(tagged(0, sha(ID.sha256)), tagged(1, mgf1(ID.sha256)), tagged(2, integer(32))),
    ['sha256', 'sha256', 32],
  ],
  [
    'another hash in the mask',
    sequence(tagged(0, sha(ID.sha256)), tagged(1, mgf1(SHA1)), tagged(2, integer(0))),
    ['sha256', 'sha1', 0],
  ],
  ['trailer 1', sequence(tagged(3, integer(1))), ['sha1', 'sha1', 20]],
  ['trailer 2', sequence(tagged(3, integer(2))), undefined],
  ['another mask function', sequence(tagged(1, sequence(oid('1.2.3'), sha(ID.sha256)))), undefined],
  ['parameters out of order', sequence(tagged(2, integer(32)), tagged(0, sha(ID.sha256))), undefined],
  ['something more', sequence(tagged(4, integer(1))), undefined],
  ['two hashes', sequence(tagged(0, sha(ID.sha256), sha(ID.sha256))), undefined],
  ['hash with parameters', sequence(tagged(0, algorithmIdentifier(ID.sha256, integer(1)))), undefined],
  ['SHAKE256', sequence(tagged(0, sha('2.16.840.1.101.3.4.2.12'))), undefined],
  ['none', NULL as Buffer, undefined],
];

test('RSASSA-PSS parameters', async (t) => {
  for (const [title, der, expected] of parameters) {
    await t.test(title, () => {
      const scheme = parsePss(parseDer(der));
      assert.deepEqual(scheme && [scheme.digest, scheme.maskDigest, scheme.saltBytes], expected);
    });
  }
  assert.equal(parsePss(undefined), undefined);
});

test('a key that is bound to a PSS scheme takes no other', () => {
  const { publicKey, privateKey } = bound('sha256', 'sha256', 32);
  const scheme = (hash: string, mask: string, salt: number): boolean => {
    const der = parseDer(sequence(tagged(0, sha(hash)), tagged(1, mgf1(mask)), tagged(2, integer(salt))));
    const parsed = parsePss(der);
    assert.ok(parsed);
    return pssVerifyKey(publicKey, parsed, der) !== undefined;
  };
  assert.equal(scheme(ID.sha256, ID.sha256, 32), true);
  assert.equal(scheme(ID.sha256, ID.sha256, 33), true);
  assert.equal(scheme(ID.sha256, ID.sha256, 20), false);
  assert.equal(scheme(ID.sha256, ID.sha512, 32), false);
  assert.equal(scheme(ID.sha512, ID.sha256, 64), false);
  // What OpenSSL would make of it by itself: RSA v1.5 with such a key is an error.
  const padding = constants.RSA_PKCS1_PADDING;
  assert.throws(() => sign('sha256', MESSAGE, { key: privateKey, padding }));
});

test('paths whose signatures are ML-DSA', async (t) => {
  for (const type of ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const) {
    await t.test(type, async () => {
      const keys = generateKeyPairSync(type as 'ml-dsa-44');
      const ca = makeCertificate({ subject: name(type), keys, extensions: [caExtension()] });
      const person = generateKeyPairSync('ed25519');
      const extensions = [altNames(emailName('a@contoso.example'))];
      const { certificate } = makeCertificate({ subject: name('a'), issuer: ca, keys: person, extensions });
      const signer = { certificate, chain: [], key: person.privateKey };
      const { bytes } = await runStage(
        signMessage(chunkedSource(MESSAGE, 100), signer, { limits, at: new Date() }),
      );
      const trust = { anchors: [ca.certificate], intermediates: [], at: new Date() };
      const { outcome } = await runStage(verifyMessage(chunkedSource(bytes, 99), trust, { limits }));
      assert.equal(outcome.kind === 'verified' && outcome.signatures[0].trust, 'trusted');
    });
  }
});

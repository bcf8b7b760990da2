import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { Secret } from '../../../src/core/secret.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import { parseCertificate } from '../../../src/smime/certificate.ts';
import { isKeyOf, readPrivateKey } from '../../../src/smime/private-key.ts';

const password = new Secret('correct horse \u00e4');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ed25519 = generateKeyPairSync('ed25519').privateKey;
const cipher = { cipher: 'aes-256-cbc', passphrase: password.reveal() };

const forms: readonly (readonly [string, KeyObject, string | Buffer, Secret?])[] = [
  ['PKCS#8 PEM', rsa, rsa.export({ type: 'pkcs8', format: 'pem' })],
  ['PKCS#8 DER', rsa, rsa.export({ type: 'pkcs8', format: 'der' })],
  ['PKCS#8 Ed25519', ed25519, ed25519.export({ type: 'pkcs8', format: 'pem' })],
  ['PKCS#1 PEM', rsa, rsa.export({ type: 'pkcs1', format: 'pem' })],
  ['PKCS#1 DER', rsa, rsa.export({ type: 'pkcs1', format: 'der' })],
  ['SEC1 PEM', ec, ec.export({ type: 'sec1', format: 'pem' })],
  ['SEC1 DER', ec, ec.export({ type: 'sec1', format: 'der' })],
  ['encrypted PKCS#8 PEM', rsa, rsa.export({ type: 'pkcs8', format: 'pem', ...cipher }), password],
  ['encrypted PKCS#8 DER', rsa, rsa.export({ type: 'pkcs8', format: 'der', ...cipher }), password],
  ['encrypted PKCS#1 PEM', rsa, rsa.export({ type: 'pkcs1', format: 'pem', ...cipher }), password],
  ['encrypted SEC1 PEM', ec, ec.export({ type: 'sec1', format: 'pem', ...cipher }), password],
  ['a password that is not needed', ec, ec.export({ type: 'pkcs8', format: 'pem' }), password],
  [
    'text and other blocks around',
    ec,
    `Bag Attributes\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${ec.export({ type: 'sec1', format: 'pem' })}`,
  ],
];

test('forms of private keys', async (t) => {
  for (const [title, key, input, secret] of forms)
    await t.test(title, () => assert(readPrivateKey(input, secret).equals(key)));
});

const encrypted = rsa.export({ type: 'pkcs8', format: 'pem', ...cipher });
const faults: readonly (readonly [string, string | Buffer, Secret | undefined, RegExp])[] = [
  ['no password', encrypted, undefined, /^private key is encrypted and no password is given$/],
  ['wrong password', encrypted, new Secret('other'), /the password is wrong/],
  [
    'a public key',
    createPublicKey(rsa).export({ type: 'spki', format: 'pem' }),
    undefined,
    /^no private key in the PEM text$/,
  ],
  ['nothing', '', undefined, /^private key cannot be read$/],
  ['text', 'hello', undefined, /^private key cannot be read$/],
  [
    'broken PEM',
    '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
    undefined,
    /^private key cannot be read$/,
  ],
  ['100 kB', Buffer.alloc(100_000), undefined, /too large/],
];

test('what is refused, with a reason that holds nothing of the input', async (t) => {
  for (const [title, input, secret, message] of faults)
    await t.test(title, () =>
      assert.throws(() => readPrivateKey(input, secret), { code: 'config-invalid', message }),
    );
});

test('isKeyOf tells whose key it is', async () => {
  const ca = await createTestCa('private key tests');
  const [one, other] = [await ca.issue({ commonName: 'one' }), await ca.issue({ commonName: 'other' })];
  assert.equal(isKeyOf(one.key, parseCertificate(one.der)), true);
  assert.equal(isKeyOf(other.key, parseCertificate(one.der)), false);
  assert.equal(isKeyOf(ec, parseCertificate(one.der)), false);
});

test('a certificate with another type of key does not spoil the key that is read next', async () => {
  const ca = await createTestCa('private key tests', 'p384');
  const types = [
    await ca.issue({ commonName: 'rsa' }),
    await ca.issue({ commonName: 'ec', keyType: 'p256' }),
  ];
  for (const { der } of types) {
    for (const key of [rsa, ec, ed25519]) {
      assert.equal(isKeyOf(key, parseCertificate(der)), false);
      assert(readPrivateKey(ec.export({ type: 'pkcs8', format: 'pem' })).equals(ec));
      assert(readPrivateKey(rsa.export({ type: 'pkcs1', format: 'der' })).equals(rsa));
    }
  }
});

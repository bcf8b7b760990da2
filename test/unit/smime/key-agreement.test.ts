// Key agreement as other software may do it, built here by hand from the standards: every KDF, with and without keying
// material of the sender.
import assert from 'node:assert/strict';
import {
  createCipheriv,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import { algorithmIdentifier, octetString, sequence, tagged } from '../../../src/smime/ber-writer.ts';
import { oidOf, parseDer } from '../../../src/smime/der.ts';
import { agreementScheme, agreeOnKey, recoverAgreed } from '../../../src/smime/key-agreement.ts';

type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };

const KEY = randomBytes(32);
const WRAP = algorithmIdentifier(ID.aes256Wrap);
const HKDF = '1.2.840.113549.1.9.16.3.';
const own: readonly (readonly [string, () => Keys])[] = [
  ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' })],
  ['P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' })],
  ['X25519', () => generateKeyPairSync('x25519')],
  ['X448', () => generateKeyPairSync('x448')],
];

/** The public key as it stands in a BIT STRING, with the octet of unused bits. */
function pointOf(key: KeyObject): Buffer {
  const node = parseDer(key.export({ format: 'der', type: 'spki' }));
  return node.children[1]?.content ?? Buffer.alloc(0);
}

test('what we write opens, for each curve', async (t) => {
  for (const [name, make] of own) {
    await t.test(name, () => {
      const keys = make();
      const agreed = agreeOnKey(keys.publicKey, KEY);
      const [algorithm, wrap] = parseDer(agreed.algorithm).children;
      assert.ok(algorithm && wrap);
      const scheme = agreementScheme(oidOf(algorithm), wrap, undefined);
      const point = parseDer(agreed.originator[1] ?? Buffer.alloc(0)).content;
      assert.ok(scheme);
      assert.deepEqual(recoverAgreed(keys.privateKey, scheme, point, agreed.encryptedKey), KEY);
    });
  }
});

/** RFC 5869, one block is enough for a key of 32 octets. */
function hkdf(digest: string, salt: Uint8Array, secret: Uint8Array, info: Uint8Array): Buffer {
  const extracted = createHmac(digest, salt).update(secret).digest();
  return createHmac(digest, extracted)
    .update(Buffer.concat([info, Buffer.from([1])]))
    .digest()
    .subarray(0, 32);
}

test('HKDF schemes, written by hand', async (t) => {
  for (const [id, digest, size] of [
    ['19', 'sha256', 32],
    ['20', 'sha384', 48],
    ['21', 'sha512', 64],
  ] as const) {
    for (const material of [undefined, randomBytes(16)]) {
      await t.test(`${digest}, ${material ? 'with' : 'without'} keying material`, () => {
        const keys = generateKeyPairSync('x25519');
        const ephemeral = generateKeyPairSync('x25519');
        const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: keys.publicKey });
        const info = sequence(
          WRAP,
          ...(material ? [tagged(0, octetString(material))] : []),
          tagged(2, octetString(Buffer.from([0, 0, 1, 0]))),
        );
        const key = hkdf(digest, material ?? Buffer.alloc(size), secret, info);
        const cipher = createCipheriv('aes256-wrap', key, Buffer.alloc(8, 0xa6));
        const wrapped = Buffer.concat([cipher.update(KEY), cipher.final()]);
        const scheme = agreementScheme(`${HKDF}${id}`, parseDer(WRAP), material);
        assert.ok(scheme);
        assert.deepEqual(recoverAgreed(keys.privateKey, scheme, pointOf(ephemeral.publicKey), wrapped), KEY);
        const other = agreementScheme('1.3.132.1.11.1', parseDer(WRAP), material);
        assert.ok(other);
        assert.throws(() => recoverAgreed(keys.privateKey, other, pointOf(ephemeral.publicKey), wrapped));
      });
    }
  }
});

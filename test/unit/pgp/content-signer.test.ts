// Signatures that are made while content passes: the library verifies them, over every kind of key and any chunks.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createMessage, type KeyOptions, readSignature, verify } from 'openpgp';
import { BINARY_SIGNATURE, openContentHash, TEXT_SIGNATURE } from '../../../src/pgp/content-hash.ts';
import { openContentSigner } from '../../../src/pgp/content-signer.ts';
import { parseOnePass, writeOnePass } from '../../../src/pgp/one-pass.ts';
import { PgpFault } from '../../../src/pgp/fault.ts';
import { AT, flip, makeKey, options } from '../../support/pgp.ts';

const V6 = { v6Keys: true, aeadProtect: true };
const KINDS: readonly (readonly [string, Partial<KeyOptions>, string])[] = [
  ['curve 25519, old form', {}, 'pgp-sha512'],
  ['RSA 2048', { type: 'rsa', rsaBits: 2048 }, 'pgp-sha256'],
  [
    'RSA 3072 with a signing subkey',
    { type: 'rsa', rsaBits: 3072, subkeys: [{ sign: true }, {}] },
    'pgp-sha256',
  ],
  ['NIST P-256', { curve: 'nistP256' }, 'pgp-sha256'],
  ['NIST P-384', { curve: 'nistP384' }, 'pgp-sha384'],
  ['NIST P-521', { curve: 'nistP521' }, 'pgp-sha512'],
  ['version 6, Ed25519', { type: 'curve25519', config: V6 }, 'pgp-sha256'],
  ['version 6, Ed448', { type: 'curve448', config: V6 }, 'pgp-sha512'],
  ['version 6, RSA', { type: 'rsa', rsaBits: 2048, config: V6 }, 'pgp-sha256'],
];

for (const [name, settings, micalg] of KINDS) {
  test(`a signature by ${name}`, async () => {
    const key = await makeKey('alice@contoso.example', settings);
    const content = randomBytes(100_001);
    const signer = await openContentSigner(key.own, options);
    assert.equal(signer.micalg, micalg);
    for (let at = 0; at < content.length; at += 7_777) signer.update(content.subarray(at, at + 7_777));
    const packet = await signer.finish();
    const check = async (bytes: Uint8Array) => {
      const { signatures } = await verify({
        message: await createMessage({ binary: bytes }),
        signature: await readSignature({ binarySignature: packet }),
        verificationKeys: key.publicKey,
        date: AT,
        format: 'binary',
      });
      assert.equal(signatures.length, 1);
      return signatures[0]?.verified;
    };
    assert.equal(await check(content), true);
    await assert.rejects(async () => check(flip(content, 50_000)));
    const announced = parseOnePass(signer.onePass.subarray(6));
    assert.ok(key.certificate.keyIds.includes(announced.keyId));
    assert.equal(announced.type, BINARY_SIGNATURE);
    assert.equal(announced.salt !== undefined, settings.config === V6);
  });
}

test('text is hashed with CRLF, however it is cut', () => {
  const reference = openContentHash(BINARY_SIGNATURE, 8);
  const wanted = 'one\r\n\r\ntwo\r\nthree\rfour\r\n';
  reference?.update(Buffer.from(wanted));
  for (const text of ['one\n\ntwo\nthree\rfour\n', wanted, 'one\r\n\ntwo\r\nthree\rfour\n']) {
    for (const size of [1, 2, 3, 5, 100]) {
      const hash = openContentHash(TEXT_SIGNATURE, 8);
      for (let at = 0; at < text.length; at += size) hash?.update(Buffer.from(text.slice(at, at + size)));
      const data = Buffer.from('x');
      assert.deepEqual(hash?.digest(4, data), reference?.digest(4, data), JSON.stringify([text, size]));
    }
  }
});

test('hashes that are not opened', () => {
  const cases: readonly (readonly [string, number, number, number?])[] = [
    ['a certification', 0x10, 8],
    ['an unknown hash', 0, 99],
    ['a salt of another size', 0, 8, 32],
    ['a salt with SHA-1', 0, 2, 16],
  ];
  for (const [name, type, hashId, salt] of cases) {
    const opened = openContentHash(type, hashId, salt === undefined ? undefined : Buffer.alloc(salt));
    assert.equal(opened, undefined, name);
  }
});

test('one-pass signatures: both versions, unknown ones, and damage', () => {
  const v3 = { type: 0, hashId: 8, keyId: '0102030405060708' };
  const v6 = { ...v3, hashId: 10, keyId: 'aaaaaaaaaaaaaaaa', salt: Buffer.alloc(32, 7) };
  const fingerprint = Buffer.alloc(32, 0xaa);
  for (const each of [v3, v6]) {
    const body = writeOnePass(each, 22, fingerprint);
    assert.deepEqual(parseOnePass(body), each);
    for (const bad of [body.subarray(0, -1), Buffer.concat([body, Buffer.of(1)])]) {
      assert.throws(() => parseOnePass(bad), PgpFault);
    }
  }
  assert.deepEqual(parseOnePass(Buffer.of(9, 0, 8, 1)), { type: 0, hashId: 8, keyId: '' });
});

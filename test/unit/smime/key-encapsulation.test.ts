// ML-KEM recipients: the example of RFC 9936, what we write ourselves, and that no failure behind the key tells more than another.
import assert from 'node:assert/strict';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { fieldsOf, octetsOf, oidOf, parseBer, parseDer, TAG } from '../../../src/smime/der.ts';
import { encryptContent, openEnvelope } from '../../../src/smime/enveloped-data.ts';
import {
  encapsulateKey,
  readEncapsulated,
  recoverEncapsulated,
} from '../../../src/smime/key-encapsulation.ts';
import {
  issuerAndSerial,
  parseRecipientInfo,
  recoverContentKey,
  selectRecipient,
  type SmimeDecryptionKey,
  writeRecipientInfo,
} from '../../../src/smime/recipient-info.ts';
import { caExtension, element, extension, makeCertificate, name } from '../../support/certificates.ts';
import { assertUnreadable, createWorld, inChunks } from '../../support/smime.ts';

const CONTENT = Buffer.from('Content-Type: text/plain\r\n\r\nfor her only\r\n');
const ca = makeCertificate({ subject: name('ca'), extensions: [caExtension()] });
const world = await createWorld('encapsulation');
const rsa = await world.person('rsa');
const p256 = await world.person('p256', { keyType: 'p256' });
const KEY_TYPES = ['ml-kem-512', 'ml-kem-768', 'ml-kem-1024'] as const;
const CEK = randomBytes(32);

function holder(privateKey: KeyObject, keyId = 'key'): SmimeDecryptionKey {
  const keys = { publicKey: createPublicKey(privateKey), privateKey };
  const extensions = [extension('2.5.29.14', element(0x04, Buffer.from(keyId, 'hex')))];
  const { certificate } = makeCertificate({ subject: name('holder'), issuer: ca, keys, extensions });
  return { certificate, key: privateKey };
}

const holders = {
  'ml-kem-512': holder(generateKeyPairSync('ml-kem-512').privateKey),
  'ml-kem-768': holder(generateKeyPairSync('ml-kem-768').privateKey),
  'ml-kem-1024': holder(generateKeyPairSync('ml-kem-1024').privateKey),
};

async function open(bytes: Uint8Array, key: SmimeDecryptionKey): ReturnType<typeof openEnvelope> {
  return openEnvelope(() => inChunks(bytes, 100), [key], { maxRecipientInfos: 5 });
}

test('the example of RFC 9936, appendix C', async () => {
  // The seed is 00 01 02 ... 3f, as in all examples of these documents.
  const seed = Buffer.from(Array.from({ length: 64 }, (_, index) => index));
  const der = sequence(
    integer(0),
    algorithmIdentifier('2.16.840.1.101.3.4.4.1'),
    octetString(element(0x80, seed)),
  );
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const pem = readFileSync(new URL('../../fixtures/smime/rfc9936-ml-kem-512.pem', import.meta.url), 'latin1');
  const cms = Buffer.from(pem.replaceAll(/-----.*-----/g, ''), 'base64');
  const envelope = await open(cms, holder(key, '599788C37AED400EE405D1B2A3366AB17D824A51'));
  assert.equal(envelope.kind, 'opened');
  assert.deepEqual(
    [envelope.algorithm, envelope.isAuthenticated, envelope.isWeak],
    ['aes-128-gcm', true, false],
  );
  assert.equal((await collect(envelope.content, 1_000)).toString(), 'Hello, world!');
});

test('what is encrypted to ML-KEM, RSA and an elliptic curve opens with each key', async (t) => {
  const people = [...KEY_TYPES.map((type) => holders[type]), rsa.decryption, p256.decryption];
  const [first, ...others] = people.map(({ certificate }) => certificate);
  assert.ok(first);
  for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
    const bytes = await collect(
      encryptContent(bytesSource(CONTENT).open(), [first, ...others], cipher),
      1_000_000,
    );
    for (const person of people) {
      await t.test(`${cipher}, ${person.key.asymmetricKeyType}`, async () => {
        const envelope = await open(bytes, person);
        assert.equal(envelope.kind, 'opened');
        assert.equal(envelope.algorithm, cipher);
        assert.deepEqual(await collect(envelope.content, 1_000), CONTENT);
      });
    }
  }
});

test('the structure that we write (RFC 9629 §3, RFC 9936 §2.1)', async (t) => {
  for (const [type, kem, wrap, kekBytes, ciphertextBytes] of [
    ['ml-kem-512', '2.16.840.1.101.3.4.4.1', ID.aes128Wrap, 16, 768],
    ['ml-kem-768', '2.16.840.1.101.3.4.4.2', ID.aes256Wrap, 32, 1_088],
    ['ml-kem-1024', '2.16.840.1.101.3.4.4.3', ID.aes256Wrap, 32, 1_568],
  ] as const) {
    await t.test(type, () => {
      const { certificate } = holders[type];
      const outer = fieldsOf(parseDer(writeRecipientInfo(certificate, CEK)), 0xa4);
      assert.equal(oidOf(outer.take(TAG.oid)), '1.2.840.113549.1.9.16.13.3');
      const fields = fieldsOf(outer.take(TAG.sequence));
      outer.end();
      assert.deepEqual(fields.take(TAG.integer).raw, integer(0));
      assert.deepEqual(fields.take(TAG.sequence).raw, issuerAndSerial(certificate));
      assert.deepEqual(fields.take(TAG.sequence).raw, algorithmIdentifier(kem));
      assert.equal(octetsOf(fields.take(TAG.octetString)).length, ciphertextBytes);
      assert.deepEqual(fields.take(TAG.sequence).raw, algorithmIdentifier('1.2.840.113549.1.9.16.3.28'));
      assert.deepEqual(fields.take(TAG.integer).raw, integer(kekBytes));
      assert.deepEqual(fields.take(TAG.sequence).raw, algorithmIdentifier(wrap));
      assert.equal(octetsOf(fields.take(TAG.octetString)).length, CEK.length + 8);
      fields.end();
    });
  }
});

async function versionFor(...people: readonly SmimeDecryptionKey[]): Promise<number | undefined> {
  const [first, ...others] = people.map(({ certificate }) => certificate);
  assert.ok(first);
  const bytes = await collect(encryptContent(bytesSource(CONTENT).open(), [first, ...others]), 1_000_000);
  return bytes[bytes.indexOf(Buffer.from([0xa0, 0x80, 0x30, 0x80, 0x02, 0x01])) + 6];
}

test('an envelope with an ML-KEM recipient has version 3 (RFC 5652 §6.1)', async () => {
  assert.equal(await versionFor(holders['ml-kem-768']), 3);
  assert.equal(await versionFor(rsa.decryption, holders['ml-kem-768']), 3);
});

const { certificate: certificate768, key: key768 } = holders['ml-kem-768'];

/** The fields behind `rid` as we write them, with some exchanged. */
function info(changes: Readonly<Record<number, Uint8Array | readonly []>> = {}): Buffer {
  const fields = encapsulateKey(certificate768.publicKey, CEK).flatMap(
    (field, index) => changes[index] ?? [field],
  );
  return tagged(4, oid(ID.oriKem), sequence(integer(0), issuerAndSerial(certificate768), ...fields));
}

test('user keying material goes into the key', () => {
  const material = randomBytes(20);
  const der = sequence(...encapsulateKey(certificate768.publicKey, CEK));
  const [kem, ciphertext, kdf, length, wrap, encryptedKey] = parseDer(der).children;
  assert.ok(kem && ciphertext && kdf && length && wrap && encryptedKey);
  const parts = [kem.raw, ciphertext.raw, kdf.raw, length.raw, tagged(0, octetString(material)), wrap.raw];
  const read = readEncapsulated(fieldsOf(parseDer(sequence(...parts, encryptedKey.raw))));
  assert.ok(read.scheme);
  assert.ok(read.scheme.otherInfo.includes(material));
  const { scheme } = read;
  assert.throws(() => recoverEncapsulated(key768, scheme, read.ciphertext, read.encryptedKey));
});

test('what the structure alone shows', async (t) => {
  const table: readonly (readonly [string, Buffer, string])[] = [
    ['another KEM', info({ 0: algorithmIdentifier('1.2.3') }), 'unsupported'],
    [
      'another size of ML-KEM than the key',
      info({ 0: algorithmIdentifier('2.16.840.1.101.3.4.4.1') }),
      'unsupported',
    ],
    ['KEM with parameters', info({ 0: algorithmIdentifier('2.16.840.1.101.3.4.4.2', NULL) }), 'unsupported'],
    ['another KDF', info({ 2: algorithmIdentifier(ID.sha256) }), 'unsupported'],
    ['another key length than the wrap', info({ 3: integer(16) }), 'unsupported'],
    ['another wrap', info({ 4: algorithmIdentifier('1.2.3') }), 'unsupported'],
    [
      'a wrap of Triple-DES',
      info({ 3: integer(24), 4: algorithmIdentifier('1.2.840.113549.1.9.16.3.6', NULL) }),
      'unsupported',
    ],
    ['an unknown kind of recipient', tagged(4, oid('1.2.3'), NULL), 'no-recipient'],
    ['ML-KEM that is not for us', writeRecipientInfo(holders['ml-kem-512'].certificate, CEK), 'no-recipient'],
  ];
  for (const [title, bytes, reason] of table) {
    await t.test(title, () => {
      assert.deepEqual(
        selectRecipient(parseRecipientInfo(bytes), [{ certificate: certificate768, key: key768 }]),
        {
          reason,
        },
      );
    });
  }
  await t.test('no encrypted key', () => {
    assert.throws(() => parseRecipientInfo(info({ 5: [] })), { code: 'config-invalid' });
  });
});

const changed = (index: number): Buffer => {
  const field = parseBer(encapsulateKey(certificate768.publicKey, CEK)[index] ?? Buffer.alloc(0)).content;
  const copy = Buffer.from(field);
  copy[3] = (copy[3] ?? 0) ^ 1;
  return octetString(copy);
};

test('one outcome: every failure behind the private key is a random key', async (t) => {
  const table: readonly (readonly [string, Buffer])[] = [
    ['ciphertext changed', info({ 1: changed(1) })],
    ['ciphertext of another message', info({ 1: octetString(randomBytes(1_088)) })],
    ['ciphertext cut off', info({ 1: octetString(randomBytes(1_087)) })],
    ['ciphertext empty', info({ 1: octetString(Buffer.alloc(0)) })],
    ['wrapped key changed', info({ 5: changed(5) })],
    ['wrapped key cut off', info({ 5: octetString(randomBytes(39)) })],
    ['wrapped key empty', info({ 5: octetString(Buffer.alloc(0)) })],
  ];
  for (const [title, bytes] of table) {
    await t.test(title, () => {
      const match = selectRecipient(parseRecipientInfo(bytes), [
        { certificate: certificate768, key: key768 },
      ]);
      assert.ok('entry' in match);
      const first = recoverContentKey(match, 32);
      assert.equal(first.length, 32);
      assert.notDeepEqual(first, CEK);
      assert.notDeepEqual(recoverContentKey(match, 32), first);
    });
  }
  await t.test('a key of the wrong length', () => {
    const match = selectRecipient(parseRecipientInfo(info()), [{ certificate: certificate768, key: key768 }]);
    assert.ok('entry' in match);
    assert.deepEqual(recoverContentKey(match, 32), CEK);
    assert.equal(recoverContentKey(match, 16).length, 16);
  });
});

test('an envelope with a changed ciphertext fails at its end only', async () => {
  const bytes = await collect(encryptContent(bytesSource(CONTENT).open(), [certificate768]), 1_000_000);
  const at = bytes.indexOf(algorithmIdentifier('2.16.840.1.101.3.4.4.2')) + 100;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  const envelope = await open(bytes, { certificate: certificate768, key: key768 });
  assert.equal(envelope.kind, 'opened');
  await assertUnreadable(envelope.content, CONTENT);
});

import assert from 'node:assert/strict';
import { constants, createCipheriv, publicEncrypt, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import {
  ContentError,
  encryptContent,
  openEnvelope,
  type OpenedEnvelope,
} from '../../../src/smime/enveloped-data.ts';
import {
  issuerAndSerial,
  type SmimeDecryptionKey,
  writeRecipientInfo,
} from '../../../src/smime/recipient-info.ts';
import { assertUnreadable, createWorld, inChunks, type TestPerson } from '../../support/smime.ts';

const world = await createWorld('enveloped-data');
const alice = await world.person('alice');
const bob = await world.person('bob');
const carol = await world.person('carol', { keyType: 'p256' });
const dora = await world.person('dora', { keyType: 'p384' });
const CONTENT = Buffer.from('Content-Type: text/plain\r\n\r\nfor her only\r\n');
const SIGNED_ATTRIBUTE = sequence(oid(ID.contentType), element(0x31, oid(ID.data)));

interface Parts {
  readonly contentType?: string;
  readonly recipients?: readonly Uint8Array[];
  readonly innerType?: string;
  readonly algorithm?: Uint8Array;
  readonly encrypted: Uint8Array;
  readonly tail?: readonly Uint8Array[];
  readonly trailing?: Uint8Array;
}

function envelope(parts: Parts): Buffer {
  const content = sequence(
    integer(0),
    element(0x31, ...(parts.recipients ?? [])),
    sequence(
      oid(parts.innerType ?? ID.data),
      parts.algorithm ?? new Uint8Array(),
      element(0x80, parts.encrypted),
    ),
    ...(parts.tail ?? []),
  );
  const whole = sequence(oid(parts.contentType ?? ID.envelopedData), tagged(0, content));
  return Buffer.concat([whole, parts.trailing ?? Buffer.alloc(0)]);
}

const iv = randomBytes(16);
const cek = randomBytes(32);
const cbc = algorithmIdentifier(ID.aes256Cbc, octetString(iv));

function encrypted(content: Uint8Array, isPadded = true): Buffer {
  const cipher = createCipheriv('aes-256-cbc', cek, iv).setAutoPadding(isPadded);
  return Buffer.concat([cipher.update(content), cipher.final()]);
}

function transport(to: TestPerson, algorithm: Uint8Array, encryptedKey: Uint8Array): Buffer {
  return sequence(integer(0), issuerAndSerial(to.certificate), algorithm, octetString(encryptedKey));
}

const v15 = algorithmIdentifier(ID.rsaEncryption, NULL);
const wrapped = (to: TestPerson, key: Uint8Array): Buffer =>
  publicEncrypt({ key: to.certificate.publicKey, padding: constants.RSA_PKCS1_PADDING }, key);

async function open(
  bytes: Uint8Array,
  keys: readonly SmimeDecryptionKey[] = [alice.decryption],
): ReturnType<typeof openEnvelope> {
  return openEnvelope(() => inChunks(bytes, 100), keys, { maxRecipientInfos: 5 });
}

async function opened(bytes: Uint8Array, keys?: readonly SmimeDecryptionKey[]): Promise<OpenedEnvelope> {
  const result = await open(bytes, keys);
  assert.equal(result.kind, 'opened');
  return result;
}

test('what is encrypted to several certificates opens with each key', async (t) => {
  const bytes = await collect(
    encryptContent(bytesSource(CONTENT).open(), [
      alice.certificate,
      bob.certificate,
      carol.certificate,
      dora.certificate,
    ]),
    1_000_000,
  );
  for (const person of [alice, bob, carol, dora]) {
    await t.test(person.certificate.addresses[0] ?? '', async () => {
      const result = await opened(bytes, [person.decryption]);
      assert.equal(result.algorithm, 'aes-256-cbc');
      assert.equal(result.isAuthenticated, false);
      assert.equal(result.key, person.decryption);
      assert.deepEqual(await collect(result.content, 1_000), CONTENT);
    });
  }
});

async function versionFor(person: TestPerson): Promise<number | undefined> {
  const bytes = await collect(encryptContent(bytesSource(CONTENT).open(), [person.certificate]), 1_000_000);
  return bytes[bytes.indexOf(Buffer.from([0xa0, 0x80, 0x30, 0x80, 0x02, 0x01])) + 6];
}

test('the version says whether there is more than key transport', async () => {
  assert.equal(await versionFor(alice), 0);
  assert.equal(await versionFor(carol), 2);
});

test('a recipient named by key identifier', async () => {
  const keyId = alice.certificate.subjectKeyId ?? Buffer.alloc(0);
  const info = sequence(integer(2), element(0x80, keyId), v15, octetString(wrapped(alice, cek)));
  const bytes = envelope({ recipients: [info], algorithm: cbc, encrypted: encrypted(CONTENT) });
  assert.deepEqual(
    await collect((await opened(bytes, [bob.decryption, alice.decryption])).content, 1_000),
    CONTENT,
  );
  assert.deepEqual(await open(bytes, [bob.decryption]), { kind: 'refused', reason: 'no-recipient' });
});

test('what the structure alone shows', async (t) => {
  const good = {
    recipients: [writeRecipientInfo(alice.certificate, cek)],
    algorithm: cbc,
    encrypted: encrypted(CONTENT),
  };
  const password = element(
    0xa3,
    integer(0),
    algorithmIdentifier(ID.aes256Wrap),
    octetString(Buffer.alloc(40)),
  );
  const badOaep = transport(
    alice,
    algorithmIdentifier(ID.rsaOaep, octetString(Buffer.from('x'))),
    wrapped(alice, cek),
  );
  const table: readonly (readonly [string, Buffer, string])[] = [
    [
      'not for us',
      envelope({ ...good, recipients: [writeRecipientInfo(bob.certificate, cek)] }),
      'no-recipient',
    ],
    ['no recipients', envelope({ ...good, recipients: [] }), 'no-recipient'],
    ['password', envelope({ ...good, recipients: [password] }), 'password-only'],
    [
      'password and another recipient',
      envelope({ ...good, recipients: [password, writeRecipientInfo(bob.certificate, cek)] }),
      'no-recipient',
    ],
    [
      '3DES',
      envelope({
        ...good,
        algorithm: algorithmIdentifier('1.2.840.113549.3.7', octetString(iv.subarray(8))),
      }),
      'unsupported',
    ],
    [
      'AES-GCM where CBC belongs',
      envelope({ ...good, algorithm: algorithmIdentifier(ID.aes256Gcm, sequence(octetString(iv))) }),
      'unsupported',
    ],
    ['a receipt inside', envelope({ ...good, innerType: '1.2.840.113549.1.9.16.1.1' }), 'unsupported'],
    ['other CMS', envelope({ ...good, contentType: ID.signedData }), 'unsupported'],
    // F64: an identifier for OAEP with parameters that are none, and a key in v1.5.
    ['OAEP parameters', envelope({ ...good, recipients: [badOaep] }), 'unsupported'],
    [
      'short IV',
      envelope({ ...good, algorithm: algorithmIdentifier(ID.aes256Cbc, octetString(iv.subarray(1))) }),
      'malformed',
    ],
    ['no algorithm', envelope({ recipients: good.recipients, encrypted: good.encrypted }), 'malformed'],
    ['recipient that is none', envelope({ ...good, recipients: [sequence(NULL)] }), 'malformed'],
    [
      'too many recipients',
      envelope({
        ...good,
        recipients: Array.from({ length: 6 }, () => writeRecipientInfo(bob.certificate, cek)),
      }),
      'malformed',
    ],
    ['not BER', Buffer.from('hello world'), 'malformed'],
    ['nothing', Buffer.alloc(0), 'malformed'],
  ];
  for (const [name, bytes, reason] of table) {
    await t.test(name, async () => assert.deepEqual(await open(bytes), { kind: 'refused', reason }));
  }
});

test('one outcome: every failure behind the private key looks alike', async (t) => {
  const info = writeRecipientInfo(alice.certificate, cek);
  const good = { recipients: [info], algorithm: cbc, encrypted: encrypted(CONTENT) };
  const oaep = algorithmIdentifier(ID.rsaOaep, sequence());
  const table: readonly (readonly [string, Parts])[] = [
    [
      'key of 16 bytes for AES-256',
      { ...good, recipients: [transport(alice, v15, wrapped(alice, cek.subarray(16)))] },
    ],
    [
      'key of 33 bytes',
      { ...good, recipients: [transport(alice, v15, wrapped(alice, Buffer.concat([cek, iv.subarray(15)])))] },
    ],
    ['bad RSA padding', { ...good, recipients: [transport(alice, v15, Buffer.alloc(256, 7))] }],
    ['encrypted key cut off', { ...good, recipients: [transport(alice, v15, Buffer.alloc(255, 7))] }],
    ['encrypted key empty', { ...good, recipients: [transport(alice, v15, Buffer.alloc(0))] }],
    ['bad OAEP', { ...good, recipients: [transport(alice, oaep, wrapped(alice, cek))] }],
    ['bad content padding', { ...good, encrypted: encrypted(Buffer.alloc(64, 0x41), false) }],
    ['content cut in a block', { ...good, encrypted: good.encrypted.subarray(0, -1) }],
    ['no content', { ...good, encrypted: Buffer.alloc(0) }],
    ['something after the content', { ...good, tail: [NULL] }],
    ['something after the structure', { ...good, trailing: Buffer.from([0]) }],
  ];
  for (const [name, parts] of table) {
    await t.test(name, async () => {
      const { content } = await opened(envelope(parts));
      await assertUnreadable(content, CONTENT);
    });
  }
  await t.test('and the good one does not', async () => {
    assert.deepEqual(await collect((await opened(envelope(good))).content, 10_000), CONTENT);
  });
});

test('recipient order: a later entry for the same key is never tried', async () => {
  const bad = transport(alice, v15, Buffer.alloc(256, 7));
  const good = writeRecipientInfo(alice.certificate, cek);
  const parts = { algorithm: cbc, encrypted: encrypted(CONTENT) };
  const first = await opened(envelope({ ...parts, recipients: [bad, good] }));
  await assertUnreadable(first.content, CONTENT);
  const second = await opened(envelope({ ...parts, recipients: [good, bad] }));
  assert.deepEqual(await collect(second.content, 10_000), CONTENT);
});

test('an entry that cannot be used does not hide one that can', async () => {
  const unknown = transport(alice, algorithmIdentifier('1.2.3.4'), Buffer.alloc(256));
  const bytes = envelope({
    recipients: [unknown, writeRecipientInfo(alice.certificate, cek)],
    algorithm: cbc,
    encrypted: encrypted(CONTENT),
  });
  assert.deepEqual(await collect((await opened(bytes)).content, 10_000), CONTENT);
});

const sha = (id: string): Buffer => algorithmIdentifier(id, NULL);

test('OAEP parameters are honoured', async (t) => {
  const label = Buffer.from('postern');
  const table: readonly (readonly [string, readonly Uint8Array[], string, Buffer])[] = [
    ['absent', [], 'sha1', Buffer.alloc(0)],
    ['all default', [sequence()], 'sha1', Buffer.alloc(0)],
    [
      'SHA-256',
      [sequence(tagged(0, sha(ID.sha256)), tagged(1, algorithmIdentifier(ID.mgf1, sha(ID.sha256))))],
      'sha256',
      Buffer.alloc(0),
    ],
    ['label', [sequence(tagged(2, algorithmIdentifier(ID.pSpecified, octetString(label))))], 'sha1', label],
  ];
  for (const [name, parameters, oaepHash, oaepLabel] of table) {
    await t.test(name, async () => {
      const key = publicEncrypt(
        { key: alice.certificate.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash, oaepLabel },
        cek,
      );
      const bytes = envelope({
        recipients: [transport(alice, algorithmIdentifier(ID.rsaOaep, ...parameters), key)],
        algorithm: cbc,
        encrypted: encrypted(CONTENT),
      });
      assert.deepEqual(await collect((await opened(bytes)).content, 10_000), CONTENT);
    });
  }
});

const nonce = randomBytes(12);

function authenticated(
  change: { tag?: number; tagBytes?: number; attributes?: Buffer; encrypted?: number } = {},
): Buffer {
  const cipher = createCipheriv('aes-256-gcm', cek, nonce, { authTagLength: 16 });
  cipher.setAAD(element(0x31, SIGNED_ATTRIBUTE));
  const body = Buffer.concat([cipher.update(CONTENT), cipher.final()]);
  const tag = cipher.getAuthTag();
  body[3] = (body[3] ?? 0) ^ (change.encrypted ?? 0);
  tag[0] = (tag[0] ?? 0) ^ (change.tag ?? 0);
  const tagBytes = change.tagBytes ?? 16;
  return envelope({
    contentType: ID.authEnvelopedData,
    recipients: [writeRecipientInfo(alice.certificate, cek)],
    algorithm: algorithmIdentifier(ID.aes256Gcm, sequence(octetString(nonce), integer(tagBytes))),
    encrypted: body,
    tail: [element(0xa1, change.attributes ?? SIGNED_ATTRIBUTE), octetString(tag.subarray(0, tagBytes))],
  });
}

test('authenticated envelopes', async (t) => {
  await t.test('with authenticated attributes', async () => {
    const result = await opened(authenticated());
    assert.equal(result.isAuthenticated, true);
    assert.equal(result.algorithm, 'aes-256-gcm');
    assert.deepEqual(await collect(result.content, 10_000), CONTENT);
  });
  const broken: readonly (readonly [string, Buffer])[] = [
    ['tag changed', authenticated({ tag: 1 })],
    ['content changed', authenticated({ encrypted: 1 })],
    [
      'attributes changed',
      authenticated({ attributes: sequence(oid(ID.contentType), element(0x31, oid(ID.signedData))) }),
    ],
  ];
  for (const [name, bytes] of broken) {
    await t.test(name, async () => {
      await assert.rejects(collect((await opened(bytes)).content, 10_000), ContentError);
    });
  }
  await t.test('short tags are refused', async () => {
    assert.deepEqual(await open(authenticated({ tagBytes: 4 })), { kind: 'refused', reason: 'malformed' });
  });
});

test('a key that cannot be encrypted to is refused', async () => {
  const certificate = { ...alice.certificate, keyType: 'ed25519' as const };
  await assert.rejects(collect(encryptContent(bytesSource(CONTENT).open(), [certificate]), 10_000), {
    code: 'encryption-required',
  });
});

import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import type { SignatureResult } from '../../../src/core/outcome.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import { BerError } from '../../../src/smime/ber-reader.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  setOf,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { parseCertificate } from '../../../src/smime/certificate.ts';
import type { TrustContext } from '../../../src/smime/chain.ts';
import { ContentDigest } from '../../../src/smime/content-digest.ts';
import { issuerAndSerial } from '../../../src/smime/recipient-info.ts';
import { writeSignedAttributes } from '../../../src/smime/signed-attributes.ts';
import { openSignedData, writeDetachedSignature } from '../../../src/smime/signed-data.ts';
import { signingDigest } from '../../../src/smime/signing.ts';
import { judgeSigner } from '../../../src/smime/signer-info.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import { createWorld, inChunks, type TestPerson } from '../../support/smime.ts';

const world = await createWorld('signed-data');
const alice = await world.person('alice');
const carol = await world.person('carol', { keyType: 'p256' });
const dora = await world.person('dora', { keyType: 'p384' });
const CONTENT = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n');
const AT = new Date('2026-03-04T05:06:07Z');
const SHA1 = '1.3.14.3.2.26';

interface Parts {
  /** The SET OF Attribute; undefined for the standard one, null for none at all. */
  readonly attributes?: Buffer | null;
  readonly signer?: TestPerson;
  readonly signingKey?: KeyObject;
  readonly digest?: string;
  readonly announced?: string;
  readonly signatureAlgorithm?: Buffer;
  readonly signature?: Buffer;
  readonly embedded?: Uint8Array;
  readonly contentType?: string;
  readonly certificates?: readonly Uint8Array[];
  /** Attributes that the signature does not cover. */
  readonly unsigned?: readonly Uint8Array[];
}

function signerInfo(parts: Parts, covered: Uint8Array): Buffer {
  const signer = parts.signer ?? alice;
  const hash = parts.digest === SHA1 ? 'sha1' : 'sha256';
  const attributes =
    parts.attributes === undefined
      ? standardAttributes(createHash(hash).update(covered).digest())
      : parts.attributes;
  const signed = attributes ?? covered;
  return sequence(
    integer(1),
    issuerAndSerial(signer.certificate),
    algorithmIdentifier(parts.digest ?? ID.sha256),
    ...(attributes ? [Buffer.concat([Buffer.from([0xa0]), attributes.subarray(1)])] : []),
    parts.signatureAlgorithm ?? algorithmIdentifier(ID.rsaEncryption, NULL),
    octetString(parts.signature ?? sign(hash, signed, parts.signingKey ?? signer.key)),
    ...(parts.unsigned ? [tagged(1, ...parts.unsigned)] : []),
  );
}

function signedData(
  parts: Parts,
  signers: readonly Uint8Array[] = [signerInfo(parts, parts.embedded ?? CONTENT)],
): Buffer {
  return sequence(
    oid(ID.signedData),
    tagged(
      0,
      sequence(
        integer(1),
        setOf(algorithmIdentifier(parts.announced ?? parts.digest ?? ID.sha256)),
        sequence(
          oid(parts.contentType ?? ID.data),
          ...(parts.embedded ? [tagged(0, octetString(parts.embedded))] : []),
        ),
        tagged(0, ...(parts.certificates ?? [(parts.signer ?? alice).der])),
        element(0x31, ...signers),
      ),
    ),
  );
}

const attribute = (type: string, ...values: readonly Uint8Array[]): Buffer =>
  sequence(oid(type), setOf(...values));
const typeAttribute = attribute(ID.contentType, oid(ID.data));
const digestAttribute = (value: Uint8Array): Buffer => attribute(ID.messageDigest, octetString(value));
const standardAttributes = (digest: Uint8Array): Buffer => setOf(typeAttribute, digestAttribute(digest));
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Reads a signature as verification does: detached over `detached`, or over what it embeds. */
async function judge(
  bytes: Uint8Array,
  detached?: Uint8Array,
  trust: TrustContext = world.trust,
): Promise<readonly SignatureResult[]> {
  await using reader = await openSignedData(inChunks(bytes, 50), { maxSigners: 3 });
  let digest = new ContentDigest(reader.digests);
  if (!detached) for await (const chunk of reader.content()) digest.update(chunk);
  const { signers, certificates } = await reader.tail();
  if (detached) {
    digest = new ContentDigest(new Set(signers.flatMap((signer) => signer.digest ?? [])));
    digest.update(detached);
  }
  const content = {
    contentType: reader.contentType,
    digests: digest.finish(),
    hasSurplusContent: detached !== undefined && reader.hasContent,
  };
  return Promise.all(signers.map((signer) => judgeSigner(signer, content, certificates, trust)));
}

async function judgeOne(...args: Parameters<typeof judge>): Promise<SignatureResult> {
  const [result, ...others] = await judge(...args);
  assert.ok(result);
  assert.equal(others.length, 0);
  return result;
}

test('what is signed verifies, and says who signed when', async (t) => {
  for (const [person, digest] of [
    [alice, 'sha256'],
    [carol, 'sha256'],
    [dora, 'sha384'],
  ] as const) {
    await t.test(person.certificate.addresses[0] ?? '', async () => {
      assert.equal(signingDigest(person.key).name, digest);
      const value = createHash(digest).update(CONTENT).digest();
      const result = await judgeOne(writeDetachedSignature(value, person.signer, AT), CONTENT);
      assert.deepEqual(result, {
        format: 'smime',
        integrity: 'intact',
        trust: 'trusted',
        signer: person.certificate.addresses,
        keyId: `smime:${person.certificate.fingerprint}`,
        signedAt: AT,
        capabilities: ['aes-256-gcm', 'aes-128-gcm', 'aes-256-cbc', 'aes-128-cbc', 'cek-hkdf-sha256'],
      });
    });
  }
});

test('the certificate that a signer wants to be encrypted to', async (t) => {
  const { certificate } = carol;
  const keyId = certificate.subjectKeyId ?? assert.fail('no key id');
  const named = `smime:${certificate.fingerprint}`;
  const both = [alice.der, carol.der];
  const issuerSerial = tagged(0, issuerAndSerial(certificate).subarray(2));
  const rows: readonly (readonly [
    string,
    readonly Uint8Array[],
    readonly Uint8Array[],
    string | undefined,
  ])[] = [
    ['by issuer and serial', [issuerSerial], both, named],
    ['by recipient key id', [tagged(1, octetString(keyId))], both, named],
    ['by subject key id', [element(0x82, keyId)], both, named],
    ['not in the message', [element(0x82, keyId)], [alice.der], undefined],
    ['malformed', [tagged(0, NULL)], both, undefined],
    ['otherwise', [octetString(keyId)], both, undefined],
    ['with two values', [element(0x82, keyId), issuerSerial], both, undefined],
  ];
  for (const [name, values, certificates, expected] of rows)
    await t.test(name, async () => {
      const preference = attribute(ID.encryptionKeyPreference, ...values);
      const attributes = setOf(typeAttribute, digestAttribute(sha256(CONTENT)), preference);
      const result = await judgeOne(signedData({ attributes, certificates }), CONTENT);
      assert.deepEqual([result.integrity, result.encryptionKeyId], ['intact', expected]);
    });
  const attributes = setOf(
    typeAttribute,
    digestAttribute(sha256(CONTENT)),
    attribute(ID.encryptionKeyPreference, element(0x82, keyId)),
  );
  const forged = signedData({
    attributes,
    certificates: both,
    signingKey: carol.key,
    signature: Buffer.alloc(256),
  });
  assert.equal((await judgeOne(forged, CONTENT)).encryptionKeyId, undefined);
});

test('the digest suits the key', () => {
  const table: readonly (readonly [string, string, string])[] = [
    ['P-256', 'sha256', 'sha-256'],
    ['P-384', 'sha384', 'sha-384'],
    ['P-521', 'sha512', 'sha-512'],
    ['brainpoolP256r1', 'sha256', 'sha-256'],
    ['brainpoolP384r1', 'sha384', 'sha-384'],
    ['brainpoolP512r1', 'sha512', 'sha-512'],
  ];
  for (const [namedCurve, name, micalg] of table) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve });
    const digest = signingDigest(privateKey);
    assert.deepEqual([digest.name, digest.micalg], [name, micalg], namedCurve);
  }
});

test('signing times on both sides of 2050', async () => {
  for (const text of ['1999-12-31T23:59:59Z', '2049-12-31T23:59:59Z', '2050-01-01T00:00:00Z']) {
    const at = new Date(text);
    const result = await judgeOne(writeDetachedSignature(sha256(CONTENT), alice.signer, at), CONTENT);
    assert.deepEqual(result.signedAt, at);
  }
});

test('the chain is sent without its root', async () => {
  const sub = await world.ca.issueCa({ commonName: 'sub' });
  const subCertificate = parseCertificate(sub.der);
  const identity = await sub.issue({ commonName: 'erin', emails: ['erin@contoso.example'] });
  const [root] = world.trust.anchors;
  assert.ok(root);
  const signer = {
    certificate: parseCertificate(identity.der),
    chain: [subCertificate, root],
    key: identity.key,
  };
  const signature = writeDetachedSignature(sha256(CONTENT), signer, AT);
  assert.equal(signature.includes(sub.der), true);
  assert.equal(signature.includes(root.der), false);
  assert.equal((await judgeOne(signature, CONTENT)).trust, 'trusted');
});

test('a key that cannot sign is refused', () => {
  const { privateKey } = generateKeyPairSync('x25519');
  assert.throws(() => writeDetachedSignature(sha256(CONTENT), { ...alice.signer, key: privateKey }, AT), {
    code: 'signing-key-missing',
  });
});

const digest = sha256(CONTENT);
const unsorted = element(0x31, digestAttribute(digest), typeAttribute);
const longForm = Buffer.concat([Buffer.from([0x31, 0x81]), standardAttributes(digest).subarray(1)]);
const indefiniteSet = Buffer.concat([
  Buffer.from([0x31, 0x80]),
  standardAttributes(digest).subarray(2),
  Buffer.alloc(2),
]);
const time = element(0x17, Buffer.from('260304050607Z'));
const constructed = setOf(typeAttribute, attribute(ID.messageDigest, element(0x24, octetString(digest))));
// Signed over their DER form, sent in another: a verifier that encodes anew would accept it.
const overDer = { signature: sign('sha256', standardAttributes(digest), alice.key) };

test('signatures that do not stand for the content', async (t) => {
  const table: readonly (readonly [string, Parts, RegExp])[] = [
    ['no signed attributes', { attributes: null }, /no signed attributes/],
    [
      'message digest of another content',
      { attributes: standardAttributes(sha256(Buffer.from('x'))) },
      /changed/,
    ],
    ['message digest missing', { attributes: setOf(typeAttribute) }, /missing/],
    [
      'message digest twice',
      {
        attributes: setOf(typeAttribute, digestAttribute(digest), digestAttribute(sha256(Buffer.from('x')))),
      },
      /repeated/,
    ],
    [
      'message digest twice, the same',
      { attributes: setOf(typeAttribute, digestAttribute(digest), digestAttribute(digest)) },
      /repeated/,
    ],
    [
      'two message digests in one attribute',
      {
        attributes: setOf(
          typeAttribute,
          attribute(ID.messageDigest, octetString(digest), octetString(Buffer.from('x'))),
        ),
      },
      /repeated/,
    ],
    [
      'message digest without value',
      { attributes: setOf(typeAttribute, attribute(ID.messageDigest)) },
      /missing/,
    ],
    [
      'signing time without value',
      { attributes: setOf(typeAttribute, attribute(ID.signingTime), digestAttribute(digest)) },
      /missing/,
    ],
    // misplaced attributes
    ['signing time that is not signed', { unsigned: [attribute(ID.signingTime, time)] }, /has to be signed/],
    ['message digest that is not signed', { unsigned: [digestAttribute(digest)] }, /has to be signed/],
    ['content type that is not signed', { unsigned: [typeAttribute] }, /has to be signed/],
    ['content type missing', { attributes: setOf(digestAttribute(digest)) }, /missing/],
    [
      'content type of something else',
      { attributes: setOf(attribute(ID.contentType, oid(ID.signedData)), digestAttribute(digest)) },
      /another type/,
    ],
    ['content type differs from the structure', { contentType: ID.signedData }, /another type/],
    ['attributes not sorted', { attributes: unsorted }, /not in DER/],
    ['attributes not sorted, signed over their DER', { attributes: unsorted, ...overDer }, /not in DER/],
    ['attributes with long lengths', { attributes: longForm, ...overDer }, /not in DER/],
    ['attributes of indefinite length', { attributes: indefiniteSet, ...overDer }, /not in DER/],
    ['attribute with a constructed string', { attributes: constructed }, /not in DER/],
    ['attribute that is none', { attributes: setOf(NULL) }, /malformed/],
    [
      'signed with another key',
      { signingKey: carol.key, signatureAlgorithm: algorithmIdentifier(ID.ecdsaWithSha256) },
      /does not match/,
    ],
    ['signature of zeros', { signature: Buffer.alloc(256) }, /does not match/],
    ['signature cut off', { signature: Buffer.alloc(0) }, /does not match/],
    [
      'an algorithm for another key type',
      { signatureAlgorithm: algorithmIdentifier(ID.ecdsaWithSha256) },
      /does not match/,
    ],
    ['SHA-1', { digest: SHA1 }, /SHA-1/],
    ['content beside the displayed one', { embedded: CONTENT }, /content of its own/],
  ];
  for (const [name, parts, reason] of table) {
    await t.test(name, async () => {
      const result = await judgeOne(signedData(parts), CONTENT);
      assert.equal(result.integrity, 'broken');
      assert.match(result.reason ?? '', reason);
    });
  }
});

test('the builder of these cases makes good signatures', async () => {
  assert.equal((await judgeOne(signedData({}), CONTENT)).integrity, 'intact');
  assert.equal((await judgeOne(signedData({ embedded: CONTENT }))).integrity, 'intact');
  const countersigned = { unsigned: [attribute('1.2.840.113549.1.9.6', NULL)] };
  assert.equal((await judgeOne(signedData(countersigned), CONTENT)).integrity, 'intact');
});

test('signer table: algorithms as other software names them', async (t) => {
  const table: readonly (readonly [string, Parts, string])[] = [
    [
      'sha256WithRSAEncryption',
      { signatureAlgorithm: algorithmIdentifier('1.2.840.113549.1.1.11', NULL) },
      'intact',
    ],
    [
      'rsaEncryption without parameters',
      { signatureAlgorithm: algorithmIdentifier(ID.rsaEncryption) },
      'intact',
    ],
    [
      'the key type instead of an algorithm',
      { signer: carol, signatureAlgorithm: algorithmIdentifier(ID.ecPublicKey) },
      'intact',
    ],
    ['unknown signature algorithm', { signatureAlgorithm: algorithmIdentifier('1.2.3.4') }, 'unchecked'],
    ['unknown digest', { digest: '1.2.3.4' }, 'unchecked'],
    ['PSS without parameters', { signatureAlgorithm: algorithmIdentifier(ID.rsaPss) }, 'unchecked'],
  ];
  for (const [name, parts, integrity] of table) {
    await t.test(name, async () =>
      assert.equal((await judgeOne(signedData(parts), CONTENT)).integrity, integrity),
    );
  }
});

test('sigattrs: signed attributes of one mail as the content of another', async () => {
  const attributes = writeSignedAttributes(digest, AT);
  const signature = sign('sha256', attributes, alice.key);
  const forged = await judgeOne(signedData({ attributes: null, embedded: attributes, signature }));
  assert.equal(forged.integrity, 'broken');
  assert.match(forged.reason ?? '', /no signed attributes/);
  const properlySigned = await judgeOne(signedData({ embedded: attributes }));
  assert.equal(properlySigned.integrity, 'broken');
  assert.match(properlySigned.reason ?? '', /set of attributes/);
});

test('who the signer is', async (t) => {
  const otherCa = await createTestCa('signed-data');
  const stranger = await otherCa.issue({ commonName: 'alice', emails: ['alice@contoso.example'] });
  const strangerCertificate = parseCertificate(stranger.der);
  await t.test('a root of the same name does not help', async () => {
    const signer = {
      certificate: strangerCertificate,
      chain: [parseCertificate(otherCa.der)],
      key: stranger.key,
    };
    const result = await judgeOne(writeDetachedSignature(digest, signer, AT), CONTENT);
    assert.equal(result.integrity, 'intact');
    assert.equal(result.trust, 'untrusted');
    assert.ok(result.reason);
  });
  await t.test('no certificate', async () => {
    const result = await judgeOne(signedData({ certificates: [] }), CONTENT);
    assert.deepEqual([result.integrity, result.trust, result.signer], ['unchecked', 'unknown-key', []]);
  });
  await t.test('no certificate, content changed', async () => {
    const result = await judgeOne(signedData({ certificates: [] }), Buffer.from('x'));
    assert.deepEqual([result.integrity, result.trust], ['broken', 'unknown-key']);
  });
  await t.test('a certificate that we have', async () => {
    const trust = { ...world.trust, intermediates: [alice.certificate] };
    const result = await judgeOne(signedData({ certificates: [] }), CONTENT, trust);
    assert.deepEqual([result.integrity, result.trust], ['intact', 'trusted']);
  });
  await t.test('certificates that cannot be read are passed over', async () => {
    const certificates = [sequence(NULL), element(0xa1, NULL), alice.der];
    assert.equal((await judgeOne(signedData({ certificates }), CONTENT)).trust, 'trusted');
  });
  await t.test('a certificate without purpose for mail', async () => {
    const server = await world.person('server', { extendedKeyUsage: ['serverAuth'] });
    const result = await judgeOne(writeDetachedSignature(digest, server.signer, AT), CONTENT);
    assert.deepEqual([result.integrity, result.trust], ['intact', 'untrusted']);
  });
  await t.test('expired', async () => {
    const trust = { ...world.trust, at: new Date(Date.now() + 100 * 86_400_000) };
    const result = await judgeOne(writeDetachedSignature(digest, alice.signer, AT), CONTENT, trust);
    assert.deepEqual([result.integrity, result.trust], ['intact', 'untrusted']);
    assert.match(result.reason ?? '', /expired/);
  });
});

test('several signers are judged each', async () => {
  const good = signerInfo({}, CONTENT);
  const bad = signerInfo({ signature: Buffer.alloc(256) }, CONTENT);
  const results = await judge(signedData({}, [good, bad]), CONTENT);
  assert.deepEqual(
    results.map(({ integrity }) => integrity),
    ['intact', 'broken'],
  );
  assert.deepEqual(await judge(signedData({}, []), CONTENT), []);
});

test('malformed structures are refused', async (t) => {
  const good = signedData({});
  const table: readonly (readonly [string, Buffer])[] = [
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['cut off', good.subarray(0, -1)],
    ['trailing byte', Buffer.concat([good, Buffer.from([0])])],
    [
      'too many signers',
      signedData(
        {},
        Array.from({ length: 4 }, () => signerInfo({}, CONTENT)),
      ),
    ],
    ['too many certificates', signedData({ certificates: Array.from({ length: 101 }, () => sequence()) })],
    ['signer that is none', signedData({}, [sequence(NULL)])],
    ['another content', sequence(oid(ID.envelopedData), tagged(0, sequence()))],
  ];
  for (const [name, bytes] of table) {
    await t.test(name, async () => {
      await assert.rejects(
        judge(bytes, CONTENT),
        (error) => error instanceof BerError || (error as { code?: string }).code === 'config-invalid',
      );
    });
  }
});

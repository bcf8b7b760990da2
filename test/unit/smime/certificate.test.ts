import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { createTestCa } from '../../../src/lab/ca.ts';
import { certificateUse, parseCertificate, parsePemCertificates } from '../../../src/smime/certificate.ts';
import {
  altNames,
  caExtension,
  element,
  emailName,
  extension,
  makeCertificate,
  makeDer,
  name,
  oid,
  sequence,
} from '../../support/certificates.ts';

const refused = { code: 'config-invalid' };
const ca = await createTestCa('certificate tests');
const now = new Date();

test('a certificate of the lab CA is read whole', async () => {
  const identity = await ca.issue({
    commonName: 'user',
    emails: ['User@Contoso.example', 'second@contoso.example'],
    keyType: 'rsa',
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extendedKeyUsage: ['emailProtection'],
  });
  const certificate = parseCertificate(identity.der);
  assert.deepEqual(certificate.addresses, ['user@contoso.example', 'second@contoso.example']);
  assert.deepEqual([...(certificate.keyUsage ?? [])], ['digitalSignature', 'keyEncipherment']);
  assert.equal(certificate.keyType, 'rsa');
  assert.equal(certificate.isCa, false);
  assert.equal(certificate.isSelfIssued, false);
  assert.equal(certificate.subject, 'CN=Postern test: user');
  assert.equal(certificate.subjectKeyId?.length, 20);
  assert(certificate.issuerDer.equals(parseCertificate(ca.der).subjectName.der));
  assert.equal(certificate.fingerprint, certificate.x509.fingerprint256.replaceAll(':', '').toLowerCase());
  assert.deepEqual(
    parsePemCertificates(certificate.pem + ca.certificatePem).map((item) => item.isCa),
    [false, true],
  );
});

const smtpUtf8 = (value: string): Buffer =>
  element(0xa0, oid('1.3.6.1.5.5.7.8.9'), element(0xa0, element(0x0c, value)));

const addressCases: readonly (readonly [string, Buffer, readonly Buffer[], readonly string[]])[] = [
  [
    'emailAddress does not stand beside subjectAltName',
    name('x', 'legacy@contoso.example'),
    [altNames(emailName('san@contoso.example'))],
    ['san@contoso.example'],
  ],
  ['emailAddress alone', name('x', 'Legacy@contoso.example'), [], []],
  ['never the common name', name('cn@contoso.example'), [], []],
  [
    'the same address once',
    name('x', 'A@contoso.example'),
    [altNames(emailName('a@CONTOSO.example'))],
    ['a@contoso.example'],
  ],
  ['blank inside', name('x'), [altNames(emailName('a b@contoso.example'))], []],
  ['blank at the end', name('x'), [altNames(emailName('a@contoso.example '))], []],
  ['NUL', name('x'), [altNames(emailName('finance@contoso.example\0.evil.example'))], []],
  ['line end', name('x'), [altNames(emailName('a@contoso.example\r\n'))], []],
  ['8-bit rfc822Name', name('x'), [altNames(emailName('\xe4@contoso.example'))], []],
  ['two addresses in one', name('x'), [altNames(emailName('a@contoso.example,b@contoso.example'))], []],
  ['display name', name('x'), [altNames(emailName('"a" <a@contoso.example>'))], []],
  ['SmtpUTF8Mailbox', name('x'), [altNames(smtpUtf8('\u00e4@contoso.example'))], ['\u00e4@contoso.example']],
  [
    'SmtpUTF8Mailbox with an invisible character',
    name('x'),
    [altNames(smtpUtf8('a\u200b@contoso.example'))],
    [],
  ],
];

test('emailAddress of the subject is kept apart', () => {
  const subject = name('cn@contoso.example', 'Legacy@contoso.example');
  const extensions = [altNames(emailName('san@contoso.example'))];
  const { addresses, subjectAddresses } = makeCertificate({ subject, extensions }).certificate;
  assert.deepEqual([addresses, subjectAddresses], [['san@contoso.example'], ['legacy@contoso.example']]);
});

test('certificate addresses', async (t) => {
  for (const [title, subject, extensions, expected] of addressCases) {
    await t.test(title, () => {
      assert.deepEqual(makeCertificate({ subject, extensions }).certificate.addresses, expected);
    });
  }
});

const usage = (bits: number): Buffer => extension('2.5.29.15', element(0x03, Buffer.of(0, bits)), true);
const purposes = (...ids: readonly string[]): Buffer => extension('2.5.29.37', sequence(...ids.map(oid)));
const EMAIL = '1.3.6.1.5.5.7.3.4';
const SERVER = '1.3.6.1.5.5.7.3.1';
const useCases: readonly (readonly [string, readonly Buffer[], boolean, boolean])[] = [
  ['no key usage is any', [altNames(emailName('a@contoso.example'))], true, true],
  ['digitalSignature', [usage(0x80)], false, true],
  ['nonRepudiation', [usage(0x40)], false, true],
  ['keyEncipherment is not for EC', [usage(0x20)], false, false],
  ['keyAgreement', [usage(0x08)], true, false],
  ['digitalSignature and keyAgreement', [usage(0x88)], true, true],
  ['emailProtection', [purposes(SERVER, EMAIL)], true, true],
  ['any purpose', [purposes('2.5.29.37.0')], true, true],
  ['serverAuth only', [purposes(SERVER)], false, false],
];

test('key usage and extended key usage (RFC 8550)', async (t) => {
  for (const [title, extensions, canEncrypt, canSign] of useCases) {
    await t.test(title, () => {
      const { certificate } = makeCertificate({ extensions });
      assert.equal(certificateUse(certificate, 'encrypt', now).usable, canEncrypt);
      assert.equal(certificateUse(certificate, 'sign', now).usable, canSign);
    });
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const x25519 = generateKeyPairSync('x25519').publicKey;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = makeCertificate({ extensions: [caExtension()] });
  for (const [title, keys, extensions, canEncrypt, canSign] of [
    ['RSA without key usage', rsa, [], true, true],
    ['RSA, digitalSignature', rsa, [usage(0x80)], false, true],
    ['RSA, nonRepudiation', rsa, [usage(0x40)], false, true],
    ['RSA, keyEncipherment', rsa, [usage(0x20)], true, false],
    ['RSA, digitalSignature and keyEncipherment', rsa, [usage(0xa0)], true, true],
    ['RSA, dataEncipherment does not encrypt keys', rsa, [usage(0x10)], false, false],
    ['RSA, keyAgreement is not for RSA', rsa, [usage(0x08)], false, false],
    ['RSA, keys of a CA', rsa, [usage(0x06)], false, false],
    ['X25519, keyAgreement', { publicKey: x25519, privateKey }, [usage(0x08)], true, false],
    ['X25519 without key usage', { publicKey: x25519, privateKey }, [], true, false],
    ['X448 without key usage', generateKeyPairSync('x448'), [], true, false],
    ['RSA-PSS without key usage', generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }), [], false, true],
    ['ML-DSA without key usage', generateKeyPairSync('ml-dsa-65'), [], false, true],
    ['ML-KEM without key usage', generateKeyPairSync('ml-kem-768'), [], true, false],
  ] as const) {
    await t.test(title, () => {
      const { certificate } = makeCertificate({ keys, issuer, extensions: [...extensions, caExtension()] });
      assert.equal(certificateUse(certificate, 'encrypt', now).usable, canEncrypt);
      assert.equal(certificateUse(certificate, 'sign', now).usable, canSign);
    });
  }
});

test('ML-KEM keys encrypt by keyEncipherment', () => {
  const issuer = makeCertificate({ extensions: [caExtension()] });
  for (const [bits, canEncrypt] of [
    [0x20, true],
    [0x08, false],
    [0x80, false],
  ] as const) {
    const keys = generateKeyPairSync('ml-kem-1024');
    const { certificate } = makeCertificate({ keys, issuer, extensions: [usage(bits)] });
    const use = (purpose: 'encrypt' | 'sign') => certificateUse(certificate, purpose, now).usable;
    assert.deepEqual([use('encrypt'), use('sign')], [canEncrypt, false]);
  }
});

test('validity gives a precise reason', () => {
  const { certificate } = makeCertificate({ notAfter: '300101000000Z' });
  assert.deepEqual(certificateUse(certificate, 'encrypt', new Date('2030-01-01T00:00:01Z')), {
    usable: false,
    reason: 'certificate expired on 2030-01-01T00:00:00.000Z',
  });
  assert.deepEqual(certificateUse(certificate, 'sign', new Date('2019-12-31T23:59:59Z')), {
    usable: false,
    reason: 'certificate is not valid before 2020-01-01T00:00:00.000Z',
  });
});

test('unnamed curve: parameters in place of a name are refused, even those of P-256', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.throws(() => parseCertificate(makeDer({ keys: { publicKey, privateKey } }).der), {
    ...refused,
    message: 'elliptic curve of the key is given by parameters, not by name',
  });
});

test('structures that are refused', async (t) => {
  const good = makeDer({ extensions: [caExtension()] }).der;
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['cut off', good.subarray(0, -1)],
    ['trailing byte', Buffer.concat([good, Buffer.of(0)])],
    ['an extension twice', makeDer({ extensions: [caExtension(), caExtension()] }).der],
    ['length of 4 GiB', Buffer.from('3084ffffffff', 'hex')],
    ['indefinite length', Buffer.from('30800000', 'hex')],
    ['length that is not minimal', Buffer.concat([Buffer.from('3081', 'hex'), Buffer.of(1, 5)])],
    ['a million nested elements', Buffer.from('3080'.repeat(100_000), 'hex')],
    ['100,000 NULLs', element(0x30, Buffer.from('0500'.repeat(20_000), 'hex'))],
    ['1 MB', Buffer.alloc(1_000_000, 0x30)],
    [
      'too many names',
      makeDer({ extensions: [altNames(...Array.from({ length: 1_001 }, () => emailName('a@b.cc')))] }).der,
    ],
    ['day that does not exist', makeDer({ notAfter: '300230000000Z' }).der],
  ];
  for (const [title, der] of cases)
    await t.test(title, () => assert.throws(() => parseCertificate(der), refused));
});

test('hostile DER: any change of a byte gives a certificate or a GatewayError', () => {
  const { der } = makeDer({ extensions: [caExtension(1), altNames(emailName('a@contoso.example'))] });
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), fc.nat(der.length), (at, byte, cut) => {
      const changed = Buffer.from(der);
      changed[at] = byte;
      for (const input of [changed, changed.subarray(cut)]) {
        try {
          parseCertificate(input);
        } catch (error) {
          assert(error instanceof Error && error.name === 'GatewayError', String(error));
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test('PEM without a certificate is refused', () => {
  assert.throws(() => parsePemCertificates('hello'), {
    ...refused,
    message: 'no certificate in the PEM text',
  });
  assert.throws(
    () => parsePemCertificates('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    refused,
  );
});

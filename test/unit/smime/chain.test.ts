import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Certificate, StrengthOptions } from '../../../src/smime/certificate.ts';
import { validateChain } from '../../../src/smime/chain.ts';
import {
  altNames,
  caExtension,
  constraints,
  element,
  emailName,
  extension,
  makeCertificate,
  name,
  oid,
  type RawIdentity,
  type RawRequest,
  sequence,
} from '../../support/certificates.ts';

const at = new Date('2026-06-01T00:00:00Z');
const root = makeCertificate({ subject: name('Postern test root'), extensions: [caExtension()] });
const person = altNames(emailName('user@contoso.example'));
const usage = (bits: number): Buffer => extension('2.5.29.15', element(0x03, Buffer.of(0, bits)), true);
const purposes = (id: string): Buffer => extension('2.5.29.37', sequence(oid(id)));
const SERVER = '1.3.6.1.5.5.7.3.1';
const UNKNOWN = extension('1.2.3.4.5', element(0x05), true);

/** The verdict on root -> CA -> person, with changes to the CA and to the person. */
function judge(ca: RawRequest, leaf: RawRequest, options?: StrengthOptions) {
  const issuer = makeCertificate({
    subject: name('Postern test CA'),
    issuer: root,
    extensions: [caExtension()],
    ...ca,
  });
  const { certificate } = makeCertificate({ subject: name('User'), issuer, extensions: [person], ...leaf });
  return verdict(certificate, [issuer.certificate], [root.certificate], options);
}

function verdict(
  leaf: Certificate,
  extra: readonly Certificate[],
  anchors: readonly Certificate[],
  options?: StrengthOptions,
) {
  const result = validateChain(leaf, extra, { anchors, intermediates: [], at }, 'sign', options);
  return result.trusted ? result.chain.length : result.reason;
}

const cases: readonly (readonly [string, RawRequest, RawRequest, number | RegExp])[] = [
  ['clean', {}, {}, 3],
  ['purpose serverAuth', {}, { extensions: [person, purposes(SERVER)] }, /^extended key usage/],
  ['key usage without signatures', {}, { extensions: [person, usage(0x20)] }, /^key usage/],
  ['expired', {}, { notAfter: '250101000000Z' }, /^certificate expired/],
  ['not yet valid', {}, { notBefore: '270101000000Z' }, /^certificate is not valid before/],
  ['unknown critical extension', {}, { extensions: [person, UNKNOWN] }, /^critical extension 1\.2\.3\.4\.5/],
  ['forged signature', {}, { isForged: true }, /^signature of a certificate is not by its issuer$/],
  ['SHA-1', {}, { hash: 'sha1' }, /^signature algorithm of the certificate is too weak$/],
  ['issuer is not a CA', { extensions: [person] }, {}, /^issuing certificate 1: not a CA/],
  [
    'issuer may not sign certificates',
    { extensions: [caExtension(), usage(0x02)] },
    {},
    /^issuing certificate 1: key usage/,
  ],
  [
    'issuer for servers only',
    { extensions: [caExtension(), purposes(SERVER)] },
    {},
    /^issuing certificate 1: extended/,
  ],
  ['issuer expired', { notAfter: '250101000000Z' }, {}, /^issuing certificate 1: certificate expired/],
  [
    'issuer with an unknown critical extension',
    { extensions: [caExtension(), UNKNOWN] },
    {},
    /^issuing certificate 1: crit/,
  ],
  ['issuer forged', { isForged: true }, {}, /^signature of a certificate/],
  [
    'constraint holds the domain',
    { extensions: [caExtension(), constraints([emailName('contoso.example')])] },
    {},
    3,
  ],
  [
    'constraint holds the mailbox',
    { extensions: [caExtension(), constraints([emailName('user@contoso.example')])] },
    {},
    3,
  ],
  [
    'constraint of another domain',
    { extensions: [caExtension(), constraints([emailName('fabrikam.example')])] },
    {},
    /outside/,
  ],
  [
    'constraint of sub-domains only',
    { extensions: [caExtension(), constraints([emailName('.contoso.example')])] },
    {},
    /outside/,
  ],
  [
    'excluded domain',
    { extensions: [caExtension(), constraints([], [emailName('contoso.example')])] },
    {},
    /excluded/,
  ],
  [
    'emailAddress beside subjectAltName is bound too',
    { extensions: [caExtension(), constraints([emailName('contoso.example')])] },
    { subject: name('User', 'ceo@fabrikam.example') },
    /outside/,
  ],
  [
    'an address that cannot be read is excluded',
    { extensions: [caExtension(), constraints([], [emailName('fabrikam.example')])] },
    { extensions: [altNames(emailName('a b@fabrikam.example'))] },
    /excluded/,
  ],
];

test('chain matrix', async (t) => {
  for (const [title, ca, leaf, expected] of cases) {
    await t.test(title, () => {
      const result = judge(ca, leaf);
      if (typeof expected === 'number') assert.equal(result, expected);
      else assert.match(String(result), expected);
    });
  }
  await t.test('legacy option takes SHA-1', () =>
    assert.equal(judge({}, { hash: 'sha1' }, { isLegacyAllowed: true }), 3),
  );
  await t.test('RSA of 1,024 bits', () => {
    const keys = generateKeyPairSync('rsa', { modulusLength: 1_024 });
    assert.match(String(judge({}, { keys })), /^RSA key has 1024 bits/);
    assert.match(String(judge({ keys }, {})), /^an issuing certificate is not usable: RSA key has 1024 bits/);
    assert.equal(judge({ keys }, {}, { isLegacyAllowed: true }), 3);
  });
});

test('oversized keys: their signatures are not even checked', () => {
  const big = hugeKey(16_384);
  const issuer = makeCertificate({
    subject: name('CA'),
    issuer: root,
    keys: big,
    extensions: [caExtension()],
  });
  const many = Array.from({ length: 60 }, () =>
    makeCertificate({ subject: name('CA'), issuer, keys: big, extensions: [caExtension()] }),
  );
  const leaf = makeCertificate({ subject: name('User'), issuer, extensions: [person] });
  const started = performance.now();
  assert.equal(
    verdict(
      leaf.certificate,
      [issuer, ...many].map(({ certificate }) => certificate),
      [root.certificate],
    ),
    'an issuing certificate is not usable: RSA key has 16384 bits, more than 8192',
  );
  assert(performance.now() - started < 500);
  const odd = makeCertificate({
    subject: name('CA'),
    issuer: root,
    keys: hugeKey(2_048, Buffer.alloc(255, 0xff)),
    extensions: [caExtension()],
  });
  const below = makeCertificate({ subject: name('User'), issuer: odd, extensions: [person] });
  assert.equal(
    verdict(below.certificate, [odd.certificate], [root.certificate]),
    'an issuing certificate is not usable: RSA key has too large an exponent',
  );
});

/** An RSA key of that size that nobody has the other half of; signatures "by" it are by another key. */
function hugeKey(bits: number, exponent: Uint8Array = Buffer.of(1, 0, 1)) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const modulus = randomBytes(bits / 8);
  modulus[0] = 0xff;
  modulus[modulus.length - 1] = 0xff;
  const key = {
    ...publicKey.export({ format: 'jwk' }),
    n: modulus.toString('base64url'),
    e: Buffer.from(exponent).toString('base64url'),
  };
  return { publicKey: createPublicKey({ key, format: 'jwk' }), privateKey };
}

test('path length', () => {
  const one = makeCertificate({ subject: name('one'), issuer: root, extensions: [caExtension(0)] });
  const two = makeCertificate({ subject: name('two'), issuer: one, extensions: [caExtension()] });
  const direct = makeCertificate({ subject: name('User'), issuer: one, extensions: [person] });
  const tooFar = makeCertificate({ subject: name('User'), issuer: two, extensions: [person] });
  const extra = [one.certificate, two.certificate];
  assert.equal(verdict(direct.certificate, extra, [root.certificate]), 3);
  assert.match(String(verdict(tooFar.certificate, extra, [root.certificate])), /path is longer/);
});

test('an untrusted root of the same name does not help', () => {
  const other = makeCertificate({ subject: name('Postern test root'), extensions: [caExtension()] });
  const leaf = makeCertificate({ subject: name('User'), issuer: other, extensions: [person] });
  assert.match(
    String(verdict(leaf.certificate, [other.certificate], [root.certificate])),
    /not by its issuer/,
  );
  assert.equal(verdict(leaf.certificate, [], []), 'no path to a trusted root');
  assert.equal(verdict(leaf.certificate, [other.certificate], [root.certificate, other.certificate]), 2);
});

test('a pinned self-signed certificate is its own anchor', () => {
  const pinned = makeCertificate({ subject: name('Partner'), extensions: [person] });
  assert.equal(verdict(pinned.certificate, [], [pinned.certificate]), 1);
  assert.equal(
    verdict(pinned.certificate, [pinned.certificate], [root.certificate]),
    'no path to a trusted root',
  );
});

test('a pinned person cannot issue certificates', () => {
  const pinned = makeCertificate({ subject: name('Partner'), extensions: [person] });
  const leaf = makeCertificate({ subject: name('User'), issuer: pinned, extensions: [person] });
  assert.match(String(verdict(leaf.certificate, [], [pinned.certificate])), /not a CA/);
});

test('intermediates of the trust context and of the message both help', () => {
  const ca = makeCertificate({ subject: name('CA'), issuer: root, extensions: [caExtension()] });
  const leaf = makeCertificate({ subject: name('User'), issuer: ca, extensions: [person] });
  const trust = { anchors: [root.certificate], intermediates: [ca.certificate], at };
  assert.equal(validateChain(leaf.certificate, [], trust, 'encrypt').trusted, true);
  assert.equal(verdict(leaf.certificate, [], [root.certificate]), 'no path to a trusted root');
});

test('of several issuers of one name the one that leads to a valid path is found', () => {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const expired = makeCertificate({
    subject: name('CA'),
    issuer: root,
    keys,
    extensions: [caExtension()],
    notAfter: '250101000000Z',
  });
  const current = makeCertificate({ subject: name('CA'), issuer: root, keys, extensions: [caExtension()] });
  const leaf = makeCertificate({ subject: name('User'), issuer: current, extensions: [person] });
  assert.equal(verdict(leaf.certificate, [expired.certificate, current.certificate], [root.certificate]), 3);
});

test('thirty expired certificates of a renewed CA do not hide the current one', () => {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const made = (notAfter?: string) =>
    makeCertificate({
      subject: name('CA'),
      issuer: root,
      keys,
      extensions: [caExtension()],
      ...(notAfter !== undefined && { notAfter }),
    });
  const expired = Array.from({ length: 30 }, () => made('250101000000Z').certificate);
  const current = made();
  const leaf = makeCertificate({ subject: name('User'), issuer: current, extensions: [person] });
  assert.equal(verdict(leaf.certificate, [...expired, current.certificate], [root.certificate]), 3);
  assert.equal(
    verdict(leaf.certificate, expired, [root.certificate]),
    'issuing certificate 1: certificate expired on 2025-01-01T00:00:00.000Z',
  );
});

test('a CA that changed its key: certificates by the old key lead on by way of a self-issued one', () => {
  const old = makeCertificate({ subject: name('CA'), issuer: root, extensions: [caExtension()] });
  const current = makeCertificate({ subject: name('CA'), extensions: [caExtension()] });
  const oldWithNew = makeCertificate({
    subject: name('CA'),
    issuer: current,
    keys: { publicKey: old.certificate.publicKey, privateKey: old.key },
    extensions: [caExtension()],
  });
  const leaf = makeCertificate({ subject: name('User'), issuer: old, extensions: [person] });
  const anchors = [current.certificate];
  assert.match(String(verdict(leaf.certificate, [], anchors)), /not by its issuer/);
  assert.equal(verdict(leaf.certificate, [oldWithNew.certificate], anchors), 3);
});

test('web of cross-signed CAs ends in bounded time', () => {
  const subject = name('Web');
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const web: RawIdentity[] = [];
  const first = makeCertificate({ subject, keys, extensions: [caExtension()] });
  for (let index = 0; index < 40; index += 1)
    web.push(makeCertificate({ subject, issuer: first, keys, extensions: [caExtension()] }));
  const leaf = makeCertificate({ subject: name('User'), issuer: first, extensions: [person] });
  const started = performance.now();
  assert.equal(
    verdict(
      leaf.certificate,
      web.map(({ certificate }) => certificate),
      [root.certificate],
    ),
    'no path to a trusted root',
  );
  assert(performance.now() - started < 1_000);
});

test('constraint flood ends in a refusal', () => {
  const many = Array.from({ length: 900 }, (_, index) => emailName(`d${index}.example`));
  const names = altNames(...Array.from({ length: 900 }, () => emailName('user@d0.example')));
  assert.match(
    String(judge({ extensions: [caExtension(), constraints(many)] }, { extensions: [names] })),
    /too many names/,
  );
});

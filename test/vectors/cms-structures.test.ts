// Public CMS structures that are no messages: envelopes and signatures of OpenSSL, NSS, GnuPG and RFC 4134, the keys that
// come with them, and what this gateway makes of the people of RFC 9216.
import assert from 'node:assert/strict';
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { bytesSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { Secret } from '../../src/core/secret.ts';
import {
  type Certificate,
  certificateUse,
  parseCertificate,
  parsePemCertificates,
} from '../../src/smime/certificate.ts';
import { type TrustContext, validateChain } from '../../src/smime/chain.ts';
import {
  decryptMessage,
  encryptMessage,
  signMessage,
  type SmimeDecryptionKey,
  verifyMessage,
} from '../../src/smime/message.ts';
import { readPkcs12, readPkcs12Identities } from '../../src/smime/pkcs12.ts';
import { readPrivateKey } from '../../src/smime/private-key.ts';
import { limits, mail, runStage } from '../support/smime.ts';
import { readEnvelope, readLayers, readSigners } from '../support/smime-reading.ts';
import { openVectorSuites, readMail, readVector, type Vector, vectorFiles } from '../support/vectors.ts';

const suites = openVectorSuites('cms-structures-exceptions.json');
const NOBODY: TrustContext = { anchors: [], intermediates: [], at: new Date('2020-01-01') };

const text = (name: string): string => readVector(name).toString('latin1');
const pem = (name: string): readonly Certificate[] => parsePemCertificates(text(name));
const trustIn = (anchors: readonly Certificate[], at: string): TrustContext => ({
  anchors,
  intermediates: [],
  at: new Date(at),
});

/** The first PEM block, whatever its label: GnuPG has labels of its own. */
function pemBytes(name: string): Buffer {
  const [, block = ''] = /-----BEGIN [^-]*-----([^-]*)-----END/.exec(text(name)) ?? [];
  return Buffer.from(block, 'base64');
}

/** What a message says that is encrypted to, or signed by, this key. */
const PROBE = mail('From: a@b.example', 'To: a@b.example', 'Content-Type: text/plain', '', 'probe', '');

async function encryptionRoundTrip(certificate: Certificate, key: KeyObject): Promise<void> {
  const sealed = await outcomeOf(encryptMessage(bytesSource(PROBE).open(), [certificate], { limits }));
  assert.equal(sealed.kind, 'encrypted');
  const opened = await runStage(
    decryptMessage(bytesSource(sealed.bytes), [{ certificate, key }], { limits }),
  );
  assert.equal(opened.outcome.kind, 'decrypted');
  assert(opened.bytes.includes('probe'));
}

async function signatureRoundTrip(
  certificate: Certificate,
  key: KeyObject,
  trust: TrustContext,
): Promise<void> {
  const { at } = trust;
  const signed = await outcomeOf(
    signMessage(bytesSource(PROBE), { certificate, chain: [], key }, { limits, at }),
  );
  assert.equal(signed.kind, 'signed');
  const { outcome } = await runStage(verifyMessage(bytesSource(signed.bytes), trust, { limits }));
  assert.equal(outcome.kind, 'verified');
  const [result] = outcome.kind === 'verified' ? outcome.signatures : [];
  assert.deepEqual([result?.integrity, result?.trust], ['intact', 'trusted']);
}

/** The kind of outcome; for a key that cannot do it, the code of the error. */
async function outcomeOf(stage: Parameters<typeof runStage>[0]): Promise<{ kind: string; bytes: Buffer }> {
  try {
    const { bytes, outcome } = await runStage(stage);
    return { kind: outcome.kind, bytes };
  } catch (error) {
    if (error instanceof GatewayError) return { kind: error.code, bytes: Buffer.alloc(0) };
    throw error;
  }
}

// --- OpenSSL ---

const openssl = (name: string): string => `openssl-cms/smime-certs/${name}.pem`;
const opensslRecipe = (name: string): string => `openssl-cms/recipes/${name}`;
const opensslTrust = (): TrustContext => trustIn(pem(openssl('smroot')), '2026-01-01');

suites.suite('openssl-cms', 'structures', 9, () => {
  const bad = ['bad_signtime_attr', 'ct_multiple_attr', 'no_ct_attr', 'no_md_attr'].map((name): Vector => {
    const path = opensslRecipe(`80-test_cms_data/${name}.cms`);
    return [
      path,
      async () => assert.deepEqual(await readSigners(readVector(path), opensslTrust()), ['broken untrusted']),
    ];
  });
  const envelope = opensslRecipe('80-test_cms_data/ciphertext_from_1_1_1.cms');
  const md4 = opensslRecipe('80-test_cms_data/pkcs7-md4.pem');
  const malformed = opensslRecipe('25-test_pkcs7_data/malformed.pkcs7');
  const encrypted = opensslRecipe('80-test_cmsapi_data/encryptedData.der');
  const eml = 'openssl-cms/smime-eml/SignedInvalidMappingFromanyPolicyTest7.eml';
  return [
    ...bad,
    [
      envelope,
      async () => {
        const [, body = ''] = text(envelope).split(/\r?\n\r?\n/);
        const key = {
          certificate: first(openssl('smec3')),
          key: readPrivateKey(readVector(openssl('smec3'))),
        };
        assert.match(await readEnvelope(Buffer.from(body, 'base64'), [key]), /^Somewhat longer test content/);
      },
    ],
    [md4, async () => assert.deepEqual(await readSigners(pemBytes(md4), NOBODY), ['unchecked untrusted'])],
    [malformed, async () => assert.equal(await readSigners(pemBytes(malformed), NOBODY), 'malformed')],
    [encrypted, async () => assert.equal(await readSigners(readVector(encrypted), NOBODY), 'malformed')],
    [
      eml,
      async () => {
        const { layers } = await readLayers(readMail(eml), [], NOBODY);
        assert.deepEqual(layers, ['detached: intact untrusted', 'multipart/signed']);
      },
    ],
  ];
});

suites.suite('openssl-cms', 'keys', 20, () => [
  ...['smrsa1', 'smrsa2', 'smrsa3', 'smrsa1024', 'smec1', 'smec2', 'smdsa1', 'smdsa2', 'smdsa3'].map(
    (name): Vector => [
      `${name} signs`,
      () =>
        signatureRoundTrip(first(openssl(name)), readPrivateKey(readVector(openssl(name))), opensslTrust()),
    ],
  ),
  ...['smrsa1', 'smrsa2', 'smrsa3', 'smrsa1024', 'smec1', 'smec2', 'smec3', 'smdh'].map((name): Vector => [
    `${name} decrypts`,
    () => encryptionRoundTrip(first(openssl(name)), readPrivateKey(readVector(openssl(name)))),
  ]),
  [
    'badrsa signs only',
    () => {
      const use = certificateUse(first(openssl('badrsa')), 'encrypt', new Date('2026-01-01'));
      assert.equal(use.usable, false);
    },
  ],
  ...['ascii', 'utf8'].map((name): Vector => [
    `${name} chain with SmtpUTF8Mailbox`,
    () => {
      const at = '2019-09-01';
      const data = (file: string): string => opensslRecipe(`25-test_eai_data/${file}.pem`);
      const other = name === 'ascii' ? 'utf8' : 'ascii';
      const isTrusted = (chain: string): boolean => {
        const certificates = pem(data(`${chain}_chain`));
        const roots = certificates.filter(({ isSelfIssued }) => isSelfIssued);
        return validateChain(first(data(`${name}_leaf`)), certificates, trustIn(roots, at), 'sign').trusted;
      };
      // The name constraints of the one CA fit the leaf of the same kind alone.
      assert.deepEqual([isTrusted(name), isTrusted(other)], [true, false]);
    },
  ]),
]);

function first(name: string): Certificate {
  const [certificate] = pem(name);
  assert(certificate);
  return certificate;
}

// --- NSS ---

suites.suite('nss-smime', 'envelopes by OpenSSL', 17, () => {
  const keys = ['Fran', 'Fran-ec'].map((name) =>
    readPkcs12(readVector(`nss-smime/interop-openssl/${name}.p12`), new Secret('nss')),
  );
  return vectorFiles('nss-smime', 'interop-openssl/*.env').map((name): Vector => [
    name,
    async () => assert.equal(await readEnvelope(readVector(name), keys), 'This is a test message to Fran.\n'),
  ]);
});

// The same envelopes inside messages, for what the message layer says to them see smime-messages.
suites.suite('thunderbird-smime', 'envelopes by OpenSSL', 6, () => {
  const keys = ['Fran', 'Fran-ec'].map((name) =>
    readPkcs12(readVector(`thunderbird-smime/smime/${name}.p12`), new Secret('nss')),
  );
  return vectorFiles('thunderbird-smime', 'smime-interop/*.env').map((name): Vector => [
    `envelope of ${name}`,
    async () => {
      const [, body = ''] = text(name).split(/\r?\n\r?\n/);
      const content = await readEnvelope(Buffer.from(body, 'base64'), keys);
      assert.equal(content, 'This is a test message to Fran.\n');
    },
  ]);
});

// --- GnuPG ---

const GNUPG_AT = '2001-12-13';

suites.suite('gnupg-cms', 'signatures', 7, () => {
  const signed = (name: string): string => `gnupg-cms/${name}.pem`;
  const trust = trustIn([], GNUPG_AT);
  // All of 2001, with SHA-1, and without the content type among the signed attributes: against RFC 5652 §11.1.
  const table = ['text-1.osig', 'text-1.osig-bad', 'text-1.osig-badusage', 'text-2.osig', 'text-2.osig-bad'];
  return [
    ...table.map((name): Vector => [
      signed(name),
      async () => assert.deepEqual(await readSigners(pemBytes(signed(name)), trust), ['broken untrusted']),
    ]),
    [
      signed('text-1.dsig'),
      async () => {
        const content = readVector('gnupg-cms/text-1.txt');
        assert.deepEqual(await readSigners(pemBytes(signed('text-1.dsig')), trust, content), [
          'broken untrusted',
        ]);
      },
    ],
    [
      'gnupg-cms/samplemsgs/webde-buenemann-signed.cms',
      async () => {
        // A mail system replaced its carriage returns.
        const bytes = readVector('gnupg-cms/samplemsgs/webde-buenemann-signed.cms');
        assert.equal(await readSigners(bytes, trust), 'malformed');
      },
    ],
  ];
});

suites.suite('gnupg-cms', 'envelopes', 7, () => {
  const key = {
    certificate: parseCertificate(readVector('gnupg-cms/cert_g10code_test1.der')),
    key: gnupgKey(),
  };
  const plain = vectorFiles('gnupg-cms', 'plain-*.cms.asc').map((name): Vector => [
    name,
    async () => {
      const content = await readEnvelope(pemBytes(name), [key]);
      assert.doesNotMatch(content, /^not decrypted/);
      assert(content.length > 10);
      assert.match(content, /^(?:[\t\n\r -~]|[\x80-\xff])*$/);
    },
  ]);
  // Passwords are no way into a gateway: the structure is recognised, and left.
  const password = vectorFiles('gnupg-cms', 'samplemsgs/*.p7m').map((name): Vector => [
    name,
    async () => assert.equal(await readEnvelope(readVector(name), [key]), 'not decrypted: password-only'),
  ]);
  return [...plain, ...password];
});

/** The key of gpg-agent in its text form: an S-expression of hexadecimal numbers. */
function gnupgKey(): KeyObject {
  const source = text('gnupg-cms/32100C27173EF6E9C4E9A25D3D69F86D37A4F939');
  const number = (name: string): bigint => {
    const [, digits = ''] = new RegExp(`\\(${name} #([0-9A-Fa-f\\s]+)#`).exec(source) ?? [];
    return BigInt(`0x${digits.replace(/\s/g, '')}`);
  };
  const [d, p, q] = [number('d'), number('p'), number('q')];
  const numbers = {
    n: number('n'),
    e: number('e'),
    d,
    p,
    q,
    dp: d % (p - 1n),
    dq: d % (q - 1n),
    qi: power(q, p - 2n, p),
  };
  const jwk = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, base64Url(value)]));
  return createPrivateKey({ format: 'jwk', key: { kty: 'RSA', ...jwk } });
}

function base64Url(value: bigint): string {
  const digits = value.toString(16);
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex').toString('base64url');
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

interface Pkcs12Row {
  readonly name: string;
  readonly password: string;
}

suites.suite('gnupg-cms', 'PKCS#12 files', 10, () =>
  pkcs12Rows().map(({ name, password }): Vector => [
    name,
    () => {
      let count = 0;
      try {
        count = readPkcs12Identities(readVector(`gnupg-cms/samplekeys/${name}`), new Secret(password)).length;
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        assert.fail(error.message);
      }
      assert(count > 0);
    },
  ]),
);

/** `Name:`, `Pass:` and other lines, one group a file. */
function pkcs12Rows(): readonly Pkcs12Row[] {
  return text('gnupg-cms/samplekeys/Description-p12')
    .split(/^Name:/m)
    .slice(1)
    .map((group) => ({
      name: (group.split('\n')[0] ?? '').trim(),
      password: (/^Pass: ?(.*)$/m.exec(group)?.[1] ?? '').trim(),
    }));
}

// --- RFC 4134 ---

const rfc4134 = (name: string): string => `rfc4134/${name}`;
const ALICE_DSS = 'alicedss@example.com';
const ALICE_RSA = 'alicersa@example.com';
/** SHA-1 throughout, and most without signed attributes: what was good in 2005 counts as broken. */
const rfc4134Signatures: Readonly<Record<string, readonly string[] | 'malformed'>> = {
  '3.1.bin': 'malformed',
  '3.2.bin': 'malformed',
  '4.1.bin': [`broken untrusted ${ALICE_DSS}`],
  '4.2.bin': [`broken untrusted ${ALICE_RSA}`],
  '4.3.bin': [`broken untrusted ${ALICE_DSS}`],
  '4.4.bin': [`broken untrusted ${ALICE_DSS}`],
  '4.5.bin': [`broken untrusted ${ALICE_RSA}`],
  '4.6.bin': [`broken untrusted ${ALICE_DSS}`, 'broken unknown-key'],
  '4.7.bin': [`broken untrusted ${ALICE_DSS}`],
  '4.10.bin': [`broken untrusted ${ALICE_DSS}`],
  '4.11.bin': [],
  '5.1.bin': 'malformed',
  '5.2.bin': 'malformed',
  '6.0.bin': 'malformed',
  '7.1.bin': 'malformed',
  '7.2.bin': 'malformed',
};

suites.suite('rfc4134', 'signatures', 18, () => {
  const trust = trustIn(
    ['CarlDSSSelf', 'CarlRSASelf'].map((name) => parseCertificate(readVector(rfc4134(`${name}.cer`)))),
    '2005-01-01',
  );
  const structures = Object.entries(rfc4134Signatures).map(([name, expected]): Vector => [
    rfc4134(name),
    async () => {
      const content = name === '4.3.bin' ? readVector(rfc4134('ExContent.bin')) : undefined;
      assert.deepEqual(await readSigners(readVector(rfc4134(name)), trust, content), expected);
    },
  ]);
  const messages = (
    [
      ['4.8.eml', [`detached: broken untrusted ${ALICE_DSS}`, 'multipart/signed']],
      ['4.9.eml', [`opaque: broken untrusted ${ALICE_DSS}`, 'text/plain']],
    ] as const
  ).map(([name, expected]): Vector => [
    rfc4134(name),
    async () => assert.deepEqual((await readLayers(readMail(rfc4134(name)), [], trust)).layers, expected),
  ]);
  return [...structures, ...messages];
});

suites.suite('rfc4134', 'envelopes', 3, () => {
  const bob: SmimeDecryptionKey = {
    certificate: parseCertificate(readVector(rfc4134('BobRSASignByCarl.cer'))),
    key: readPrivateKey(readVector(rfc4134('BobPrivRSAEncrypt.pri'))),
  };
  const structures = ['5.1.bin', '5.2.bin'].map((name): Vector => [
    `envelope of ${name}`,
    async () => {
      const content = await readEnvelope(readVector(rfc4134(name)), [bob]);
      assert.equal(content, 'This is some sample content.');
    },
  ]);
  return [
    ...structures,
    [
      rfc4134('5.3.eml'),
      async () => {
        const { layers, content } = await readLayers(readMail(rfc4134('5.3.eml')), [bob], NOBODY, ['3des']);
        assert.equal(layers[0], 'decrypted');
        assert(content.includes('This is some sample content.'));
      },
    ],
  ];
});

// --- RFC 9216 ---

suites.suite('rfc9216-lamps', 'what the sample people can do', 8, () => {
  const lamps = (name: string): string => `rfc9216-lamps/${name}.pem`;
  const trust = trustIn([...pem(lamps('ca.rsa.crt')), ...pem(lamps('ca.ed25519.crt'))], '2026-01-01');
  return ['alice', 'bob', 'carlos', 'dana'].flatMap((person): readonly Vector[] => [
    [
      `${person} decrypts`,
      () =>
        encryptionRoundTrip(
          first(lamps(`${person}.encrypt.crt`)),
          readPrivateKey(readVector(lamps(`${person}.decrypt.key`))),
        ),
    ],
    [
      `${person} signs`,
      () =>
        signatureRoundTrip(
          first(lamps(`${person}.sign.crt`)),
          readPrivateKey(readVector(lamps(`${person}.sign.key`))),
          trust,
        ),
    ],
  ]);
});

suites.end();

// Both ways against OpenSSL's cms command: what one side writes, the other reads, byte for byte.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { parseCertificate } from '../../src/smime/certificate.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../../src/smime/message.ts';
import {
  asPerson,
  SAMPLE_ENTITY as ENTITY,
  SAMPLE_MESSAGE as MESSAGE,
  chunkedSource,
  cmsMail,
  createWorld,
  limits,
  mail,
  runStage,
  SAMPLE_UNWRAPPED,
  signedMail,
  type TestPerson,
} from '../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-openssl-'));
after(() => rmSync(folder, { recursive: true }));
const world = await createWorld('openssl interop');
const sub = await world.ca.issueCa({ commonName: 'openssl interop sub' });
const subCertificate = parseCertificate(sub.der);
const people = {
  rsa: await personBelow('rsa', 'rsa'),
  p256: await personBelow('p256', 'p256'),
  p384: await personBelow('p384', 'p384'),
};
const keyTypes = ['rsa', 'p256', 'p384'] as const;
const at = new Date();

function file(name: string, bytes?: Uint8Array | string): string {
  const path = join(folder, name);
  if (bytes !== undefined) writeFileSync(path, bytes);
  return path;
}

function openssl(...args: readonly string[]): Buffer {
  return execFileSync('openssl', args, { maxBuffer: 10_000_000, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function personBelow(name: string, keyType: 'rsa' | 'p256' | 'p384'): Promise<TestPerson> {
  const identity = await sub.issue({
    commonName: name,
    emails: [`${name}@contoso.example`],
    keyType,
    keyUsage: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
    extendedKeyUsage: ['emailProtection'],
  });
  file(`${name}.key`, identity.keyPem);
  file(`${name}.crt`, identity.certificatePem);
  return asPerson(identity, [subCertificate]);
}

/** openssl ends the lines that it adds with LF. */
function asMail(written: Buffer): Buffer {
  return Buffer.from(written.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}

const keyAndCertificate = (type: string): readonly string[] => [
  '-inkey',
  file(`${type}.key`),
  '-recip',
  file(`${type}.crt`),
];
file('ca.crt', world.ca.certificatePem);
file('sub.crt', sub.certificatePem);
file('entity', ENTITY);

test('openssl decrypts what we encrypt', async (t) => {
  const certificates = [people.rsa.certificate, people.p256.certificate, people.p384.certificate] as const;
  const { bytes } = await runStage(
    encryptMessage(chunkedSource(MESSAGE, 4_099).open(), certificates, { limits }),
  );
  const encrypted = file('ours.eml', bytes);
  for (const type of keyTypes) {
    await t.test(type, () => {
      const args = ['-decrypt', '-binary', '-in', encrypted, ...keyAndCertificate(type)];
      assert.deepEqual(openssl('cms', ...args), ENTITY);
    });
  }
  await t.test('the older smime command, RSA alone', async () => {
    const alone = await runStage(
      encryptMessage(bytesSource(MESSAGE).open(), [people.rsa.certificate], { limits }),
    );
    const args = ['-decrypt', '-binary', '-in', file('alone.eml', alone.bytes), ...keyAndCertificate('rsa')];
    assert.deepEqual(openssl('smime', ...args), ENTITY);
  });
});

const encryptions: readonly (readonly [
  string,
  readonly string[],
  readonly string[],
  readonly (keyof typeof people)[],
])[] = [
  ['AES-256', ['-aes256'], [], keyTypes],
  ['AES-192', ['-aes192'], [], keyTypes],
  ['AES-128', ['-aes128'], [], keyTypes],
  ['indefinite length', ['-aes256', '-stream', '-indef'], [], keyTypes],
  ['definite length', ['-aes256', '-noindef'], [], keyTypes],
  ['key identifier', ['-aes256', '-keyid'], [], keyTypes],
  ['AES-256-GCM', ['-aes-256-gcm'], [], keyTypes],
  ['AES-128-GCM, indefinite', ['-aes-128-gcm', '-stream', '-indef'], [], keyTypes],
  ['OAEP, defaults', ['-aes256'], ['rsa_padding_mode:oaep'], ['rsa']],
  [
    'OAEP, SHA-256',
    ['-aes256'],
    ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha256'],
    ['rsa'],
  ],
  [
    'OAEP, SHA-256 with MGF1 over SHA-1',
    ['-aes256'],
    ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha1'],
    ['rsa'],
  ],
  [
    'OAEP, SHA-1 with MGF1 over SHA-512',
    ['-aes256'],
    ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha1', 'rsa_mgf1_md:sha512'],
    ['rsa'],
  ],
  ['OAEP, label', ['-aes256'], ['rsa_padding_mode:oaep', 'rsa_oaep_label:0badc0de'], ['rsa']],
  ['KDF over SHA-1', ['-aes256'], ['ecdh_kdf_md:sha1'], ['p256', 'p384']],
  ['KDF over SHA-512', ['-aes128'], ['ecdh_kdf_md:sha512'], ['p256', 'p384']],
  ['cofactor mode', ['-aes256'], ['ecdh_cofactor_mode:1'], ['p256', 'p384']],
];

test('we decrypt what openssl encrypts', async (t) => {
  for (const [name, options, keyOptions, types] of encryptions) {
    for (const type of types) {
      await t.test(`${name}, ${type}`, async () => {
        const recipient = [
          '-recip',
          file(`${type}.crt`),
          ...keyOptions.flatMap((option) => ['-keyopt', option]),
        ];
        const der = openssl(
          'cms',
          '-encrypt',
          '-binary',
          '-outform',
          'DER',
          '-in',
          file('entity'),
          ...options,
          ...recipient,
        );
        const stage = decryptMessage(chunkedSource(cmsMail(der), 3_001), [people[type].decryption], {
          limits,
        });
        const { bytes, outcome } = await runStage(stage);
        assert.equal(outcome.kind, 'decrypted', JSON.stringify(outcome));
        assert.equal(outcome.kind === 'decrypted' && outcome.authenticated, name.includes('GCM'));
        assert.deepEqual(bytes, SAMPLE_UNWRAPPED);
      });
    }
  }
});

test('a whole mail as openssl writes it, line feeds and old labels included', async () => {
  const written = openssl(
    'smime',
    '-encrypt',
    '-aes256',
    '-binary',
    '-in',
    file('entity'),
    '-subject',
    'theirs',
    file('rsa.crt'),
  );
  assert.match(written.toString('latin1'), /application\/x-pkcs7-mime/);
  const message = asMail(written);
  const { bytes, outcome } = await runStage(
    decryptMessage(bytesSource(message), [people.rsa.decryption], { limits }),
  );
  assert.equal(outcome.kind, 'decrypted');
  assert.deepEqual(bytes.subarray(bytes.indexOf('Content-Type: multipart/mixed')), ENTITY);
});

test('3DES and a password say what they are', async (t) => {
  for (const [name, args, reason] of [
    ['3DES', ['-des3', '-recip', file('rsa.crt')], 'unsupported'],
    ['password', ['-aes256', '-pwri_password', 'not a secret'], 'password-only'],
    ['symmetric key', ['-aes256', '-secretkey', '00'.repeat(32), '-secretkeyid', '01'], 'password-only'],
    ['another recipient', ['-aes256', '-recip', file('p256.crt')], 'no-recipient'],
  ] as const) {
    await t.test(name, async () => {
      const der = openssl('cms', '-encrypt', '-binary', '-outform', 'DER', '-in', file('entity'), ...args);
      const { outcome } = await runStage(
        decryptMessage(bytesSource(cmsMail(der)), [people.rsa.decryption], { limits }),
      );
      assert.deepEqual(outcome, { kind: 'not-decrypted', reason });
    });
  }
});

/** Ways to read a mail file. QUIRK: with -binary alone openssl takes the CR before a delimiter for content. */
const readings: readonly (readonly [string, string, readonly string[], 'wire' | 'unix'])[] = [
  ['as on the wire', 'cms', [], 'wire'],
  ['byte for byte', 'cms', ['-binary', '-crlfeol'], 'wire'],
  ['the older smime command', 'smime', [], 'wire'],
  ['stored with line feeds', 'cms', [], 'unix'],
];

test('openssl verifies what we sign', async (t) => {
  for (const type of keyTypes) {
    const { bytes } = await runStage(
      signMessage(chunkedSource(MESSAGE, 4_099), people[type].signer, { limits, at }),
    );
    const files = {
      wire: file(`signed-${type}.eml`, bytes),
      unix: file(`signed-${type}-unix.eml`, bytes.toString('latin1').replaceAll('\r\n', '\n')),
    };
    for (const [name, command, options, form] of readings) {
      await t.test(`${type}, ${name}`, () => {
        const args = ['-verify', '-in', files[form], '-CAfile', file('ca.crt'), '-purpose', 'smimesign'];
        assert.deepEqual(openssl(command, ...args, ...options), ENTITY);
      });
    }
    await t.test(`${type}, one byte changed`, () => {
      const changed = Buffer.from(bytes);
      const index = changed.indexOf('gr=C3');
      changed[index] = 0x47;
      const args = ['-verify', '-in', file('changed.eml', changed), '-CAfile', file('ca.crt')];
      assert.throws(() => openssl('cms', ...args), /verification failure|content verify error/i);
    });
  }
});

const signatures: readonly (readonly [string, readonly string[], readonly string[], 'intact' | 'broken'])[] =
  [
    ['SHA-256', [], [], 'intact'],
    ['SHA-384', ['-md', 'sha384'], [], 'intact'],
    ['SHA-512', ['-md', 'sha512'], [], 'intact'],
    ['key identifier', ['-keyid'], [], 'intact'],
    ['indefinite length', ['-stream', '-indef'], [], 'intact'],
    ['PSS', [], ['rsa_padding_mode:pss', 'rsa_pss_saltlen:32'], 'intact'],
    ['SHA-1', ['-md', 'sha1'], [], 'broken'],
    ['without signed attributes', ['-noattr'], [], 'broken'],
  ];

// RFC 8551 §3.5.3.1 wants it absent. openssl's DER has it with -stream, its mails never do.
test('a detached signature that brings a content of its own is broken, also where it is the same', async () => {
  const outcome = await verifyTheirs('detached', 'rsa', ['-stream', '-indef'], []);
  assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'broken');
});

test('we verify what openssl signs', async (t) => {
  for (const [name, options, keyOptions, integrity] of signatures) {
    for (const type of keyOptions.length > 0 ? (['rsa'] as const) : keyTypes) {
      // Streamed DER of openssl always brings the content along: that is no detached signature.
      for (const form of options.includes('-stream')
        ? (['opaque'] as const)
        : (['detached', 'opaque'] as const)) {
        await t.test(`${name}, ${type}, ${form}`, async () => {
          const outcome = await verifyTheirs(form, type, options, keyOptions);
          assert.equal(outcome.kind === 'verified' && outcome.form, form);
          const [result] = outcome.kind === 'verified' ? outcome.signatures : [];
          assert.deepEqual(
            [result?.integrity, result?.trust, result?.signer],
            [integrity, 'trusted', [`${type}@contoso.example`]],
          );
        });
      }
    }
  }
});

async function verifyTheirs(
  form: 'detached' | 'opaque',
  type: keyof typeof people,
  options: readonly string[],
  keyOptions: readonly string[],
): ReturnType<typeof outcomeOf> {
  const signer = [
    '-signer',
    file(`${type}.crt`),
    '-inkey',
    file(`${type}.key`),
    ...keyOptions.flatMap((option) => ['-keyopt', option]),
  ];
  const shared = ['-sign', '-binary', '-in', file('entity'), '-certfile', file('sub.crt'), ...options];
  if (form === 'opaque')
    return outcomeOf(cmsMail(openssl('cms', ...shared, '-nodetach', '-outform', 'DER', ...signer)), 'opaque');
  const der = openssl('cms', ...shared, '-outform', 'DER', ...signer);
  return outcomeOf(signedMail(ENTITY, der));
}

async function outcomeOf(
  message: Buffer,
  form: 'detached' | 'opaque' = 'detached',
): Promise<Awaited<ReturnType<typeof runStage>>['outcome']> {
  const { bytes, outcome } = await runStage(
    verifyMessage(chunkedSource(message, 3_001), world.trust, { limits }),
  );
  assert.deepEqual(bytes, form === 'opaque' ? SAMPLE_UNWRAPPED : Buffer.alloc(0));
  return outcome;
}

test('a detached mail as openssl writes it', async (t) => {
  const byteForByte = ['-binary', '-crlfeol'];
  for (const [name, content, options] of [
    ['held', ENTITY, byteForByte],
    ['streamed', ENTITY, [...byteForByte, '-stream']],
    ['text with a header of its making', mail('hello', 'world', ''), ['-text']],
  ] as const) {
    await t.test(name, async () => {
      const signer = ['-signer', file('rsa.crt'), '-inkey', file('rsa.key'), '-certfile', file('sub.crt')];
      const written = openssl('cms', '-sign', '-in', file('content', content), ...options, ...signer);
      const outcome = await outcomeOf(asMail(written));
      assert.equal(outcome.kind === 'verified' && outcome.form, 'detached');
      assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'intact');
    });
  }
});

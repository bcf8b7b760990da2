import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { encryptKey } from 'openpgp';
import { type DeclaredKeys, readDeclaredKeys, readTrustAnchors } from '../../../src/keys/sources.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import type { KeyEntry, Problem } from '../../../src/policy/schema.ts';
import { parseCertificate } from '../../../src/smime/certificate.ts';
import { keyIdOf, NOW } from '../../support/keys.ts';
import { altNames, emailName, makeCertificate } from '../../support/certificates.ts';
import { makeKey } from '../../support/pgp.ts';
import { TENANT_A } from '../../support/policy.ts';
import { makeFolder } from '../../support/storage.ts';

const PASSWORD = 'canary-password';
const folder = await makeFolder();
after(() => folder[Symbol.asyncDispose]());
const write = (name: string, content: string | Uint8Array, mode = 0o600): Promise<void> =>
  writeFile(join(folder.path, name), content).then(() => chmod(join(folder.path, name), mode));

const root = await createTestCa('sources root');
const intermediate = await root.issueCa({ commonName: 'sources intermediate' });
const span = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2027-01-01T00:00:00Z') };
const issue = (email: string) =>
  intermediate.issue({ commonName: email, emails: [email], keyType: 'p256', ...span });
const alice = await issue('alice@contoso.example');
const bob = await issue('bob@fabrikam.example');
const dated = (notBefore: string, notAfter: string): string =>
  makeCertificate({ extensions: [altNames(emailName('bob@fabrikam.example'))], notBefore, notAfter })
    .certificate.pem;
const alicePgp = await makeKey('Alice@contoso.example');
const bobPgp = await makeKey('bob@fabrikam.example');
const locked = await encryptKey({ privateKey: alicePgp.privateKey, passphrase: PASSWORD });
const cipher = { type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: PASSWORD } as const;

// CA certificates first and the leaf last, as some CAs send them.
await write('alice.pem', root.certificatePem + intermediate.certificatePem + alice.certificatePem);
await write('alice.key', alice.keyPem);
await write('alice-loose.key', alice.keyPem, 0o644);
await write('alice-both.pem', alice.keyPem + alice.certificatePem);
await write('alice-locked.key', alice.key.export({ ...cipher, format: 'pem' }));
await write('alice-locked.der', alice.key.export({ ...cipher, format: 'der' }));
await write('bob.pem', bob.certificatePem, 0o644);
await write('bob.der', bob.der);
await write('bob.key', bob.keyPem);
await write('expired.pem', dated('240101000000Z', '250101000000Z'));
await write('future.pem', dated('300101000000Z', '310101000000Z'));
await write('alice.asc', alicePgp.armoredPrivate);
await write('alice-locked.asc', locked.armor());
await write('alice-loose.asc', alicePgp.armoredPrivate, 0o604);
await write('bob.asc', bobPgp.publicKey.armor(), 0o644);
await write('junk', 'neither PEM nor armour');
await write('password', `${PASSWORD}\n`);
execFileSync(
  'openssl',
  [
    'pkcs12',
    '-export',
    '-inkey',
    'alice.key',
    '-in',
    'alice.pem',
    '-out',
    'alice.p12',
    '-passout',
    `pass:${PASSWORD}`,
  ],
  { cwd: folder.path, stdio: 'ignore' },
);

const ALICE_SMIME = keyIdOf('smime', parseCertificate(alice.der).fingerprint);
const BOB_SMIME = keyIdOf('smime', parseCertificate(bob.der).fingerprint);
const ALICE_PGP = keyIdOf('pgp', alicePgp.certificate.fingerprint);
const BOB_PGP = keyIdOf('pgp', bobPgp.certificate.fingerprint);

type Given = Omit<KeyEntry, 'match' | 'position'>;

const at = (line: number): KeyEntry['position'] => ({ file: 'policy.yaml', line, column: 7 });

function entry(match: string, given: Given, line = 1): KeyEntry {
  return { match, ...given, position: at(line) };
}

async function read(own: readonly KeyEntry[], partners: readonly KeyEntry[] = []): Promise<DeclaredKeys> {
  return readDeclaredKeys(
    { own, partners },
    {
      tenant: TENANT_A,
      folder: folder.path,
      at: NOW,
      environment: { KEY_PASSWORD: PASSWORD, WRONG: 'canary-wrong' },
    },
  );
}

const own = (given: Given): Promise<DeclaredKeys> => read([entry('alice@contoso.example', given)]);
const partner = (given: Given): Promise<DeclaredKeys> => read([], [entry('bob@fabrikam.example', given)]);
const lines = (problems: readonly Problem[]): readonly string[] =>
  problems.map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`);

const certificate = 'alice.pem';
const goodOwn: readonly (readonly [string, Given, readonly string[]])[] = [
  ['PEM', { smime: { certificate, key: 'alice.key' } }, [ALICE_SMIME]],
  [
    'key and certificate in one file',
    { smime: { certificate: 'alice-both.pem', key: 'alice-both.pem' } },
    [ALICE_SMIME],
  ],
  [
    'encrypted PEM',
    { smime: { certificate, key: 'alice-locked.key', password: 'env:KEY_PASSWORD' } },
    [ALICE_SMIME],
  ],
  [
    'encrypted DER',
    { smime: { certificate, key: 'alice-locked.der', password: 'file:password' } },
    [ALICE_SMIME],
  ],
  ['PKCS#12', { smime: { pkcs12: 'alice.p12', password: 'file:password' } }, [ALICE_SMIME]],
  ['OpenPGP', { pgp: { key: 'alice.asc' } }, [ALICE_PGP]],
  [
    'OpenPGP with a password',
    { pgp: { key: 'alice-locked.asc', password: 'env:KEY_PASSWORD' } },
    [ALICE_PGP],
  ],
  [
    'both formats',
    { smime: { certificate, key: 'alice.key' }, pgp: { key: 'alice.asc' } },
    [ALICE_SMIME, ALICE_PGP],
  ],
];

test('own keys in every form', async (t) => {
  for (const [name, given, ids] of goodOwn) {
    await t.test(name, async () => {
      const { declared, problems, warnings } = await own(given);
      assert.deepEqual([lines(problems), lines(warnings)], [[], []]);
      assert.deepEqual(
        declared.map(({ record }) => record.id),
        ids,
      );
      for (const { record, privateMaterial } of declared) {
        const { role, source, hasPrivateKey, addresses, tenant } = record;
        assert.deepEqual(
          [role, source, hasPrivateKey, addresses, tenant],
          ['own', 'policy', true, ['alice@contoso.example'], TENANT_A],
        );
        assert.match(
          privateMaterial?.reveal().toString() ?? '',
          /^-----BEGIN (PRIVATE KEY|PGP PRIVATE KEY BLOCK)-----/,
        );
        assert.doesNotMatch(record.material, /PRIVATE/);
      }
    });
  }
});

test('the chain is kept leaf first, without the root, however the file orders it', async () => {
  for (const given of [
    { certificate, key: 'alice.key' },
    { pkcs12: 'alice.p12', password: 'file:password' },
  ]) {
    const [key] = (await own({ smime: given })).declared;
    assert.equal(key?.record.material, alice.certificatePem + intermediate.certificatePem);
    assert.deepEqual([key?.record.notBefore, key?.record.notAfter], [span.notBefore, span.notAfter]);
  }
});

test('partner keys: PEM, DER, armour; public only', async () => {
  for (const [given, id] of [
    [{ smime: { certificate: 'bob.pem' } }, BOB_SMIME],
    [{ smime: { certificate: 'bob.der' } }, BOB_SMIME],
    [{ pgp: { key: 'bob.asc' } }, BOB_PGP],
  ] as const) {
    const { declared, problems, warnings } = await partner(given);
    assert.deepEqual([lines(problems), lines(warnings)], [[], []]);
    assert.deepEqual(
      declared.map(({ record, ...more }) => [record.id, record.role, record.hasPrivateKey, more]),
      [[id, 'partner', false, {}]],
    );
  }
});

const badOwn: readonly (readonly [string, Given, RegExp])[] = [
  [
    'missing certificate',
    { smime: { certificate: 'none.pem', key: 'alice.key' } },
    /none\.pem cannot be read: there is no such file/,
  ],
  [
    'missing key',
    { smime: { certificate, key: 'none.key' } },
    /none\.key cannot be read: there is no such file/,
  ],
  ['no key given', { smime: { certificate } }, /needs its private key/],
  ['nothing given', {}, /neither smime nor pgp/],
  ['nothing given for S/MIME', { smime: {} }, /neither certificate nor pkcs12/],
  [
    'key of somebody else',
    { smime: { certificate, key: 'bob.key' } },
    /bob\.key does not belong to a certificate in alice\.pem/,
  ],
  ['no PEM', { smime: { certificate: 'junk', key: 'alice.key' } }, /^junk: no certificate/],
  ['no key in the file', { smime: { certificate, key: 'bob.pem' } }, /^bob\.pem: no private key/],
  [
    'encrypted PEM without password',
    { smime: { certificate, key: 'alice-locked.key' } },
    /^alice-locked\.key: private key is encrypted and no password is given/,
  ],
  [
    'encrypted PEM, wrong password',
    { smime: { certificate, key: 'alice-locked.key', password: 'env:WRONG' } },
    /^alice-locked\.key: .*password is wrong/,
  ],
  [
    'password from nowhere',
    { smime: { certificate, key: 'alice-locked.key', password: 'env:NONE' } },
    /environment variable NONE/,
  ],
  [
    'PKCS#12 without password',
    { smime: { pkcs12: 'alice.p12' } },
    /^alice\.p12: password of the PKCS#12 file is wrong/,
  ],
  [
    'PKCS#12, wrong password',
    { smime: { pkcs12: 'alice.p12', password: 'env:WRONG' } },
    /^alice\.p12: password of the PKCS#12 file is wrong/,
  ],
  ['PKCS#12 that is none', { smime: { pkcs12: 'junk' } }, /^junk: /],
  [
    'OpenPGP without password',
    { pgp: { key: 'alice-locked.asc' } },
    /^alice-locked\.asc: .*no password is given/,
  ],
  [
    'OpenPGP, wrong password',
    { pgp: { key: 'alice-locked.asc', password: 'env:WRONG' } },
    /^alice-locked\.asc: .*password does not open it/,
  ],
  ['OpenPGP, public key only', { pgp: { key: 'bob.asc' } }, /^bob\.asc: /],
  ['OpenPGP that is none', { pgp: { key: 'junk' } }, /^junk: /],
];

test('own keys that cannot be used: one problem with its place, no key, no secret in the text', async (t) => {
  for (const [name, given, reason] of badOwn) {
    await t.test(name, async () => {
      const { declared, problems } = await own(given);
      assert.equal(problems.length, 1);
      assert.deepEqual(declared, []);
      const [problem = ''] = lines(problems);
      assert.match(problem.replace('policy.yaml:1:7: alice@contoso.example: ', ''), reason);
      assert.doesNotMatch(problem, /canary/);
    });
  }
});

const badPartner: readonly (readonly [string, Given, RegExp])[] = [
  [
    'a private key in the certificate file',
    { smime: { certificate: 'alice-both.pem' } },
    /alice-both\.pem holds a private key; a partner key must be public/,
  ],
  ['PKCS#12', { smime: { pkcs12: 'alice.p12' } }, /a partner key must be public/],
  ['an OpenPGP private key', { pgp: { key: 'alice.asc' } }, /alice\.asc: holds a private key/],
  [
    'a key of another address',
    { smime: { certificate: 'alice.pem' } },
    /does not hold this address; it holds alice@contoso\.example/,
  ],
  [
    'an OpenPGP key of another address',
    { pgp: { key: 'alice.pub' } },
    /does not hold this address; it holds alice@contoso\.example/,
  ],
];

test('partner keys that cannot be used', async (t) => {
  await write('alice.pub', alicePgp.publicKey.armor());
  for (const [name, given, reason] of badPartner) {
    await t.test(name, async () => {
      const { declared, problems } = await partner(given);
      assert.deepEqual([problems.length, declared], [1, []]);
      assert.match(lines(problems)[0] ?? '', reason);
    });
  }
});

test('every problem of every entry comes back at once, each with its place, beside the keys that are good', async () => {
  const { declared, problems } = await read(
    [
      entry('alice@contoso.example', { smime: { certificate, key: 'none.key' }, pgp: { key: 'junk' } }, 10),
      entry('alice@contoso.example', { pgp: { key: 'alice.asc' } }, 20),
      entry('carol@contoso.example', { smime: { certificate, key: 'alice.key' } }, 30),
    ],
    [entry('bob@fabrikam.example', { smime: { certificate: 'none.pem' }, pgp: { key: 'bob.asc' } }, 40)],
  );
  assert.deepEqual(
    lines(problems).map((text) => text.split(': ').slice(0, 2).join(' ')),
    [
      'policy.yaml:10:7 alice@contoso.example',
      'policy.yaml:10:7 alice@contoso.example',
      'policy.yaml:30:7 carol@contoso.example',
      'policy.yaml:40:7 bob@fabrikam.example',
    ],
  );
  assert.deepEqual(
    declared.map(({ record }) => record.id),
    [ALICE_PGP, BOB_PGP],
  );
});

test('one key for several entries is one key with all their addresses; a domain entry needs no address in the key', async () => {
  const given = { smime: { certificate, key: 'alice.key' } };
  const { declared, problems } = await read([
    entry('alice@contoso.example', given),
    entry('contoso.example', given, 2),
    entry('ALICE@contoso.example', given, 3),
  ]);
  assert.deepEqual(lines(problems), []);
  assert.equal(declared.length, 1);
  assert.deepEqual(declared[0]?.record.addresses, ['alice@contoso.example', '@contoso.example']);
  assert(declared[0].privateMaterial);
});

test('one key as own key and as partner key is a problem', async () => {
  const { problems } = await read(
    [entry('alice@contoso.example', { smime: { certificate, key: 'alice.key' } })],
    [entry('alice@contoso.example', { smime: { certificate } }, 9)],
  );
  assert.deepEqual(lines(problems), [
    'policy.yaml:9:7: alice@contoso.example: the same key is declared as an own key and as a partner key',
  ]);
});

test('what works but needs care is a warning: loose files, keys out of their time', async () => {
  const open = 'holds a private key and is open to other users: run chmod 600 on it';
  for (const [result, message] of [
    [await own({ smime: { certificate, key: 'alice-loose.key' } }), `alice-loose.key ${open}`],
    [await own({ pgp: { key: 'alice-loose.asc' } }), `alice-loose.asc ${open}`],
    [
      await partner({ smime: { certificate: 'expired.pem' } }),
      'the smime key expired on 2025-01-01T00:00:00.000Z and serves for decryption only',
    ],
    [
      await partner({ smime: { certificate: 'future.pem' } }),
      'the smime key is not valid before 2030-01-01T00:00:00.000Z',
    ],
  ] as const) {
    assert.deepEqual(lines(result.problems), []);
    assert.equal(result.declared.length, 1);
    assert.deepEqual(
      result.warnings.map((warning) => warning.message.replace(/^[^:]+: /, '')),
      [message],
    );
    assert.equal(result.warnings[0]?.line, 1);
  }
});

test('F111 a key of another domain for a whole domain is a warning', async () => {
  const given = { smime: { certificate, key: 'alice.key' } };
  const { problems, warnings } = await read([
    entry('contoso.example', given),
    entry('fabrikam.example', given, 2),
    entry('example', given, 3),
  ]);
  assert.deepEqual(lines(problems), []);
  const text = 'the smime key holds no address of this domain; it holds alice@contoso.example';
  assert.deepEqual(lines(warnings), [
    `policy.yaml:2:7: fabrikam.example: ${text}`,
    `policy.yaml:3:7: example: ${text}`,
  ]);
});

test('trust anchors: PEM with several, DER, and a problem with its place for what is neither', async () => {
  await write('roots.pem', root.certificatePem + intermediate.certificatePem);
  const { anchors, problems } = await readTrustAnchors(
    [
      { path: 'roots.pem', position: at(1) },
      { path: 'bob.der', position: at(2) },
      { path: 'none.pem', position: at(3) },
      { path: 'junk', position: at(4) },
    ],
    folder.path,
  );
  assert.deepEqual(
    anchors.map(({ der }) => der),
    [root.der, intermediate.der, bob.der],
  );
  assert.deepEqual(
    problems.map(({ line, message }) => [line, message]),
    [
      [3, 'none.pem: none.pem cannot be read: there is no such file'],
      [4, 'junk: no certificate in the PEM text'],
    ],
  );
});

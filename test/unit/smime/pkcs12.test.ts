// PKCS#12 files are made by the openssl command: the format's other end. It must be installed to run the tests.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Secret } from '../../../src/core/secret.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import { readPkcs12, readPkcs12Identities } from '../../../src/smime/pkcs12.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-test-'));
after(() => rmSync(folder, { recursive: true }));
const root = await createTestCa('PKCS#12 root');
const intermediate = await root.issueCa({ commonName: 'PKCS#12 intermediate' });
const person = await intermediate.issue({
  commonName: 'person',
  emails: ['user@contoso.example'],
  keyType: 'p256',
});
writeFileSync(join(folder, 'key.pem'), person.keyPem, { mode: 0o600 });
writeFileSync(
  join(folder, 'all.pem'),
  person.certificatePem + intermediate.certificatePem + root.certificatePem,
);

function makeFile(password: string, ...options: readonly string[]): Buffer {
  const path = join(folder, 'out.p12');
  const input = ['-inkey', join(folder, 'key.pem'), '-in', join(folder, 'all.pem')];
  execFileSync('openssl', [
    'pkcs12',
    '-export',
    ...input,
    '-out',
    path,
    '-passout',
    `pass:${password}`,
    ...options,
  ]);
  return readFileSync(path);
}

const schemes: readonly (readonly [string, string, readonly string[]])[] = [
  ['PBES2 with AES-256 (the default)', 'secret', []],
  ['PBES2 with AES-128', 'secret', ['-keypbe', 'AES-128-CBC', '-certpbe', 'AES-128-CBC']],
  ['PBES2 with 3DES', 'secret', ['-keypbe', 'DES-EDE3-CBC', '-certpbe', 'DES-EDE3-CBC']],
  ['MAC with SHA-512', 'secret', ['-macalg', 'sha512']],
  ['MAC with SHA-1', 'secret', ['-macalg', 'sha1']],
  ['old: RC2-40 and 3DES', 'secret', ['-legacy']],
  ['old: RC2-128', 'secret', ['-legacy', '-certpbe', 'PBE-SHA1-RC2-128']],
  ['old: RC2-128 for the key', 'secret', ['-legacy', '-keypbe', 'PBE-SHA1-RC2-128']],
  [
    'old: 3DES for both',
    'secret',
    ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'],
  ],
  ['old: two-key 3DES', 'secret', ['-legacy', '-keypbe', 'PBE-SHA1-2DES', '-certpbe', 'PBE-SHA1-3DES']],
  ['not encrypted, with a MAC', 'secret', ['-keypbe', 'NONE', '-certpbe', 'NONE']],
  ['no MAC', 'secret', ['-nomac']],
  ['empty password', '', []],
  ['empty password, old schemes', '', ['-legacy']],
  ['password outside ASCII', 'p\u00e4ssw\u00f6rd', []],
];

test('schemes that openssl writes', async (t) => {
  for (const [title, password, options] of schemes) {
    await t.test(title, () => {
      const { key, certificate, chain } = readPkcs12(makeFile(password, ...options), new Secret(password));
      assert(key.equals(person.key));
      assert(certificate.der.equals(person.der));
      assert.deepEqual(
        chain.map(({ der }) => der.toString('hex')),
        [intermediate, root].map(({ der }) => der.toString('hex')),
      );
    });
  }
});

const refused = { code: 'config-invalid' };

test('wrong password', () => {
  const message = 'password of the PKCS#12 file is wrong, or the file is damaged';
  assert.throws(() => readPkcs12(makeFile('secret'), new Secret('Secret')), { ...refused, message });
  assert.throws(() => readPkcs12(makeFile('secret', '-nomac'), new Secret('other')), refused);
  assert.throws(() => readPkcs12(makeFile('secret', '-nomac', '-legacy'), new Secret('other')), refused);
});

test('any changed byte is noticed by the MAC or the parser', () => {
  const file = makeFile('secret', '-iter', '1');
  for (let at = 0; at < file.length; at += 97) {
    const changed = Buffer.from(file);
    changed[at] = (changed[at] ?? 0) ^ 0x04;
    try {
      assert(readPkcs12(changed, new Secret('secret')).key.equals(person.key));
    } catch (error) {
      assert(error instanceof Error && error.name === 'GatewayError', String(error));
    }
  }
});

test('files without an identity, and no file at all', () => {
  const certificatesOnly = makeFile('secret', '-nokeys');
  assert.throws(() => readPkcs12Identities(certificatesOnly, new Secret('secret')), {
    ...refused,
    message: /no private key/,
  });
  for (const bytes of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(2 * 1024 * 1024), person.der])
    assert.throws(() => readPkcs12(bytes, new Secret('')), refused);
});

test('iteration bomb: a count beyond the limit is refused before any work', () => {
  const file = makeFile('secret', '-iter', '1000');
  // INTEGER 1000 (02 02 03e8) becomes 02 02 7fff in a copy with longer counts: rewrite as another tag length is not
  // needed, since the MAC's count is the last element of the file.
  const at = file.lastIndexOf(Buffer.from('020203e8', 'hex'));
  const grown = Buffer.concat([
    file.subarray(0, at),
    Buffer.from('02047fffffff', 'hex'),
    file.subarray(at + 4),
  ]);
  const started = performance.now();
  assert.throws(() => readPkcs12(widen(grown, file.length, at), new Secret('secret')), {
    ...refused,
    message: /iteration count/,
  });
  assert(performance.now() - started < 500);
});

/** Adds 2 to the lengths of the two elements around the count: the file itself and the MacData. */
function widen(grown: Buffer, oldLength: number, countAt: number): Buffer {
  const result = Buffer.from(grown);
  result.writeUInt16BE(result.readUInt16BE(2) + 2, 2);
  for (let at = countAt - 1; at > countAt - 120; at -= 1) {
    if (result[at] === 0x30 && at + 2 + (result[at + 1] ?? 0) === oldLength) {
      result[at + 1] = (result[at + 1] ?? 0) + 2;
      return result;
    }
  }
  throw new Error('MacData not found');
}

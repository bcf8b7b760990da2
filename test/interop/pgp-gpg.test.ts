// Both ways against GnuPG: what one side writes, the other reads, byte for byte.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { StageOutcome } from '../../src/core/outcome.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { parsePrivateKey, parsePublicKey, type PgpPrivateKey } from '../../src/pgp/certificate.ts';
import {
  decryptMessage,
  encryptMessage,
  signAndEncryptMessage,
  signMessage,
  verifyMessage,
} from '../../src/pgp/message.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { collect } from '../../src/core/bytes.ts';
import { bodyOf, encryptedMail, mail, makeKey, partsOf, run, source } from '../support/pgp.ts';

// Short: the agent's socket path has a limit of 108 characters.
const home = mkdtempSync(join(tmpdir(), 'pg-'));
after(() => {
  spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
});

interface GpgResult {
  readonly stdout: Buffer;
  readonly status: string;
}

function gpg(args: readonly string[], input?: Uint8Array): GpgResult {
  const fixed = [
    '--homedir',
    home,
    '--batch',
    '--yes',
    '--no-tty',
    '--trust-model',
    'always',
    '--status-fd',
    '2',
  ];
  const result = spawnSync('gpg', [...fixed, ...args], { input, maxBuffer: 50_000_000 });
  const status = result.stderr.toString('latin1');
  assert.equal(result.status, 0, `gpg ${args.join(' ')}\n${status}`);
  return { stdout: result.stdout, status };
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(home, name);
  writeFileSync(path, bytes);
  return path;
}

const ours = {
  ecc: await makeKey('ecc@contoso.example'),
  rsa: await makeKey('rsa@contoso.example', { type: 'rsa', rsaBits: 2048 }),
  nist: await makeKey('nist@contoso.example', { curve: 'nistP256' }),
};
for (const key of Object.values(ours)) gpg(['--import'], Buffer.from(key.armoredPrivate));
// Keys by GnuPG itself, with its own preferences and subkeys.
const theirs: Record<string, PgpPrivateKey> = {};
for (const algorithm of ['rsa2048', 'future-default']) {
  const email = `${algorithm}@gnupg.example`;
  gpg(['--passphrase', '', '--quick-gen-key', `Gnu <${email}>`, algorithm, 'default', 'never']);
  if (algorithm === 'rsa2048') {
    const fingerprint = /KEY_CREATED \w (\w+)/.exec(
      gpg(['--passphrase', '', '--quick-gen-key', 'x <x@gnupg.example>', 'rsa2048', 'sign', 'never']).status,
    )?.[1];
    assert.ok(fingerprint);
    gpg(['--passphrase', '', '--quick-add-key', fingerprint, 'rsa2048', 'encr', 'never']);
  }
  theirs[algorithm] = await parsePrivateKey(
    gpg([
      '--armor',
      '--export-secret-keys',
      algorithm === 'rsa2048' ? 'x@gnupg.example' : email,
    ]).stdout.toString(),
  );
}
const keys: Record<string, PgpPrivateKey> = {
  ...Object.fromEntries(Object.entries(ours).map(([name, key]) => [name, key.own])),
  ...theirs,
};

// After the keys, which may not be used before they were made.
const options = { limits: defaultLimits, at: new Date() };

const MESSAGE = Buffer.concat([
  mail([
    'From: a@contoso.example',
    'Subject: interop',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    '',
    'Gr\u00fc\u00dfe',
    'trailing  ',
    'From here',
  ]),
  Buffer.from('line of text\r\n'.repeat(20_000)),
]);
const CONTENT = await (async () => {
  const { entity } = await prepareEntity(source(MESSAGE), defaultLimits);
  return collect(entity.open(), 10_000_000);
})();

for (const [name, key] of Object.entries(keys)) {
  test(`gpg decrypts what we encrypt: ${name}`, async () => {
    const { bytes } = await run(encryptMessage(source(MESSAGE).open(), [key.certificate], options));
    const [version, encrypted] = partsOf(bytes);
    assert.match(version?.toString() ?? '', /Version: 1/);
    const { stdout, status } = gpg(['--decrypt'], bodyOf(encrypted ?? Buffer.alloc(0)));
    const from = MESSAGE.indexOf('Content-Type');
    assert.ok(stdout.equals(MESSAGE.subarray(from)));
    assert.match(status, /GOODMDC/);
  });

  test(`gpg verifies what we sign: ${name}`, async () => {
    const { bytes } = await run(signMessage(source(MESSAGE), key, options));
    const [content, signature] = partsOf(bytes);
    assert.ok(content && signature);
    assert.ok(content.equals(CONTENT));
    const signed = file('signed', content);
    const { status } = gpg(['--verify', file('signed.asc', bodyOf(signature)), signed]);
    assert.match(status, /GOODSIG/);
    assert.match(status, new RegExp(`VALIDSIG [0-9A-F ]*.*${key.certificate.fingerprint.toUpperCase()}`));
  });

  test(`gpg opens what we sign and encrypt: ${name}`, async () => {
    const signer = ours.ecc.own;
    const { bytes } = await run(signAndEncryptMessage(source(MESSAGE), [key.certificate], signer, options));
    const { stdout, status } = gpg(['--decrypt'], bodyOf(partsOf(bytes)[1] ?? Buffer.alloc(0)));
    assert.ok(stdout.equals(CONTENT));
    assert.match(status, /GOODSIG/);
    assert.match(status, /GOODMDC/);
  });

  test(`we verify what gpg signs: ${name}`, async () => {
    for (const mode of [[], ['--textmode'], ['--digest-algo', 'SHA512']]) {
      const { stdout } = gpg(
        [...mode, '--armor', '--local-user', key.certificate.fingerprint, '--detach-sign'],
        CONTENT,
      );
      const { outcome } = await run(verifyMessage(source(signedMail(stdout)), [key.certificate], options));
      assert.ok(outcome.kind === 'verified');
      const [result] = outcome.signatures;
      assert.equal(`${result?.integrity} ${result?.trust}`, 'intact trusted', JSON.stringify(result));
      assert.equal(result?.keyId, `pgp:${key.certificate.fingerprint}`);
    }
  });

  test(`we decrypt what gpg encrypts: ${name}`, async () => {
    const { stdout } = gpg(
      ['--armor', '--recipient', key.certificate.fingerprint, '--encrypt'],
      MESSAGE_CONTENT,
    );
    await assertDecrypts(stdout, key, [], 0);
  });
}

const MESSAGE_CONTENT = MESSAGE.subarray(MESSAGE.indexOf('Content-Type'));
const TO_RSA = ['--armor', '--recipient', ours.rsa.certificate.fingerprint];
const SIGNED = ['--local-user', ours.nist.certificate.fingerprint, '--sign'];
const WAYS: readonly (readonly [string, readonly string[], number])[] = [
  ['sign and encrypt', [...TO_RSA, ...SIGNED, '--encrypt'], 1],
  ['two signers', [...TO_RSA, ...SIGNED, '--local-user', ours.ecc.certificate.fingerprint, '--encrypt'], 2],
  ['text mode, signed', [...TO_RSA, ...SIGNED, '--textmode', '--encrypt'], 1],
  ['not compressed', [...TO_RSA, '--compress-algo', 'none', '--encrypt'], 0],
  ['zip', [...TO_RSA, ...SIGNED, '--compress-algo', 'zip', '--encrypt'], 1],
  ['zlib', [...TO_RSA, ...SIGNED, '--compress-algo', 'zlib', '--encrypt'], 1],
  ['bzip2', [...TO_RSA, ...SIGNED, '--compress-algo', 'bzip2', '--encrypt'], 1],
  ['hidden recipient', [...TO_RSA, '--throw-keyids', '--encrypt'], 0],
  ['several recipients', [...TO_RSA, '--recipient', ours.ecc.certificate.fingerprint, '--encrypt'], 0],
  ['AES-128', [...TO_RSA, '--cipher-algo', 'AES', '--encrypt'], 0],
  ['AES-192', [...TO_RSA, '--cipher-algo', 'AES192', '--encrypt'], 0],
  ['with a file name', [...TO_RSA, '--set-filename', 'secret plan.txt', '--encrypt'], 0],
];
for (const [name, args, signatures] of WAYS) {
  test(`we decrypt what gpg writes: ${name}`, async () => {
    await assertDecrypts(
      gpg(args, MESSAGE_CONTENT).stdout,
      ours.rsa.own,
      [ours.nist.own, ours.ecc.own],
      signatures,
    );
  });
}

test('5 MB both ways', async () => {
  const large = Buffer.concat([
    mail(['Content-Type: application/octet-stream', 'Content-Transfer-Encoding: base64', '']),
    Buffer.from(
      (
        randomBytes(3_750_000)
          .toString('base64')
          .match(/.{1,76}/g) ?? []
      ).join('\r\n'),
    ),
    Buffer.from('\r\n'),
  ]);
  for (const compression of ['none', 'zip', 'bzip2']) {
    const armor = gpg([...TO_RSA, ...SIGNED, '--compress-algo', compression, '--encrypt'], large).stdout;
    await assertDecrypts(armor, ours.rsa.own, [ours.nist.own], 1, large);
  }
  const { bytes } = await run(encryptMessage(source(large).open(), [ours.rsa.certificate], options));
  const { stdout } = gpg(['--decrypt'], bodyOf(partsOf(bytes)[1] ?? Buffer.alloc(0)));
  assert.ok(stdout.equals(large));
});

test('a password alone, and a message without integrity', async () => {
  const symmetric = gpg(
    ['--armor', '--pinentry-mode', 'loopback', '--passphrase', 'x', '--symmetric'],
    MESSAGE_CONTENT,
  );
  assert.deepEqual(await outcomeOf(symmetric.stdout), { kind: 'not-decrypted', reason: 'password-only' });
  const both = gpg(
    [
      '--armor',
      '--pinentry-mode',
      'loopback',
      '--passphrase',
      'x',
      '--symmetric',
      '--recipient',
      ours.rsa.certificate.fingerprint,
      '--encrypt',
    ],
    MESSAGE_CONTENT,
  );
  assert.equal((await outcomeOf(both.stdout)).kind, 'decrypted');
  const old = gpg(['--rfc2440', ...TO_RSA, '--cipher-algo', '3DES', '--encrypt'], MESSAGE_CONTENT);
  const outcome = await outcomeOf(old.stdout);
  assert.equal(outcome.kind, 'not-decrypted');
});

test('a signature with SHA-1 is intact and not trusted', async () => {
  const weak = [
    '--digest-algo',
    'SHA1',
    '--armor',
    '--local-user',
    ours.rsa.certificate.fingerprint,
    '--detach-sign',
  ];
  const { outcome } = await run(
    verifyMessage(source(signedMail(gpg(weak, CONTENT).stdout)), [ours.rsa.certificate], options),
  );
  assert.ok(outcome.kind === 'verified');
  assert.equal(outcome.signatures[0]?.integrity, 'intact');
  assert.equal(outcome.signatures[0]?.trust, 'untrusted');
  assert.equal(outcome.signatures[0]?.reason, 'it uses a broken hash');
});

test('keys: what gpg exports is read, and what we export is imported unchanged', async () => {
  for (const key of Object.values(keys)) {
    const exported = gpg(['--armor', '--export', key.certificate.fingerprint]).stdout.toString();
    const read = await parsePublicKey(exported);
    assert.equal(read.fingerprint, key.certificate.fingerprint);
    assert.deepEqual(read.addresses, key.certificate.addresses);
    assert.match(gpg(['--import'], Buffer.from(read.armored)).status, /IMPORT_OK 0 /);
  }
});

function signedMail(signature: Uint8Array): Buffer {
  return Buffer.concat([
    mail(['Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b', '', '--b']),
    CONTENT,
    mail(['', '--b', 'Content-Type: application/pgp-signature', '', signature.toString(), '--b--']),
  ]);
}

async function outcomeOf(armor: Buffer): Promise<StageOutcome> {
  return (
    await run(decryptMessage(source(encryptedMail(armor.toString('latin1'))), [ours.rsa.own], [], options))
  ).outcome;
}

async function assertDecrypts(
  armor: Buffer,
  key: PgpPrivateKey,
  signers: readonly PgpPrivateKey[],
  signatures: number,
  content = MESSAGE_CONTENT,
): Promise<void> {
  const sealed = encryptedMail(armor.toString('latin1'));
  const verification = signers.map(({ certificate }) => certificate);
  const { bytes, outcome } = await run(decryptMessage(source(sealed), [key], verification, options));
  assert.ok(outcome.kind === 'decrypted', JSON.stringify(outcome));
  assert.equal(outcome.signatures.length, signatures);
  for (const { integrity, trust } of outcome.signatures)
    assert.equal(`${integrity} ${trust}`, 'intact trusted');
  assert.ok(bytes.subarray(bytes.indexOf('Content-Type')).equals(content));
}

// Both ways against GnuPG's gpgsm: what one side writes, the other reads, byte for byte. gpgsm knows CMS alone, so the
// mail around it is taken off and put on here.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { StageOutcome } from '../../src/core/outcome.ts';
import { parseCertificate } from '../../src/smime/certificate.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../../src/smime/message.ts';
import {
  asPerson,
  chunkedSource,
  cmsMail,
  createWorld,
  limits,
  runStage,
  SAMPLE_ENTITY,
  SAMPLE_MESSAGE,
  SAMPLE_UNWRAPPED,
  signedMail,
  type TestPerson,
} from '../support/smime.ts';

// Short: the agent's socket path has a limit of 108 characters.
const home = mkdtempSync(join(tmpdir(), 'ps-'));
after(() => {
  spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
});

const PASSWORD = randomBytes(12).toString('hex');
const at = new Date();
const world = await createWorld('gpgsm interop');
const sub = await world.ca.issueCa({ commonName: 'gpgsm interop sub' });
const subCertificate = parseCertificate(sub.der);
file('gpgsm.conf', 'disable-crl-checks\n');
const rootFingerprint = createHash('sha1').update(world.ca.der).digest('hex').toUpperCase();
file('trustlist.txt', `${rootFingerprint} S relax\n`);
gpgsm(['--import', file('root.crt', world.ca.certificatePem), file('sub.crt', sub.certificatePem)]);
const people = {
  rsa: await personBelow('rsa', 'rsa'),
  p256: await personBelow('p256', 'p256'),
  p384: await personBelow('p384', 'p384'),
};
importKey('rsa');
// gpgsm 2.2 holds no EC keys, but it knows their signatures.
gpgsm(['--import', file('p256.crt'), file('p384.crt')]);

function file(name: string, bytes?: Uint8Array | string): string {
  const path = join(home, name);
  if (bytes !== undefined) writeFileSync(path, bytes, { mode: 0o600 });
  return path;
}

interface GpgsmResult {
  readonly stdout: Buffer;
  /** Status lines and the log. */
  readonly status: string;
  readonly isGood: boolean;
}

function runGpgsm(args: readonly string[]): GpgsmResult {
  const fixed = ['--homedir', home, '--batch', '--yes', '--no-tty', '--status-fd', '2'];
  const unlocked = ['--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
  const result = spawnSync('gpgsm', [...fixed, ...unlocked, ...args], {
    input: PASSWORD,
    maxBuffer: 50_000_000,
  });
  return { stdout: result.stdout, status: result.stderr.toString('latin1'), isGood: result.status === 0 };
}

function gpgsm(args: readonly string[]): GpgsmResult {
  const result = runGpgsm(args);
  assert.ok(result.isGood, `gpgsm ${args.join(' ')}\n${result.status}`);
  return result;
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

/** Gives gpgsm a private key by PKCS#12; the older password encryption is what gpgsm 2.2 reads. */
function importKey(name: string): void {
  const parts = ['-inkey', file(`${name}.key`), '-in', file(`${name}.crt`), '-certfile', file('sub.crt')];
  const older = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'];
  const output = ['-passout', 'stdin', '-out', file(`${name}.p12`)];
  execFileSync('openssl', ['pkcs12', '-export', ...parts, ...older, ...output], { input: PASSWORD });
  assert.match(gpgsm(['--import', file(`${name}.p12`)]).status, /secret keys imported: 1/);
}

/** The base64 body of a mail whose whole body is one CMS structure. */
function cmsOf(message: Buffer): Buffer {
  return Buffer.from(message.subarray(message.indexOf('\r\n\r\n') + 4).toString('latin1'), 'base64');
}

/** Both parts of a multipart/signed mail, cut by hand: `readParts` is not to judge itself. */
function detachedOf(message: Buffer): { content: Buffer; signature: Buffer } {
  const boundary = /boundary="([^"]+)"/.exec(message.toString('latin1'))?.[1] ?? '';
  assert.notEqual(boundary, '');
  const first = message.indexOf(`\r\n--${boundary}\r\n`) + boundary.length + 6;
  const second = message.indexOf(`\r\n--${boundary}\r\n`, first);
  return { content: message.subarray(first, second), signature: cmsOf(message.subarray(second)) };
}

async function outcomeOf(message: Buffer, form: 'detached' | 'opaque'): Promise<StageOutcome> {
  const { bytes, outcome } = await runStage(
    verifyMessage(chunkedSource(message, 3_001), world.trust, { limits }),
  );
  assert.deepEqual(bytes, form === 'opaque' ? SAMPLE_UNWRAPPED : Buffer.alloc(0));
  return outcome;
}

test('gpgsm decrypts what we encrypt', async (t) => {
  for (const [name, others] of [
    ['to one', []],
    ['to several', [people.p256.certificate, people.p384.certificate]],
  ] as const) {
    await t.test(name, async () => {
      const certificates = [people.rsa.certificate, ...others] as const;
      const { bytes } = await runStage(
        encryptMessage(chunkedSource(SAMPLE_MESSAGE, 4_099).open(), certificates, { limits }),
      );
      const { stdout, status } = gpgsm(['--decrypt', file('ours.p7m', cmsOf(bytes))]);
      assert.match(status, /DECRYPTION_OKAY/);
      assert.deepEqual(stdout, SAMPLE_ENTITY);
    });
  }
});

test('we decrypt what gpgsm encrypts', async (t) => {
  const recipient = ['--recipient', 'rsa@contoso.example'];
  for (const [cipher, name] of [
    ['AES', 'aes-128-cbc'],
    ['AES192', 'aes-192-cbc'],
    ['AES256', 'aes-256-cbc'],
  ] as const) {
    await t.test(name, async () => {
      const options = [...recipient, '--cipher-algo', cipher];
      const { stdout } = gpgsm(['--encrypt', ...options, file('entity', SAMPLE_ENTITY)]);
      const { bytes, outcome } = await runStage(
        decryptMessage(chunkedSource(cmsMail(stdout), 3_001), [people.rsa.decryption], { limits }),
      );
      assert.equal(outcome.kind === 'decrypted' && outcome.algorithm, name);
      assert.deepEqual(bytes, SAMPLE_UNWRAPPED);
    });
  }
});

test('gpgsm verifies what we sign', async (t) => {
  for (const type of ['rsa', 'p256', 'p384'] as const) {
    const { bytes } = await runStage(
      signMessage(chunkedSource(SAMPLE_MESSAGE, 4_099), people[type].signer, { limits, at }),
    );
    const { content, signature } = detachedOf(bytes);
    await t.test(type, () => {
      assert.deepEqual(content, SAMPLE_ENTITY);
      const { status } = gpgsm(['--verify', file('ours.p7s', signature), file('content', content)]);
      assert.match(status, /GOODSIG .*Postern test/);
      assert.match(status, /TRUST_FULLY/);
    });
    await t.test(`${type}, content changed`, () => {
      const changed = Buffer.concat([content, Buffer.from('x')]);
      const { status, isGood } = runGpgsm([
        '--verify',
        file('ours.p7s', signature),
        file('content', changed),
      ]);
      assert.equal(isGood, false);
      assert.match(status, /BADSIG/);
    });
  }
});

test('we verify what gpgsm signs', async (t) => {
  const digests = ['SHA256', 'SHA384', 'SHA512', 'SHA1'];
  for (const digest of digests) {
    for (const form of ['detached', 'opaque'] as const) {
      await t.test(`${digest}, ${form}`, async () => {
        const signer = ['--local-user', 'rsa@contoso.example', '--digest-algo', digest];
        const command = form === 'detached' ? '--detach-sign' : '--sign';
        const { stdout } = gpgsm([...signer, command, file('entity', SAMPLE_ENTITY)]);
        const message = form === 'detached' ? signedMail(SAMPLE_ENTITY, stdout) : cmsMail(stdout);
        const outcome = await outcomeOf(message, form);
        assert.equal(outcome.kind === 'verified' && outcome.form, form);
        const [result] = outcome.kind === 'verified' ? outcome.signatures : [];
        const integrity = digest === 'SHA1' ? 'broken' : 'intact';
        assert.deepEqual(
          [result?.integrity, result?.trust, result?.signer],
          [integrity, 'trusted', ['rsa@contoso.example']],
        );
      });
    }
  }
});

test('a mail of theirs that was changed is broken', async () => {
  const { stdout } = gpgsm([
    '--local-user',
    'rsa@contoso.example',
    '--detach-sign',
    file('entity', SAMPLE_ENTITY),
  ]);
  const changed = Buffer.concat([SAMPLE_ENTITY, Buffer.from('x')]);
  const outcome = await outcomeOf(signedMail(changed, stdout), 'detached');
  assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'broken');
});

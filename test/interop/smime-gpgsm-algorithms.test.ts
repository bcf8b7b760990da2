// What gpgsm knows beyond its defaults: 3DES, recipients that it passes over, PSS, curves. Its defaults are in smime-gpgsm.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { collect, bytesSource } from '../../src/core/bytes.ts';
import { decryptMessage, signMessage } from '../../src/smime/message.ts';
import { encryptContent } from '../../src/smime/enveloped-data.ts';
import { type FilePerson, OpensslPeople } from '../support/openssl-people.ts';
import { chunkedSource, cmsMail, limits, mail, runStage } from '../support/smime.ts';

// Short: the agent's socket path has a limit of 108 characters.
const home = mkdtempSync(join(tmpdir(), 'pa-'));
const people = new OpensslPeople();
after(() => {
  spawnSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
  people[Symbol.dispose]();
});
const PASSWORD = randomBytes(12).toString('hex');
const ENTITY = mail('Content-Type: text/plain', '', 'between two programs', '');
const MESSAGE = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), ENTITY]);
people.file('entity', ENTITY);
const curve = (namedCurve: string): FilePerson =>
  people.person(namedCurve, generateKeyPairSync('ec', { namedCurve }));
const rsa = people.person('rsa', generateKeyPairSync('rsa', { modulusLength: 2_048 }));
const curves = ['P-256', 'P-384', 'P-521', 'brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1'].map(
  curve,
);
const pss = people.person('pss', generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }));
const kem = people.person('ml-kem', generateKeyPairSync('ml-kem-768'));

writeFileSync(join(home, 'gpgsm.conf'), 'disable-crl-checks\n');
const fingerprint = createHash('sha1').update(people.root.der).digest('hex').toUpperCase();
writeFileSync(join(home, 'trustlist.txt'), `${fingerprint} S relax\n`);

function gpgsm(...args: readonly string[]): { stdout: Buffer; status: string; isGood: boolean } {
  const fixed = ['--homedir', home, '--batch', '--yes', '--no-tty', '--status-fd', '2'];
  const unlocked = ['--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
  const result = spawnSync('gpgsm', [...fixed, ...unlocked, ...args], { input: PASSWORD });
  return { stdout: result.stdout, status: result.stderr.toString('latin1'), isGood: result.status === 0 };
}

gpgsm('--import', people.file('ca.crt'), ...[...curves, pss].map(({ crt }) => crt));
const p12 = people.file('rsa.p12');
const older = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'];
const pair = ['-inkey', rsa.key, '-in', rsa.crt, '-certfile', people.file('ca.crt')];
execFileSync('openssl', ['pkcs12', '-export', ...pair, ...older, '-passout', 'stdin', '-out', p12], {
  input: PASSWORD,
});
assert.match(gpgsm('--import', p12).status, /secret keys imported: 1/);

test('gpgsm decrypts what we encrypt, also beside recipients that it does not know', async (t) => {
  for (const [title, others] of [
    ['alone', []],
    ['every curve', curves],
    ['ML-KEM', [kem]],
  ] as const) {
    await t.test(title, async () => {
      const certificates = [rsa, ...others].map(({ decryption }) => decryption.certificate);
      const [first, ...more] = certificates;
      assert.ok(first);
      const bytes = await collect(encryptContent(bytesSource(ENTITY).open(), [first, ...more]), 1_000_000);
      const { stdout, status } = gpgsm('--decrypt', people.file('ours.p7m', bytes));
      assert.deepEqual(stdout, ENTITY, status);
    });
  }
});

test('we decrypt what gpgsm encrypts with each of its ciphers', async (t) => {
  for (const cipher of ['3DES', 'AES', 'AES192', 'AES256']) {
    await t.test(cipher, async () => {
      const options = ['--recipient', '/CN=rsa', '--cipher-algo', cipher];
      const { stdout, status } = gpgsm('--encrypt', ...options, people.file('entity'));
      const weak = cipher === '3DES' ? (['3des'] as const) : [];
      const { outcome } = await runStage(
        decryptMessage(chunkedSource(cmsMail(stdout), 999), [rsa.decryption], { limits, weak }),
      );
      assert.equal(outcome.kind, 'decrypted', status);
    });
  }
});

// gpgsm 2.2 has an error of its own with P-521 (an odd number of bits), and does not know Edwards curves.
test('gpgsm verifies what we sign with each type of key that it knows', async (t) => {
  for (const person of [rsa, pss, ...curves.filter(({ crt }) => !crt.endsWith('P-521.crt'))]) {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = person.signer.key;
    await t.test([type, details?.namedCurve].filter(Boolean).join(', '), async () => {
      const { bytes } = await runStage(
        signMessage(chunkedSource(MESSAGE, 999), person.signer, { limits, at: new Date() }),
      );
      const [, body = ''] = /smime\.p7s"\r\n\r\n([A-Za-z0-9+/=\r\n]+)--/.exec(bytes.toString('latin1')) ?? [];
      const signature = people.file('ours.p7s', Buffer.from(body, 'base64'));
      const good = gpgsm('--verify', signature, people.file('entity'));
      assert.match(good.status, /GOODSIG/);
      assert.equal(good.isGood, true);
      const changed = gpgsm('--verify', signature, people.file('changed', `${ENTITY.toString()}x`));
      assert.match(changed.status, /BADSIG/);
    });
  }
});

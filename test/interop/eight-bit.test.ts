// Signed mail with 8-bit content, towards a server that does not take 8-bit: never encoded anew, since that would break
// the signature. gpg judges what arrives.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { openLab } from '../../src/lab/world.ts';

const folder = mkdtempSync(join(tmpdir(), '8b-'));
const lab = await openLab({ internet: { extensions: ['PIPELINING', 'ENHANCEDSTATUSCODES'] } });
const [user, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const server = await openLabGateway(lab, {
  own: [user],
  partners: [bob],
  outbound: [
    'rules:',
    '  - name: no 8-bit signatures',
    '    when: { recipient: [dora@remote.example], shape: [signed], eight_bit: true }',
    "    refuse: 'Your program signed 8-bit text.'",
    'otherwise: { sign: auto, encrypt: when-possible, fallback: plain, formats: [smime] }',
    '',
  ].join('\n'),
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
  spawnSync('gpgconf', ['--homedir', folder, '--kill', 'all']);
  rmSync(folder, { recursive: true, force: true });
});

function run(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  const result = spawnSync(command, args, { input });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}\n${result.stderr.toString()}`);
  return result.stdout;
}

function gpg(args: readonly string[], input?: Uint8Array): Buffer {
  return run('gpg', ['--homedir', folder, '--batch', '--yes', '--no-tty', ...args], input);
}

const ENTITY = Buffer.from(
  'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n',
  'latin1',
);
gpg(['--import'], Buffer.from(user.pgp.privateKey));
const SIGNATURE = gpg(['--armor', '--detach-sign', '--local-user', user.address], ENTITY);

/** A message that the client signed. */
function signedMessage(to: string, subject: string): Buffer {
  const type = 'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha512; boundary=b';
  const head = [`From: ${user.address}`, `To: ${to}`, `Subject: ${subject}`, 'MIME-Version: 1.0'];
  const part = 'Content-Type: application/pgp-signature';
  return Buffer.concat([
    Buffer.from([...head, `Content-Type: ${type}`, '', '--b', ''].join('\r\n')),
    ENTITY,
    Buffer.from(['', '--b', part, '', ...SIGNATURE.toString().split('\n'), '--b--', ''].join('\r\n')),
  ]);
}

async function send(to: string, subject: string): Promise<void> {
  const message = bytesSource(signedMessage(to, subject));
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [to], message });
  assert.equal(result.recipients[0]?.code, 250);
}

test('in clear it is returned to its sender, who reads why, and nothing of it left', async () => {
  await send('carol@remote.example', 'returned');
  const [report] = await lab.exchange.waitForMessage('contoso', 1);
  const text = report?.delivered.toString('latin1') ?? '';
  assert.match(text, /multipart\/report/);
  assert.match(text, /^Final-Recipient: rfc822; ?carol@remote\.example/m);
  assert.match(text, /^Status: 5\.6\.3/m);
  assert.equal(lab.internet.messages().length, 0);
});

test('where a rule refuses 8-bit signatures, the answer in the dialog says so', async () => {
  const message = bytesSource(signedMessage('dora@remote.example', 'refused'));
  const envelope = { from: user.address, to: ['dora@remote.example'], message };
  const { recipients } = await lab.sendFromTenant('contoso', envelope);
  assert.equal(recipients[0]?.code, 550);
  assert.match(JSON.stringify(recipients[0]), /Your program signed 8-bit text\./);
  assert.equal(lab.internet.messages().length, 0);
});

test('where the policy encrypts it, it arrives, and the signature inside is good', async () => {
  await send(bob.address, 'encrypted');
  const [message] = await lab.internet.waitForMessage(1);
  assert.ok(message && message.bytes.every((byte) => byte < 0x80));
  writeFileSync(join(folder, 'bob.key'), bob.smime.keyPem);
  const clear = run('openssl', ['cms', '-decrypt', '-inkey', join(folder, 'bob.key')], message.bytes);
  const start = clear.indexOf('--b\r\n') + 5;
  const signed = clear.subarray(start, clear.indexOf('\r\n--b\r\n', start));
  assert.ok(signed.equals(ENTITY));
  writeFileSync(join(folder, 'entity'), signed);
  writeFileSync(join(folder, 'signature.asc'), SIGNATURE);
  gpg(['--verify', join(folder, 'signature.asc'), join(folder, 'entity')]);
});

// swaks as the client of our listener, without the rest of the gateway: TLS with and without a client certificate, clear
// text, pipelining, and what it is told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { replyFor } from '../../src/core/errors.ts';
import { clientIdentity, ok, openTestListener } from '../support/smtp.ts';

const MESSAGE = 'From: a@contoso.example\nTo: b@remote.example\nSubject: x\n\n.\n..dot\nGrüße\n';
const folder = mkdtempSync(join(tmpdir(), 'sw-'));
const server = await openTestListener({
  limits: { maxMessageBytes: 20_000 },
  handler: {
    recipient: async (_start, { localPart }) => (localPart === 'no' ? replyFor('relay-denied') : ok),
  },
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

/** Runs swaks: its exit code, its transcript, and what the listener took meanwhile. */
async function swaks(...args: readonly string[]) {
  const before = server.messages.length;
  // swaks ends the last line itself.
  const data = file('message.eml', MESSAGE.trimEnd());
  const to = ['--server', `127.0.0.1:${server.listener.port}`, '--timeout', '20', '--helo', 'client.example'];
  const mail = ['--from', 'a@contoso.example', '--data', `@${data}`];
  const child = spawn('swaks', [...to, ...mail, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const parts: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => parts.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, transcript: Buffer.concat(parts).toString(), taken: server.messages.slice(before) };
}

const certificates: readonly [name: string, isVerified: boolean, verifyError?: RegExp][] = [
  ['exchange', true],
  ['server-only', false, /INVALID_PURPOSE/],
  ['rogue', false, /UNABLE_TO|SELF_SIGNED/],
  ['expired', false, /EXPIRED/],
];

for (const [name, isVerified, verifyError] of certificates) {
  test(`swaks over TLS with the client certificate ${name}`, async () => {
    const { key, cert } = await clientIdentity(name);
    const own = ['--tls-cert', file(`${name}.crt`, cert), '--tls-key', file(`${name}.key`, key)];
    const { code, transcript, taken } = await swaks('--tls', ...own, '--to', 'b@remote.example');
    assert.equal(code, 0, transcript);
    const certificate = taken[0]?.peer.tls?.certificate;
    assert.deepEqual(certificate?.dnsNames, ['mail.protection.outlook.example']);
    assert.equal(certificate.isVerified, isVerified);
    if (verifyError) assert.match(certificate.verifyError ?? '', verifyError);
    assert.equal(taken[0]?.body.toString(), MESSAGE.replaceAll('\n', '\r\n'));
  });
}

test('swaks over TLS without a certificate, and in clear text', async () => {
  const secure = await swaks('--tls', '--to', 'b@remote.example');
  assert.equal(secure.code, 0, secure.transcript);
  assert.match(secure.taken[0]?.peer.tls?.protocol ?? '', /^TLSv1\.[23]$/);
  assert.equal(secure.taken[0]?.peer.tls?.certificate, undefined);
  const clear = await swaks('--to', 'b@remote.example', '--pipeline');
  assert.equal(clear.code, 0, clear.transcript);
  assert.equal(clear.taken[0]?.peer.tls, undefined);
  assert.equal(clear.taken[0]?.peer.helo, 'client.example');
  assert.equal(clear.taken[0]?.body.toString(), MESSAGE.replaceAll('\n', '\r\n'));
});

test('swaks with recipients that are refused: one of two, all, and none that is an address', async () => {
  const mixed = await swaks('--to', 'no@remote.example,b@remote.example');
  assert.equal(mixed.code, 0, mixed.transcript);
  assert.match(mixed.transcript, /<\*\* 550 5\.7\.1 Relaying denied/);
  assert.deepEqual(
    mixed.taken[0]?.envelope.recipients.map(({ address }) => address.text),
    ['b@remote.example'],
  );
  for (const [to, reply] of [
    ['no@remote.example', /<\*\* 550 5\.7\.1 Relaying denied/],
    ['b@[127.0.0.1]', /<\*\* 553 5\.1\.3 Address is not valid/],
  ] as const) {
    const { code, transcript, taken } = await swaks('--to', to);
    assert.notEqual(code, 0);
    assert.match(transcript, reply);
    assert.deepEqual(taken, []);
  }
});

test('swaks with a message that is too large', async () => {
  const body = `Subject: x\n\n${`${'x'.repeat(70)}\n`.repeat(400)}`;
  const { code, transcript, taken } = await swaks(
    '--to',
    'b@remote.example',
    '--data',
    `@${file('big.eml', body)}`,
  );
  assert.notEqual(code, 0);
  assert.match(transcript, /<\*\* 552 5\.3\.4 Message is larger/);
  assert.deepEqual(taken, []);
});

// Real mail servers and clients on both sides of a real gateway: Postfix delivers into it and takes from it, swaks speaks
// to it.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareTenantMail } from '../../src/lab/exchange-client.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { startPostfix } from '../support/postfix.ts';
import { bytesOf } from '../support/storage.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-postfix-'));
const lab = await openLab();
const [user, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const receiver = await startPostfix();
const server = await openLabGateway(lab, {
  own: [user],
  partners: [bob],
  outbound: `deliver: smarthost
otherwise: { sign: auto, encrypt: when-possible, formats: [smime], fallback: plain }`,
  config: `smarthost: { host: 127.0.0.1, port: ${receiver.port}, tls: opportunistic }`,
  // swaks shows its own certificate without the intermediate one, so that has to be known here.
  exchangeCa: lab.identities.exchangeClient.cert.slice(1).replace(/^[^]*?(?=-----BEGIN)/, ''),
});
const sender = await startPostfix({
  relayHost: `[127.0.0.1]:${server.gateway.port}`,
  settings: { smtp_tls_security_level: 'may' },
});
after(async () => {
  await sender[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs swaks and returns its transcript. Not in step: the gateway runs in this process. */
async function swaks(
  port: number,
  ...args: readonly string[]
): Promise<{ code: number; transcript: string }> {
  const child = spawn('swaks', ['--server', `127.0.0.1:${port}`, '--timeout', '20', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const parts: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => parts.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, transcript: Buffer.concat(parts).toString() };
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function arrivedAtPostfix(count: number): Promise<readonly Buffer[]> {
  for (let tries = 0; tries < 200; tries += 1) {
    const messages = receiver.received();
    if (messages.length >= count) return messages;
    await sleep(50);
  }
  throw new Error(`${receiver.received().length} of ${count} messages\n${receiver.log()}`);
}

test('the gateway delivers to Postfix: what arrives in the mailbox is read by openssl', async () => {
  const message = sampleMessage('tricky', { from: user.address, to: [bob.address] });
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [bob.address], message });
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250],
  );
  const [stored] = await arrivedAtPostfix(1);
  const decrypt = ['cms', '-decrypt', '-recip', file('bob.crt', bob.smime.certificatePem)];
  const signed = spawnSync('openssl', [...decrypt, '-inkey', file('bob.key', bob.smime.keyPem)], {
    input: stored,
  });
  assert.equal(signed.status, 0, signed.stderr.toString());
  const verify = ['cms', '-verify', '-CAfile', file('ca.crt', lab.mailCa.rootPem)];
  const content = spawnSync('openssl', verify, { input: signed.stdout });
  assert.equal(content.status, 0, content.stderr.toString());
  assert.match(content.stdout.toString(), /end without line end/);
});

test('Postfix delivers to the gateway over STARTTLS: dots, long lines and 8-bit text arrive as they were sent', async () => {
  const body = ['.', '..', '.dot', 'x'.repeat(900), 'Grüße', ''].join('\r\n');
  const head = [
    'From: x@isp.example',
    'To: user@contoso.example',
    'Subject: by postfix',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    '',
  ].join('\r\n');
  const path = file('in.eml', head + body);
  const { code, transcript } = await swaks(
    sender.port,
    '--from',
    'x@isp.example',
    '--to',
    'user@contoso.example',
    '--data',
    `@${path}`,
  );
  assert.equal(code, 0, transcript);
  const [got] = await lab.exchange.waitForMessage('contoso', 1);
  const text = got?.received.toString() ?? '';
  assert.ok(text.includes(`\r\n\r\n${body}`), text.slice(-1200));
  assert.match(text, /by gw\.example with ESMTPS id/);
});

test('swaks as Exchange Online, with its certificate: accepted; without: relaying denied', async () => {
  const mail = {
    from: user.address,
    to: ['carol@remote.example'],
    message: sampleMessage('plain', { from: user.address, to: ['carol@remote.example'] }),
  };
  const stamped = await prepareTenantMail(lab.tenants.contoso, mail, new Date());
  const data = file('out.eml', await bytesOf(stamped.message.open()));
  const { key, cert } = lab.identities.exchangeClient;
  const identity = ['--tls-cert', file('exo.crt', cert), '--tls-key', file('exo.key', key)];
  const envelope = ['--from', user.address, '--to', 'carol@remote.example', '--data', `@${data}`];
  const before = receiver.received().length;
  const good = await swaks(server.gateway.port, '--tls', ...identity, ...envelope);
  assert.equal(good.code, 0, good.transcript);
  await arrivedAtPostfix(before + 1);
  const stranger = await swaks(server.gateway.port, '--tls', ...envelope);
  assert.notEqual(stranger.code, 0);
  assert.match(stranger.transcript, /550 5\.7\.1 Relaying denied/);
  const clear = await swaks(server.gateway.port, ...envelope);
  assert.match(clear.transcript, /530 5\.7\.0 Must issue a STARTTLS command first/);
});

test('what Postfix refuses for good becomes a report to the sender', async () => {
  const message = sampleMessage('plain', { from: user.address, to: ['nobody@refused.example'] });
  const refusing = await startPostfix({ settings: { smtpd_recipient_restrictions: 'reject' } });
  try {
    await using other = await openLabGateway(lab, {
      own: [user],
      outbound: 'deliver: smarthost\notherwise: { sign: none, encrypt: never }',
      config: `smarthost: { host: 127.0.0.1, port: ${refusing.port}, tls: opportunistic }`,
    });
    assert.ok(other);
    const before = lab.exchange.sinkOf('contoso').length;
    await lab.sendFromTenant('contoso', { from: user.address, to: ['nobody@refused.example'], message });
    const [report] = (await lab.exchange.waitForMessage('contoso', before + 1)).slice(before);
    assert.match(
      report?.delivered.toString() ?? '',
      /multipart\/report[^]*Final-Recipient: rfc822; nobody@refused\.example/,
    );
    assert.doesNotMatch(report?.delivered.toString() ?? '', /the figures are as agreed/);
  } finally {
    await refusing[Symbol.asyncDispose]();
  }
});

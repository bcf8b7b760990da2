// Postfix between our client and our listener: what the client sends is what Postfix understands, and what Postfix sends is
// what the listener hands over, byte for byte, with every parameter of the envelope. Without the rest of the gateway.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import type { DeliveryResult, Shipment } from '../../src/core/delivery.ts';
import type { Recipient } from '../../src/core/envelope.ts';
import { silentLog } from '../../src/core/log.ts';
import { defaultTimeouts, deliverShipment } from '../../src/smtp/client.ts';
import { openRoute } from '../../src/smtp/mx.ts';
import type { TlsIdentity } from '../../src/smtp/next-hop.ts';
import { type Postfix, startPostfix } from '../support/postfix.ts';
import { address, authority, identity, openTestListener, type Received, shipment } from '../support/smtp.ts';

const HEADER = 'From: a@contoso.example\r\nTo: b@remote.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n';
const EIGHT_BIT = `${HEADER}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n`;
const PLAIN = `${HEADER}Content-Type: text/plain\r\n\r\n`;

const folder = mkdtempSync(join(tmpdir(), 'pl-'));
const ca = (await authority()).certificatePem;
const own = await identity('gw.example', { extendedKeyUsage: ['serverAuth', 'clientAuth'] });
const postfixServer = await identity('postfix.example');
const postfixClient = await identity('sender.example', { extendedKeyUsage: ['clientAuth'] });
const listener = await openTestListener();
const taken = {
  // It would add missing fields to what comes from the machine itself.
  local_header_rewrite_clients: '',
  smtpd_tls_security_level: 'may',
  smtpd_tls_chain_files: chainFile('server.pem', postfixServer),
};
const relay = await startPostfix({
  relayHost: `[127.0.0.1]:${listener.listener.port}`,
  settings: {
    ...taken,
    smtputf8_enable: 'yes',
    smtp_tls_security_level: 'secure',
    smtp_tls_secure_cert_match: 'gw.example',
    smtp_tls_CAfile: file('ca.pem', ca),
    smtp_tls_chain_files: chainFile('client.pem', postfixClient),
    // Its default breaks lines of more than 998 octets.
    smtp_line_length_limit: '0',
  },
});
const receiver = await startPostfix({
  settings: {
    ...taken,
    smtpd_tls_ask_ccert: 'yes',
    smtpd_tls_CAfile: file('ca.pem', ca),
    smtpd_tls_received_header: 'yes',
    smtpd_discard_ehlo_keywords: 'smtputf8, dsn',
    message_size_limit: '100000',
    smtpd_recipient_restrictions:
      'check_recipient_access inline:{ { no@remote.example = 550 5.1.1 unknown }, { later@remote.example = 450 4.2.1 later } }, permit',
  },
});
after(async () => {
  await relay[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
  await listener[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

function chainFile(name: string, { key, cert }: TlsIdentity): string {
  return file(name, `${key}\n${cert}`);
}

async function send(to: Postfix, sent: Shipment, client?: TlsIdentity): Promise<readonly DeliveryResult[]> {
  const { port } = to;
  const route = openRoute({ port, resolvers: [], allowPrivateAddresses: true, connectTimeoutMs: 5_000 });
  return deliverShipment(
    {
      tls: 'verified',
      serverName: 'postfix.example',
      ca: [ca],
      open: (skip, signal) => route.toHost('127.0.0.1', skip, signal),
      ...(client ? { identity: client } : {}),
    },
    sent,
    { hostname: 'gw.example', clock: systemClock, log: silentLog, timeouts: defaultTimeouts },
    new AbortController().signal,
  );
}

/** Another process sends it: there is nothing to wait on but time. */
async function until<T>(found: () => T | undefined, postfix: Postfix): Promise<T> {
  for (let tries = 0; tries < 400; tries += 1) {
    const result = found();
    if (result !== undefined) return result;
    await sleep(25);
  }
  return assert.fail(`nothing arrived\n${postfix.log()}`);
}

const messages: readonly [name: string, message: string][] = [
  ['dots at line starts', `${PLAIN}.\r\n..\r\n.dot\r\nx.\r\n\r\n.\r\n\r\n`],
  ['8-bit text', `${EIGHT_BIT}Grüße aus Köln\r\n€\r\n`],
  ['lines of 998, 2,048 and 40,000 octets', `${EIGHT_BIT}${[998, 2_048, 40_000].map(lineOf).join('')}`],
  ['a long line of dots', `${PLAIN}${'.'.repeat(5_000)}\r\n.\r\n`],
  ['blanks at line ends, empty lines at the end', `${PLAIN}x \r\n\t\r\n\r\n\r\n`],
  ['lines that look like commands', `${PLAIN}QUIT\r\n.QUIT\r\nRSET\r\nMAIL FROM:<evil@evil.example>\r\n`],
  ['no body', PLAIN],
  ['1 MB', `${PLAIN}${lineOf(76).repeat(13_500)}`],
];

function lineOf(octets: number): string {
  return `${'ü.'.repeat(octets).slice(0, Math.floor(octets / 3) * 2)}\r\n`;
}

for (const [name, message] of messages) {
  test(`client, Postfix, listener: ${name}`, async () => {
    const bytes = Buffer.from(message);
    const before = listener.messages.length;
    const is8bit = bytes.some((byte) => byte > 127);
    const results = await send(relay, shipment(bytes, ['b@remote.example'], { is8bit }));
    assert.deepEqual(
      results.map(({ status, isDsnRelayed }) => [status, isDsnRelayed]),
      [['delivered', true]],
    );
    const received = await until(() => listener.messages[before], relay);
    assert.equal(received.envelope.body, is8bit ? '8BITMIME' : '7BIT');
    assertBelowReceived(received.body, bytes);
  });
}

test('the envelope goes through Postfix with every parameter, and its client certificate is evidence', async () => {
  const to: readonly Recipient[] = [
    {
      address: address('b@remote.example'),
      notify: ['SUCCESS', 'FAILURE'],
      orcpt: 'rfc822;B+2Bx@remote.example',
    },
    { address: address('c@remote.example'), notify: ['NEVER'] },
    { address: address('"d d"@remote.example') },
  ];
  const before = listener.messages.length;
  await send(relay, shipment(`${PLAIN}x\r\n`, to, { ret: 'HDRS', envid: 'QQ+2B314159' }));
  const arrived = await until(() => allFor(listener.messages.slice(before), to.length), relay);
  const recipients = arrived.flatMap(({ envelope }) => envelope.recipients);
  const [b, c, d] = ['b@', 'c@', '"d d"@'].map((start) =>
    recipients.find((recipient) => recipient.address.text.startsWith(start)),
  );
  assert.deepEqual([b?.notify, b?.orcpt], [['SUCCESS', 'FAILURE'], 'rfc822;B+2Bx@remote.example']);
  assert.deepEqual(c?.notify, ['NEVER']);
  assert.ok(d, 'the quoted local part is what it was');
  for (const { envelope, peer } of arrived) {
    assert.deepEqual([envelope.ret, envelope.envid], ['HDRS', 'QQ+2B314159']);
    assert.equal(envelope.sender?.text, 'a@contoso.example'.replace('a@', 'alice@'));
    assert.equal(peer.helo, 'postfix.example');
    assert.equal(peer.tls?.certificate?.isVerified, true);
    assert.deepEqual(peer.tls.certificate.dnsNames, ['sender.example']);
  }
});

function allFor(arrived: readonly Received[], count: number): readonly Received[] | undefined {
  return arrived.flatMap(({ envelope }) => envelope.recipients).length === count ? arrived : undefined;
}

test('SMTPUTF8 goes through Postfix', async () => {
  const before = listener.messages.length;
  const sent = shipment(`${EIGHT_BIT.replace('To: b@', 'To: büro@')}x\r\n`, ['büro@bücher.example'], {
    sender: address('jörg@contoso.example'),
    smtpUtf8: true,
    is8bit: true,
  });
  assert.equal((await send(relay, sent))[0]?.status, 'delivered');
  const { envelope } = await until(() => listener.messages[before], relay);
  assert.equal(envelope.smtpUtf8, true);
  assert.deepEqual(
    [envelope.sender?.text, envelope.recipients[0].address.text],
    ['jörg@contoso.example', 'büro@xn--bcher-kva.example'],
  );
});

test('the client and a mailbox of Postfix: verified TLS, our certificate, each recipient with its answer', async () => {
  const message = `${EIGHT_BIT}.\r\n..Grüße\r\n${lineOf(3_000)}`;
  const to = ['b@remote.example', 'no@remote.example', 'later@remote.example'];
  const results = await send(receiver, shipment(message, to, { is8bit: true }), own);
  assert.deepEqual(
    results.map(({ status, reply }) => `${status} ${reply.enhanced}`),
    ['delivered 2.0.0', 'failed 5.1.1', 'deferred 4.2.1'],
  );
  const stored = await until(() => receiver.received()[0], receiver);
  const wire = Buffer.from(stored.toString('latin1').replaceAll('\n', '\r\n'), 'latin1');
  assertBelowReceived(wire, Buffer.from(message));
  assert.match(stored.toString(), /Client CN "[^"]*gw\.example"[^)]*\(verified OK\)/);
  assert.match(stored.toString(), /by postfix\.example \(Postfix\) with ESMTPS/);
});

test('what Postfix does not offer is not sent', async () => {
  const before = receiver.received().length;
  const dsn: Recipient = { address: address('c@remote.example'), notify: ['NEVER'] };
  const cases: readonly [expected: string, sent: Shipment][] = [
    ['failed 5.6.7', shipment(`${PLAIN}x\r\n`, ['büro@remote.example'])],
    ['failed 5.3.4', shipment(`${PLAIN}${`${'x'.repeat(98)}\r\n`.repeat(1_000)}`, ['b@remote.example'])],
    ['delivered 2.0.0', shipment(`${PLAIN}x\r\n`, [dsn], { ret: 'HDRS', envid: 'QQ' })],
  ];
  for (const [expected, sent] of cases) {
    const [result] = await send(receiver, sent);
    assert.equal(`${result?.status} ${result?.reply.enhanced}`, expected);
    assert.notEqual(result?.isDsnRelayed, true);
  }
  await until(() => receiver.received()[before], receiver);
  assert.equal(receiver.received().length, before + 1);
});

/** Postfix puts fields on top (its own Received, in a mailbox a few more) and changes nothing below. */
function assertBelowReceived(wire: Buffer, sent: Buffer): void {
  const at = wire.length - sent.length;
  assert.match(wire.toString('latin1', 0, at), /^(?:[\w-]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+$/);
  assert.ok(wire.subarray(at).equals(sent), 'the message is what it was');
}

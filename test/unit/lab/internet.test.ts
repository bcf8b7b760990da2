// The Internet host of the lab: what it notes about a client, and the faults it has on order.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { openAuthority, serverAndClient } from '../../../src/lab/certificates.ts';
import type { Fault } from '../../../src/lab/faults.ts';
import { type Internet, openInternet } from '../../../src/lab/internet.ts';
import { largeMessage, sampleMessage } from '../../../src/lab/messages.ts';
import { type LabTlsOptions, openLabConnection } from '../../../src/lab/smtp-client.ts';
import { submit, type Submission, type SubmissionResult } from '../../../src/lab/submission.ts';

const head = { from: 'user@contoso.example', to: ['x@remote.example'] };

function send(
  internet: Internet,
  more: Partial<Submission> = {},
  tls?: LabTlsOptions,
): Promise<SubmissionResult> {
  return submit(
    { host: internet.address, port: internet.port, timeoutMs: 500 },
    { hello: 'gw.example', ...(tls ? { tls } : {}) },
    { sender: head.from, recipients: head.to, message: sampleMessage('tricky', head), ...more },
  );
}

const codes = (result: SubmissionResult): string[] =>
  result.recipients.map(({ code, stage }) => `${code} ${stage}`);

test('a message arrives byte for byte, with its envelope', async () => {
  await using internet = await openInternet();
  const message = sampleMessage('tricky', head);
  await send(internet, {
    message,
    recipients: [{ address: 'x@remote.example', parameters: 'NOTIFY=FAILURE' }, '"a b"@isp.example'],
    mailParameters: 'RET=HDRS',
  });
  const [received] = await internet.waitForMessage();
  const sent = await collect(message.open(), message.size);
  // SMTP ends with a line end: the one that the sample lacks is added by the client.
  assert.deepEqual(received?.bytes, Buffer.concat([sent, Buffer.from('\r\n')]));
  assert.equal(
    received?.sha256,
    createHash('sha256')
      .update(received?.bytes ?? '')
      .digest('hex'),
  );
  assert.equal(received?.sender, head.from);
  assert.deepEqual(received?.mailParameters, [`SIZE=${message.size}`, 'BODY=7BIT', 'RET=HDRS']);
  assert.deepEqual(received?.recipients, [
    { address: 'x@remote.example', parameters: ['NOTIFY=FAILURE'] },
    { address: '"a b"@isp.example', parameters: [] },
  ]);
  assert.equal(received?.wire.stuffedLines, 3);
  assert.equal(received?.wire.unstuffedLines, 0);
  assert.equal(received?.tls, undefined);
});

test('TLS facts: none, no certificate, a certificate where none may be', async () => {
  const ca = await openAuthority('public');
  const tls = { ...(await ca.issue(serverAndClient('mx.remote.example'))), ca: [ca.rootPem] };
  const client = await ca.issue(serverAndClient('gw.contoso.example'));
  await using internet = await openInternet({ tls });
  const check = { ca: [ca.rootPem], servername: 'mx.remote.example' };
  await send(internet);
  await send(internet, {}, check);
  await send(internet, {}, { ...check, ...client, maxVersion: 'TLSv1.2' });
  const seen = internet.messages().map((message) => message.tls);
  assert.equal(seen[0], undefined);
  assert.deepEqual([seen[1]?.protocol, seen[1]?.presentedNames, seen[1]?.isVerified], ['TLSv1.3', [], false]);
  assert.deepEqual(
    [seen[2]?.protocol, seen[2]?.presentedNames[0], seen[2]?.isVerified],
    ['TLSv1.2', 'gw.contoso.example', true],
  );
  assert.equal(seen[2]?.servername, 'mx.remote.example');
  // The wrong name: Exchange would defer.
  const refused = await send(internet, {}, { ...check, servername: 'other.example' });
  assert.equal(codes(refused)[0], '450 connect');
  assert.match(refused.recipients[0]?.text ?? '', /^4\.4\.317 /);
});

test('bare line ends and forgotten dots are counted', async () => {
  await using internet = await openInternet();
  await using client = await openLabConnection({ host: internet.address, port: internet.port });
  await client.hello('smuggler.example');
  await client.command('MAIL FROM:<a@b.example>');
  await client.command('RCPT TO:<x@remote.example>');
  await client.command('DATA');
  await client.write('Subject: x\r\n\r\na\nb\n.\r\nMAIL FROM:<evil@b.example>\r\n.lost dot\r\nc\rd\r\n.\r\n');
  assert.equal((await client.reply()).code, 250);
  const [message] = internet.messages();
  assert.equal(internet.messages().length, 1);
  assert.deepEqual(
    [message?.wire.bareLineFeeds, message?.wire.bareCarriageReturns, message?.wire.unstuffedLines],
    [2, 1, 1],
  );
});

const FAULTS: readonly (readonly [Fault, expected: string, stored: number])[] = [
  [{ stage: 'connect', drop: true }, '450 connect', 0],
  [{ stage: 'connect', reply: '554 5.7.1 No' }, '450 connect', 0],
  [{ stage: 'hello', drop: true }, '450 connect', 0],
  [{ stage: 'mail', reply: '452 4.3.1 Full' }, '452 mail', 0],
  [{ stage: 'rcpt', reply: '550 5.1.1 Unknown' }, '550 rcpt', 0],
  [{ stage: 'rcpt', reply: '452 4.5.3 Too many' }, '452 rcpt', 0],
  [{ stage: 'data', reply: '451 4.7.1 Greylisted' }, '451 data', 0],
  [{ stage: 'data', drop: true }, '450 connect', 0],
  [{ stage: 'content', drop: true }, '450 connect', 0],
  [{ stage: 'end', reply: '554 5.7.1 Spam' }, '554 data', 0],
  // Taken, and the client cannot know.
  [{ stage: 'end', drop: true }, '450 connect', 1],
  [{ stage: 'end', hang: true }, '450 connect', 1],
];

test('faults strike where they were ordered, as often as ordered', async () => {
  for (const [fault, expected, stored] of FAULTS) {
    const name = JSON.stringify(fault);
    await using internet = await openInternet({ faults: [{ ...fault, times: 1 }] });
    const isLasting = expected === '452 rcpt';
    if (isLasting) internet.fail(fault);
    assert.equal(codes(await send(internet))[0], expected, name);
    assert.equal(internet.messages().length, stored, name);
    if (isLasting) continue;
    assert.equal(codes(await send(internet))[0], '250 data', `${name} is over`);
  }
});

test('faults for one recipient; 452 brings a second transaction', async () => {
  await using internet = await openInternet();
  internet.fail({ stage: 'rcpt', recipient: 'B@remote.example', reply: '550 5.1.1 Unknown' });
  internet.fail({ stage: 'rcpt', recipient: 'c@remote.example', reply: '452 4.5.3 Later', times: 1 });
  const result = await send(internet, {
    recipients: ['a@remote.example', 'b@remote.example', 'c@remote.example'],
  });
  assert.deepEqual(
    result.recipients.map(({ recipient, code, transaction }) => [recipient, code, transaction]),
    [
      ['b@remote.example', 550, 1],
      ['a@remote.example', 250, 1],
      ['c@remote.example', 250, 2],
    ],
  );
  assert.equal(internet.connections(), 1);
  assert.deepEqual(
    internet.messages().map(({ connection }) => connection),
    [1, 1],
  );
});

test('relaying can be limited, bytes need not be kept, waiting ends', async () => {
  await using internet = await openInternet({ domains: ['remote.example'], keepsBytes: false });
  const message = largeMessage(head, 3_000_000);
  assert.deepEqual(codes(await send(internet, { recipients: ['x@other.example'] })), ['550 rcpt']);
  await send(internet, { message });
  const [received] = internet.messages();
  assert.equal(received?.bytes.length, 0);
  assert.equal(received?.wire.bytes, message.size);
  const hash = createHash('sha256');
  for await (const chunk of message.open()) hash.update(chunk);
  assert.equal(received?.sha256, hash.digest('hex'));
  await assert.rejects(internet.waitForMessage(2, 20), /1 of 2 messages/);
});

test('what the server does not offer is not sent', async () => {
  await using internet = await openInternet({ extensions: ['SIZE'] });
  const eight = await send(internet, { message: sampleMessage('latin1', head) });
  assert.match(eight.recipients[0]?.text ?? '', /^5\.6\.3 /);
  const address = await send(internet, { recipients: ['ü@remote.example'] });
  assert.match(address.recipients[0]?.text ?? '', /^5\.6\.7 /);
  const bare = { message: bytesSource(Buffer.from('Subject: x\r\n\r\na\nb\r\n')) };
  assert.match((await send(internet, bare)).recipients[0]?.text ?? '', /^5\.6\.11 /);
  assert.deepEqual(codes(await send(internet, { ...bare, sendsBareLineFeeds: true })), ['250 data']);
  assert.deepEqual(internet.messages()[0]?.mailParameters.length, 1);
});

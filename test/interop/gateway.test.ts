// End to end: a simulated tenant and a simulated Internet around a real gateway. openssl and gpg, not our own code, judge
// what arrives.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';

// Short: the agent's socket path has a limit of 108 characters.
const folder = mkdtempSync(join(tmpdir(), 'gw-'));
const lab = await openLab();
const [user, second, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('second@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const server = await openLabGateway(lab, {
  own: [user, second],
  partners: [bob],
  outbound: `rules:
  - name: pgp please
    when: { subject_tag: '[pgp]' }
    sign: pgp
    encrypt: required
    formats: [pgp]
  - name: secret
    when: { subject_tag: '[secure]' }
    sign: auto
    encrypt: required
    formats: [smime]
otherwise: { sign: none, encrypt: when-possible, fallback: plain }`,
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
  spawnSync('gpgconf', ['--homedir', folder, '--kill', 'all']);
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function run(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  const result = spawnSync(command, args, { input, maxBuffer: 50_000_000 });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}\n${result.stderr.toString()}`);
  return result.stdout;
}

function gpg(args: readonly string[], input?: Uint8Array): Buffer {
  return run(
    'gpg',
    ['--homedir', folder, '--batch', '--yes', '--no-tty', '--trust-model', 'always', ...args],
    input,
  );
}

function headerOf(message: Uint8Array): string {
  return Buffer.from(message).toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
}

function bodyOf(message: Uint8Array): Buffer {
  const bytes = Buffer.from(message);
  return bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
}

/** Sends, asserts that all was accepted, and returns what the Internet got for it. */
async function sendOut(subject: string, to: readonly string[], body = 'plain' as const) {
  const before = lab.internet.messages().length;
  const message = sampleMessage(body, { from: user.address, to: to.slice(0, 1), subject });
  const result = await lab.sendFromTenant('contoso', { from: user.address, to, message });
  return {
    result,
    arrived: async (count: number) => (await lab.internet.waitForMessage(before + count)).slice(before),
  };
}

/** What a tenant got with this subject, once there are `count` of them. */
async function delivered(tenant: 'contoso' | 'fabrikam', subject: string, count = 1) {
  for (let known = 0; ;) {
    const all = await lab.exchange.waitForMessage(tenant, known + 1);
    const found = all.filter(({ received }) => headerOf(received).includes(`\r\nSubject: ${subject}`));
    if (found.length >= count) return found;
    known = all.length;
  }
}

test('S/MIME: signed and encrypted, as openssl reads it; no client certificate is shown to the Internet', async () => {
  const { result, arrived } = await sendOut('[secure] figures', ['bob@remote.example']);
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250],
  );
  const [message] = await arrived(1);
  assert.ok(message);
  assert.match(headerOf(message.bytes), /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m);
  assert.equal(headerOf(message.bytes).match(/^MIME-Version:/gim)?.length, 1);
  assert.doesNotMatch(headerOf(message.bytes), /^X-(MS-Exchange-Organization|Postern)-/im);
  assert.ok(!message.bytes.includes('the figures are as agreed'));
  assert.deepEqual(message.tls?.presentedNames, []);

  const key = file('bob.key', bob.smime.keyPem);
  const certificate = file('bob.crt', bob.smime.certificatePem);
  const signed = run('openssl', ['cms', '-decrypt', '-inkey', key, '-recip', certificate], message.bytes);
  const ca = file('ca.crt', lab.mailCa.rootPem);
  const content = run('openssl', ['cms', '-verify', '-CAfile', ca], signed);
  assert.equal(
    content.toString().replaceAll('\r\n', '\n').split('\n\n').slice(1).join('\n\n'),
    'Good morning,\n\nthe figures are as agreed.\n',
  );
});

test('OpenPGP: signed and encrypted, as gpg reads it', async () => {
  const { result, arrived } = await sendOut('[pgp] figures', ['bob@remote.example']);
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250],
  );
  const [message] = await arrived(1);
  assert.ok(message);
  assert.match(headerOf(message.bytes), /^Content-Type: multipart\/encrypted;/m);
  gpg(['--import'], Buffer.from(bob.pgp.privateKey));
  gpg(['--import'], Buffer.from(user.pgp.publicKey));
  const armor = /-----BEGIN PGP MESSAGE-----[^]*-----END PGP MESSAGE-----/.exec(
    message.bytes.toString('latin1'),
  );
  const status = join(folder, 'status');
  const content = gpg(['--status-file', status, '--decrypt'], Buffer.from(armor?.[0] ?? ''));
  assert.ok(content.includes('the figures are as agreed.\r\n'));
  assert.match(run('cat', [status]).toString(), /VALIDSIG/);
});

test('a required encryption without a key is refused in the dialog, with the rule and what to do', async () => {
  const { result, arrived } = await sendOut('[secure] figures', ['carol@remote.example']);
  const [refused] = result.recipients;
  assert.equal(refused?.code, 550);
  assert.match(refused?.text ?? '', /Rule "secret" requires encryption for carol@remote\.example/);
  // Nothing was queued: the next message is the next to arrive.
  const plain = await sendOut('hello', ['carol@remote.example']);
  assert.equal((await plain.arrived(1)).length, 1);
  assert.equal((await arrived(1)).length, 1);
});

test('one recipient refused, the other served: the proven sender gets a delivery report', async () => {
  const { result, arrived } = await sendOut('[secure] both', ['bob@remote.example', 'carol@remote.example']);
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250, 250],
  );
  const [message] = await arrived(1);
  assert.deepEqual(
    message?.recipients.map(({ address }) => address),
    ['bob@remote.example'],
  );
  const [report] = await delivered('contoso', 'Your message could not be delivered');
  assert.match(report?.delivered.toString() ?? '', /multipart\/report/);
  assert.match(report?.delivered.toString() ?? '', /carol@remote\.example/);
  assert.doesNotMatch(report?.delivered.toString() ?? '', /the figures are as agreed/);
});

test('a hidden recipient gets a copy of its own', async () => {
  const before = lab.internet.messages().length;
  const message = sampleMessage('plain', {
    from: user.address,
    to: ['carol@remote.example'],
    subject: 'open',
  });
  await lab.sendFromTenant('contoso', {
    from: user.address,
    to: ['carol@remote.example', 'dave@isp.example', 'bob@remote.example'],
    message,
  });
  const arrived = (await lab.internet.waitForMessage(before + 3)).slice(before);
  const groups = arrived.map(({ recipients }) => recipients.map(({ address }) => address));
  assert.deepEqual(groups.map((group) => group.join(' ')).toSorted(), [
    'bob@remote.example',
    'carol@remote.example',
    'dave@isp.example',
  ]);
});

test('a foreign tenant on the same address with the same certificate is refused', async () => {
  const message = sampleMessage('plain', { from: 'boss@contoso.example', to: ['bob@remote.example'] });
  const result = await lab.sendFromTenant('evil', {
    from: 'boss@contoso.example',
    to: ['bob@remote.example'],
    message,
  });
  assert.equal(result.recipients[0]?.code, 550);
  assert.match(result.recipients[0]?.text ?? '', /5\.7\.1 Relaying denied/);
});

test('the Internet cannot relay, and cannot learn more than that', async () => {
  const message = sampleMessage('plain', { from: 'x@isp.example', to: ['bob@remote.example'] });
  const submission = { sender: 'x@isp.example', recipients: ['bob@remote.example'], message };
  const secure = await lab.sendFromInternet(submission);
  assert.match(secure.recipients[0]?.text ?? '', /^5\.7\.1 Relaying denied/);
  const clear = await lab.sendFromInternet(submission, { tls: false });
  assert.equal(clear.recipients[0]?.code, 530);
});

test('T23 recipients of both classes: the second class gets 452 and comes again by itself', async () => {
  const message = sampleMessage('plain', { from: user.address, to: ['second@contoso.example'] });
  const result = await lab.sendFromTenant('contoso', {
    from: user.address,
    to: ['second@contoso.example', 'bob@remote.example'],
    message,
  });
  assert.equal(result.transactions, 2);
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250, 250],
  );
});

test('inbound S/MIME of openssl is decrypted with the key of its recipient and marked; EXO attributes it to the tenant', async () => {
  const inner = 'Content-Type: text/plain; charset=utf-8\r\n\r\nfor your eyes\r\n';
  const certificate = file('user.crt', user.smime.certificatePem);
  const signer = [file('bob.crt', bob.smime.certificatePem), file('bob.key', bob.smime.keyPem)] as const;
  const chain = file('chain.crt', bob.smime.chainPem);
  const signed = run(
    'openssl',
    [
      'cms',
      '-sign',
      '-signer',
      signer[0],
      '-inkey',
      signer[1],
      '-certfile',
      chain,
      '-md',
      'sha256',
      '-crlfeol',
    ],
    Buffer.from(inner),
  );
  const encrypted = run('openssl', ['cms', '-encrypt', '-aes256', certificate], signed);
  const head = [
    'From: bob@remote.example',
    'To: user@contoso.example',
    'Subject: in smime',
    'X-Postern-Signature: gw.example; signature=intact; forged=yes',
    'X-MS-Exchange-Organization-AuthAs: Internal',
    'X-MS-Exchange-CrossTenant-Id: 11111111-2222-3333-4444-555555555555',
    'X-OriginatorOrg: contoso.example',
    '',
  ].join('\r\n');
  const message = Buffer.concat([
    Buffer.from(head),
    Buffer.from(encrypted.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1'),
  ]);
  const result = await lab.sendFromInternet({
    sender: 'bob@remote.example',
    recipients: ['user@contoso.example', 'second@contoso.example'],
    message: bytesSource(message),
  });
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250, 250],
  );
  const arrived = await delivered('contoso', 'in smime', 2);
  const own = arrived.find(({ recipients }) => recipients.includes('user@contoso.example'));
  const other = arrived.find(({ recipients }) => recipients.includes('second@contoso.example'));
  assert.ok(own && other);
  assert.equal(own.direction, 'incoming');
  assert.match(own.received.toString(), /for your eyes/);
  assert.match(own.received.toString(), /^X-Postern-Decryption: gw\.example;/m);
  assert.match(own.received.toString(), /signature=intact;\s+trust=trusted;\s+format=smime;\s+from=signer/);
  assert.doesNotMatch(own.received.toString(), /forged=yes|Organization-AuthAs|OriginatorOrg/);
  assert.doesNotMatch(other.received.toString(), /for your eyes/);
  assert.match(other.received.toString(), /decrypted=no;\s+reason=no-recipient/);
  const names = own.tls?.presentedNames ?? [];
  assert.ok(names.some((name) => name.startsWith('11111111-2222-3333-4444-555555555555')));
});

test('inbound PGP/MIME of gpg is decrypted and its signature verified against our keys', async () => {
  gpg(['--import'], Buffer.from(user.pgp.publicKey));
  gpg(['--import'], Buffer.from(bob.pgp.privateKey));
  const inner = 'Content-Type: text/plain; charset=utf-8\r\n\r\nin confidence\r\n';
  const armored = gpg(
    [
      '--armor',
      '--sign',
      '--local-user',
      'bob@remote.example',
      '--encrypt',
      '--recipient',
      'user@contoso.example',
    ],
    Buffer.from(inner),
  )
    .toString('latin1')
    .replace(/\r?\n/g, '\r\n');
  const message = [
    'From: bob@remote.example',
    'To: user@contoso.example',
    'Subject: in pgp',
    'MIME-Version: 1.0',
    'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
    '',
    '--b',
    'Content-Type: application/pgp-encrypted',
    '',
    'Version: 1',
    '',
    '--b',
    'Content-Type: application/octet-stream',
    '',
    armored,
    '--b--',
    '',
  ].join('\r\n');
  await lab.sendFromInternet({
    sender: 'bob@remote.example',
    recipients: ['user@contoso.example'],
    message: bytesSource(Buffer.from(message)),
  });
  const [own] = await delivered('contoso', 'in pgp');
  assert.match(own?.received.toString() ?? '', /in confidence/);
  assert.match(
    own?.received.toString() ?? '',
    /signature=intact;\s+trust=trusted;\s+format=pgp;\s+from=signer/,
  );
});

test('plain inbound mail passes byte for byte below the added fields', async () => {
  const message = sampleMessage('html', {
    from: 'x@isp.example',
    to: ['user@contoso.example'],
    subject: 'in plain',
  });
  const sent: Uint8Array[] = [];
  for await (const chunk of message.open()) sent.push(chunk);
  await lab.sendFromInternet({ sender: 'x@isp.example', recipients: ['user@contoso.example'], message });
  const [own] = await delivered('contoso', 'in plain');
  assert.ok(own?.received.subarray(-message.size).equals(Buffer.concat(sent)));
  assert.match(own?.received.toString('latin1').slice(0, 100) ?? '', /^Received: from /);
  assert.ok(bodyOf(own?.received ?? Buffer.alloc(0)).equals(bodyOf(Buffer.concat(sent))));
});

test('mail that loops is refused', async () => {
  const received = Array.from(
    { length: 25 },
    (_, index) => `Received: from a${index} by b; Mon, 1 Jun 2026 12:00:00 +0000`,
  );
  const message = sampleMessage('plain', {
    from: 'x@isp.example',
    to: ['user@contoso.example'],
    fields: received,
  });
  const result = await lab.sendFromInternet({
    sender: 'x@isp.example',
    recipients: ['user@contoso.example'],
    message,
  });
  assert.equal(result.recipients[0]?.code, 554);
  assert.match(result.recipients[0]?.text ?? '', /^5\.4\.6/);
});

test('T40 mail from one hosted tenant to another takes the leg of the receiver, with its certificate', async () => {
  const message = sampleMessage('plain', {
    from: user.address,
    to: ['x@fabrikam.example'],
    subject: 'next door',
  });
  const result = await lab.sendFromTenant('contoso', {
    from: user.address,
    to: ['x@fabrikam.example'],
    message,
  });
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250],
  );
  const [got] = await delivered('fabrikam', 'next door');
  assert.ok(got?.tls?.presentedNames.some((name) => name.startsWith('bbbbbbbb-')));
});

test('a policy that cannot be loaded never replaces the one in force', async () => {
  const path = join(server.config.policyFolder, 'contoso.yaml');
  const good = run('cat', [path]);
  writeFileSync(path, good.toString().replace('encrypt: required', 'encript: required'));
  await assert.rejects(server.gateway.operations.applyPolicies(), /contoso\.yaml:\d+:\d+: .*encript/);
  const { result } = await sendOut('[secure] still in force', ['carol@remote.example']);
  assert.equal(result.recipients[0]?.code, 550);
  writeFileSync(path, good);
  await server.gateway.operations.applyPolicies();
});

test('what waits in the queue survives a restart and is delivered after it', async () => {
  const before = lab.internet.messages().length;
  lab.internet.fail({ stage: 'rcpt', reply: '450 4.2.0 later', times: 1 });
  const { result } = await sendOut('waits', ['bob@remote.example']);
  assert.deepEqual(
    result.recipients.map(({ code }) => code),
    [250],
  );
  await server.restart();
  const [entry] = await server.gateway.operations.listQueue();
  if (entry) await server.gateway.operations.retryQueued(entry.id);
  assert.equal((await lab.internet.waitForMessage(before + 1)).length, before + 1);
});

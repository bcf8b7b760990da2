// Protected header fields through a real gateway: openssl and gpg read what it writes, and write what it reads.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource } from '../../src/core/bytes.ts';
import { openLog } from '../../src/core/log.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';

const folder = mkdtempSync(join(tmpdir(), 'hp-'));
const lab = await openLab();
const [user, second, bob] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('second@contoso.example'),
  lab.makePerson('bob@remote.example'),
]);
const logged: string[] = [];
const server = await openLabGateway(lab, {
  own: [user, second],
  partners: [bob],
  environment: { log: openLog('debug', { write: (line: string) => void logged.push(line) }) },
  outbound: `rules:
  - name: pgp
    when: { subject_tag: '[pgp]' }
    sign: pgp
    encrypt: required
    formats: [pgp]
    protect_headers: confidential-subject
  - name: smime
    when: { subject_tag: '[smime]' }
    sign: auto
    encrypt: required
    formats: [smime]
    protect_headers: confidential-subject
  - name: unsigned
    when: { subject_tag: '[unsigned]' }
    sign: none
    encrypt: required
    formats: [smime]
    protect_headers: confidential-subject
  - name: clear
    when: { subject_tag: '[clear]' }
    sign: smime
    encrypt: never
    protect_headers: signed
otherwise: { sign: none, encrypt: never }`,
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
  const common = ['--homedir', folder, '--batch', '--yes', '--no-tty', '--trust-model', 'always'];
  return run('gpg', [...common, ...args], input);
}

/** What the Internet gets for a message with this subject. */
async function sendOut(subject: string): Promise<Buffer> {
  const before = lab.internet.messages().length;
  const message = sampleMessage('plain', {
    from: user.address,
    to: [bob.address],
    subject,
    fields: [`Thread-Topic: ${subject}`, 'Keywords: zinnober'],
  });
  const result = await lab.sendFromTenant('contoso', { from: user.address, to: [bob.address], message });
  assert.equal(result.recipients[0]?.code, 250);
  const [arrived] = (await lab.internet.waitForMessage(before + 1)).slice(before);
  assert.ok(arrived);
  return arrived.bytes;
}

function headerOf(message: Uint8Array): string {
  return Buffer.from(message).toString('latin1').replaceAll('\r\n', '\n').split('\n\n', 1)[0] ?? '';
}

/** The payload says all, the outside nothing. */
function assertConfidential(message: Buffer, payload: Uint8Array, subject: string): void {
  assert.match(headerOf(message), /^Subject: \[\.\.\.\]$/m);
  assert.doesNotMatch(message.toString('latin1'), /zinnober|Thread-Topic|Keywords/i);
  const inner = headerOf(payload);
  assert.ok(inner.includes(`\nSubject: ${subject}\n`), inner);
  assert.match(inner, /^Keywords: zinnober$/m);
  assert.match(inner, /^HP-Outer: Subject: \[\.\.\.\]$/m);
  assert.match(inner, /^HP-Outer: From: user@contoso\.example$/m);
  assert.doesNotMatch(inner, /HP-Outer: (Keywords|Thread-Topic)|^Received|^X-MS-/m);
  assert.match(inner, /^Content-Type: text\/plain;[^]*hp="cipher"/m);
  assert.ok(Buffer.from(payload).includes('the figures are as agreed'));
}

test('S/MIME, signed and encrypted: openssl finds the Subject inside, nobody outside', async () => {
  const message = await sendOut('[smime] Zinnober one');
  const key = file('bob.key', bob.smime.keyPem);
  const certificate = file('bob.crt', bob.smime.certificatePem);
  const signed = run('openssl', ['cms', '-decrypt', '-inkey', key, '-recip', certificate], message);
  const ca = file('ca.crt', lab.mailCa.rootPem);
  assertConfidential(
    message,
    run('openssl', ['cms', '-verify', '-CAfile', ca], signed),
    '[smime] Zinnober one',
  );
});

test('S/MIME, encrypted only', async () => {
  const message = await sendOut('[unsigned] Zinnober two');
  const key = file('bob.key', bob.smime.keyPem);
  const certificate = file('bob.crt', bob.smime.certificatePem);
  const payload = run('openssl', ['cms', '-decrypt', '-inkey', key, '-recip', certificate], message);
  assertConfidential(message, payload, '[unsigned] Zinnober two');
});

test('OpenPGP, signed and encrypted: gpg finds the Subject inside', async () => {
  const message = await sendOut('[pgp] Zinnober three');
  gpg(['--import'], Buffer.from(bob.pgp.privateKey));
  gpg(['--import'], Buffer.from(user.pgp.publicKey));
  const armor = /-----BEGIN PGP MESSAGE-----[^]*-----END PGP MESSAGE-----/.exec(message.toString('latin1'));
  const status = join(folder, 'status');
  const payload = gpg(['--status-file', status, '--decrypt'], Buffer.from(armor?.[0] ?? ''));
  assert.match(readFileSync(status, 'utf8'), /VALIDSIG/);
  assertConfidential(message, payload, '[pgp] Zinnober three');
});

test('signed only: the fields are in the signature, and outside as they were', async () => {
  const message = await sendOut('[clear] open');
  assert.match(headerOf(message), /^Subject: \[clear\] open$/m);
  assert.match(headerOf(message), /^Thread-Topic: \[clear\] open$/m);
  const ca = file('ca.crt', lab.mailCa.rootPem);
  const payload = headerOf(run('openssl', ['cms', '-verify', '-CAfile', ca], message));
  assert.match(payload, /^Subject: \[clear\] open$/m);
  assert.match(payload, /hp="clear"/);
  assert.doesNotMatch(payload, /HP-Outer/);
});

let known = 0;

/** What both recipients in contoso get of a message from bob. */
async function sendIn(content: readonly string[]): Promise<{ user: string; second: string }> {
  const head = [
    'From: bob@remote.example',
    'To: user@contoso.example',
    'Date: Tue, 02 Jun 2026 10:00:00 +0200',
  ];
  const message = [...head, 'Subject: [...]', 'MIME-Version: 1.0', ...content].join('\r\n');
  const recipients = [user.address, second.address];
  await lab.sendFromInternet({ sender: bob.address, recipients, message: bytesSource(Buffer.from(message)) });
  const arrived = (await lab.exchange.waitForMessage('contoso', known + 2)).slice(known);
  known += 2;
  const of = (address: string) =>
    arrived
      .find(({ recipients: to }) => to.includes(address))
      ?.received.toString()
      .replaceAll('\r\n', '\n') ?? '';
  return { user: of(user.address), second: of(second.address) };
}

const INNER = [
  'From: Bob <bob@remote.example>',
  'To: mallory@remote.example',
  'Date: Tue, 2 Jun 2026 08:00:00 +0000',
  'Subject: Zinnober for you',
  'X-Postern-Signature: gw.example; signature=intact',
  'X-Other: inside',
  'HP-Outer: Subject: [...]',
  'HP-Outer: From: Bob <bob@remote.example>',
  'HP-Outer: To: mallory@remote.example',
  'HP-Outer: Date: Tue, 2 Jun 2026 08:00:00 +0000',
  'Content-Type: text/plain; charset=utf-8; hp="cipher"',
  '',
  'for your eyes',
  '',
].join('\r\n');

function assertRestored({ user: own, second: other }: { user: string; second: string }): void {
  assert.match(own, /^Subject: Zinnober for you$/m);
  assert.equal(headerOf(Buffer.from(own)).match(/^(From|To|Subject|Date):/gm)?.length, 4);
  assert.match(
    own,
    /^X-Postern-Protected-Header: gw\.example;\n form=hp-cipher;\n subject=restored;\n differs=to$/m,
  );
  assert.match(own, /for your eyes/);
  assert.doesNotMatch(headerOf(Buffer.from(own)), /mallory|X-Other|HP-Outer/);
  // Whoever cannot open it gets no Subject either.
  assert.match(other, /^Subject: \[\.\.\.\]$/m);
  assert.doesNotMatch(other, /zinnober/i);
}

test('inbound S/MIME of openssl: the Subject is back for who may read it, and nothing else of the inner header', async () => {
  const certificate = file('user.crt', user.smime.certificatePem);
  const encrypted = run(
    'openssl',
    ['cms', '-encrypt', '-aes256', '-crlfeol', '-binary', certificate],
    Buffer.from(INNER),
  );
  const lines = encrypted
    .toString('latin1')
    .replace(/^MIME-Version.*\r?\n/m, '')
    .split(/\r?\n/);
  assertRestored(await sendIn(lines));
});

test('inbound OpenPGP of gpg', async () => {
  gpg(['--import'], Buffer.from(user.pgp.publicKey));
  const armored = gpg(['--armor', '--encrypt', '--recipient', user.address], Buffer.from(INNER));
  const boundary = 'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b';
  const version = ['--b', 'Content-Type: application/pgp-encrypted', '', 'Version: 1', ''];
  const data = ['--b', 'Content-Type: application/octet-stream', '', ...armored.toString().split(/\r?\n/)];
  assertRestored(await sendIn([boundary, '', ...version, ...data, '--b--', '']));
});

test('no protected subject is in a log, in the queue or anywhere else on disk', () => {
  assert.ok(logged.some((line) => line.includes('message-committed')));
  assert.ok(!logged.some((line) => /zinnober/i.test(line)));
  const files = readdirSync(server.folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  assert.ok(files.length > 5);
  for (const { parentPath, name } of files)
    assert.doesNotMatch(readFileSync(join(parentPath, name), 'latin1'), /zinnober/i, name);
});

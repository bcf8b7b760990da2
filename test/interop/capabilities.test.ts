// Capabilities through the whole gateway: a partner's signed mail teaches it, mail to the partner follows, and whoever is not
// the partner teaches nothing.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { bytesSource } from '../../src/core/bytes.ts';
import { openLog } from '../../src/core/log.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { createTestCa } from '../../src/lab/ca.ts';
import { makePerson, type Person } from '../../src/lab/people.ts';
import { openLab } from '../../src/lab/world.ts';
import type { KeySummary } from '../../src/operations.ts';
import { parsePemCertificates } from '../../src/smime/certificate.ts';
import { decryptMessage, signMessage } from '../../src/smime/message.ts';
import { limits, runStage } from '../support/smime.ts';

const lab = await openLab();
const stranger = await createTestCa('nobody trusts');
const [user, bob, carol, dave, eve] = await Promise.all([
  lab.makePerson('user@contoso.example'),
  lab.makePerson('bob@remote.example'),
  lab.makePerson('carol@remote.example'),
  lab.makePerson('dave@remote.example'),
  // Declared by the operator, but of a CA that no anchor knows.
  makePerson('eve@remote.example', stranger, ''),
]);
const undeclared = await lab.makePerson('frank@remote.example');

const logged: string[] = [];
let onLearned = (): void => undefined;
const log = openLog('info', {
  write(line) {
    logged.push(line);
    if (line.includes('"event":"capabilities-learned"')) onLearned();
  },
});
const server = await openLabGateway(lab, {
  own: [user],
  partners: [bob, carol, dave, eve],
  outbound: `rules:
  - { name: apart, when: { subject_tag: '[apart]' }, sign: none, encrypt: required, smime: { group: separate } }
otherwise: { sign: none, encrypt: required, formats: [smime] }`,
  environment: { log },
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

const start = Date.now() - 3_600_000;
/** Signing times in the order of the mails, all of them past. */
const at = (minute: number) => new Date(start + minute * 60_000);

interface Signed {
  readonly from: string;
  readonly by: Person;
  readonly minute: number;
  readonly change?: (message: string) => string;
}

/** What our own signer writes: it announces AES-GCM first. */
async function signed({ from, by, minute, change = (text) => text }: Signed): Promise<Buffer> {
  const message = sampleMessage('plain', { from, to: [user.address], subject: `signed ${minute}` });
  const [certificate] = parsePemCertificates(by.smime.certificatePem);
  assert(certificate);
  const chain = by.smime.chainPem === '' ? [] : parsePemCertificates(by.smime.chainPem);
  const signer = { certificate, chain, key: by.smime.key };
  const { bytes } = await runStage(signMessage(message, signer, { limits, at: at(minute) }));
  return Buffer.from(change(bytes.toString('latin1')), 'latin1');
}

async function arrive(from: string, message: Buffer): Promise<void> {
  const recipients = [user.address];
  const result = await lab.sendFromInternet({ sender: from, recipients, message: bytesSource(message) });
  assert.equal(result.recipients[0]?.code, 250);
}

/** Waits until something is learned by it. */
async function taught(send: () => Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  onLearned = resolve;
  await send();
  await promise;
}

const teach = (mail: Signed) => taught(async () => arrive(mail.from, await signed(mail)));

/** `bob: authEnveloped-data` for each copy that the Internet got. */
async function sendTo(people: readonly Person[], subject = 'out', copies = 1): Promise<readonly string[]> {
  const before = lab.internet.messages().length;
  const to = people.map(({ address }) => address);
  const message = sampleMessage('plain', { from: user.address, to, subject });
  const { recipients } = await lab.sendFromTenant('contoso', { from: user.address, to, message });
  assert(
    recipients.every(({ code }) => code === 250),
    JSON.stringify(recipients),
  );
  const arrived = (await lab.internet.waitForMessage(before + copies)).slice(before);
  return arrived
    .map(({ recipients: got, bytes }) => {
      const names = got.map(({ address }) => address.replace(/@.*/, '')).toSorted();
      return `${names.join('+')}: ${/smime-type=([\w-]+)/.exec(bytes.toString('latin1'))?.[1] ?? 'clear'}`;
    })
    .toSorted();
}

async function keyOf({ address }: Person): Promise<KeySummary> {
  const keys = await server.gateway.operations.listKeys();
  const key = keys.find(({ addresses, format }) => format === 'smime' && addresses.includes(address));
  assert(key);
  return key;
}

test('F78 a signed mail teaches, and the next mail to its author is AuthEnvelopedData', async () => {
  assert.deepEqual(await sendTo([bob]), ['bob: enveloped-data']);
  await teach({ from: bob.address, by: bob, minute: 1 });
  assert.deepEqual(await sendTo([bob]), ['bob: authEnveloped-data']);
  const [learned, ...others] = (await keyOf(bob)).learned;
  assert.deepEqual(others, []);
  assert.deepEqual(
    [learned?.address, learned?.ciphers[0], learned?.signedAt.slice(0, 19)],
    [bob.address, 'aes-256-gcm', at(1).toISOString().slice(0, 19)],
  );
  assert.match(logged.join(''), /"cipher":"aes-256-gcm","cipherBy":\["learned"\]/);
  // Our signer also announces derived keys (RFC 9709), so what arrived is for software that reads them.
  const { bytes } = lab.internet.messages().at(-1) ?? assert.fail();
  const [certificate] = parsePemCertificates(bob.smime.certificatePem);
  assert(certificate);
  const opened = await runStage(
    decryptMessage(bytesSource(bytes), [{ certificate, key: bob.smime.key }], { limits }),
  );
  assert.equal(opened.outcome.kind === 'decrypted' && opened.outcome.algorithm, 'aes-256-gcm');
  assert.match(opened.bytes.toString(), /the figures are as agreed/);
});

test('F61 together with a partner of whom nothing is known: one copy that both read, or one for each', async () => {
  assert.deepEqual(await sendTo([bob, carol]), ['bob+carol: enveloped-data']);
  assert.deepEqual(await sendTo([bob, carol], '[apart]', 2), [
    'bob: authEnveloped-data',
    'carol: enveloped-data',
  ]);
});

test('what openssl announces is learned as well: no AES-GCM', async () => {
  const own = join(server.folder, 'keys');
  writeFileSync(join(own, 'carol.chain'), carol.smime.chainPem);
  writeFileSync(join(own, 'carol.pem'), `${carol.smime.certificatePem}${carol.smime.keyPem}`);
  const signer = ['-signer', join(own, 'carol.pem'), '-certfile', join(own, 'carol.chain')];
  const head = ['-from', carol.address, '-to', user.address, '-subject', 'by openssl'];
  const input = 'Content-Type: text/plain\r\n\r\nhello\r\n';
  const made = execFileSync('openssl', ['cms', '-sign', '-crlfeol', ...signer, ...head], { input });
  await taught(() =>
    arrive(carol.address, Buffer.from(made.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1')),
  );
  const [learned] = (await keyOf(carol)).learned;
  assert.equal(learned?.ciphers[0], 'aes-256-cbc');
  assert.deepEqual(await sendTo([carol]), ['carol: enveloped-data']);
});

test('who is not the partner teaches nothing, and what was learned is there after a restart', async () => {
  const mails: readonly Signed[] = [
    // Signed by dave, as if bob had written it.
    { from: bob.address, by: dave, minute: 10 },
    // Changed on its way.
    { from: dave.address, by: dave, minute: 11, change: (text) => text.replace('as agreed', 'wrong') },
    // Nobody trusts the CA.
    { from: eve.address, by: eve, minute: 12 },
    // Trusted, and no key of the tenant.
    { from: undeclared.address, by: undeclared, minute: 13 },
    // Of tomorrow.
    { from: dave.address, by: dave, minute: 24 * 60 },
  ];
  for (const mail of mails) await arrive(mail.from, await signed(mail));
  await server.restart();
  for (const person of [dave, eve]) assert.deepEqual((await keyOf(person)).learned, []);
  assert.equal((await keyOf(bob)).learned[0]?.signedAt.slice(0, 19), at(1).toISOString().slice(0, 19));
  assert.deepEqual(await sendTo([bob]), ['bob: authEnveloped-data']);
  assert.deepEqual(await sendTo([dave]), ['dave: enveloped-data']);
  assert.doesNotMatch(logged.join(''), /"event":"capabilities-not-learned"/);
});

/** The command line beside the gateway, which is this process. */
async function postern(...args: readonly string[]): Promise<string> {
  const all = ['src/main.ts', ...args, '--config', server.config.file];
  return (await promisify(execFile)(process.execPath, all)).stdout;
}

test('the command line shows what was learned, and explains with it', async () => {
  const { id } = await keyOf(bob);
  const day = at(1).toISOString().slice(0, 10);
  const list = await postern('keys', 'list');
  assert.match(list, new RegExp(`^${id.slice(0, 20)}.* AES-GCM ${day}$`, 'm'));
  assert.match(list, /^smime:.* no AES-GCM \d{4}-\d\d-\d\d$/m);
  assert.match(
    await postern('keys', 'show', id),
    new RegExp(`^learned +bob@remote\\.example: aes-256-gcm, .*; signed ${day}.*, seen 20`, 'm'),
  );
  const mail = join(server.folder, 'out.eml');
  writeFileSync(mail, 'From: user@contoso.example\r\nTo: bob@remote.example\r\nSubject: x\r\n\r\nhello\r\n');
  const explain = ['policy', 'explain', join(server.config.policyFolder, 'contoso.yaml'), mail];
  assert.match(await postern(...explain), /as AES-256-CBC \(nothing is announced\)/);
  const learned = await postern(...explain, '--learned');
  assert.match(learned, /as AES-256-GCM with a derived key \(by what signed mail announced\)/);
  assert.match(learned, new RegExp(`announces AES-GCM in mail signed ${day}`));
});

test('what was learned can be forgotten, and a policy may learn nothing', async () => {
  const { id } = await keyOf(bob);
  assert.match(
    await postern('keys', 'forget-capabilities', id.slice(0, 20)),
    /: forgotten for bob@remote\.example\n$/,
  );
  assert.match(await postern('keys', 'forget-capabilities', id), /: nothing was learned\n$/);
  assert.deepEqual((await keyOf(bob)).learned, []);
  assert.deepEqual(await sendTo([bob]), ['bob: enveloped-data']);
  const file = join(server.folder, 'policies', 'contoso.yaml');
  writeFileSync(file, `${readFileSync(file, 'utf8')}\ninbound: { learn_capabilities: false }\n`);
  await server.gateway.operations.applyPolicies();
  await arrive(bob.address, await signed({ from: bob.address, by: bob, minute: 20 }));
  await server.restart();
  assert.deepEqual((await keyOf(bob)).learned, []);
});

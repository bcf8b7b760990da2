// DKIM and SPF in the proof, through real SMTP, TLS and DNS: signatures in place of the secret, and mail from outside that
// names a hosted domain as its author.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { verifyDkim } from '../../src/authentication/dkim.ts';
import { bytesSource } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import type { FieldPair } from '../../src/lab/exchange-templates.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { openResolver } from '../../src/smtp/mx.ts';
import { type DkimKey, dkimRecord, withDkim } from '../../src/lab/dkim-signer.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { LAB_ADDRESSES } from '../../src/lab/lab-tenants.ts';
import { openLab } from '../../src/lab/world.ts';
import { type Session, sessionsOf } from '../support/sessions.ts';

// No secret: what is shown here is shown by signatures alone.
const lab = await openLab({ customise: (tenant) => ({ ...tenant, rules: [] }) });
const user = await lab.makePerson('user@contoso.example');
const bob = await lab.makePerson('bob@remote.example');
const people = { own: [user], partners: [bob] };
let server = await openLabGateway(lab, people);
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});
const { check } = sessionsOf(lab, user, bob);

const A = lab.tenants.contoso.id;
const ID = 'X-MS-Exchange-CrossTenant-Id';
const ORG = 'X-OriginatorOrg';
const KEY_NAME = 'selector1._domainkey.contoso.example';
const ofA = lab.dkimKey('contoso.example');
const ofInitial = lab.dkimKey('contoso.onmicrosoft.example');
const ofE = lab.dkimKey('evil.example');
const noSignature = /^550 5\.7\.20 .*No passing DKIM signature/;

const report: Session = {
  name: 'T24 report',
  from: 'postmaster@contoso.example',
  body: 'report',
  mail: { template: 'ndr' },
  expect: 'as it is',
};

test('T24 report signed by the initial domain: relayed as it is', async () => {
  await check({ ...report, mail: { ...report.mail, dkim: ofInitial } });
});

test('T24 report with neither signature nor secret', async () => {
  await check({ ...report, expect: /^550 5\.7\.1 .*tenant authentication missing/ });
});

test('T25 report of E that says it is of A, signed by E', async () => {
  const knobs = { replace: { [ORG]: 'contoso.example' } };
  const mail = { ...report.mail, knobs, dkim: ofE };
  const author = 'postmaster@contoso.example';
  await check({ ...report, tenant: 'evil', from: 'x@evil.example', author, mail, expect: noSignature });
});

test('T9, T1 with DKIM required: all stamps forged in vain, and the own mail goes through', async () => {
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...people, proof: 'dkim: require' });
  const forged: Session = {
    name: 'T9',
    tenant: 'evil',
    from: 'x@evil.example',
    author: user.address,
    mail: { mailFrom: user.address, knobs: { replace: { [ID]: A, [ORG]: 'contoso.example' } } },
    expect: noSignature,
  };
  await check(forged);
  await check({ ...forged, mail: { ...forged.mail, dkim: ofE } });
  await check({ name: 'T1 unsigned', expect: noSignature });
  await check({ name: 'T1 signed', mail: { dkim: ofA }, expect: 'encrypted' });
});

test('a key that DNS does not tell now is a temporary answer, and the mail goes through later', async () => {
  lab.dns.put({ [KEY_NAME]: 'servfail' });
  const session: Session = { name: 'T1', mail: { dkim: ofA }, expect: /^451 4\.7\.5 / };
  await check(session);
  lab.dkimKey('contoso.example');
  await check({ ...session, expect: 'encrypted' });
});

/** From outside to a mailbox of A. */
async function fromInternet(author: string, sender = author, dkim?: DkimKey) {
  const plain = sampleMessage('plain', { from: author, to: [user.address], subject: `from ${author}` });
  const message = dkim ? await withDkim(plain, dkim, new Date()) : plain;
  const { recipients } = await lab.sendFromInternet({ sender, recipients: [user.address], message });
  return `${recipients[0]?.code} ${recipients[0]?.text}`;
}

const spoofed = /^550 5\.7\.1 .*Sender domain belongs to this service/;

test('T21 a stranger on the Internet writes as an own user', async () => {
  assert.match(await fromInternet('finance@contoso.example'), spoofed);
  assert.match(await fromInternet('finance@contoso.example', 'x@isp.example'), spoofed);
  assert.match(
    await fromInternet('finance@contoso.example', 'x@isp.example', lab.dkimKey('isp.example')),
    spoofed,
  );
  assert.match(await fromInternet('finance@fabrikam.example'), spoofed);
  assert.match(await fromInternet('x@isp.example'), /^250 /);
});

test('T21 an own sender outside, with an aligned signature or in the SPF record', async () => {
  assert.match(await fromInternet('news@contoso.example', 'bounce@isp.example', ofA), /^250 /);
  const TXT = [`v=spf1 ip4:${LAB_ADDRESSES.internetClient} ip4:${LAB_ADDRESSES.exchangeClient} -all`];
  lab.dns.put({ 'contoso.example': { MX: [[10, 'gw.example']], TXT } });
  assert.match(await fromInternet('news@contoso.example'), /^250 /);
  assert.match(await fromInternet('news@contoso.example', 'bounce@isp.example'), spoofed);
  lab.dns.put({ 'contoso.example': 'servfail' });
  assert.match(await fromInternet('news@contoso.example'), /^451 4\.7\.5 /);
  lab.dns.put({ 'contoso.example': { MX: [[10, 'gw.example']], TXT } });
});

test('T22 mail of E to a user of A: Internet mail, without its stamps, over the certificate of A', async () => {
  const to = [user.address];
  const message = sampleMessage('plain', { from: 'x@evil.example', to, subject: 'T22' });
  const { recipients } = await lab.sendFromTenant('evil', { from: 'x@evil.example', to, message });
  assert.equal(recipients[0]?.code, 250);
  const isT22 = ({ received }: { readonly received: Buffer }) => received.includes('Subject: T22');
  const found = (await lab.exchange.waitForMessage('contoso', 4)).find(isT22);
  assert.ok(found);
  assert.doesNotMatch(found.received.toString('latin1'), /^X-MS-Exchange-CrossTenant-|OriginatorOrg/im);
  assert.ok(found.tls?.presentedNames.includes(`${A}.t.gw.example`));
  assert.equal(found.isInternal, false);
});

test('T22 own domain: E writes as a user of A; Exchange Online is in the SPF record of A, and that proves nothing', async () => {
  const to = [user.address];
  const from = 'finance@contoso.example';
  const message = sampleMessage('plain', { from, to, subject: 'T22 spoofed' });
  const { recipients } = await lab.sendFromTenant('evil', {
    from: 'x@evil.example',
    to,
    message,
    mailFrom: from,
  });
  assert.match(`${recipients[0]?.code} ${recipients[0]?.text}`, spoofed);
});

test('what the gateway changes is signed anew with DKIM; what it does not change keeps the signature of Exchange', async () => {
  await server[Symbol.asyncDispose]();
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const folder = await mkdtemp(join(tmpdir(), 'postern-test-'));
  const keyFile = join(folder, 'dkim.key');
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  server = await openLabGateway(lab, {
    ...people,
    outbound: `dkim: [{ domain: contoso.example, selector: gw, key: ${keyFile} }]
rules:
  - { name: clear, when: { subject_tag: clear }, sign: none, encrypt: never }
otherwise: { sign: none, encrypt: required, fallback: refuse }`,
  });
  await rm(folder, { recursive: true });
  const record = dkimRecord({ domain: 'contoso.example', selector: 'gw', key: privateKey });
  lab.dns.put({ 'gw._domainkey.contoso.example': { TXT: [record] } });
  const resolver = openResolver([`${lab.dns.address}:${lab.dns.port}`]);
  const lookup = (name: string, type: string) => resolver.resolve(name, type);
  const verdicts = async () => {
    const bytes = lab.internet.messages().at(-1)?.bytes ?? assert.fail();
    const source = bytesSource(bytes);
    const { header } = await readMessage(source.open(), defaultLimits);
    const found = await verifyDkim(source, header, { isWanted: () => true, lookup, at: new Date() });
    const arc = /^ARC-/im.test(bytes.toString('latin1'));
    const selectors = bytes.toString('latin1').match(/\bs=(?:gw|selector1)\b/g) ?? [];
    return [found.map(({ domain, result }) => `${domain} ${result}`), selectors, arc];
  };
  const before: readonly FieldPair[] = [
    ['ARC-Seal', 'i=1; a=rsa-sha256; d=microsoft.example; s=x; cv=none; b=eA=='],
  ];
  await check({ name: 'encrypted', mail: { dkim: ofA, knobs: { before } }, expect: 'encrypted' });
  assert.deepEqual(await verdicts(), [['contoso.example pass'], ['s=gw'], false]);
  await check({ name: 'clear', mail: { dkim: ofA, knobs: { before } }, expect: 'as it is' });
  assert.deepEqual(await verdicts(), [['contoso.example pass'], ['s=selector1'], true]);
});

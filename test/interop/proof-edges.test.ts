// Sessions at the edges of the proof, through real SMTP and TLS: evidence in the wrong place, labels, internationalised
// domains, what changes between RCPT and the end of DATA, and messages that are too much.
import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource, collect } from '../../src/core/bytes.ts';
import { serverAndClient } from '../../src/lab/certificates.ts';
import { prepareTenantMail } from '../../src/lab/exchange-client.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { LAB_ADDRESSES } from '../../src/lab/lab-tenants.ts';
import { largeMessage, sampleMessage } from '../../src/lab/messages.ts';
import { openLabConnection } from '../../src/lab/smtp-client.ts';
import { openLab } from '../../src/lab/world.ts';
import { sessionsOf } from '../support/sessions.ts';

const IDN = 'xn--bcher-kva.example';
const lab = await openLab({
  customise: (tenant) =>
    tenant.name === 'contoso'
      ? { ...tenant, acceptedDomains: [...tenant.acceptedDomains, { name: IDN, type: 'authoritative' }] }
      : tenant,
});
const user = await lab.makePerson('user@contoso.example');
const bob = await lab.makePerson('bob@remote.example');
const LABEL = 'aaaaaaaa-1111-4222-8333-444444444444';
const A = lab.tenants.contoso.id;
const E = lab.tenants.evil.id;
const base = {
  own: [user],
  partners: [bob],
  outbound: `rules:
  - name: label confidential
    when: { header: { name: msip_labels, matches: 'MSIP_Label_${LABEL}_SiteId=${A}' } }
    sign: none
    encrypt: required
    fallback: refuse
otherwise: { sign: none, encrypt: never }`,
};
let server = await openLabGateway(lab, base);
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});
const { check } = sessionsOf(lab, user, bob);
const ID = 'X-MS-Exchange-CrossTenant-Id';
const ORG = 'X-OriginatorOrg';

function withAttached(id: string) {
  const head = `From: ${user.address}\r\nTo: ${bob.address}\r\nSubject: T12\r\nMIME-Version: 1.0\r\n`;
  const type = 'Content-Type: multipart/mixed; boundary=b\r\n';
  const inner = `${ID}: ${id}\r\nX-OriginatorOrg: contoso.example\r\nFrom: ${user.address}\r\nSubject: inner\r\n\r\ntext\r\n`;
  const parts = `--b\r\nContent-Type: text/plain\r\n\r\nsee below\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n${inner}\r\n--b--\r\n`;
  return bytesSource(Buffer.from(`${head}${type}\r\n${parts}`));
}

test('T12 an id in an attached message is nothing, whether it would help or harm', async () => {
  const missing = /^550 5\.7\.1 .*tenant identification missing/;
  await check({ name: 'T12', mail: { message: withAttached(A), knobs: { remove: [ID] } }, expect: missing });
  await check({ name: 'T12', mail: { message: withAttached(E) }, expect: 'as it is' });
});

test('T35 labels: the one of the own tenant counts, folded and among others; that of E does not', async () => {
  const other = { id: 'bbbbbbbb-1111-4222-8333-444444444444' };
  await check({ name: 'T35', mail: { knobs: { labels: [other, { id: LABEL }] } }, expect: 'encrypted' });
  await check({
    name: 'T35',
    mail: { knobs: { labels: [{ id: LABEL, siteId: E }, other] } },
    expect: 'as it is',
  });
  // Before the proof a label is nothing: E cannot have the keys of A used.
  await check({
    name: 'T35',
    tenant: 'evil',
    from: 'x@evil.example',
    mail: { knobs: { labels: [{ id: LABEL, siteId: A }] } },
    expect: /^550 5\.7\.1 /,
  });
});

test('T44 an internationalised domain: U-label in From, A-label in the organisation', async () => {
  await check({
    name: 'T44',
    from: 'büro@bücher.example',
    mail: { knobs: { replace: { [ORG]: IDN } } },
    expect: 'as it is',
  });
});

test('T54 Resent-From of A does not stand in for From', async () => {
  const message = sampleMessage('plain', {
    from: 'x@isp.example',
    to: [bob.address],
    subject: 'T54',
    fields: [`Resent-From: ${user.address}`],
  });
  await check({ name: 'T54', mail: { message }, expect: /^550 5\.7\.1 .*Sender address is not authorized/ });
});

test('T50 bare line feeds by DATA: one message, normalised; Exchange itself does not send them without BDAT', async () => {
  const head = `From: ${user.address}\r\nTo: ${bob.address}\r\nSubject: T50\r\n\r\n`;
  const text = `${head}first\n.\nMAIL FROM:<x@evil.example>\r\nlast\r\n`;
  const message = bytesSource(Buffer.from(text));
  const mail = { message, sendsBareLineFeeds: true };
  await check({ name: 'T50', mail, expect: 'as it is' });
  const got = lab.internet.messages().at(-1)?.bytes.toString('latin1') ?? '';
  assert.match(got, /\r\nfirst\r\n\.\r\nMAIL FROM:<x@evil\.example>\r\nlast\r\n$/);
  await check({ name: 'T50', mail: { message }, expect: / 5\.6\.11 / });
});

/** Up to DATA by hand, as Exchange: then `change` happens, then the content. */
async function changedBeforeContent(change: () => Promise<void>): Promise<string> {
  const { address: host, port } = server.gateway;
  await using connection = await openLabConnection({
    host,
    port,
    localAddress: LAB_ADDRESSES.exchangeClient,
  });
  const { key, cert } = lab.identities.exchangeClient;
  await connection.hello('lab0001.outbound.protection.outlook.com');
  await connection.startTls({ key, cert, ca: [lab.publicCa.rootPem], servername: 'gw.example' });
  await connection.hello('lab0001.outbound.protection.outlook.com');
  await connection.command(`MAIL FROM:<${user.address}>`);
  assert.equal((await connection.command(`RCPT TO:<${bob.address}>`)).code, 250);
  await change();
  assert.equal((await connection.command('DATA')).code, 354);
  const plain = sampleMessage('plain', { from: user.address, to: [bob.address], subject: 'change' });
  const mail = { from: user.address, to: [bob.address], message: plain };
  const { message } = await prepareTenantMail(lab.tenants.contoso, mail, new Date());
  const { code, text } = await connection.data(message.open());
  return `${code} ${text}`;
}

test('T48 a tenant that is disabled between RCPT and the end of DATA', async () => {
  const file = join(server.folder, 'policies/contoso.yaml');
  const policy = await readFile(file, 'utf8');
  const before = lab.internet.messages().length;
  const reply = await changedBeforeContent(async () => {
    await writeFile(file, policy.replace('\n  domains:', '\n  enabled: false\n  domains:'));
    await server.gateway.operations.applyPolicies();
  });
  assert.match(reply, /^550 5\.7\.1 .*Service is suspended/);
  assert.equal(lab.internet.messages().length, before);
  await writeFile(file, policy);
  await server.gateway.operations.applyPolicies();
  await check({ name: 'T48 enabled again', expect: 'as it is' });
});

test('T47 the store is gone at the end of DATA: a temporary answer, nothing relayed, and later it works', async () => {
  const before = lab.internet.messages().length;
  const message = await collect(
    largeMessage({ from: user.address, to: [bob.address], subject: 'T47' }, 300_000).open(),
    400_000,
  );
  const folder = join(server.folder, 'data/queue/bodies');
  await rm(folder, { recursive: true });
  const session = { name: 'T47', mail: { message: bytesSource(message) } };
  await check({ ...session, expect: /^45[12] 4\.3\.[01] / });
  assert.equal(lab.internet.messages().length, before);
  await server.restart();
  await check({ ...session, expect: 'as it is' });
});

test('T52 too much: recipients, bytes, header; each its answer, in bounded time', async () => {
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...base, config: 'limits: { max_message_bytes: 2000000 }' });
  const many = Array.from({ length: 1_000 }, (_, index) => `u${index}@remote.example`);
  const message = sampleMessage('plain', { from: user.address, to: [bob.address], subject: 'T52' });
  const before = lab.internet.messages().length;
  const sent = await lab.sendFromTenant('contoso', { from: user.address, to: many, message });
  assert.ok(sent.recipients.every(({ code }) => code === 250));
  // 500 recipients a transaction: the rest gets 452 and comes again by itself.
  assert.equal(sent.transactions, 2);
  const arrived = (await lab.internet.waitForMessage(before + 2)).slice(before);
  assert.equal(arrived.flatMap(({ recipients }) => recipients).length, 1_000);
  const large = largeMessage({ from: user.address, to: [bob.address], subject: 'T52' }, 3_000_000);
  await check({ name: 'T52 bytes', mail: { message: large }, expect: /^552 5\.3\.4 / });
  const fields = Array.from(
    { length: 60 },
    (_, index) => `X-Large-${index}: ${'x'.repeat(900)}\r\n${` ${'y'.repeat(900)}\r\n`.repeat(70)}`,
  );
  const wide = `From: ${user.address}\r\n${fields.join('')}Subject: T52\r\n\r\ntext\r\n`;
  assert.ok(Buffer.byteLength(fields[0] ?? '') > 63_000);
  const wideMail = { message: bytesSource(Buffer.from(wide)) };
  await check({ name: 'T52 large fields', mail: wideMail, expect: /^55[02] 5\.[36]\.[04] / });
  const long = `From: ${user.address}\r\n${'X: y\r\n'.repeat(10_000)}Subject: T52\r\n\r\ntext\r\n`;
  const longMail = { message: bytesSource(Buffer.from(long)) };
  await check({ name: 'T52 many lines', mail: longMail, expect: /^550 5\.6\.0 / });
  await check({ name: 'T52 afterwards', expect: 'as it is' });
});

test('T18 serverAuth only: good where the purpose is not checked, whoever else fails still fails', async () => {
  const named = serverAndClient('mail.protection.outlook.com');
  const [serverOnly, rogue] = await Promise.all([
    lab.publicCa.issue({ ...named, extendedKeyUsage: ['serverAuth'] }),
    lab.rogueCa.issue({ ...named, extendedKeyUsage: ['serverAuth'] }),
  ]);
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...base, isPurposeChecked: false });
  const tls = { ca: [lab.publicCa.rootPem], servername: 'gw.example' };
  const showing = (identity: typeof serverOnly) => ({
    tls: { ...tls, key: identity.key, cert: identity.cert },
  });
  await check({ name: 'T18 server only', how: showing(serverOnly), expect: 'as it is' });
  await check({ name: 'T18 rogue', how: showing(rogue), expect: /^550 5\.7\.1 .*not a verified Exchange/ });
});

test('T14 mail for a tenant without STARTTLS: by its policy', async () => {
  const inClear = async () => {
    const message = sampleMessage('plain', { from: bob.address, to: [user.address], subject: 'T14' });
    const submission = { sender: bob.address, recipients: [user.address], message };
    const { recipients } = await lab.sendFromInternet(submission, { tls: false });
    return `${recipients[0]?.stage} ${recipients[0]?.code} ${recipients[0]?.text}`;
  };
  assert.match(await inClear(), /^data 250 /);
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...base, more: 'inbound: { require_tls: true }' });
  assert.match(await inClear(), /^rcpt 530 5\.7\.0 /);
  const secured = await lab.sendFromInternet({
    sender: bob.address,
    recipients: [user.address],
    message: sampleMessage('plain', { from: bob.address, to: [user.address], subject: 'T14' }),
  });
  assert.equal(secured.recipients[0]?.code, 250);
});

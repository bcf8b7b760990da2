// The sessions of the proof through real SMTP and TLS, against tenants of the lab. Who gets what on the other side counts,
// not what the gateway says of itself.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openLog } from '../../src/core/log.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { serverAndClient, type TlsIdentity } from '../../src/lab/certificates.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import type { SendOptions } from '../../src/lab/lab-senders.ts';
import { LAB_ADDRESSES } from '../../src/lab/lab-tenants.ts';
import { openLab } from '../../src/lab/world.ts';
import { type Session, sessionsOf } from '../support/sessions.ts';

const lab = await openLab();
const user = await lab.makePerson('user@contoso.example');
const bob = await lab.makePerson('bob@remote.example');
const base = {
  own: [user],
  partners: [bob],
  outbound: 'otherwise: { sign: auto, encrypt: when-possible, fallback: plain }',
};
let server = await openLabGateway(lab, base);
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

const A = lab.tenants.contoso.id;
const E = lab.tenants.evil.id;
const ID = 'X-MS-Exchange-CrossTenant-Id';
const ORG = 'X-OriginatorOrg';
const AUTH = 'X-Postern-Tenant-Auth';

const { check } = sessionsOf(lab, user, bob);

const noClient = { ca: [lab.publicCa.rootPem], servername: 'gw.example' };
const { exchangeClient, rogueExchangeClient } = lab.identities;
const DAY_MS = 86_400_000;
const named = serverAndClient('mail.protection.outlook.com');
const [expired, early] = await Promise.all([
  lab.publicCa.issue({ ...named, notBefore: daysFromNow(-9), notAfter: daysFromNow(-1) }),
  lab.publicCa.issue({ ...named, notBefore: daysFromNow(1) }),
]);
const serverOnly = await lab.publicCa.issue({ ...named, extendedKeyUsage: ['serverAuth'] });
const showing = (identity: Pick<TlsIdentity, 'key' | 'cert'>): SendOptions => ({
  tls: { ...noClient, key: identity.key, cert: identity.cert },
});
const notExchange = /^550 5\.7\.1 .*not a verified Exchange/;

function daysFromNow(days: number): Date {
  return new Date(Date.now() + days * DAY_MS);
}

const evil = { tenant: 'evil', from: 'x@evil.example' } as const;

const sessions: readonly Session[] = [
  { name: 'T1 mail of a user', expect: 'encrypted' },
  {
    name: 'T2 names in lower case, id in upper case',
    mail: { knobs: { nameCase: 'lower', replace: { [ID]: A.toUpperCase() } } },
    expect: 'encrypted',
  },
  { name: 'T3 folded id', mail: { knobs: { fold: [ID] } }, expect: 'encrypted' },
  ...[
    ['in braces', `{${A}}`],
    ['in quotes', `"${A}"`],
    ['with a comment', `${A} (contoso)`],
    ['with text behind it', `${A};x`],
    ['as an encoded word', `=?us-ascii?Q?${A}?=`],
  ].map(([name, value = '']): Session => ({
    name: `T4 id ${name}`,
    mail: { knobs: { replace: { [ID]: value } } },
    expect: /^550 5\.7\.1 .*conflicting tenant identification/,
  })),
  {
    name: 'T5 two ids, A and E',
    mail: { knobs: { after: [[ID, E]] } },
    expect: /^550 5\.7\.1 .*conflicting/,
  },
  {
    name: 'T5 two ids, E and A',
    mail: { knobs: { before: [[ID, E]] } },
    expect: /^550 5\.7\.1 .*conflicting/,
  },
  {
    name: 'T7 mail of E with From of A',
    ...evil,
    author: 'finance@contoso.example',
    expect: /^550 5\.7\.1 .*originating organization/,
  },
  {
    name: 'T8 E forges the id',
    ...evil,
    mail: { knobs: { replace: { [ID]: A } } },
    expect: /^550 5\.7\.1 .*originating organization/,
  },
  {
    name: 'T11 id in the body only',
    mail: { knobs: { remove: [ID] } },
    expect: /^550 5\.7\.1 .*tenant identification missing/,
  },
  { name: 'T14 without STARTTLS', how: { tls: false }, expect: /^530 5\.7\.0 / },
  {
    name: 'T15 without client certificate',
    how: { tls: noClient },
    expect: /^550 5\.7\.1 .*not a verified Exchange/,
  },
  { name: 'T16 rogue CA, the same names', how: showing(rogueExchangeClient), expect: notExchange },
  { name: 'T18 expired', how: showing(expired), expect: notExchange },
  { name: 'T18 not valid yet', how: showing(early), expect: notExchange },
  {
    name: 'T18 without its intermediate',
    how: showing({ key: exchangeClient.key, cert: exchangeClient.leafOnly }),
    expect: notExchange,
  },
  { name: 'T18 for servers only, purpose checked', how: showing(serverOnly), expect: notExchange },
  {
    name: 'T24 non-delivery report',
    from: 'postmaster@contoso.example',
    body: 'report',
    mail: { template: 'ndr' },
    expect: 'as it is',
  },
  {
    name: 'T25 report of E that says it is of A',
    ...evil,
    author: 'postmaster@contoso.example',
    body: 'report',
    mail: { template: 'ndr', knobs: { replace: { [ORG]: 'contoso.example' } } },
    expect: /^550 5\.7\.1 .*tenant authentication missing/,
  },
  { name: 'T27 out of office', mail: { template: 'oof' }, expect: 'as it is' },
  {
    name: 'T30 on-premises user, without the flag',
    mail: { template: 'hybrid' },
    expect: /^550 5\.7\.1 .*On-premises relay is not enabled/,
  },
  {
    name: 'T32 journal report',
    from: 'MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@contoso.example',
    mail: { template: 'journal' },
    expect: 'as it is',
  },
  { name: 'T33 invitation', body: 'calendar', expect: 'as it is' },
  { name: 'T34 read receipt', body: 'report', mail: { template: 'receipt' }, expect: 'as it is' },
  { name: 'T42 second domain of A', from: 'user@contoso.onmicrosoft.example', expect: 'encrypted' },
  {
    name: 'T45 connector validation mail',
    from: 'O365ConnectorValidation@contoso.onmicrosoft.example',
    mail: { knobs: { replace: { [ORG]: 'contoso.onmicrosoft.example' } } },
    expect: 'encrypted',
  },
];
for (const session of sessions) test(session.name, () => check(session));

const forged: Session = {
  name: '',
  ...evil,
  author: user.address,
  mail: { mailFrom: user.address, knobs: { replace: { [ID]: A, [ORG]: 'contoso.example' } } },
  expect: /^550 5\.7\.1 .*tenant authentication missing/,
};

test('T37 forged service headers from the Internet are gone before the tenant', async () => {
  const forgery: readonly string[] = [
    'X-MS-Exchange-CrossPremises-AuthAs: Internal',
    'X-MS-Exchange-Organization-SCL: -1',
    'x-originatororg: contoso.example',
    `X-MS-Exchange-CrossTenant-Id: ${A}`,
    'X-OrganizationHeadersPreserved: AM0PR00MB0000',
    'X-Postern-Signature: valid',
  ];
  const message = sampleMessage('plain', {
    from: bob.address,
    to: [user.address],
    subject: 'T37',
    fields: forgery,
  });
  const submission = { sender: bob.address, recipients: [user.address], message };
  const { recipients } = await lab.sendFromInternet(submission);
  assert.equal(recipients[0]?.code, 250);
  const got = (await lab.exchange.waitForMessage('contoso', 1)).at(-1);
  const text = got?.received.toString('latin1') ?? '';
  assert.match(text, /^Subject: T37\r$/m);
  assert.doesNotMatch(
    text,
    /CrossPremises|Organization-SCL|originatororg|CrossTenant-Id|HeadersPreserved|X-Postern/i,
  );
  assert.equal(got?.isInternal, false);
});

test('T38 to a tenant that is not hosted: incoming there, without any certificate', async () => {
  const to = ['user@partner.example'];
  const message = sampleMessage('plain', { from: user.address, to, subject: 'T38' });
  await lab.sendFromTenant('contoso', { from: user.address, to, message });
  const [got] = await lab.exchange.waitForMessage('partner', 1);
  assert.deepEqual([got?.direction, got?.tls?.presentedNames], ['incoming', []]);
});

test('T36 retained headers: proven, none of them leaves, the operator is warned, and no log shows the hidden recipient', async () => {
  await server[Symbol.asyncDispose]();
  const records: string[] = [];
  const log = openLog('debug', { write: (line) => void records.push(line) });
  server = await openLabGateway(lab, {
    ...base,
    outbound: `rules:
  - name: marked by a rule of the tenant
    when: { header: { name: X-Postern-Wish, equals: encrypt } }
    sign: auto
    encrypt: required
otherwise: { sign: none, encrypt: never }`,
    environment: { log },
  });
  const before = lab.internet.messages().length;
  await check({
    name: 'T36',
    mail: {
      knobs: {
        after: [
          ['X-MS-Exchange-CrossPremises-BCC', 'hidden-canary@remote.example'],
          ['X-MS-Exchange-CrossPremises-AuthAs', 'Internal'],
          ['X-OrganizationHeadersPreserved', 'AM0PR00MB0000'],
          ['X-Postern-Wish', 'encrypt'],
        ],
      },
    },
    expect: 'encrypted',
  });
  const [left] = lab.internet.messages().slice(before);
  assert.ok(left);
  assert.doesNotMatch(left.bytes.toString('latin1'), /CrossPremises|HeadersPreserved|hidden-canary/i);
  const text = records.join('');
  assert.match(text, /"event":"retained-headers"/);
  assert.doesNotMatch(text, /hidden-canary/);
  assert.ok(!text.includes(lab.secrets.contoso));
  // The other way round: without such fields nobody is warned.
  records.length = 0;
  await check({ name: 'T1 once more', expect: 'as it is' });
  assert.doesNotMatch(records.join(''), /retained-headers/);
});

test('T20 from an address outside the ranges: refused at RCPT where they are required', async () => {
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, {
    ...base,
    addressRanges: ['# Exchange Online', LAB_ADDRESSES.exchangeClient],
  });
  await check({ name: 'T20 inside', expect: 'encrypted' });
  const how = { localAddress: LAB_ADDRESSES.internetClient };
  await check({ name: 'T20 outside', how, expect: /^550 5\.7\.1 .*not a verified Exchange/ });
});

test('a list of ranges that cannot be read changes nothing: the last good one stays in force', async () => {
  const file = join(server.folder, 'ranges.txt');
  await writeFile(file, `${LAB_ADDRESSES.internetClient}\n40.92.0.0/x\n`);
  await assert.rejects(server.gateway.operations.applyPolicies(), {
    message: `${file}:2:1: is not an address range; write 40.92.0.0/15 or 2a01:111:f400::/48`,
  });
  await check({ name: 'T20 inside still', expect: 'encrypted' });
  await writeFile(file, `${LAB_ADDRESSES.internetClient}\n`);
  await server.gateway.operations.applyPolicies();
  await check({ name: 'T20 outside now', expect: /^550 5\.7\.1 .*not a verified Exchange/ });
});

test('T9, T30: with the secret required E forges all stamps in vain; the flag lets on-premises mail through', async () => {
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...base, proof: 'secret: require\nhybrid: relay' });
  await check({ ...forged, name: 'T9 all stamps of A' });
  await check({
    ...forged,
    name: 'T9 and a guessed secret',
    mail: { ...forged.mail, knobs: { ...forged.mail?.knobs, after: [[AUTH, 'guess-guess-guess-1']] } },
  });
  await check({ name: 'T1 with the secret', expect: 'encrypted' });
  await check({
    name: 'T30 on-premises user, with the flag',
    mail: { template: 'hybrid' },
    expect: 'as it is',
  });
});

test('T28 forwarded mail is relayed where the tenant wants it, as it is, with a sender of the tenant', async () => {
  const forwarded: Session = {
    name: 'T28',
    from: 'writer@isp.example',
    mail: { template: 'forwarded' },
    expect: /^550 5\.7\.1 .*Relay of forwarded mail is not enabled/,
  };
  await check(forwarded);
  await server[Symbol.asyncDispose]();
  server = await openLabGateway(lab, { ...base, proof: 'forwarded: relay' });
  await check({ ...forwarded, expect: 'as it is' });
  const sender = lab.internet.messages().at(-1)?.sender ?? '';
  assert.match(sender, /^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=isp\.example=writer@contoso\.example$/);

  // A report to that sender finds the writer; mail of anybody else to it does not.
  const report = sampleMessage('report', {
    from: 'mailer-daemon@remote.example',
    to: [sender],
    subject: 'T28',
  });
  const before = lab.internet.messages().length;
  await lab.sendFromInternet({ sender: '', recipients: [sender], message: report });
  const [returned] = (await lab.internet.waitForMessage(before + 1)).slice(before);
  assert.deepEqual(
    [returned?.sender, returned?.recipients.map(({ address }) => address)],
    ['', ['writer@isp.example']],
  );
  await lab.sendFromInternet({ sender: 'x@isp.example', recipients: [sender], message: report });
  await lab.exchange.waitForMessage('contoso', 2);
  assert.equal(lab.internet.messages().length, before + 1);

  // What cannot be delivered is reported to the writer, on the Internet.
  const from = 'writer@isp.example';
  const to = ['x@null-mx.example'];
  const message = sampleMessage('plain', { from, to, subject: 'T28 canary' });
  await lab.sendFromTenant('contoso', { from, to, message, template: 'forwarded' });
  const [told] = (await lab.internet.waitForMessage(before + 2)).slice(before + 1);
  assert.deepEqual([told?.sender, told?.recipients.map(({ address }) => address)], ['', [from]]);
  assert.match(told?.bytes.toString('latin1') ?? '', /^Status: 5\.1\.10/m);
});

test('T29 forwarded mail with a sender that the tenant has rewritten: it stays', async () => {
  await check({
    name: 'T29',
    from: 'writer@isp.example',
    mail: { template: 'forwarded', mailFrom: 'bounces+SRS=ab=cd@contoso.example' },
    expect: 'as it is',
  });
  assert.equal(lab.internet.messages().at(-1)?.sender, 'bounces+SRS=ab=cd@contoso.example');
});

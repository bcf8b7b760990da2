// `postern message prove` as an operator uses it: the configuration of a gateway, a message as Exchange Online sends it, and
// a session written down in a file.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { collect } from '../../src/core/bytes.ts';
import { prepareTenantMail, type TenantMail } from '../../src/lab/exchange-client.ts';
import { writeLabGateway } from '../../src/lab/lab-gateway.ts';
import type { TenantName } from '../../src/lab/lab-tenants.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';
import { openWorkshop } from '../support/command-line.ts';

const workshop = openWorkshop();
const lab = await openLab();
after(async () => {
  workshop[Symbol.dispose]();
  await lab[Symbol.asyncDispose]();
});
await writeLabGateway(lab, workshop.folder, {
  proof: 'secret: observe',
  addressRanges: ['40.107.0.0/16'],
});
const configFile = `${workshop.folder}/postern.yaml`;

async function writeMail(name: string, mail: Partial<TenantMail> = {}, tenant: TenantName = 'contoso') {
  const from = 'user@contoso.example';
  const to = ['bob@remote.example'];
  const message = sampleMessage('plain', { from, to, subject: 'canary-subject' });
  const prepared = await prepareTenantMail(lab.tenants[tenant], { from, to, message, ...mail }, new Date());
  workshop.write(name, await collect(prepared.message.open(), 100_000));
}
const dkim = lab.dkimKey('contoso.example');
await writeMail('user.eml', { dkim });
await writeMail('unsigned.eml');
await writeMail('wrong-secret.eml', {
  dkim,
  knobs: { after: [['X-Postern-Tenant-Auth', 'canary-guess-0123456']] },
});
await writeMail('of-e.eml', {}, 'evil');

const exchange = { verified: true, dns_names: ['mail.protection.outlook.com'] };
const session = (changes: Readonly<Record<string, unknown>> = {}) =>
  JSON.stringify({
    address: '40.107.22.1',
    sender: 'user@contoso.example',
    tls: { certificate: exchange },
    ...changes,
  });
workshop.write('good.json', session());
workshop.write('clear.json', session({ tls: undefined }));
workshop.write('outside.json', session({ address: '192.0.2.1' }));
workshop.write(
  'rogue.json',
  session({ tls: { certificate: { ...exchange, verified: false, error: 'SELF_SIGNED' } } }),
);
workshop.write('broken.json', '{ "address": ');
workshop.write('wrong.json', '{\n  "address": "nowhere",\n  "sender": "<>",\n  "tsl": {}\n}\n');

async function proven(mail: string, sessionFile: string, ...more: readonly string[]) {
  const result = await workshop.postern([
    'message',
    'prove',
    mail,
    '-c',
    configFile,
    '--session',
    sessionFile,
    ...more,
  ]);
  assert.doesNotMatch(result.stdout + result.stderr, /canary/);
  assert.ok(
    !`${result.stdout}${result.stderr}`.includes(
      readFileSync(`${workshop.folder}/keys/contoso.secret`, 'utf8'),
    ),
  );
  return result;
}

for (const [mail, sessionFile, code, stdout] of [
  ['user.eml', 'good.json', 0, [`proven: tenant contoso (${lab.tenants.contoso.id}), class user`]],
  [
    'unsigned.eml',
    'good.json',
    0,
    [
      `proven: tenant contoso (${lab.tenants.contoso.id}), class user`,
      '  observed only: C8 no valid DKIM signature of the tenant (none is there)',
    ],
  ],
  [
    'wrong-secret.eml',
    'good.json',
    0,
    [
      `proven: tenant contoso (${lab.tenants.contoso.id}), class user`,
      '  observed only: C9 X-Postern-Tenant-Auth is repeated',
    ],
  ],
  [
    'of-e.eml',
    'good.json',
    1,
    [
      'not proven; a relay recipient gets: 550 5.7.1 Relaying denied: originating organization is not authorized for this service',
      '  C4 tenant is not registered here',
    ],
  ],
  [
    'user.eml',
    'clear.json',
    1,
    ['not proven; a relay recipient gets: 530 5.7.0 Must issue a STARTTLS command first', '  C1 no TLS'],
  ],
  [
    'user.eml',
    'rogue.json',
    1,
    [
      'not proven; a relay recipient gets: 550 5.7.1 Relaying denied: client is not a verified Exchange Online server',
      '  C2 SELF_SIGNED',
    ],
  ],
  [
    'user.eml',
    'outside.json',
    1,
    [
      'not proven; a relay recipient gets: 550 5.7.1 Relaying denied: client is not a verified Exchange Online server',
      '  C3 192.0.2.1 is outside the ranges of Exchange Online',
    ],
  ],
] as const) {
  test(`${mail} by ${sessionFile}`, async () => {
    const result = await proven(mail, sessionFile);
    assert.deepEqual(
      [result.stderr, result.stdout.trimEnd().split('\n'), result.code],
      ['', [...stdout], code],
    );
  });
}

test('as JSON, for machines', async () => {
  const { stdout, code } = await proven('wrong-secret.eml', 'good.json', '--json');
  const { tenant, origin } = JSON.parse(stdout);
  assert.deepEqual([code, tenant, origin.kind, origin.observed[0].condition], [0, 'contoso', 'proven', 'C9']);
});

test('a session that cannot be read is told with its place', async () => {
  const broken = await proven('user.eml', 'broken.json');
  assert.match(broken.stderr, /broken\.json:1:\d+: /);
  const wrong = await proven('user.eml', 'wrong.json');
  assert.match(wrong.stderr, /wrong\.json:2:14: is not an IP address/);
  assert.match(wrong.stderr, /wrong\.json:4:3: unknown key "tsl"; allowed: address, helo, sender, tls/);
  const missing = await proven('user.eml', 'none.json');
  assert.match(missing.stderr, /none\.json: no such file/);
  workshop.write('twice.json', '{ "address": "192.0.2.1", "sender": "<>", "sender": "a@contoso.example" }');
  assert.match((await proven('user.eml', 'twice.json')).stderr, /twice\.json:1:\d+: /);
  assert.deepEqual([broken.code, wrong.code, missing.code], [4, 4, 4]);
});

test('without --session the help is named', async () => {
  const { code, stderr } = await workshop.postern(['message', 'prove', 'user.eml']);
  assert.equal(code, 2);
  assert.match(stderr, /--session is needed/);
});

// On-premises servers of a tenant: proven by the connection, with a pinned client certificate or a login. swaks plays the
// server that logs in.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { openLog } from '../../src/core/log.ts';
import { serverAndClient } from '../../src/lab/certificates.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage, type SampleName } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';
import { openWorkshop } from '../support/command-line.ts';

const SERVER = '127.0.0.60';
const ELSEWHERE = '127.0.0.61';
const PASSWORD = 'canary-password-of-contoso';
process.env['POSTERN_TEST_ONPREM'] = PASSWORD;

const lab = await openLab();
const workshop = openWorkshop();
const user = await lab.makePerson('user@contoso.example');
const bob = await lab.makePerson('bob@remote.example');
// Of its own CA, which Exchange Online's certificate does not lead to: it is pinned.
const [pinned, other] = await Promise.all([
  lab.rogueCa.issue(serverAndClient('mail.contoso.example')),
  lab.rogueCa.issue(serverAndClient('mail.contoso.example')),
]);
workshop.write('pinned.crt', pinned.cert);
const records: string[] = [];
const server = await openLabGateway(lab, {
  environment: { log: openLog('debug', { write: (line) => void records.push(line) }) },
  own: [user],
  partners: [bob],
  tenant: `on_premises:
  networks: [${SERVER}, 192.0.2.0/28]
  certificates: [${workshop.folder}/pinned.crt]
  user: mail.contoso.example
  password: env:POSTERN_TEST_ONPREM`,
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
  workshop[Symbol.dispose]();
});

interface Handed {
  readonly identity?: { readonly key: string; readonly cert: string };
  readonly at?: string;
  readonly from?: string;
  readonly sender?: string;
  readonly body?: SampleName;
  readonly fields?: readonly string[];
}

async function handIn({
  identity,
  at = SERVER,
  from = user.address,
  sender = from,
  body = 'plain',
  fields = [],
}: Handed) {
  const message = sampleMessage(body, { from, to: [bob.address], subject: 'on-premises', fields });
  const tls = { ca: [lab.publicCa.rootPem], servername: 'gw.example', ...identity };
  const { recipients } = await lab.sendFromInternet(
    { sender, recipients: [bob.address], message },
    { tls, localAddress: at },
  );
  return `${recipients[0]?.stage} ${recipients[0]?.code} ${recipients[0]?.text}`;
}

test('with the pinned certificate from its network: proven, class user', async () => {
  assert.match(await handIn({ identity: pinned }), /^data 250 /);
  const [got] = await lab.internet.waitForMessage(1);
  assert.match(
    got?.bytes.toString('latin1') ?? '',
    /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m,
  );
  assert.deepEqual(got?.tls?.presentedNames, []);
});

test('on-premises: every condition counts', async () => {
  assert.match(await handIn({ identity: pinned, at: ELSEWHERE }), /^rcpt 550 5\.7\.1 /);
  assert.match(await handIn({ identity: other }), /^rcpt 550 5\.7\.1 /);
  assert.match(await handIn({}), /^rcpt 550 5\.7\.1 /);
  const foreign = { identity: pinned, from: 'x@fabrikam.example' };
  assert.match(await handIn(foreign), /^data 550 5\.7\.1 .*Sender address is not authorized/);
});

test("headers of Exchange widen nothing: another tenant's id changes nothing, a foreign author stays refused", async () => {
  const fields = [
    `X-MS-Exchange-CrossTenant-Id: ${lab.tenants.fabrikam.id}`,
    'X-OriginatorOrg: fabrikam.example',
    'X-MS-Exchange-CrossTenant-AuthAs: Internal',
    'X-MS-Exchange-CrossTenant-FromEntityHeader: Hosted',
  ];
  assert.match(await handIn({ identity: pinned, fields }), /^data 250 /);
  assert.match(await handIn({ identity: pinned, fields, from: 'x@fabrikam.example' }), /^data 550 5\.7\.1 /);
});

test('a report of the server is system mail: relayed as it is', async () => {
  const before = lab.internet.messages().length;
  const report = {
    identity: pinned,
    from: 'postmaster@contoso.example',
    sender: '',
    body: 'report',
  } as const;
  assert.match(await handIn(report), /^data 250 /);
  const got = (await lab.internet.waitForMessage(before + 1)).at(-1);
  assert.match(got?.bytes.toString('latin1') ?? '', /^Content-Type: multipart\/report/m);
});

async function swaks(mechanism: string, password: string, from: string, ...more: readonly string[]) {
  const { address, port } = server.gateway;
  const args = [
    '--server',
    `${address}:${port}`,
    '--local-interface',
    from,
    '--helo',
    'mail.contoso.example',
  ];
  const login = ['--auth', mechanism, '--auth-user', 'mail.contoso.example', '--auth-password', password];
  const mail = ['--from', user.address, '--to', bob.address, '--timeout', '20'];
  const child = spawn('swaks', [...args, ...login, ...mail, ...more], { stdio: ['ignore', 'pipe', 'pipe'] });
  const parts: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => parts.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, transcript: Buffer.concat(parts).toString() };
}

for (const mechanism of ['PLAIN', 'LOGIN']) {
  test(`auth: swaks logs in with ${mechanism}`, async () => {
    const before = lab.internet.messages().length;
    const { code, transcript } = await swaks(mechanism, PASSWORD, SERVER, '--tls');
    assert.equal(code, 0, transcript);
    await lab.internet.waitForMessage(before + 1);
    assert.match(transcript, /250[- ]AUTH PLAIN LOGIN/);
  });
}

test('auth: a wrong password is refused, and nothing else is offered without TLS or from elsewhere', async () => {
  const wrong = await swaks('PLAIN', 'guess', SERVER, '--tls');
  assert.match(wrong.transcript, /535 5\.7\.8 /);
  assert.notEqual(wrong.code, 0);
  for (const refused of [
    await swaks('PLAIN', PASSWORD, SERVER),
    await swaks('PLAIN', PASSWORD, ELSEWHERE, '--tls'),
  ]) {
    assert.notEqual(refused.code, 0);
    assert.doesNotMatch(refused.transcript, /250[- ]AUTH|235 /);
  }
  const log = records.join('');
  assert.match(log, /"event":"smtp-login"/);
  assert.doesNotMatch(log, /canary|guess/);
});

// The doctor against the lab: a right installation has no failure; each fault is named, with what to do. Real sockets, real
// DNS, real files.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemClock } from '../../src/core/clock.ts';
import type { Check } from '../../src/doctor/check.ts';
import { examine } from '../../src/doctor/doctor.ts';
import { serverAndClient, type TlsIdentity } from '../../src/lab/certificates.ts';
import type { DnsZones } from '../../src/lab/dns.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import { openLab } from '../../src/lab/world.ts';

const DAY_MS = 86_400_000;
const DKIM = 'v=DKIM1; k=rsa; p=MIIBIjANBgkq';
const SPF = 'v=spf1 include:spf.protection.outlook.com ip4:127.0.0.1 -all';

/** Records as a finished installation has them. */
function rightZones(domain: string): DnsZones {
  return {
    [domain]: { MX: [[10, 'gw.example']], TXT: [SPF] },
    [`selector1._domainkey.${domain}`]: { CNAME: `selector1.dkim.${domain}` },
    [`selector1.dkim.${domain}`]: { TXT: [DKIM] },
    [`_dmarc.${domain}`]: { TXT: ['v=DMARC1; p=reject'] },
  };
}
const zones: DnsZones = {
  ...rightZones('contoso.example'),
  ...rightZones('fabrikam.example'),
  'spf.protection.outlook.com': { TXT: ['v=spf1 ip4:127.0.0.40 -all'] },
  '1.0.0.127.in-addr.arpa': { PTR: ['gw.example'] },
};

process.env['POSTERN_TEST_IN'] = 'inbound-token-of-contoso';
process.env['POSTERN_TEST_OUT'] = 'outbound-token-of-contoso';

await using stack = new AsyncDisposableStack();
const lab = stack.use(await openLab({ zones }));
const gateway = stack.use(await openLabGateway(lab, { port: await freePort() }));
const { config, folder } = gateway;
const open = stack.move();
after(() => open.disposeAsync());

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const look = (file = config.file) => examine(file, { clock: systemClock });
const named = (checks: readonly Check[], name: string): Check => {
  const found = checks.find((check) => check.name === name);
  assert.ok(found, `${name} among ${checks.map((check) => check.name).join(', ')}`);
  return found;
};
const failures = (checks: readonly Check[]) =>
  checks.flatMap(({ name, state }) => (state === 'fail' ? [name] : []));

/** Changes files for one look, and puts them back. */
async function withFiles<T>(changes: Readonly<Record<string, string>>, run: () => Promise<T>): Promise<T> {
  const before = Object.keys(changes).map(
    (name) => [name, readFileSync(join(folder, name), 'utf8')] as const,
  );
  for (const [name, text] of Object.entries(changes)) writeFileSync(join(folder, name), text);
  try {
    return await run();
  } finally {
    for (const [name, text] of before) writeFileSync(join(folder, name), text);
  }
}

const text = (name: string) => readFileSync(join(folder, name), 'utf8');
const asFiles = (name: string, { key, cert }: Pick<TlsIdentity, 'key' | 'cert'>) => ({
  [`keys/${name}.key`]: key,
  [`keys/${name}.crt`]: cert,
});

test('everything right, the gateway runs: no failure, and what was found is said', async () => {
  const checks = await look();
  assert.deepEqual(failures(checks), [], JSON.stringify(checks, undefined, 2));
  for (const [name, found] of [
    ['policies', /contoso, fabrikam/],
    ['mx contoso.example', /MX gw\.example/],
    ['spf contoso.example', /one record, look-ups: 1/],
    ['dkim contoso.example', /selector1/],
    ['dmarc contoso.example', /p=reject/],
    ['mta-sts contoso.example', /no MTA-STS/],
    ['gateway address', /127\.0\.0\.1 and back/],
    ['tlsa', /no TLSA record/],
    ['leg contoso', /TLS with a verified name/],
    ['listener', /answers, TLS as gw\.example/],
    ['gateway', /process \d+, tenants contoso, fabrikam/],
    ['key store', /0 keys/],
    ['queue', /0 messages wait/],
    ['recipients', /no recipients directory/],
    ['separate certificates', /no two legs share a name/],
    ['disk space', /MiB free/],
    ['kek', /readable by this user alone/],
  ] as const) {
    const check = named(checks, name);
    assert.equal(check.state, 'ok', `${name}: ${check.found}`);
    assert.match(check.found, found);
    assert.equal(check.advice, '');
  }
  // The lab's certificates live for days.
  assert.match(named(checks, 'listener certificate').found, /^valid until \S+, \d days$/);
  assert.equal(named(checks, 'dns contoso.onmicrosoft.example').state, 'skipped');
});

test('no mail was sent, and nothing was asked of the tenant beyond TLS', () => {
  assert.equal(lab.exchange.sinkOf('contoso').length, 0);
});

test('faults in certificates: expired, incomplete, foreign name, two tenants with one name, no key of it', async () => {
  const expired = await lab.publicCa.issue({
    ...serverAndClient('gw.example'),
    notBefore: new Date(Date.now() - 9 * DAY_MS),
    notAfter: new Date(Date.now() - 2 * DAY_MS),
  });
  const other = await lab.publicCa.issue(serverAndClient('other.example'));
  const clientOnly = await lab.publicCa.issue({
    commonName: 'gw.example',
    dnsNames: ['gw.example'],
    extendedKeyUsage: ['clientAuth'],
  });
  const rogue = await lab.rogueCa.issue(serverAndClient('gw.example'));
  const { contoso, fabrikam } = lab.identities.tenantClient;
  for (const [changes, name, found, advice] of [
    [
      asFiles('gateway', expired),
      'listener certificate',
      /^expired on \S+$/,
      /^Put a new certificate .*gateway\.crt/,
    ],
    [
      { 'keys/tenant-contoso.crt': contoso.leafOnly },
      'leg certificate contoso',
      /chain is incomplete: the certificate of .*public intermediate is missing/,
      /Append the intermediate certificates/,
    ],
    [
      asFiles('gateway', other),
      'listener certificate',
      /other\.example, not gw\.example/,
      /certificate for gw\.example/,
    ],
    [asFiles('gateway', clientOnly), 'listener certificate', /serverAuth/, /clients refuse/],
    [asFiles('gateway', rogue), 'listener certificate', /chain is incomplete/, /intermediate/],
    [
      asFiles('tenant-fabrikam', contoso),
      'separate certificates',
      /same name/,
      /Each tenant needs a certificate with a name of its own/,
    ],
    [
      { 'keys/gateway.key': fabrikam.key },
      'listener certificate',
      /does not belong/,
      /key of this certificate/,
    ],
    [{ 'keys/gateway.crt': 'none' }, 'listener certificate', /holds no certificate/, /Put the certificate/],
  ] as const) {
    const check = named(await withFiles(changes, () => look()), name);
    assert.equal(check.state, 'fail', `${name}: ${check.found}`);
    assert.match(check.found, found);
    assert.match(check.advice, advice);
  }
});

test('faults in the DNS: wrong MX, two SPF records, wrong TLSA, no address, no answer', async () => {
  for (const [zone, name, state, found, advice] of [
    [
      { 'contoso.example': { MX: [[10, 'mx.remote.example']], TXT: [SPF] } },
      'mx contoso.example',
      'fail',
      /mx\.remote\.example/,
      /lead to gw\.example/,
    ],
    [{ 'contoso.example': { TXT: [SPF] } }, 'mx contoso.example', 'warn', /no MX/, /lead to gw\.example/],
    [
      { 'contoso.example': { A: ['127.0.0.10'], TXT: [SPF] } },
      'mx contoso.example',
      'fail',
      /MX contoso\.example/,
      /lead to gw\.example/,
    ],
    [
      { 'contoso.example': { MX: [[10, 'contoso-example.mail.protection.outlook.example']], TXT: [SPF] } },
      'mx contoso.example',
      'warn',
      /outlook\.example/,
      /does not pass the gateway yet/,
    ],
    [
      { 'contoso.example': { MX: [[10, 'gw.example']], TXT: [SPF, SPF] } },
      'spf contoso.example',
      'fail',
      /2 SPF records/,
      /Make one/,
    ],
    [
      {
        'contoso.example': {
          MX: [[10, 'gw.example']],
          TXT: ['v=spf1 include:spf.protection.outlook.com -all'],
        },
      },
      'spf contoso.example',
      'warn',
      /does not allow 127\.0\.0\.1/,
      /Add ip4:127\.0\.0\.1/,
    ],
    [{ 'contoso.example': 'servfail' }, 'mx contoso.example', 'warn', /no answer/, /resolvers/],
    [
      {
        '_25._tcp.gw.example': {
          TLSA: [{ usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32) }],
        },
      },
      'tlsa',
      'fail',
      /none of 1 TLSA records/,
      /Publish 3 1 1 [0-9a-f]{64}/,
    ],
    [{ 'gw.example': {} }, 'gateway address', 'fail', /no address/, /Publish A/],
  ] as const satisfies readonly (readonly [DnsZones, string, string, RegExp, RegExp])[]) {
    lab.dns.put(zone);
    const check = named(await look(), name);
    lab.dns.put({ ...zones, 'gw.example': { A: ['127.0.0.1'] }, '_25._tcp.gw.example': {} });
    assert.equal(check.state, state, `${name}: ${check.found}`);
    assert.match(check.found, found);
    assert.match(check.advice, advice);
  }
});

test('a TLSA record that matches is good', async () => {
  const advice = async (certificate: Buffer) => {
    lab.dns.put({
      '_25._tcp.gw.example': { TLSA: [{ usage: 3, selector: 1, matchingType: 1, certificate }] },
    });
    return named(await look(), 'tlsa');
  };
  const wrong = await advice(Buffer.alloc(32));
  const [, digest = ''] = /3 1 1 ([0-9a-f]{64})/.exec(wrong.advice) ?? [];
  const right = await advice(Buffer.from(digest, 'hex'));
  lab.dns.put({ '_25._tcp.gw.example': {} });
  assert.equal(right.state, 'ok');
});

test('a full disk, a leg that nobody answers, a server with another name, a folder for all', async () => {
  const policy = text('policies/contoso.yaml');
  const site = text('postern.yaml');
  for (const [changes, name, found, advice] of [
    [
      { 'postern.yaml': site.replace('min_free_bytes: 1', 'min_free_bytes: 9007199254740991') },
      'disk space',
      /less than queue\.min_free_bytes/,
      /Make room/,
    ],
    [
      { 'policies/contoso.yaml': policy.replace(/host: \S+/, 'host: dead.two-mx.example') },
      'leg contoso',
      /not reachable.*ECONNREFUSED/,
      /firewall/,
    ],
    [
      { 'policies/contoso.yaml': policy.replace(/host: \S+/, 'host: nowhere.example') },
      'leg address contoso',
      /no address/,
      /tenant\.leg\.host/,
    ],
    [
      { 'policies/contoso.yaml': policy.replace(/(host: \S+)/, '$1\n    server_name: wrong.example') },
      'leg contoso',
      /TLS/,
      /certificate for wrong\.example/,
    ],
    [
      { 'policies/contoso.yaml': policy.replace('outbound:', 'outbuond:') },
      'policies',
      /contoso\.yaml:\d+:\d+: .*outbuond/,
      /policy check/,
    ],
  ] as const) {
    const check = named(await withFiles(changes, () => look()), name);
    assert.equal(check.state, 'fail', `${name}: ${check.found}`);
    assert.match(check.found, found);
    assert.match(check.advice, advice);
  }
  chmodSync(config.dataFolder, 0o755);
  const check = named(await look(), 'data folder');
  chmodSync(config.dataFolder, 0o700);
  assert.equal(check.state, 'fail');
  assert.match(check.advice, /chmod 700/);
});

test('a smart host is reached, with its certificate checked, without a login', async () => {
  const site = text('postern.yaml');
  const withHost = (lines: string) =>
    `${site}smarthost:\n  host: mx.remote.example\n  port: ${lab.mxPort}\n${lines}`;
  for (const [lines, state] of [
    [`  ca: ${join(folder, 'keys/public-ca.crt')}\n`, 'ok'],
    ['', 'fail'],
    ['  tls: opportunistic\n', 'ok'],
  ] as const) {
    const checks = await withFiles({ 'postern.yaml': withHost(lines) }, () => look());
    assert.equal(named(checks, 'smarthost').state, state, named(checks, 'smarthost').found);
  }
  assert.deepEqual(lab.internet.messages(), []);
});

test('a configuration that cannot be read or used is the one failure', async () => {
  const checks = await look(join(folder, 'none.yaml'));
  assert.deepEqual(failures(checks), ['configuration']);
  const site = text('postern.yaml').replace(/resolvers: .*/, 'resolvers: [ns.example]');
  assert.deepEqual(failures(await withFiles({ 'postern.yaml': site }, () => look())), ['resolvers']);
});

test('loop-back: the MX stays at Microsoft, and the certificate has an accepted domain as name', async () => {
  const domain = 'contoso.example';
  const spf = 'v=spf1 include:spf.protection.outlook.com -all';
  const atMicrosoft: DnsZones = {
    [domain]: { MX: [[0, 'contoso-example.mail.protection.outlook.example']], TXT: [spf] },
  };
  await using other = await openLab({ connectors: 'on-premises', zones: { ...zones, ...atMicrosoft } });
  const tenant = 'loop_back: { inbound_token: env:POSTERN_TEST_IN, outbound_token: env:POSTERN_TEST_OUT }';
  await using server = await openLabGateway(other, { tenant });
  const right = await look(server.config.file);
  assert.deepEqual(failures(right), [], JSON.stringify(right, undefined, 2));
  assert.equal(named(right, 'mx contoso.example').state, 'ok');
  assert.equal(named(right, 'spf contoso.example').state, 'ok');
  assert.equal(named(right, 'mx gw.contoso.example').state, 'warn');
  other.dns.put(rightZones(domain));
  const wrong = named(await look(server.config.file), 'mx contoso.example');
  assert.equal(wrong.state, 'fail');
  assert.match(wrong.advice, /the MX stays at Microsoft/);
});

async function postern(...args: readonly string[]) {
  const child = spawn(process.execPath, ['src/main.ts', 'doctor', '--config', config.file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const out: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => out.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout: Buffer.concat(out).toString() };
}

test('the command: a table with advice and exit code 0, JSON, exit code 1 where something failed', async () => {
  const good = await postern();
  assert.equal(good.code, 0, good.stdout);
  assert.match(good.stdout, /^ok {7}configuration .*postern\.yaml\n/);
  assert.match(good.stdout, /\n +-> Renew it/);
  assert.match(good.stdout, /\d+ checks: 0 failed, \d+ warnings\n$/);
  lab.dns.put({ 'contoso.example': { MX: [[10, 'mx.remote.example']], TXT: [SPF] } });
  const bad = await postern('--json');
  lab.dns.put(zones);
  assert.equal(bad.code, 1);
  const { failed, checks } = JSON.parse(bad.stdout) as { failed: number; checks: Check[] };
  assert.equal(failed, 1);
  assert.equal(named(checks, 'mx contoso.example').state, 'fail');
});

test('no gateway runs: the key store is opened, the queue left alone, and the gateway can start after it', async () => {
  await gateway.gateway[Symbol.asyncDispose]();
  const checks = await look();
  assert.deepEqual(failures(checks), []);
  assert.match(named(checks, 'key store').found, /0 keys/);
  for (const name of ['gateway', 'queue', 'recipients', 'listener'])
    assert.equal(named(checks, name).state, 'skipped');
  const kek = config.kek.slice('file:'.length);
  const good = readFileSync(kek);
  writeFileSync(kek, Buffer.alloc(32, 1));
  const wrong = named(await look(), 'key store');
  writeFileSync(kek, good);
  assert.equal(wrong.state, 'fail');
  assert.match(wrong.found, /KEK is not the one/);
  await gateway.restart();
  assert.equal(named(await look(), 'gateway').state, 'ok');
});

// `postern lab --policy` as an operator runs it: a policy of their own, with keys and certificates that other software
// trusts and the lab does not. The child may connect to loopback alone.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { createTestCa } from '../../src/lab/ca.ts';
import { openAuthority, serverAndClient } from '../../src/lab/certificates.ts';
import { writeIdentity, writePersonFiles } from '../../src/lab/gateway-files.ts';
import { makePerson } from '../../src/lab/people.ts';
import { copyPolicy, readOwnPolicy } from '../../src/lab/policy-copy.ts';
import { openPolicyRehearsal } from '../../src/lab/policy-rehearsal.ts';
import type { RehearsalRow } from '../../src/lab/rehearsal-rows.ts';
import type { SetUpReport } from '../../src/lab/set-ups.ts';

const root = mkdtempSync(join(tmpdir(), 'postern-rehearsal-test-'));
after(() => rmSync(root, { recursive: true, force: true }));
const site = join(root, 'site');
const temporary = join(root, 'tmp');
for (const folder of [site, temporary]) mkdirSync(folder);

const POLICY = `version: 1
tenant:
  id: 12345678-aaaa-4bbb-8ccc-123456789012
  name: Woodgrove
  domains: [woodgrove.test, woodgrove.onmicrosoft.test]
  proof:
    secrets: ['file:tenant.secret']
    secret: require
  leg:
    host: woodgrove-test.mail.protection.outlook.com
    certificate: leg.crt
    key: leg.key
keys:
  own:
    - for: ann@woodgrove.test
      smime: { certificate: ann@woodgrove.test.crt, key: ann@woodgrove.test.key }
      pgp: { key: ann@woodgrove.test.sec.asc }
  partners:
    - for: bob@remote.test
      smime: { certificate: bob@remote.test.crt }
    - for: x@partner.example
      pgp: { key: x@partner.example.pub.asc }
trust:
  anchors: [mail-ca.crt]
outbound:
  rules:
    - name: secure
      when: { subject_tag: '[secure]' }
      sign: smime
      encrypt: required
      formats: [smime]
    - name: never there
      when: { recipient: [freemail.test] }
      refuse: 'Use the portal.'
    - name: inside
      when: { recipient: [woodgrove.test] }
      sign: none
      encrypt: never
  otherwise: { sign: none, encrypt: when-possible, fallback: plain }
`;

async function writeSite(): Promise<void> {
  const authority = await openAuthority('an operator’s');
  await writeIdentity(
    site,
    'leg',
    await authority.issue(serverAndClient('woodgrove.gw.test', 'second.gw.test')),
  );
  const ca = await createTestCa('an operator’s mail root');
  writeFileSync(join(site, 'mail-ca.crt'), ca.certificatePem);
  for (const address of ['ann@woodgrove.test', 'bob@remote.test', 'x@partner.example'])
    await writePersonFiles(await makePerson(address, ca, ca.certificatePem), site);
  writeFileSync(join(site, 'tenant.secret'), 'a-secret-of-woodgrove-1', { mode: 0o600 });
  writeFileSync(join(site, 'policy.yaml'), POLICY);
}
await writeSite();

async function lab(...args: readonly string[]) {
  const guard = pathToFileURL(join(import.meta.dirname, '../support/loopback-only.ts')).href;
  const child = spawn(process.execPath, ['src/main.ts', 'lab', ...args], {
    env: { ...process.env, TMPDIR: temporary, NODE_OPTIONS: `--import ${guard}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { stdout, stderr, code: await closed };
}

const contents = () => readdirSync(site).map((name) => [name, readFileSync(join(site, name), 'latin1')]);

interface Report {
  readonly policy: { readonly tenant: string; readonly certificateNames: readonly string[] };
  readonly notes: readonly string[];
  readonly isGood: boolean;
  readonly messages: readonly RehearsalRow[];
  readonly rulesWithoutMessage: readonly { readonly rule: string; readonly reason: string }[];
  readonly setUps: readonly SetUpReport[];
}

const SMIME = 'encrypted (S/MIME); internet leg, no certificate';
const CLEAR = 'clear; internet leg, no certificate';
const ROWS = [
  ['to the partner bob@remote.test', '250', 'otherwise', SMIME, 'MX of remote.test: TLSv1.3'],
  [
    'to the partner x@partner.example',
    '250',
    'otherwise',
    'encrypted (OpenPGP); internet leg, no certificate',
    'Exchange Online: incoming partner, external',
  ],
  ['to an unknown address', '250', 'otherwise', CLEAR, 'MX of unknown.example: TLSv1.3'],
  ['for the rule secure', '250', 'secure', `signed, ${SMIME}`, 'MX of remote.test: TLSv1.3'],
  ['for the rule never there', '550', 'never there', 'not sent', 'the sender gets an NDR'],
  [
    'from the Internet',
    '250',
    'inbound',
    'clear; tenant leg, certificate woodgrove.gw.test',
    'Exchange Online: incoming own tenant, external',
  ],
  ['a report of Exchange (NDR)', '250', 'class:system', CLEAR, 'MX of unknown.example: TLSv1.3'],
  ['an out-of-office reply', '250', 'class:system', CLEAR, 'MX of unknown.example: TLSv1.3'],
  ['a hostile tenant in the name of a user', '550', '-', 'not sent', 'nothing'],
  ['the same, if it could forge all stamps', '550', '-', 'not sent', 'nothing'],
];
const cells = ({ message, answer, rule, left, seen }: RehearsalRow) => [
  message,
  answer.slice(0, 3),
  rule,
  left,
  seen,
];

test('an operator’s policy: what becomes of each message, and the set-ups with its names', async () => {
  const before = contents();
  const { code, stdout, stderr } = await lab('--policy', join(site, 'policy.yaml'), '--json');
  assert.equal(code, 0, stdout + stderr);
  const report = JSON.parse(stdout) as Report;
  assert.equal(report.policy.tenant, '12345678-aaaa-4bbb-8ccc-123456789012');
  assert.deepEqual(report.messages.map(cells), ROWS);
  assert.match(report.messages[4]?.told ?? '', /^550 5\.7\.1 Use the portal\./);
  assert.deepEqual(
    report.rulesWithoutMessage.map(({ rule }) => rule),
    ['inside'],
  );
  assert.match(
    report.notes.join('\n'),
    /private keys that are read and used, in the lab's folder: ann@woodgrove\.test$/m,
  );
  const [right, ...wrong] = report.setUps;
  assert.deepEqual(
    right?.rows.map(({ certificate, attributed }) => [certificate, attributed]),
    [
      ['none', 'incoming partner'],
      ['bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb.t.gw.example', 'incoming fabrikam'],
      ['woodgrove.gw.test', 'incoming own tenant'],
    ],
  );
  assert.equal(wrong.length, 6);
  assert.match(
    wrong[0]?.rows[0]?.answer ?? '',
    /client certificate with the same name dns:woodgrove\.gw\.test/,
  );
  assert.ok(report.isGood && report.setUps.every(({ isAsDescribed }) => isAsDescribed));
  assert.match(stderr, /^message 1 of 10: to the partner bob@remote\.test$/m);
  assert.doesNotMatch(stdout + stderr, /a-secret-of-woodgrove/);
  // Nothing is left behind, and the operator's folder is as it was.
  assert.deepEqual(readdirSync(temporary), []);
  assert.deepEqual(contents(), before);
});

test('a policy under which the tenant’s own mail is refused is told as bad, exit code 1', async () => {
  const file = join(site, 'disabled.yaml');
  writeFileSync(file, POLICY.replace('name: Woodgrove', 'name: Woodgrove\n  enabled: false'));
  const { code, stdout } = await lab('--policy', file);
  rmSync(file);
  assert.equal(code, 1);
  assert.match(stdout, /^! +to an unknown address +550 5\.7\.1 +- +not sent +the sender gets an NDR$/m);
  assert.match(stdout, /^to an unknown address: ! refused before any rule/m);
  assert.match(stdout, /^wrong-6 +another gateway|^ +wrong-6 +another gateway/m);
  assert.match(stdout, /^Not everything went as it must/m);
  assert.deepEqual(readdirSync(temporary), []);
});

test('stamps that could be forged are told where neither signature nor secret is required', async () => {
  const file = join(site, 'stamps.yaml');
  writeFileSync(file, POLICY.replace('secret: require', 'secret: observe'));
  const read = await readOwnPolicy(file, new Date());
  rmSync(file);
  assert.ok('own' in read, JSON.stringify(read));
  await using rehearsal = await openPolicyRehearsal(read.own);
  const mail = rehearsal.plan.messages.find(({ forged }) => forged !== undefined);
  assert.ok(mail);
  const { answer, notes, problems } = await rehearsal.run(mail);
  assert.match(answer, /^250 /);
  assert.deepEqual([notes.length, problems], [1, []]);
});

test('problems of the policy are those of `policy check`, exit code 1', async () => {
  const file = join(site, 'wrong.yaml');
  writeFileSync(
    file,
    POLICY.replace('encrypt: required', 'encript: required').replace('leg.crt', 'gone.crt'),
  );
  const { code, stdout } = await lab('--policy', file);
  rmSync(file);
  assert.equal(code, 1);
  assert.match(stdout, /wrong\.yaml:30:7: unknown key "encript"; did you mean "encrypt"\?/);
  const gone = join(site, 'gone.yaml');
  writeFileSync(gone, POLICY.replace('leg.crt', 'gone.crt'));
  const result = await readOwnPolicy(gone, new Date());
  rmSync(gone);
  assert.ok('problems' in result);
  assert.deepEqual(
    result.problems.map(({ message }) => message),
    ['leg certificate: gone.crt cannot be read: there is no such file'],
  );
});

test('private keys that are somewhere else: lab keys stand in, and it says so', async () => {
  const file = join(site, 'elsewhere.yaml');
  const moved = POLICY.replace('key: leg.key', 'key: far/leg.key').replace(
    'key: ann@woodgrove.test.key',
    'key: far/ann.key',
  );
  writeFileSync(file, moved);
  const read = await readOwnPolicy(file, new Date());
  assert.ok('own' in read, JSON.stringify(read));
  const notes = read.own.notes.join('\n');
  assert.match(
    notes,
    /lab certificate for woodgrove\.gw\.test, second\.gw\.test: .* its key cannot be read here/,
  );
  assert.match(notes, /private key of ann@woodgrove\.test cannot be read here: a lab key stands in/);
  assert.doesNotMatch(notes, /are read and used/);
  await using rehearsal = await openPolicyRehearsal(read.own);
  const mail = rehearsal.plan.messages.find(({ rule }) => rule === 'secure');
  assert.ok(mail);
  const row = await rehearsal.run(mail);
  assert.deepEqual([row.left, row.problems], [`signed, ${SMIME}`, []]);
  rmSync(file);
});

test('a policy that delivers to a smart host: mail leaves over that leg', async () => {
  const file = join(site, 'smarthost.yaml');
  writeFileSync(file, POLICY.replace('outbound:\n', 'outbound:\n  deliver: smarthost\n'));
  const read = await readOwnPolicy(file, new Date());
  rmSync(file);
  assert.ok('own' in read, JSON.stringify(read));
  await using rehearsal = await openPolicyRehearsal(read.own);
  const [first] = rehearsal.plan.messages;
  assert.ok(first);
  const row = await rehearsal.run(first);
  assert.deepEqual([row.left, row.problems], ['encrypted (S/MIME); smarthost leg, no certificate', []]);
});

test('no-directory: neither the operator’s directory nor on-premises servers are part of it', async () => {
  const file = join(site, 'directory.yaml');
  const sections = `  recipients: { microsoft_graph: { client_id: 00001111-aaaa-2222-bbbb-3333cccc4444, secret: 'file:tenant.secret' } }
  on_premises: { networks: [192.0.2.0/24], certificates: [leg.crt] }
  leg:`;
  writeFileSync(file, POLICY.replace('  leg:', sections));
  const read = await readOwnPolicy(file, new Date());
  rmSync(file);
  assert.ok('own' in read, JSON.stringify(read));
  assert.match(read.own.notes.join('\n'), /recipients are not looked up[^]*no on-premises servers/);
  const identity = { key: 'k', cert: 'c' };
  const places = { port: 25, leg: identity, ca: 'ca', standIns: new Map() };
  assert.doesNotMatch(copyPolicy(read.own, places), /microsoft_graph|on_premises|192\.0\.2/);
  await using rehearsal = await openPolicyRehearsal(read.own);
  const mail = rehearsal.plan.messages.find(({ by }) => by === 'Internet');
  assert.ok(mail);
  assert.deepEqual((await rehearsal.run(mail)).problems, []);
});

const TOKENS = `loop_back: { inbound_token: 'file:in.token', outbound_token: 'file:out.token' }`;
const BACK = 'Exchange Online: originating own tenant, sent on to the Internet';

test('loop-back: mail goes back to the tenant and on; a certificate name that is not accepted there stops reports', async () => {
  writeFileSync(join(site, 'in.token'), 'inbound-token-of-woodgrove', { mode: 0o600 });
  writeFileSync(join(site, 'out.token'), 'outbound-token-of-woodgrove', { mode: 0o600 });
  const loopBack = POLICY.replace('  leg:', `  ${TOKENS}\n  leg:`);
  const rowsWith = async (text: string) => {
    const file = join(site, 'loop.yaml');
    writeFileSync(file, text);
    const read = await readOwnPolicy(file, new Date());
    rmSync(file);
    assert.ok('own' in read, JSON.stringify(read));
    await using rehearsal = await openPolicyRehearsal(read.own);
    const rows: RehearsalRow[] = [];
    for (const mail of rehearsal.plan.messages) rows.push(await rehearsal.run(mail));
    return (title: string): RehearsalRow =>
      rows.find(({ message }) => message.includes(title)) ?? assert.fail(title);
  };
  const rowOf = await rowsWith(loopBack);
  const encrypted = 'encrypted (S/MIME); tenant leg, certificate woodgrove.gw.test';
  assert.deepEqual([rowOf('bob').left, rowOf('bob').seen, rowOf('bob').problems], [encrypted, BACK, []]);
  const fromOutside = rowOf('from the Internet');
  assert.deepEqual(
    [fromOutside.seen, fromOutside.problems],
    ['Exchange Online: originating own tenant, external', []],
  );
  const reply = rowOf('out-of-office');
  assert.deepEqual([reply.seen, reply.problems], ['the rules except it', []]);
  const report = rowOf('NDR');
  assert.match(report.seen, /^Exchange Online refused it: 550 5\.7\.64 /);
  assert.deepEqual(report.problems, ['Exchange Online refused it']);
  const accepted = await rowsWith(loopBack.replace('domains: [', 'domains: [woodgrove.gw.test, '));
  assert.deepEqual([accepted('NDR').seen, accepted('NDR').problems], [BACK, []]);
});

test('--policy goes alone', async () => {
  const { code, stderr } = await lab('--policy', join(site, 'policy.yaml'), '--no-gateway');
  assert.equal(code, 2);
  assert.match(stderr, /--policy goes without --no-gateway and --port/);
});

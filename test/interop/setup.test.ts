// `postern setup exchange` as a person uses it: the real command on the files of a gateway.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { writeLabGateway } from '../../src/lab/lab-gateway.ts';
import { openTemporaryFolder } from '../../src/lab/temporary-folder.ts';
import { openLab } from '../../src/lab/world.ts';
import { tokenize } from '../support/powershell.ts';

process.env['POSTERN_TEST_IN'] = 'inbound-token-of-contoso';
process.env['POSTERN_TEST_OUT'] = 'outbound-token-of-contoso';

await using stack = new AsyncDisposableStack();
const lab = stack.use(await openLab());
const { path: folder } = stack.use(await openTemporaryFolder('postern-setup-'));
const config = await writeLabGateway(lab, folder);
const policy = join(folder, 'policies/contoso.yaml');
const secret = lab.secrets.contoso;
const open = stack.move();
after(() => open.disposeAsync());

async function setup(...args: readonly string[]) {
  const child = spawn(
    process.execPath,
    ['src/main.ts', 'setup', 'exchange', ...args, '--config', config.file],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (part: Buffer) => out.push(part));
  child.stderr.on('data', (part: Buffer) => err.push(part));
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

test('the script names gateway, certificate, tenant and domains of the files, and holds no secret', async () => {
  const { code, stdout } = await setup(policy);
  assert.equal(code, 0);
  tokenize(stdout);
  for (const part of [
    "SmartHosts = @('gw.example')",
    "TlsSenderCertificateName = '11111111-2222-3333-4444-555555555555.t.gw.example'",
    "$tenantId = '11111111-2222-3333-4444-555555555555'",
    "$declared = @('contoso.example', 'contoso.onmicrosoft.example')",
    "$sealer = 'gw.example'",
    'topology inline',
  ])
    assert.ok(stdout.includes(part), part);
  assert.ok(!stdout.includes(secret));
});

test('--with-secrets prints the secret that the policy names first', async () => {
  const { code, stdout } = await setup(policy, '--with-secrets');
  assert.equal(code, 0);
  assert.ok(stdout.includes(`$tenantAuth = '${secret}'`));
  assert.match(stdout, /THIS FILE HOLDS SECRETS/);
});

test('--json gives the steps one by one', async () => {
  const { code, stdout } = await setup(policy, '--json', '--arc-sealer', 'seal.gw.example');
  assert.equal(code, 0);
  const value = JSON.parse(stdout) as { purpose: string; topology: string; steps: { title: string }[] };
  assert.equal(value.purpose, 'set-up');
  assert.equal(value.topology, 'inline');
  assert.equal(value.steps[0]?.title, 'connect');
});

test('--rollback, --verify and --pilot', async () => {
  for (const [option, expected] of [
    ['--rollback', /Takes the set-up for the gateway gw\.example/],
    ['--verify', /Compares Exchange Online with the set-up/],
  ] as const) {
    const { code, stdout } = await setup(policy, option);
    assert.equal(code, 0);
    assert.match(stdout, expected);
  }
  const pilot = await setup(policy, '--pilot', 'contoso.example');
  assert.match(pilot.stdout, /AssociatedAcceptedDomains = @\('contoso\.example'\)/);
});

test('a policy with loop_back: that topology, the name that is an accepted domain, both tokens only on request', async () => {
  await using other = await openLab({ connectors: 'on-premises' });
  await using files = await openTemporaryFolder('postern-setup-');
  await writeLabGateway(other, files.path, {
    tenant: 'loop_back: { inbound_token: env:POSTERN_TEST_IN, outbound_token: env:POSTERN_TEST_OUT }',
  });
  const file = join(files.path, 'policies/contoso.yaml');
  const { code, stdout } = await setup(file);
  assert.equal(code, 0);
  assert.match(stdout, /topology loop-back/);
  assert.ok(stdout.includes("TlsSenderCertificateName = 'gw.contoso.example'"));
  assert.doesNotMatch(stdout, /token-of-contoso/);
  const open = await setup(file, '--with-secrets');
  assert.ok(open.stdout.includes("$inboundToken = 'inbound-token-of-contoso'"));
  assert.ok(open.stdout.includes("$outboundToken = 'outbound-token-of-contoso'"));
  const inline = await setup(file, '--topology', 'inline');
  assert.equal(inline.code, 4);
  assert.match(inline.stderr, /has tenant\.loop_back/);
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace(', gw.contoso.example', ''));
  const unnamed = await setup(file);
  assert.equal(unnamed.code, 4);
  assert.match(unnamed.stderr, /has no name that is in tenant\.domains/);
});

test('wrong use, a policy with a problem, a topology that does not fit the certificate', async () => {
  for (const [args, expectedCode, expected] of [
    [[policy, '--topology', 'ring'], 2, /--topology is inline or loop-back, not ring/],
    [[policy, '--rollback', '--verify'], 2, /two scripts/],
    [[policy, '--rollback', '--with-secrets'], 2, /set-up script only/],
    [[policy, '--pilot', 'not a domain'], 2, /not a domain name/],
    [[policy, '--pilot', 'remote.example'], 4, /remote\.example is not one of tenant\.domains/],
    [[policy, '--topology', 'loop-back'], 4, /has no tenant\.loop_back/],
    [[], 2, /missing argument/],
  ] as const) {
    const { code, stdout, stderr } = await setup(...args);
    assert.equal(code, expectedCode, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, expected);
  }
  const broken = join(folder, 'broken.yaml');
  writeFileSync(broken, readFileSync(policy, 'utf8').replace('outbound:', 'outbuond:'));
  const { code, stderr } = await setup(broken);
  assert.equal(code, 1);
  assert.match(stderr, /broken\.yaml:\d+:\d+: .*outbuond/);
});

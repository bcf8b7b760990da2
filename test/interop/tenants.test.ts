// Several tenants on one gateway: what is counted for whom, limits of one that do not touch another, suspension.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openLog } from '../../src/core/log.ts';
import { openLabGateway } from '../../src/lab/lab-gateway.ts';
import type { HostedTenantName } from '../../src/lab/lab-tenants.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import { openLab } from '../../src/lab/world.ts';

const lab = await openLab();
const records: string[] = [];
const server = await openLabGateway(lab, {
  tenant: 'limits: { messages_per_hour: 3, system_per_hour: 1 }',
  proof: 'secret: observe',
  config: 'metrics: { port: 0 }',
  environment: { log: openRecordingLog() },
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

async function send(
  tenant: HostedTenantName,
  how: { readonly isSigned?: boolean; readonly template?: 'oof' } = {},
) {
  const from = `user@${tenant}.example`;
  const to = ['bob@remote.example'];
  const message = sampleMessage('plain', { from, to, subject: 'canary-subject' });
  const dkim = how.isSigned ? { dkim: lab.dkimKey(`${tenant}.example`) } : {};
  const template = how.template ? { template: how.template } : {};
  const { recipients } = await lab.sendFromTenant(tenant, { from, to, message, ...dkim, ...template });
  return `${recipients[0]?.code} ${recipients[0]?.text}`;
}

function openRecordingLog() {
  return openLog('info', { write: (line) => void records.push(line) });
}

async function metrics(path = '/metrics', method = 'GET') {
  const served = records.map((line) => JSON.parse(line) as Record<string, unknown>);
  const port = served.find(({ event }) => event === 'metrics-served')?.['port'];
  const response = await fetch(`http://127.0.0.1:${String(port)}${path}`, { method });
  return { status: response.status, text: await response.text() };
}

const limited = /^451 4\.7\.1 The organization is at its limit/;

test('what is observed is counted for its tenant, for the operator and for Prometheus', async () => {
  assert.match(await send('contoso', { isSigned: true }), /^250 /);
  assert.match(await send('contoso'), /^250 /);
  assert.match(await send('fabrikam', { isSigned: true }), /^250 /);
  const [contoso, fabrikam] = await server.gateway.operations.listTenants();
  assert.deepEqual(
    [contoso?.proven, contoso?.conditions],
    [
      2,
      {
        C3: { mode: 'off', observed: 0 },
        C8: { mode: 'observe', observed: 1 },
        C9: { mode: 'observe', observed: 0 },
      },
    ],
  );
  assert.deepEqual([fabrikam?.proven, fabrikam?.conditions.C8.observed], [1, 0]);
  const { text } = await metrics();
  assert.match(text, /^postern_proof_total\{tenant="contoso",class="user"\} 2$/m);
  assert.match(text, /^postern_proof_observed_total\{tenant="contoso",condition="C8"\} 1$/m);
  assert.match(text, /^postern_copies_total\{tenant="fabrikam",direction="outbound",encrypted="no"\} 1$/m);
  assert.match(text, /^postern_queued_copies\{tenant="contoso"\} \d+$/m);
  assert.doesNotMatch(text, /condition="C9"|canary|user@/);
});

test('the page of counters is one page, to be read', async () => {
  assert.equal((await metrics('/')).status, 404);
  assert.equal((await metrics('/metrics', 'POST')).status, 404);
});

test('a tenant at its limit gets a temporary answer; the other one does not notice', async () => {
  assert.match(await send('contoso', { template: 'oof' }), /^250 /);
  assert.match(await send('contoso', { template: 'oof' }), limited);
  assert.match(await send('contoso'), limited);
  for (let count = 0; count < 4; count += 1) assert.match(await send('fabrikam'), /^250 /);
  assert.match((await metrics()).text, /^postern_refused_total\{reason="tenant-limit"\} 2$/m);
});

test('a tenant is suspended by its policy, at once, and only it', async () => {
  const file = join(server.folder, 'policies/contoso.yaml');
  const policy = await readFile(file, 'utf8');
  await writeFile(file, policy.replace('\n  domains:', '\n  enabled: false\n  domains:'));
  await server.gateway.operations.applyPolicies();
  assert.match(await send('contoso'), /^550 5\.7\.1 .*Service is suspended/);
  assert.match(await send('fabrikam'), /^250 /);
  const [contoso] = await server.gateway.operations.listTenants();
  assert.equal(contoso?.state, 'suspended');
});

test('counts survive a restart', async () => {
  await server.restart();
  const [contoso] = await server.gateway.operations.listTenants();
  assert.equal(contoso?.proven, 5);
});

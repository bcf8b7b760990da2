// Recipients directories through the real gateway: what a client is told at RCPT, with real LDAP and simulated Graph.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { type Log, openLog } from '../../src/core/log.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { openGraphServer } from '../../src/lab/graph-server.ts';
import { type LabGateway, type LabGatewayOptions, openLabGateway } from '../../src/lab/lab-gateway.ts';
import { sampleMessage } from '../../src/lab/messages.ts';
import type { SubmissionResult } from '../../src/lab/submission.ts';
import { openTemporaryFolder } from '../../src/lab/temporary-folder.ts';
import { openLab } from '../../src/lab/world.ts';
import { openSlapd } from '../support/slapd.ts';
import { ManualClock } from '../support/storage.ts';

const HOUR_MS = 3_600_000;
const PASSWORD = 'POSTERN_TEST_LDAP_PASSWORD';
const SECRET = 'POSTERN_TEST_GRAPH_SECRET';

const lab = await openLab();
const slapd = await openSlapd([
  { name: 'Ann', proxyAddresses: ['SMTP:ann@contoso.example', 'smtp:a.nn@contoso.example'] },
]);
const graph = await openGraphServer({
  tenant: lab.tenants.contoso.id,
  entries: { users: [{ id: 'u1', mail: 'bert@contoso.example' }] },
});
process.env[PASSWORD] = slapd.password;
process.env[SECRET] = graph.secret;
after(async () => {
  await slapd[Symbol.asyncDispose]();
  await graph[Symbol.asyncDispose]();
  await lab[Symbol.asyncDispose]();
});

const LDAP = `  ldap:
    url: ${slapd.ldapUrl}
    start_tls: true
    base: ${slapd.base}
    bind_dn: ${slapd.bindDn}
    password: env:${PASSWORD}
    ca: ../slapd.crt
    page_size: 1`;
const GRAPH = `  microsoft_graph:
    client_id: ${graph.clientId}
    secret: env:${SECRET}
    endpoint: ${graph.url}
    login: ${graph.url}`;

const section = (...lines: readonly string[]): string => ['recipients:', ...lines].join('\n');

interface Bench extends AsyncDisposable {
  readonly server: LabGateway;
  readonly clock: ManualClock;
  readonly logged: () => readonly string[];
}

async function openBench(tenant: string, more: Partial<LabGatewayOptions> = {}): Promise<Bench> {
  const clock = new ManualClock();
  const lines: string[] = [];
  const log: Log = openLog('debug', { write: (line) => void lines.push(line) });
  const folder = await openTemporaryFolder('postern-recipients-');
  writeFileSync(join(folder.path, 'slapd.crt'), slapd.ca);
  const server = await openLabGateway(lab, {
    tenant,
    folder: folder.path,
    environment: { clock, log },
    ...more,
  });
  return {
    server,
    clock,
    logged: () => lines,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** What each recipient is told last, and at which command. */
function answers(
  { recipients: results }: SubmissionResult,
  recipients: readonly string[],
): readonly string[] {
  return recipients.map((recipient) => {
    const result = results.find((each) => each.recipient === recipient);
    const enhanced = /^\d\.\d\.\d+/.exec(result?.text ?? '')?.[0] ?? '';
    return `${result?.code} ${enhanced} at ${result?.stage}`;
  });
}

async function told(...recipients: readonly string[]): Promise<readonly string[]> {
  const message = sampleMessage('plain', { from: 'x@isp.example', to: recipients });
  return answers(await lab.sendFromInternet({ sender: 'x@isp.example', recipients, message }), recipients);
}

const OK = '250 2.0.0 at data';
const UNKNOWN = '550 5.1.1 at rcpt';
const LATER = '451 4.3.0 at rcpt';

test('LDAP, Graph and a list together: known, alias, plus address, catch-all, postmaster; unknown 550 5.1.1', async () => {
  await using bench = await openBench(
    section('  list: [folder@contoso.example]', LDAP, GRAPH, '  catch_all: [contoso.onmicrosoft.example]'),
  );
  const status = await bench.server.gateway.operations.refreshRecipients();
  assert.deepEqual(
    status.map(({ tenant, source, state, addresses, failure }) => [
      tenant,
      source,
      state,
      addresses,
      failure,
    ]),
    [
      ['contoso', 'list', 'good', 1, null],
      ['contoso', 'ldap', 'good', 2, null],
      ['contoso', 'microsoft_graph', 'good', 1, null],
    ],
  );
  for (const [recipient, expected] of [
    ['ann@contoso.example', OK],
    ['A.NN@Contoso.Example', OK],
    ['ann+news@contoso.example', OK],
    ['bert@contoso.example', OK],
    ['folder@contoso.example', OK],
    ['postmaster@contoso.example', OK],
    ['anybody@contoso.onmicrosoft.example', OK],
    ['nobody@contoso.example', UNKNOWN],
    ['nobody@fabrikam.example', OK],
  ] as const)
    assert.deepEqual(await told(recipient), [expected], recipient);
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example', 'bert@contoso.example'), [
    OK,
    UNKNOWN,
    OK,
  ]);
});

test('mail of another hosted tenant, and of Exchange Online itself, is told the same', async () => {
  await using bench = await openBench(section('  list: [ann@contoso.example]'));
  assert.ok(bench.server.gateway.port > 0);
  for (const tenant of ['fabrikam', 'contoso'] as const) {
    const from = `user@${tenant}.example`;
    const to = ['ann@contoso.example', 'nobody@contoso.example'];
    const message = sampleMessage('plain', { from, to });
    assert.deepEqual(answers(await lab.sendFromTenant(tenant, { from, to, message }), to), [OK, UNKNOWN]);
  }
});

test('a report on forwarded mail comes back through a tenant with a directory', async () => {
  await using bench = await openBench(section('  list: [ann@contoso.example]'), {
    proof: 'forwarded: relay',
  });
  assert.ok(bench.server.gateway.port > 0);
  const before = lab.internet.messages().length;
  const [from, to] = ['writer@isp.example', ['bob@remote.example']];
  const message = sampleMessage('plain', { from, to });
  await lab.sendFromTenant('contoso', { from, to, message, template: 'forwarded' });
  const [forwarded] = (await lab.internet.waitForMessage(before + 1)).slice(before);
  const recipients = [forwarded?.sender ?? ''];
  assert.match(recipients[0] ?? '', /^SRS0=.*@contoso\.example$/);
  const report = sampleMessage('report', { from: 'mailer-daemon@remote.example', to: recipients });
  const result = await lab.sendFromInternet({ sender: '', recipients, message: report });
  assert.deepEqual(answers(result, recipients), [OK]);
  const [returned] = (await lab.internet.waitForMessage(before + 2)).slice(before + 1);
  assert.deepEqual(
    returned?.recipients.map(({ address }) => address),
    [from],
  );
});

test('restart with the directory down: the listing on disk answers, sealed, until it is stale', async () => {
  await using down = await openSlapd([{ name: 'Ann', proxyAddresses: ['SMTP:ann@contoso.example'] }]);
  const text = section(LDAP.replace(slapd.ldapUrl, down.ldapUrl), '  stale_after_hours: 3');
  await using bench = await openBench(text);
  writeFileSync(join(bench.server.folder, 'slapd.crt'), down.ca);
  await bench.server.gateway.operations.applyPolicies();
  await bench.server.gateway.operations.refreshRecipients();
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, UNKNOWN]);

  await down.stop();
  await bench.server.restart();
  const [status] = await bench.server.gateway.operations.refreshRecipients();
  assert.equal(status?.failure, 'the server cannot be reached: ECONNREFUSED');
  assert.equal(status.state, 'good');
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, UNKNOWN]);
  const folder = join(bench.server.folder, 'data/recipients');
  const files = readdirSync(folder);
  assert.deepEqual(files, [`${lab.tenants.contoso.id}.sealed`]);
  assert.doesNotMatch(readFileSync(join(folder, files[0] ?? ''), 'latin1'), /ann|contoso/);

  bench.clock.advance(3 * HOUR_MS + 1);
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, LATER]);

  await down.start();
  await bench.server.gateway.operations.refreshRecipients();
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, UNKNOWN]);
  const lines = bench.logged().filter((line) => line.includes('"event":"recipient'));
  assert.ok(
    lines.some((line) => line.includes('recipients-refresh-failed') && line.includes('ECONNREFUSED')),
  );
  assert.ok(lines.some((line) => line.includes('recipient-refused') && line.includes('recipient-unknown')));
  assert.doesNotMatch(lines.join(''), /canary|@/);
});

test('no listing yet: nobody is turned away for good', async () => {
  await using down = await openSlapd([]);
  await down.stop();
  const text = section('  list: [listed@contoso.example]', LDAP.replace(slapd.ldapUrl, down.ldapUrl));
  await using bench = await openBench(text);
  await bench.server.gateway.operations.refreshRecipients();
  assert.deepEqual(await told('listed@contoso.example', 'ann@contoso.example'), [OK, LATER]);
});

test('keys apply takes changed settings over; a section with a mistake changes nothing', async () => {
  await using bench = await openBench(section('  list: [ann@contoso.example]'));
  const { operations } = bench.server.gateway;
  const path = join(bench.server.config.policyFolder, 'contoso.yaml');
  const before = readFileSync(path, 'utf8');
  writeFileSync(path, before.replace('[ann@contoso.example]', '[bert@contoso.example]'));
  await operations.applyPolicies();
  assert.deepEqual(await told('bert@contoso.example', 'ann@contoso.example'), [OK, UNKNOWN]);
  writeFileSync(path, before.replace('[ann@contoso.example]', '[nonsense]'));
  await assert.rejects(operations.applyPolicies(), /contoso\.yaml:\d+:\d+: is not one mail address/);
  assert.deepEqual(await told('bert@contoso.example', 'ann@contoso.example'), [OK, UNKNOWN]);
  writeFileSync(path, before.replace(/^ {2}recipients:\n.*\n/m, ''));
  await operations.applyPolicies();
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, OK]);
  assert.deepEqual(await operations.listRecipients(), []);
});

test('keys apply keeps the listing of a directory that is down, and takes a new filter for other settings', async () => {
  await using down = await openSlapd([{ name: 'Ann', proxyAddresses: ['SMTP:ann@contoso.example'] }]);
  await using bench = await openBench(section(LDAP.replace(slapd.ldapUrl, down.ldapUrl)));
  const { operations } = bench.server.gateway;
  writeFileSync(join(bench.server.folder, 'slapd.crt'), down.ca);
  await operations.applyPolicies();
  await operations.refreshRecipients();
  await down.stop();
  await operations.applyPolicies();
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, UNKNOWN]);
  const path = join(bench.server.config.policyFolder, 'contoso.yaml');
  writeFileSync(path, readFileSync(path, 'utf8').replace('page_size: 1', 'filter: (mail=*)'));
  await operations.applyPolicies();
  await operations.refreshRecipients();
  assert.deepEqual(await told('ann@contoso.example', 'nobody@contoso.example'), [OK, LATER]);
});

test('check says what RCPT says, and why', async () => {
  await using bench = await openBench(section('  list: [ann@contoso.example]'));
  const { operations } = bench.server.gateway;
  const check = async (address: string) => {
    const { judgement, sources } = await operations.checkRecipient(address);
    return [judgement, ...sources];
  };
  assert.deepEqual(await check('Ann+x@contoso.example'), ['known', 'list']);
  assert.deepEqual(await check('nobody@contoso.example'), ['unknown']);
  assert.deepEqual(await check('postmaster@contoso.example'), ['known', 'postmaster']);
  assert.deepEqual(await check('anybody@fabrikam.example'), ['known']);
  await assert.rejects(operations.checkRecipient('bob@remote.example'), GatewayError);
  await assert.rejects(operations.checkRecipient('bob'), /is no address of a hosted tenant/);
});

test('the command line, beside a running gateway and without one', async () => {
  const bench = await openBench(section(GRAPH));
  const run = async (...args: readonly string[]) => {
    const all = ['src/main.ts', 'recipients', ...args, '--config', bench.server.config.file];
    return promisify(execFile)(process.execPath, all, { encoding: 'utf8' }).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { code: number; stdout: string }) => ({ code: error.code, stdout: error.stdout }),
    );
  };
  await bench.server.gateway.operations.refreshRecipients();
  assert.deepEqual(await run('check', 'bert@contoso.example'), {
    code: 0,
    stdout: 'bert@contoso.example: known by microsoft_graph\n',
  });
  assert.deepEqual(await run('check', 'nobody@contoso.example'), {
    code: 1,
    stdout: 'nobody@contoso.example: unknown to contoso: 550 5.1.1\n',
  });
  const status = await run('status');
  assert.match(
    status.stdout,
    /^TENANT +SOURCE +STATE +ADDRESSES +LOADED +LAST FAILURE\ncontoso +microsoft_graph +good +1 /,
  );
  assert.equal(status.code, 0);

  await bench.server.gateway[Symbol.asyncDispose]();
  assert.match((await run('status')).stdout, /contoso +microsoft_graph +stale +1 +2026-03-01T12:00:00\.000Z/);
  assert.equal((await run('check', 'nobody@contoso.example')).code, 4);
  const refreshed = await run('refresh');
  assert.equal(refreshed.code, 0);
  assert.match(refreshed.stdout, /contoso +microsoft_graph +good +1 /);
  assert.equal((await run('check', 'nobody@contoso.example')).code, 1);
  graph.fail({ at: 'token', status: 401 });
  const failed = await run('refresh');
  assert.equal(failed.code, 4);
  assert.match(failed.stdout, /the token service answers with 401 labFault|401/);
  await bench[Symbol.asyncDispose]();
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Config } from '../../../src/config.ts';
import { replyFor } from '../../../src/core/errors.ts';
import { judgeClock, judgeDisk, judgeFolder } from '../../../src/doctor/machine.ts';
import {
  judgeListener,
  judgeTenantLeg,
  parseGreetingDate,
  reach,
  readGreetingDate,
} from '../../../src/doctor/reach.ts';
import {
  findRunning,
  judgeKeys,
  judgeQueue,
  judgeRecipients,
  judgeRunning,
} from '../../../src/doctor/stores.ts';

const NOW = new Date('2026-11-25T14:00:00Z');
const later = (seconds: number) => new Date(NOW.getTime() + seconds * 1000);

test('clock', () => {
  for (const [notBefore, reference, state] of [
    [later(-1), undefined, 'ok'],
    [later(-1), later(20), 'ok'],
    [later(-1), later(-20), 'ok'],
    [later(-1), later(60), 'warn'],
    [later(-1), later(-400), 'fail'],
    [later(1), undefined, 'fail'],
  ] as const)
    assert.equal(judgeClock(NOW, notBefore, reference).state, state);
  assert.match(judgeClock(NOW, later(-1), later(60)).found, /60 s behind another host/);
});

test('disk and folder', () => {
  const MiB = 1_048_576;
  assert.equal(judgeDisk(511 * MiB, 512 * MiB, 150 * MiB).state, 'fail');
  assert.equal(judgeDisk(900 * MiB, 512 * MiB, 150 * MiB).state, 'warn');
  assert.equal(judgeDisk(962 * MiB, 512 * MiB, 150 * MiB).state, 'ok');
  assert.equal(judgeFolder('data', 0o700).state, 'ok');
  assert.equal(judgeFolder('data', 0o750).state, 'fail');
});

test('keys and queue', () => {
  assert.equal(judgeKeys({ keys: 3, damaged: [], expired: [] }).state, 'ok');
  assert.equal(judgeKeys({ keys: 3, damaged: [], expired: ['smime:1'] }).state, 'warn');
  const damaged = judgeKeys({ keys: 9, damaged: ['a', 'b', 'c', 'd'], expired: ['e'] });
  assert.equal(damaged.state, 'fail');
  assert.match(damaged.found, /4 of 9 keys are damaged: a, b, c, \.\.\.$/);
  const entry = (createdAt: Date, state: 'queued' | 'damaged' = 'queued') => ({
    id: 'x',
    createdAt,
    copies: [{ state }] as never,
  });
  assert.equal(judgeQueue([], 100, NOW).state, 'ok');
  assert.equal(judgeQueue([entry(later(-60))], 100, NOW).state, 'ok');
  assert.equal(judgeQueue([entry(later(-5 * 3600))], 100, NOW).state, 'warn');
  assert.equal(judgeQueue([entry(later(-60), 'damaged')], 100, NOW).state, 'fail');
  assert.equal(
    judgeQueue(
      Array.from({ length: 81 }, () => entry(later(-60))),
      100,
      NOW,
    ).state,
    'fail',
  );
});

test('recipients: a source that is out of date is a failure, one that failed last a warning', () => {
  const source = (state: 'good' | 'stale' | 'waiting', failure: string | null) => ({
    tenant: 'contoso',
    source: 'ldap' as const,
    state,
    failure,
  });
  for (const [sources, state, found] of [
    [[], 'ok', /no recipients directory/],
    [[source('good', null)], 'ok', /ldap of contoso is good/],
    [[source('good', null), source('good', 'no answer')], 'warn', /is good: no answer/],
    [[source('stale', 'no answer'), source('good', 'x')], 'fail', /is stale: no answer/],
    [[source('waiting', null)], 'fail', /is waiting$/],
  ] as const) {
    const finding = judgeRecipients(sources);
    assert.equal(finding.state, state);
    assert.match(finding.found, found);
  }
});

test('a control socket where nobody answers is not waited for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-doctor-'));
  const controlSocket = join(folder, 'control.sock');
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket)).listen(controlSocket);
  await once(server, 'listening');
  const running = await findRunning({ controlSocket }, 20);
  for (const socket of sockets) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
  assert.equal(running.kind, 'unknown');
  assert.equal((await judgeRunning(running)).state, 'fail');
  assert.equal((await findRunning({ controlSocket })).kind, 'none');
});

test('the time of a greeting', () => {
  const line =
    '220 X.outlook.com Microsoft ESMTP MAIL Service ready at Wed, 25 Nov 2026 14:00:00 +0000 [08DE]';
  assert.deepEqual(parseGreetingDate(line), NOW);
  assert.deepEqual(parseGreetingDate(line.replace('14:00:00 +0000', '15:00:00 +0100')), NOW);
  assert.equal(parseGreetingDate('220 mx.example ESMTP'), undefined);
  assert.equal(parseGreetingDate('220 99 Xxx 2026 99:00:00 +0000'), undefined);
});

/** A server that says what it is told to, and keeps what it was told. */
async function withServer<T>(
  answers: (line: string) => string | undefined,
  run: (port: number, said: readonly string[]) => Promise<T>,
): Promise<T> {
  const said: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.write('220 mx ready at Wed, 25 Nov 2026 14:00:00 +0000\r\n');
    socket.on('data', (part) => {
      for (const line of part.toString().split('\r\n').slice(0, -1)) {
        said.push(line);
        const answer = answers(line);
        if (answer !== undefined) socket.write(`${answer}\r\n`);
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await run((server.address() as AddressInfo).port, said);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

const config = { hostname: 'gw.example', internet: { resolvers: [] } } as unknown as Config;
const { signal } = new AbortController();
const target = (port: number) => ({ host: '127.0.0.1', port, serverName: 'mx.example' });

test('a server without STARTTLS is refused, and is told nothing but EHLO and QUIT', async () => {
  const answers = (line: string) => (line.startsWith('EHLO') ? '250-mx\r\n250 8BITMIME' : '502 no');
  await withServer(answers, async (port, said) => {
    const reached = await reach(target(port), config, signal);
    assert.ok(reached.kind === 'refused' && reached.isTls);
    assert.ok(reached.reason.startsWith(replyFor('next-hop-tls').text), reached.reason);
    assert.ok(
      said.every((line) => /^(EHLO|HELO|STARTTLS|QUIT)/.test(line)),
      said.join(),
    );
    const leg = judgeTenantLeg(target(port), reached, 1);
    assert.equal(leg.state, 'fail');
    assert.match(leg.advice, /Mail for the tenant waits/);
    assert.match(judgeListener(target(port), reached).advice, /STARTTLS/);
    assert.deepEqual(await readGreetingDate(target(port), config, signal), NOW);
  });
});

test('a smaller size limit is a warning, an address where nobody listens a failure', () => {
  const reached = {
    kind: 'reached',
    address: '127.0.0.1',
    extensions: new Set<string>(),
    maxBytes: 10,
  } as const;
  assert.equal(judgeTenantLeg(target(25), reached, 11).state, 'warn');
  assert.equal(judgeTenantLeg(target(25), reached, 10).state, 'ok');
  assert.equal(judgeTenantLeg(target(25), { kind: 'unreachable', reason: 'x' }, 1).state, 'fail');
  assert.equal(judgeListener(target(25), { kind: 'unreachable', reason: 'x' }).state, 'fail');
});

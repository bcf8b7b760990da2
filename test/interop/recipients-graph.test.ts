// The Microsoft Graph source against the lab's server, over HTTP on loopback.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Clock } from '../../src/core/clock.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { Secret } from '../../src/core/secret.ts';
import {
  type GraphEntry,
  type GraphServer,
  type GraphServerOptions,
  openGraphServer,
} from '../../src/lab/graph-server.ts';
import { LAB_ADDRESSES } from '../../src/lab/lab-tenants.ts';
import { graphSource } from '../../src/tenant/recipients/graph.ts';
import type { GraphOptions } from '../../src/tenant/recipients/graph-client.ts';
import type { LoadedAddresses } from '../../src/tenant/recipients/source.ts';
import { TENANT_A } from '../support/policy.ts';

/** A clock on which every sleep is over at once, and which remembers how long it was. */
class HastyClock implements Clock {
  readonly slept: number[] = [];
  #now = Date.parse('2026-03-01T12:00:00Z');

  now(): Date {
    return new Date(this.#now);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.slept.push(ms);
    this.#now += ms;
    return signal?.aborted ? Promise.reject(new DOMException('aborted', 'AbortError')) : Promise.resolve();
  }
}

const USERS: readonly GraphEntry[] = [
  {
    id: 'u1',
    mail: 'Ann@contoso.example',
    proxyAddresses: ['SMTP:ann@contoso.example', 'smtp:a.nn@contoso.example', 'SIP:sip@contoso.example'],
  },
  { id: 'u2', mail: null, proxyAddresses: [] },
  { id: 'u3', mail: 'bert@contoso.example', proxyAddresses: ['SMTP:bert@contoso.example'] },
  { id: 'u4', proxyAddresses: ['X500:/o=x/cn=four', 'EUM:1234;phone', 'SMTP:four@contoso.example'] },
  { id: '__proto__', mail: 'odd@contoso.example' },
];
const GROUPS: readonly GraphEntry[] = [
  {
    id: 'g1',
    mail: 'team@contoso.example',
    proxyAddresses: ['SMTP:team@contoso.example'],
    mailEnabled: true,
  },
  { id: 'g2', mail: 'security@contoso.example', mailEnabled: false },
];
const CONTACTS: readonly GraphEntry[] = [
  { id: 'c1', mail: 'partner@remote.example', proxyAddresses: ['SMTP:partner@remote.example'] },
];
const EVERYBODY = [
  'a.nn@contoso.example',
  'ann@contoso.example',
  'bert@contoso.example',
  'four@contoso.example',
  'odd@contoso.example',
  'partner@remote.example',
  'team@contoso.example',
];

interface Bench extends AsyncDisposable {
  readonly server: GraphServer;
  readonly clock: HastyClock;
  /** Loads anew, or on the state of the load before. */
  load(state?: unknown): Promise<LoadedAddresses>;
}

async function openBench(
  more: Partial<GraphOptions> = {},
  options: Partial<GraphServerOptions> = {},
): Promise<Bench> {
  const entries = { users: USERS, groups: GROUPS, contacts: CONTACTS };
  const server = await openGraphServer({ tenant: TENANT_A, entries, ...options });
  const source = graphSource({
    tenant: TENANT_A,
    clientId: server.clientId,
    secret: new Secret(server.secret),
    endpoint: server.url,
    login: server.url,
    ...more,
  });
  const clock = new HastyClock();
  return {
    server,
    clock,
    load: (state) => source.load(state, { clock, signal: new AbortController().signal }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const sorted = ({ addresses }: LoadedAddresses): readonly string[] => [...addresses].toSorted();

async function failureOf(load: Promise<unknown>): Promise<string> {
  const error: unknown = await load.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof GatewayError);
  assert.equal(error.code, 'recipients-unavailable');
  assert.doesNotMatch(error.message, /canary|contoso\.example/);
  return error.message;
}

test('users, mail-enabled groups and contacts over several pages; $select in the first request only', async () => {
  await using bench = await openBench();
  assert.deepEqual(sorted(await bench.load()), EVERYBODY);
  const requests = bench.server.requests();
  assert.equal(requests.filter((line) => line.startsWith('POST')).length, 1);
  const users = requests.filter((line) => line.includes('/users/'));
  assert.equal(users.length, 3);
  assert.deepEqual(
    users.map((line) => line.includes('$select')),
    [true, false, false],
  );
});

test('the next load reads only what changed: new, removed, and properties that are not named stay', async () => {
  await using bench = await openBench();
  // The state goes through the snapshot in between.
  const state = JSON.parse(JSON.stringify((await bench.load()).state)) as unknown;
  const before = bench.server.requests().length;
  bench.server.put('users', { id: 'u9', mail: 'new@contoso.example' });
  bench.server.put('users', { id: 'u1', proxyAddresses: ['SMTP:ann2@contoso.example'] });
  bench.server.put('users', { id: 'u3', mail: null });
  bench.server.remove('users', 'u4');
  bench.server.put('groups', { id: 'g2', mailEnabled: true });
  const second = await bench.load(state);
  assert.deepEqual(sorted(second), [
    'ann2@contoso.example',
    'ann@contoso.example',
    'bert@contoso.example',
    'new@contoso.example',
    'odd@contoso.example',
    'partner@remote.example',
    'security@contoso.example',
    'team@contoso.example',
  ]);
  const requests = bench.server.requests().slice(before);
  assert.ok(requests.every((line) => !line.includes('$select')));
  bench.server.remove('users', 'u9');
  assert.ok(!(await bench.load(second.state)).addresses.has('new@contoso.example'));
});

test('throttled: Retry-After is honoured, in seconds and as a date', async () => {
  await using bench = await openBench();
  bench.server.fail({ status: 429, headers: { 'retry-after': '17' } });
  bench.server.fail({ status: 503, headers: { 'retry-after': 'Sun, 01 Mar 2026 12:01:00 GMT' } });
  bench.server.fail({ status: 429 });
  assert.deepEqual(sorted(await bench.load()), EVERYBODY);
  assert.deepEqual(bench.clock.slept, [17_000, 43_000, 8_000]);
});

test('throttled for too long, or again and again: the load fails', async () => {
  await using bench = await openBench();
  bench.server.fail({ status: 429, headers: { 'retry-after': '86400' } });
  assert.equal(await failureOf(bench.load()), 'Microsoft Graph throttles for too long');
  bench.server.fail({ status: 429, times: 6 });
  assert.equal(await failureOf(bench.load()), 'Microsoft Graph answers with 429 labFault for users');
});

test('an expired delta link leads to a full load', async () => {
  await using bench = await openBench();
  const { state } = await bench.load();
  bench.server.remove('users', 'u1');
  bench.server.expireLinks();
  const before = bench.server.requests().length;
  const second = await bench.load(state);
  assert.deepEqual(
    sorted(second),
    EVERYBODY.filter((address) => !/^a\.?nn@/.test(address)),
  );
  const selects = bench.server
    .requests()
    .slice(before)
    .filter((line) => line.includes('$select'));
  assert.equal(selects.length, 3);
});

test('a link that expires between pages: once more from the start, then a failure', async () => {
  await using bench = await openBench();
  const expired = (times: number) =>
    bench.server.fail({ status: 400, body: '{"error":{"code":"syncStateNotFound"}}', times });
  expired(1);
  assert.deepEqual(sorted(await bench.load()), EVERYBODY);
  expired(2);
  assert.equal(
    await failureOf(bench.load()),
    'the list of users of Microsoft Graph expires while it is read',
  );
});

test('a token that is no longer taken is replaced once', async () => {
  await using bench = await openBench();
  bench.server.fail({ status: 401 });
  assert.deepEqual(sorted(await bench.load()), EVERYBODY);
  assert.equal(bench.server.requests().filter((line) => line.startsWith('POST')).length, 2);
  bench.server.fail({ status: 401, times: 2 });
  assert.equal(await failureOf(bench.load()), 'Microsoft Graph answers with 401 labFault for users');
});

test('a permission that is missing: the list that it is for', async () => {
  await using bench = await openBench({}, { entries: {} });
  // Of three answers, one page each.
  bench.server.fail({ status: 200, body: JSON.stringify({ value: [], '@odata.deltaLink': 'x' }) });
  bench.server.fail({ status: 403, body: '{"error":{"code":"Authorization_RequestDenied"}}' });
  assert.equal(
    await failureOf(bench.load()),
    'Microsoft Graph answers with 403 Authorization_RequestDenied for groups',
  );
});

test('a wrong secret: the number of the error, not its text', async () => {
  await using bench = await openBench({ secret: new Secret('canary-secret') });
  assert.equal(
    await failureOf(bench.load()),
    'the token service answers with 401 invalid_client AADSTS7000215; check client_id and secret',
  );
});

test('the token service may throttle as well', async () => {
  await using bench = await openBench();
  bench.server.fail({ at: 'token', status: 503, headers: { 'retry-after': '3' } });
  assert.deepEqual(sorted(await bench.load()), EVERYBODY);
  assert.deepEqual(bench.clock.slept, [3_000]);
});

test('foreign link: the token goes to no other host, port or scheme', async () => {
  await using other = await openBench();
  for (const rewrite of [
    (link: string) => link.replace(/127\.0\.0\.1:\d+/, new URL(other.server.url).host),
    (link: string) => link.replace('http:', 'https:'),
    (link: string) => link.replace('://', '://user:password@'),
    (link: string) => link.replace('127.0.0.1', '127.0.0.1.evil.example'),
    () => 'file:///etc/passwd',
    () => 'no link',
  ]) {
    await using bench = await openBench();
    bench.server.rewriteLinks(rewrite);
    assert.equal(await failureOf(bench.load()), 'Microsoft Graph names a page at another host');
  }
  assert.deepEqual(other.server.requests(), []);
});

test('redirect: not followed', async () => {
  await using bench = await openBench();
  await using other = await openBench();
  bench.server.fail({ status: 302, headers: { location: `${other.server.url}/v1.0/users/delta` } });
  assert.equal(await failureOf(bench.load()), 'Microsoft Graph answers with a redirect');
  assert.deepEqual(other.server.requests(), []);
});

test('limits: bytes of an answer, pages, objects', async () => {
  for (const [limits, expected] of [
    [{ maxResponseBytes: 100 }, /^an answer has more than 100 bytes$/],
    [{ maxPages: 2 }, /^more than 2 pages$/],
    [{ maxObjects: 3 }, /^more than 3 objects$/],
  ] as const) {
    await using bench = await openBench({ limits });
    assert.match(await failureOf(bench.load()), expected);
  }
});

test('what is no page is a failure, never an empty list', async () => {
  for (const body of [
    '',
    'canary',
    '{}',
    '{"value":[]}',
    '{"value":{},"@odata.deltaLink":"x"}',
    '{"value":[null],"@odata.deltaLink":"x"}',
    '{"value":[{"mail":"x@contoso.example"}],"@odata.deltaLink":"x"}',
  ]) {
    await using bench = await openBench();
    bench.server.fail({ status: 200, body });
    assert.match(await failureOf(bench.load()), /^Microsoft Graph (answers with something|names an object)/);
  }
});

test('a server that is gone, and one that never answers', async () => {
  const nobody = `http://${LAB_ADDRESSES.nowhere}:8080`;
  await using gone = await openBench({ endpoint: nobody, login: nobody });
  assert.equal(await failureOf(gone.load()), 'Microsoft Graph cannot be reached: ECONNREFUSED');

  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  await using waiting = await openBench({ endpoint: url, login: url, limits: { requestTimeoutMs: 50 } });
  assert.equal(await failureOf(waiting.load()), 'Microsoft Graph does not answer in time');
  silent.closeAllConnections();
  silent.close();
});

test('an aborted load ends at once', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const stop = new AbortController();
  const source = graphSource({
    tenant: TENANT_A,
    clientId: 'x',
    secret: new Secret('x'),
    endpoint: url,
    login: url,
  });
  const asked = once(silent, 'request');
  const loading = failureOf(source.load(undefined, { clock: new HastyClock(), signal: stop.signal }));
  await asked;
  stop.abort();
  await loading;
  silent.closeAllConnections();
  silent.close();
});

test('a state of another form is none', async () => {
  await using bench = await openBench();
  for (const state of [null, 'x', {}, { users: { link: 1 } }, { users: { link: 'x', objects: [] } }])
    assert.deepEqual(sorted(await bench.load(state)), EVERYBODY);
});

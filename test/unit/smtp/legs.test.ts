// The legs: which way mail goes, which certificate is shown on it, and what the start-up check refuses. With real sockets
// and the lab's DNS.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/core/clock.ts';
import type { DeliveryResult, Shipment } from '../../../src/core/delivery.ts';
import { GatewayError } from '../../../src/core/errors.ts';
import { silentLog } from '../../../src/core/log.ts';
import { parseTenantId, type TenantId } from '../../../src/core/origin.ts';
import { type DnsZones, openDns } from '../../../src/lab/dns.ts';
import { type LegsConfig, openLegs, type TenantLeg } from '../../../src/smtp/legs.ts';
import { authority, identity, openScriptedServer, openTestListener, shipment } from '../../support/smtp.ts';

const A = tenantId('11111111-2222-4333-8444-555555555555');
const B = tenantId('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');
const MESSAGE = 'Subject: x\r\n\r\ny\r\n';
const signal = new AbortController().signal;

function tenantId(text: string): TenantId {
  return parseTenantId(text) ?? assert.fail('no tenant id');
}

async function config(more: Partial<LegsConfig> = {}): Promise<LegsConfig> {
  return {
    hostname: 'gw.example',
    tenants: [],
    internet: { port: 25, resolvers: [], allowPrivateAddresses: true },
    clock: systemClock,
    log: silentLog,
    ...more,
  };
}

async function tenantLeg(tenant: TenantId, name: string, port: number): Promise<TenantLeg> {
  return {
    tenant,
    host: '127.0.0.1',
    port,
    serverName: 'gw.example',
    ca: [(await authority()).certificatePem],
    identity: await identity(name),
  };
}

function brief(results: readonly DeliveryResult[]): readonly string[] {
  return results.map(
    ({ recipient, status, reply }) => `${recipient.address.text} ${status} ${reply.code} ${reply.enhanced}`,
  );
}

test('leg-identity: each leg shows its own certificate and the internet leg none, even on the same host', async () => {
  await using server = await openTestListener();
  await using dns = await openDns({
    'remote.example': { MX: [[10, 'mx.remote.example']] },
    'mx.remote.example': { A: ['127.0.0.1'] },
  });
  const { port } = server.listener;
  const legs = openLegs(
    await config({
      tenants: [await tenantLeg(A, 'a.gw.example', port), await tenantLeg(B, 'b.gw.example', port)],
      internet: { port, resolvers: [`127.0.0.1:${dns.port}`], allowPrivateAddresses: true },
      smarthost: {
        host: '127.0.0.1',
        port,
        serverName: 'gw.example',
        ca: [(await authority()).certificatePem],
        tls: 'verified',
      },
    }),
  );
  const kinds: readonly [leg: Shipment['leg'], names: readonly string[] | undefined][] = [
    [{ kind: 'tenant', tenant: A }, ['a.gw.example']],
    [{ kind: 'internet' }, undefined],
    [{ kind: 'tenant', tenant: B }, ['b.gw.example']],
    [{ kind: 'smarthost' }, undefined],
    [{ kind: 'internet' }, undefined],
  ];
  for (const [leg, names] of kinds) {
    const results = await legs.deliver(shipment(MESSAGE, ['b@remote.example'], { leg }), signal);
    assert.equal(results[0]?.status, 'delivered');
    const tls = server.messages.at(-1)?.peer.tls;
    assert.ok(tls, 'TLS was used');
    assert.deepEqual(tls.certificate?.dnsNames, names);
  }
});

test('start-up check: two legs may not share a client certificate, nor a name', async () => {
  const same = await tenantLeg(B, 'a.gw.example', 25);
  const again = { ...same, identity: await identity('a.gw.example', { extendedKeyUsage: ['clientAuth'] }) };
  const first = await tenantLeg(A, 'a.gw.example', 25);
  const other = await tenantLeg(B, 'b.gw.example', 25);
  const smarthost = { host: 'relay.example', port: 587, tls: 'verified' } as const;
  const internet = { port: 25, resolvers: [], allowPrivateAddresses: false };
  const refused: readonly Partial<LegsConfig>[] = [
    { tenants: [first, same] },
    { tenants: [first, again] },
    { tenants: [first], internet: { ...internet, identity: first.identity } },
    { tenants: [first], smarthost: { ...smarthost, identity: first.identity } },
    { tenants: [{ ...first, identity: { ...first.identity, key: other.identity.key } }] },
    { tenants: [{ ...first, identity: { key: '', cert: '' } }] },
    { internet: { ...internet, resolvers: ['not an address'] } },
  ];
  for (const more of refused) {
    const given = await config(more);
    assert.throws(
      () => openLegs(given),
      (error) => error instanceof GatewayError && error.code === 'config-invalid',
    );
  }
  openLegs(
    await config({
      tenants: [first, other],
      internet: { ...internet, identity: await identity('neutral.example') },
    }),
  );
});

test('a leg that is not there defers', async () => {
  const legs = openLegs(await config());
  const sent = shipment(MESSAGE, ['b@remote.example'], { leg: { kind: 'tenant', tenant: A } });
  assert.deepEqual(brief(await legs.deliver(sent, signal)), ['b@remote.example deferred 451 4.3.0']);
});

const zones: DnsZones = {
  'ok.example': {
    MX: [
      [20, 'mx2.ok.example'],
      [10, 'mx1.ok.example'],
    ],
  },
  'mx1.ok.example': { A: ['127.0.0.2'] },
  'mx2.ok.example': { A: ['127.0.0.1'] },
  'address-only.example': { A: ['127.0.0.1'] },
  'null.example': { MX: [[0, '.']] },
  'broken.example': 'servfail',
  'empty.example': { TXT: ['no mail here'] },
};
const routes: readonly [domain: string, expected: string][] = [
  ['ok.example', 'delivered 250 2.0.0'],
  ['address-only.example', 'delivered 250 2.0.0'],
  ['null.example', 'failed 556 5.1.10'],
  ['broken.example', 'deferred 451 4.4.3'],
  ['empty.example', 'failed 550 5.1.2'],
  ['missing.example', 'failed 550 5.1.2'],
];

test('routes of the internet leg, each domain on its own', async () => {
  await using server = await openScriptedServer({});
  await using dns = await openDns(zones);
  const legs = openLegs(
    await config({
      internet: { port: server.port, resolvers: [`127.0.0.1:${dns.port}`], allowPrivateAddresses: true },
    }),
  );
  const sent = shipment(
    MESSAGE,
    routes.flatMap(([domain]) => [`b@${domain}`, `c@${domain}`]),
  );
  const results = await legs.deliver(sent, signal);
  assert.deepEqual(
    brief(results).toSorted(),
    routes.flatMap(([domain, expected]) => [`b@${domain} ${expected}`, `c@${domain} ${expected}`]).toSorted(),
  );
  assert.equal(server.lines.filter((line) => line.startsWith('MAIL')).length, 2);
});

test('mx-local: a published MX that leads inside is refused', async () => {
  await using server = await openScriptedServer({});
  const inside = {
    loop: '127.0.0.1',
    private: '10.0.0.1',
    link: '169.254.169.254',
    documentation: '192.0.2.1',
    cgnat: '100.64.0.1',
  };
  await using dns = await openDns(
    Object.fromEntries(
      Object.entries(inside).flatMap(([name, ip]) => [
        [`${name}.example`, { MX: [[10, `mx.${name}.example`]] }],
        [`mx.${name}.example`, { A: [ip] }],
      ]),
    ),
  );
  const legs = openLegs(
    await config({
      internet: { port: server.port, resolvers: [`127.0.0.1:${dns.port}`], allowPrivateAddresses: false },
    }),
  );
  const results = await legs.deliver(
    shipment(
      MESSAGE,
      Object.keys(inside).map((name) => `b@${name}.example`),
    ),
    signal,
  );
  for (const { status, reply } of results) assert.deepEqual([status, reply.enhanced], ['failed', '5.4.4']);
  assert.deepEqual(server.lines, []);
});

/** Names of a tenant's host, and what comes of them. */
const hosts: readonly [host: string, expected: string, text: RegExp][] = [
  ['v4.example', 'delivered 250 2.6.0', /queued/],
  ['dual.example', 'delivered 250 2.6.0', /queued/],
  ['alias.example', 'delivered 250 2.6.0', /queued/],
  ['broken.example', 'deferred 451 4.4.3', /look-up of the next hop failed/],
  ['empty.example', 'deferred 451 4.4.3', /next hop has no usable address/],
  ['missing.example', 'deferred 451 4.4.3', /next hop has no usable address/],
  ['nobody.example', 'deferred 451 4.4.1', /ECONNREFUSED/],
];

for (const [host, expected, text] of hosts) {
  test(`a tenant's host is looked up with the resolvers of the configuration: ${host}`, async () => {
    await using server = await openTestListener();
    await using dns = await openDns({
      'v4.example': { A: ['127.0.0.1'], MX: [[10, 'elsewhere.example']] },
      'dual.example': { A: ['127.0.0.9'], AAAA: ['::ffff:127.0.0.1'] },
      'alias.example': { CNAME: 'v4.example' },
      'broken.example': 'servfail',
      'empty.example': { TXT: ['nothing'] },
      'nobody.example': { A: ['127.0.0.9'] },
    });
    const leg = { ...(await tenantLeg(A, 'a.gw.example', server.listener.port)), host };
    const legs = openLegs(
      await config({
        tenants: [leg],
        internet: { port: 25, resolvers: [`127.0.0.1:${dns.port}`], allowPrivateAddresses: false },
      }),
    );
    const sent = shipment(MESSAGE, ['b@contoso.example'], { leg: { kind: 'tenant', tenant: A } });
    const results = await legs.deliver(sent, signal);
    assert.deepEqual(brief(results), [`b@contoso.example ${expected}`]);
    assert.match(results[0]?.reply.text ?? '', text);
    assert.deepEqual(dns.queries().slice(0, 2).toSorted(), [`A ${host}`, `AAAA ${host}`]);
    assert.ok(!dns.queries().some((query) => query.startsWith('MX')));
  });
}

test('a tenant leg never speaks in clear text, whatever the server offers', async () => {
  for (const script of [
    {},
    { extensions: ['STARTTLS'] },
    { extensions: ['STARTTLS'], answers: { STARTTLS: '454 4.7.0 not now' } },
    { extensions: ['STARTTLS'], tls: await identity('other.example') },
    { extensions: ['STARTTLS'], tls: await identity('gw.example', {}, 'rogue CA') },
  ]) {
    await using server = await openScriptedServer(script);
    const legs = openLegs(await config({ tenants: [await tenantLeg(A, 'a.gw.example', server.port)] }));
    const sent = shipment(MESSAGE, ['b@contoso.example'], { leg: { kind: 'tenant', tenant: A } });
    assert.deepEqual(brief(await legs.deliver(sent, signal)), ['b@contoso.example deferred 451 4.7.5']);
    assert.ok(!server.lines.some((line) => line.startsWith('MAIL')), 'no envelope was shown');
  }
});

test('leg-identity: no connection and no TLS session serves two deliveries, on one leg or on two', async () => {
  const ca = [(await authority()).certificatePem];
  await using server = await openScriptedServer({
    extensions: ['STARTTLS'],
    tls: { ...(await identity('gw.example')), ca: ca.join('') },
  });
  const legs = openLegs(
    await config({
      tenants: [
        await tenantLeg(A, 'a.gw.example', server.port),
        await tenantLeg(B, 'b.gw.example', server.port),
      ],
      smarthost: { host: '127.0.0.1', port: server.port, serverName: 'gw.example', ca, tls: 'verified' },
    }),
  );
  const order: readonly Shipment['leg'][] = [
    { kind: 'tenant', tenant: A },
    { kind: 'smarthost' },
    { kind: 'tenant', tenant: B },
    { kind: 'tenant', tenant: A },
    { kind: 'smarthost' },
  ];
  for (const leg of order) {
    const [result] = await legs.deliver(shipment(MESSAGE, ['b@remote.example'], { leg }), signal);
    assert.equal(result?.status, 'delivered');
  }
  assert.deepEqual(
    server.handshakes.map(({ certificate }) => certificate?.subjectAltName),
    ['DNS:a.gw.example', undefined, 'DNS:b.gw.example', 'DNS:a.gw.example', undefined],
  );
  assert.deepEqual(
    server.handshakes.map(({ isSessionReused }) => isSessionReused),
    Array(5).fill(false),
  );
  assert.equal(server.sockets.length, 5);
});

test('a stopped delivery ends at once and leaves no look-up behind', async () => {
  await using dns = await openDns({ 'silent.example': 'silent' });
  const legs = openLegs(
    await config({
      internet: { port: 25, resolvers: [`127.0.0.1:${dns.port}`], allowPrivateAddresses: true },
    }),
  );
  for (const isAsked of [false, true]) {
    const asked = dns.queries().length;
    const stop = new AbortController();
    const delivered = legs.deliver(shipment(MESSAGE, ['b@silent.example']), stop.signal);
    if (isAsked) while (dns.queries().length === asked) await new Promise(setImmediate);
    stop.abort();
    assert.deepEqual(brief(await delivered), ['b@silent.example deferred 451 4.4.1']);
    assert.equal(dns.queries().length, asked + Number(isAsked));
  }
});

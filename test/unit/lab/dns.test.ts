// What a resolver library gets to hear from the lab's DNS.
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { test } from 'node:test';
import { type Dns, type DnsZones, openDns } from '../../../src/lab/dns.ts';

const ZONES: DnsZones = {
  'remote.example': {
    MX: [
      [20, 'mx2.remote.example'],
      [10, 'mx.remote.example'],
    ],
    TXT: ['v=spf1 -all', 'k=' + 'x'.repeat(700)],
  },
  'mx.remote.example': { A: ['127.0.0.2', '127.0.0.3'], AAAA: ['::1'] },
  'alias.example': { CNAME: 'mx.remote.example' },
  'alias-to-nothing.example': { CNAME: 'gone.example' },
  'loop.example': { CNAME: 'loop.example' },
  'null-mx.example': { MX: [[0, '.']] },
  'bad.example': 'servfail',
  'silent.example': 'silent',
  '_25._tcp.mx.remote.example': {
    TLSA: [{ usage: 3, selector: 1, matchingType: 1, certificate: Buffer.alloc(32, 7) }],
  },
};

function resolverFor(dns: Dns): Resolver {
  const resolver = new Resolver({ timeout: 200, tries: 1 });
  resolver.setServers([`${dns.address}:${dns.port}`]);
  return resolver;
}

test('answers are those of the zones', async () => {
  await using dns = await openDns(ZONES);
  const resolver = resolverFor(dns);
  const mx = await resolver.resolveMx('REMOTE.example');
  assert.deepEqual(mx.map(({ priority, exchange }) => `${priority} ${exchange}`).toSorted(), [
    '10 mx.remote.example',
    '20 mx2.remote.example',
  ]);
  const text = (await resolver.resolveTxt('remote.example')).map((strings) => strings.join(''));
  assert.deepEqual(
    text.map((value) => value.length),
    [11, 702],
  );
  assert.deepEqual(await resolver.resolve4('mx.remote.example'), ['127.0.0.2', '127.0.0.3']);
  assert.deepEqual(await resolver.resolve6('mx.remote.example'), ['::1']);
  assert.deepEqual(await resolver.resolve4('alias.example'), ['127.0.0.2', '127.0.0.3']);
  assert.equal((await resolver.resolveMx('null-mx.example'))[0]?.exchange, '');
  const [tlsa] = await resolver.resolveTlsa('_25._tcp.mx.remote.example');
  assert.equal(tlsa?.certUsage, 3);
});

const FAILURES: readonly (readonly [string, 'A' | 'MX' | 'TXT', string])[] = [
  ['nothing.example', 'MX', 'ENOTFOUND'],
  ['below.nothing.example', 'A', 'ENOTFOUND'],
  ['mx.remote.example', 'MX', 'ENODATA'],
  // An empty non-terminal exists: NODATA, not NXDOMAIN (RFC 8020).
  ['_tcp.mx.remote.example', 'A', 'ENODATA'],
  ['example', 'A', 'ENODATA'],
  ['alias-to-nothing.example', 'A', 'ENOTFOUND'],
  ['bad.example', 'MX', 'ESERVFAIL'],
  ['silent.example', 'MX', 'ETIMEOUT'],
];

test('failures are told apart', async () => {
  await using dns = await openDns(ZONES);
  const resolver = resolverFor(dns);
  for (const [name, type, code] of FAILURES) {
    await assert.rejects(resolver.resolve(name, type), { code }, `${type} ${name}`);
  }
});

test('an alias that leads to itself ends', async () => {
  await using dns = await openDns(ZONES);
  assert.deepEqual(await resolverFor(dns).resolve4('loop.example'), []);
  assert.deepEqual(dns.queries(), ['A loop.example']);
});

test('names can be put while it runs', async () => {
  await using dns = await openDns({});
  const resolver = resolverFor(dns);
  await assert.rejects(resolver.resolve4('late.example'), { code: 'ENOTFOUND' });
  dns.put({ 'late.example': { A: ['127.0.0.7'] } });
  assert.deepEqual(await resolver.resolve4('late.example'), ['127.0.0.7']);
});

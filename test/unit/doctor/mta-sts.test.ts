// The policy over real HTTPS on loopback; what it means as a table.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { fetchPolicy, hasStsRecord, judgeStsPolicy, parseStsPolicy } from '../../../src/doctor/mta-sts.ts';
import { openAuthority, serverAndClient } from '../../../src/lab/certificates.ts';
import { namesOf } from '../../support/names.ts';

const POLICY = 'version: STSv1\r\nmode: enforce\r\nmx: gw.example\r\nmax_age: 86400\r\n';
const authority = await openAuthority('web');
const identity = await authority.issue(
  serverAndClient('mta-sts.contoso.example', 'mta-sts.big.example', 'mta-sts.moved.example'),
);
const server = createServer({ key: identity.key, cert: identity.cert }, (request, response) => {
  const host = (request.headers.host ?? '').split(':')[0];
  if (host === 'mta-sts.moved.example')
    response.writeHead(302, { location: 'https://mta-sts.contoso.example/' }).end();
  else if (host === 'mta-sts.big.example') response.end('x'.repeat(200_000));
  else if (request.url === '/.well-known/mta-sts.txt') response.end(POLICY);
  else response.writeHead(404).end();
}).listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());
const { port } = server.address() as AddressInfo;
const zone = { a: ['127.0.0.1'] };
const names = namesOf({
  'mta-sts.contoso.example': zone,
  'mta-sts.big.example': zone,
  'mta-sts.moved.example': zone,
  'mta-sts.other.example': zone,
});
const { signal } = new AbortController();
const fetch = (domain: string) => fetchPolicy(domain, { names, signal, port, ca: authority.rootPem });

test('the policy comes over HTTPS with a verified name', async () => {
  assert.equal(await fetch('contoso.example'), POLICY);
});

test('no redirect, no endless answer, no foreign name, no host, and it can be stopped', async () => {
  for (const [domain, expected] of [
    ['moved.example', /302/],
    ['big.example', /too large/],
    ['other.example', /ERR_TLS_CERT_ALTNAME_INVALID|altnames/],
    ['none.example', /has no address/],
  ] as const)
    await assert.rejects(fetch(domain), expected);
  const stop = new AbortController();
  stop.abort();
  await assert.rejects(fetchPolicy('contoso.example', { names, signal: stop.signal, port }));
});

test('a policy has to name the host where mail is taken', () => {
  const text = (mode: string, ...mx: string[]) =>
    ['version: STSv1', `mode: ${mode}`, ...mx.map((host) => `mx: ${host}`), 'max_age: 1'].join('\n');
  for (const [policy, state] of [
    [text('enforce', 'gw.example'), 'ok'],
    [text('enforce', '*.example'), 'ok'],
    [text('enforce', 'other.example', 'GW.example'), 'ok'],
    [text('enforce', '*.gw.example'), 'fail'],
    [text('enforce', 'other.example'), 'fail'],
    [text('enforce'), 'fail'],
    [text('testing', 'other.example'), 'warn'],
    [text('none'), 'ok'],
    [text('sometimes', 'gw.example'), 'warn'],
    ['<html>', 'warn'],
  ] as const)
    assert.equal(judgeStsPolicy(parseStsPolicy(policy), 'gw.example').state, state, policy);
});

test('the record says whether there is a policy', () => {
  assert.equal(hasStsRecord({ kind: 'found', records: ['v=STSv1; id=1;'] }), true);
  assert.equal(hasStsRecord({ kind: 'found', records: ['v=STSv1; id=1;', 'v=STSv1; id=2;'] }), false);
  assert.equal(hasStsRecord({ kind: 'found', records: ['other'] }), false);
  assert.equal(hasStsRecord({ kind: 'none' }), false);
});

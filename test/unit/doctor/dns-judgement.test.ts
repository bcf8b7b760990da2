import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  judgeDkim,
  judgeDmarc,
  judgeGatewayAddresses,
  judgeHost,
  judgeMx,
  judgeOwnDkim,
} from '../../../src/doctor/dns-judgement.ts';
import { type Lookup, reverseName } from '../../../src/doctor/names.ts';

const found = <T>(...records: T[]): Lookup<T> => ({ kind: 'found', records });
const none: Lookup<never> = { kind: 'none' };
const failed: Lookup<never> = { kind: 'failed', reason: 'ETIMEOUT' };
const mx = (...hosts: string[]) =>
  found(...hosts.map((exchange, index) => ({ exchange, priority: 10 * (hosts.length - index) })));
const inline = {
  topology: 'inline',
  gatewayHost: 'gw.example',
  exchangeHost: 'contoso-example.mail.protection.outlook.com',
} as const;
const loopBack = { ...inline, topology: 'loop-back' } as const;
const EXCHANGE = inline.exchangeHost;

test('MX: inline to the gateway and nowhere else, with the loop-back to Microsoft', () => {
  for (const [lookup, setup, state, advice] of [
    [mx('gw.example'), inline, 'ok', /^$/],
    [mx('gw2.example', 'gw.example'), inline, 'ok', /^$/],
    [mx(EXCHANGE), inline, 'warn', /does not pass the gateway yet/],
    [mx('contoso.k-v1.mx.microsoft'), inline, 'warn', /does not pass/],
    [mx('gw.example', EXCHANGE), inline, 'fail', /only to gw\.example/],
    [mx('filter.example'), inline, 'fail', /lead to gw\.example/],
    [mx(''), inline, 'fail', /lead to gw\.example/],
    [none, inline, 'warn', /If the domain takes mail/],
    [failed, inline, 'warn', /internet\.resolvers/],
    [mx(EXCHANGE), loopBack, 'ok', /^$/],
    [mx('gw.example'), loopBack, 'fail', /stays at Microsoft/],
    [mx(EXCHANGE, 'gw.example'), loopBack, 'fail', /stays at Microsoft/],
    [none, loopBack, 'warn', /lead to contoso-example\.mail/],
  ] as const) {
    const finding = judgeMx(lookup, setup, new Set(['gw2.example']));
    assert.equal(finding.state, state, finding.found);
    assert.match(finding.advice, advice);
  }
  assert.equal(judgeMx(mx('b.example', 'a.example'), inline, new Set()).found, 'MX a.example, b.example');
});

test('addresses of the gateway and back, host of a tenant', () => {
  const names = new Map<string, Lookup<string>>([
    ['192.0.2.1', found('gw.example')],
    ['192.0.2.2', found('host-2.isp.example')],
  ]);
  for (const [lookup, state, text] of [
    [found('192.0.2.1'), 'ok', /192\.0\.2\.1 and back/],
    [found('192.0.2.1', '192.0.2.2'), 'warn', /leads back to host-2/],
    [found('192.0.2.3'), 'warn', /leads back to no name/],
    [none, 'fail', /no address/],
    [failed, 'warn', /no answer/],
  ] as const) {
    const finding = judgeGatewayAddresses('gw.example', lookup, names);
    assert.equal(finding.state, state);
    assert.match(finding.found, text);
  }
  assert.equal(judgeHost('x.example', found('192.0.2.9')).state, 'ok');
  assert.equal(judgeHost('x.example', none).state, 'fail');
  assert.equal(judgeHost('x.example', failed).state, 'warn');
});

test('DKIM: a key with content, of one selector at least', () => {
  for (const [one, other, state] of [
    [found('v=DKIM1; k=rsa; p=MIIB'), none, 'ok'],
    [none, found('k=rsa;p=MIIB;'), 'ok'],
    [found('v=DKIM1; p='), none, 'warn'],
    [none, none, 'warn'],
    [failed, none, 'warn'],
  ] as const) {
    const selectors = new Map<string, Lookup<string>>([
      ['selector1', one],
      ['selector2', other],
    ]);
    assert.equal(judgeDkim('contoso.example', selectors).state, state);
  }
});

test('DMARC: one record with a policy', () => {
  for (const [lookup, state, text] of [
    [found('v=DMARC1; p=reject; rua=mailto:x@y.example'), 'ok', /p=reject/],
    [found('v=DMARC1;p=none'), 'ok', /p=none/],
    [found('v=DMARC1; sp=none'), 'fail', /without p=/],
    [found('v=DMARC1; p=none', 'v=DMARC1; p=reject'), 'fail', /2 DMARC/],
    [found('v=spf1 -all'), 'warn', /no DMARC/],
    [none, 'warn', /no DMARC/],
    [failed, 'warn', /no answer/],
  ] as const) {
    const finding = judgeDmarc(lookup);
    assert.equal(finding.state, state);
    assert.match(finding.found, text);
  }
});

test('names for the way back', () => {
  assert.equal(reverseName('192.0.2.1'), '1.2.0.192.in-addr.arpa');
  assert.equal(
    reverseName('2001:db8::1'),
    '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
  );
});

test('a key with which the gateway signs: published as it is, or not', () => {
  const name = 'gw._domainkey.contoso.example';
  for (const [lookup, state] of [
    [found('v=DKIM1; k=rsa; p=AAAA BBBB'), 'ok'],
    [found('v=DKIM1; k=rsa; p=CCCC'), 'fail'],
    [found('v=DKIM1; k=rsa; p='), 'fail'],
    [none, 'fail'],
    [failed, 'warn'],
  ] as const) {
    const finding = judgeOwnDkim(name, 'AAAABBBB', lookup);
    assert.equal(finding.state, state);
    if (state === 'fail') assert.match(finding.advice, /gw\._domainkey\.contoso\.example/);
  }
});

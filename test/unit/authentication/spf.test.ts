// SPF verdicts over records in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifySpf } from '../../../src/authentication/spf.ts';
import { address } from '../../support/policy.ts';

const zone: Readonly<Record<string, string>> = {
  'contoso.example': 'v=spf1 ip4:192.0.2.0/24 include:spf.isp.example -all',
  'spf.isp.example': 'v=spf1 ip6:2001:db8::/32 -all',
  'loop.example': 'v=spf1 include:loop.example -all',
  'mx.contoso.example': 'v=spf1 ip4:192.0.2.9 -all',
};

async function lookup(name: string, type: string) {
  if (name === 'trouble.example') throw Object.assign(new Error('x'), { code: 'ESERVFAIL' });
  const found = type === 'TXT' ? zone[name] : undefined;
  if (found === undefined) throw Object.assign(new Error('x'), { code: 'ENODATA' });
  return [[found]];
}

const cases: readonly [string, string | null, string, string][] = [
  ['192.0.2.7', 'user@contoso.example', 'contoso.example', 'pass pass'],
  ['::ffff:192.0.2.7', 'user@contoso.example', 'contoso.example', 'pass pass'],
  ['2001:db8::1', 'user@contoso.example', 'contoso.example', 'pass pass'],
  ['198.51.100.1', 'user@contoso.example', 'contoso.example', 'fail fail'],
  ['192.0.2.7', 'user@none.example', 'none.example', 'fail none'],
  ['192.0.2.7', 'user@trouble.example', 'trouble.example', 'unavailable temperror'],
  ['192.0.2.7', 'user@loop.example', 'loop.example', 'fail permerror'],
  ['192.0.2.9', null, 'mx.contoso.example', 'pass pass'],
];
for (const [client, sender, domain, expect] of cases) {
  test(`${client} for ${sender ?? 'the null sender'}: ${expect}`, async () => {
    const peer = { address: client, helo: 'mx.contoso.example' };
    const verdict = await verifySpf(peer, sender === null ? null : address(sender), 'gw.example', lookup);
    assert.equal(verdict.domain, domain);
    assert.equal(`${verdict.result} ${verdict.reason}`, expect);
  });
}

// C8, DKIM of the tenant's domains, beside and instead of the secret; and the forwarded path, which needs one of the two.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DkimVerdict } from '../../../src/authentication/dkim.ts';
import { Secret } from '../../../src/core/secret.ts';
import { parseRanges } from '../../../src/tenant/address-ranges.ts';
import { openRegistry, type TenantProof } from '../../../src/tenant/registry.ts';
import { TENANT_A } from '../../support/policy.ts';
import {
  authAs,
  type Case,
  entity,
  id,
  message,
  org,
  stampsAlone,
  tenantA,
  tenantB,
  verdict,
  peerWith,
  settings,
} from '../../support/proof.ts';

const AUTH = 'X-Postern-Tenant-Auth';
const SECRET = 'current-secret-of-A-1';
const registryWith = (proof: Partial<TenantProof>) =>
  openRegistry([{ ...tenantA, proof: { ...stampsAlone, secrets: [new Secret(SECRET)], ...proof } }, tenantB]);
const off = registryWith({ dkimMode: 'off' });
const observe = registryWith({ dkimMode: 'observe' });
const required = registryWith({ dkimMode: 'require' });
const forwarding = registryWith({ dkimMode: 'observe', isForwardedRelayed: true });

const by = (domain: string, result: DkimVerdict['result'] = 'pass'): DkimVerdict => ({
  domain,
  result,
  reason: result,
});
const ofA = by('contoso.example');
const ofInitial = by('contoso.onmicrosoft.example');
const ofB = by('fabrikam.example');
const ofE = by('evil.onmicrosoft.example', 'fail');
const broken = by('contoso.example', 'fail');
const unknown = by('contoso.example', 'unavailable');

const none = 'C8 dkim-missing';
const later = 'C8 authentication-unavailable';
const noSecret = 'C9 tenant-auth-missing';

const userCases: readonly Case[] = [
  { name: 'T1 signed by a domain of A', tenants: required, dkim: [ofA], expect: 'user' },
  { name: 'signed by the initial domain', tenants: required, dkim: [ofInitial], expect: 'user' },
  { name: 'one good signature among bad ones', tenants: required, dkim: [broken, ofE, ofA], expect: 'user' },
  { name: 'good though another key is unavailable', tenants: required, dkim: [unknown, ofA], expect: 'user' },
  { name: 'no signature', tenants: required, expect: none },
  { name: 'T9 signed by E', tenants: required, dkim: [ofE], expect: none },
  { name: 'signed by another hosted tenant', tenants: required, dkim: [ofB], expect: none },
  { name: 'broken', tenants: required, dkim: [broken], expect: none },
  { name: 'key unavailable', tenants: required, dkim: [unknown, ofE], expect: later },
  { name: 'a secret is no signature', tenants: required, text: message({ [AUTH]: SECRET }), expect: none },
  { name: 'not looked at', tenants: off, expect: 'user' },
];

const report = (changes: Parameters<typeof message>[0] = {}) =>
  message({
    [id]: undefined,
    From: 'postmaster@contoso.example',
    'Auto-Submitted': 'auto-replied',
    ...changes,
  });

const systemCases: readonly Case[] = [
  { name: 'T24 signed by the initial domain', dkim: [ofInitial], expect: 'system' },
  { name: 'T24 with the secret alone', text: report({ [AUTH]: SECRET }), expect: 'system' },
  {
    name: 'T24 with the secret and a broken signature',
    text: report({ [AUTH]: SECRET }),
    dkim: [broken],
    expect: 'system',
  },
  { name: 'T25 signed by E', dkim: [ofE], expect: none },
  { name: 'signed by another hosted tenant', dkim: [ofB], expect: none },
  { name: 'key unavailable', dkim: [unknown], expect: later },
  { name: 'neither signature nor secret', expect: noSecret },
  { name: 'a wrong secret and no signature', text: report({ [AUTH]: 'x'.repeat(20) }), expect: noSecret },
  { name: 'signatures are not looked at', tenants: off, dkim: [ofA], expect: noSecret },
].map((each) => ({ text: report(), tenants: observe, ...each, sender: null }));

const forwarded = (changes: Parameters<typeof message>[0] = {}) =>
  message({ [authAs]: 'Anonymous', [entity]: 'Internet', From: 'user@isp.example', ...changes });

const forwardedCases: readonly Case[] = [
  { name: 'T28 with the secret', text: forwarded({ [AUTH]: SECRET }), expect: 'forwarded' },
  { name: 'T28 signed by A', dkim: [ofA], expect: 'forwarded' },
  {
    name: 'T29 MAIL FROM rewritten by the tenant',
    text: forwarded({ [AUTH]: SECRET }),
    sender: 'bounces+SRS=ab=cd@contoso.example',
    expect: 'forwarded',
  },
  {
    name: 'T28 flag off',
    text: forwarded({ [AUTH]: SECRET }),
    tenants: observe,
    expect: 'C7 forwarded-not-enabled',
  },
  { name: 'neither signature nor secret', expect: noSecret },
  { name: 'signed by its sender alone', dkim: [by('isp.example', 'fail')], expect: none },
  {
    name: 'organisation of another',
    text: forwarded({ [AUTH]: SECRET, [org]: 'fabrikam.example' }),
    expect: 'C5 organization-not-authorized',
  },
  {
    name: 'From of a user of A is forwarded all the same, never class user',
    text: forwarded({ [AUTH]: SECRET, From: 'user@contoso.example' }),
    expect: 'forwarded',
  },
  {
    name: 'half of the pair',
    text: forwarded({ [AUTH]: SECRET, [authAs]: 'Internal' }),
    expect: 'C7 class-not-authorized',
  },
].map((each) => ({ text: forwarded(), tenants: forwarding, sender: 'user@isp.example', ...each }));

const tables: Readonly<Record<string, readonly Case[]>> = {
  'C8 user': userCases,
  system: systemCases,
  forwarded: forwardedCases,
};
for (const [table, cases] of Object.entries(tables)) {
  for (const each of cases) {
    test(`${table}: ${each.name}`, async () => {
      const origin = await verdict(each);
      if (origin.kind === 'proven') assert.deepEqual([origin.tenant, origin.class], [TENANT_A, each.expect]);
      else assert.equal(`${origin.reasons[0].condition} ${origin.reasons[0].error}`, each.expect);
    });
  }
}

test('observe: what require would have refused is told, with each signature of the tenant', async () => {
  const dkim = [broken, ofE];
  const origin = await verdict({ name: '', tenants: observe, dkim, expect: '' });
  assert.ok(origin.kind === 'proven');
  assert.deepEqual(
    origin.observed.map(({ condition, error, reason }) => `${condition} ${error}: ${reason}`),
    ['C8 dkim-missing: no valid DKIM signature of the tenant (contoso.example: fail)'],
  );
  const signed = await verdict({ name: '', tenants: observe, dkim: [ofA], expect: '' });
  assert.ok(signed.kind === 'proven');
  assert.deepEqual(signed.observed, []);
});

const parsed = parseRanges('40.92.0.0/15');
assert.ok('ranges' in parsed);
for (const [site, own, expect] of [
  ['off', 'off', 'user, observed: '],
  ['off', 'observe', 'user, observed: C3'],
  ['observe', 'off', 'user, observed: C3'],
  ['off', 'require', 'C3 client-not-verified'],
  ['observe', 'require', 'C3 client-not-verified'],
  ['require', 'off', 'C3 client-not-verified'],
] as const) {
  test(`C3 outside the ranges: site ${site}, tenant ${own}: the stricter one counts`, async () => {
    const origin = await verdict({
      name: '',
      peer: { ...peerWith(), address: '192.0.2.1' },
      tenants: registryWith({ addressMode: own }),
      settings: { ...settings, addresses: { mode: site, ranges: parsed.ranges } },
      expect: '',
    });
    const told =
      origin.kind === 'proven'
        ? `${origin.class}, observed: ${origin.observed.map(({ condition }) => condition).join()}`
        : `${origin.reasons[0].condition} ${origin.reasons[0].error}`;
    assert.equal(told, expect);
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../../../src/core/secret.ts';
import type { OnPremises } from '../../../src/tenant/on-premises.ts';
import { openRegistry, type Tenant, tenantOfDomain } from '../../../src/tenant/registry.ts';
import { TENANT_A, TENANT_B } from '../../support/policy.ts';
import { stampsAlone } from '../../support/proof.ts';

function tenant(changes: Partial<Tenant> = {}): Tenant {
  return {
    id: TENANT_A,
    name: 'A',
    domains: ['a.example'],
    matchSubDomains: false,
    isEnabled: true,
    isLoopBack: false,
    proof: stampsAlone,
    ...changes,
  };
}
const other = (changes: Partial<Tenant> = {}) =>
  tenant({ id: TENANT_B, name: 'B', domains: ['b.example'], ...changes });

const lookups: readonly [
  name: string,
  tenants: readonly Tenant[],
  domain: string,
  expected: string | undefined,
][] = [
  ['own domain', [tenant(), other()], 'b.example', 'B'],
  ['letter case', [tenant()], 'A.EXAMPLE', 'A'],
  ['U-label for an A-label', [tenant({ domains: ['xn--bcher-kva.example'] })], 'bücher.example', 'A'],
  ['A-label for a U-label', [tenant({ domains: ['bücher.example'] })], 'xn--bcher-kva.example', 'A'],
  ['sub-domain', [tenant()], 'x.a.example', undefined],
  ['sub-domain with matchSubDomains', [tenant({ matchSubDomains: true })], 'x.y.a.example', 'A'],
  ['suffix that is no sub-domain', [tenant({ matchSubDomains: true })], 'xa.example', undefined],
  ['parent', [tenant({ domains: ['x.a.example'], matchSubDomains: true })], 'a.example', undefined],
  [
    'sub-domain of its own beside matchSubDomains',
    [tenant({ domains: ['a.example', 'x.a.example'], matchSubDomains: true })],
    'x.a.example',
    'A',
  ],
  ['no domain', [tenant()], '[127.0.0.1]', undefined],
];

for (const [name, tenants, domain, expected] of lookups) {
  test(`tenantOfDomain: ${name}`, () => {
    assert.equal(tenantOfDomain(openRegistry(tenants), domain)?.name, expected);
  });
}

const refusals: readonly [name: string, tenants: readonly Tenant[], reason: RegExp][] = [
  ['same domain', [tenant(), other({ domains: ['A.example'] })], /claimed by A and by B/],
  ['same id', [tenant(), other({ id: TENANT_A })], /two tenants/],
  [
    'sub-domain of what another claims',
    [tenant({ matchSubDomains: true }), other({ domains: ['x.y.a.example'] })],
    /sub-domain/,
  ],
  [
    'the same in the other order',
    [other({ domains: ['x.a.example'] }), tenant({ matchSubDomains: true })],
    /sub-domain/,
  ],
  ['no domain name', [tenant({ domains: ['*.a.example'] })], /not a domain/],
];

for (const [name, tenants, reason] of refusals) {
  test(`openRegistry refuses: ${name}`, () => {
    assert.throws(() => openRegistry(tenants), { code: 'config-invalid', message: reason });
  });
}

test('shared-server: a certificate or a user of two tenants is refused', () => {
  const networks = { has: () => true };
  const login = { user: 'mail', password: new Secret('x') };
  const withServers = (onPremises: OnPremises) =>
    openRegistry([tenant({ onPremises: { networks, fingerprints: ['AA'], login } }), other({ onPremises })]);
  assert.throws(
    () => withServers({ networks, fingerprints: ['BB', 'AA'] }),
    /on-premises certificate AA is claimed by A and by B/,
  );
  assert.throws(
    () => withServers({ networks, fingerprints: [], login }),
    /on-premises user mail is claimed by A and by B/,
  );
  assert.ok(withServers({ networks, fingerprints: ['BB'], login: { ...login, user: 'other' } }));
});

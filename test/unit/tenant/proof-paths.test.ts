// The secret (C9) and the paths beside the normal one: system mail without an id, and on-premises mail.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';
import type { MessageClass } from '../../../src/core/origin.ts';
import { Secret } from '../../../src/core/secret.ts';
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
  TENANT_E,
  tenantA,
  tenantB,
  verdict,
} from '../../support/proof.ts';

const AUTH = 'X-Postern-Tenant-Auth';
const CURRENT = 'current-secret-of-A-1';
const PREVIOUS = 'previous-secret-of-A';
const OF_B = 'secret-of-tenant-B-01';
const attribution = 'X-MS-Exchange-CrossTenant-OriginalAttributedTenantConnectingIp';

const secrets = [new Secret(CURRENT), new Secret(PREVIOUS)];
const registryWith = (proof: Partial<TenantProof>) =>
  openRegistry([
    { ...tenantA, proof: { ...stampsAlone, secrets, ...proof } },
    { ...tenantB, proof: { ...stampsAlone, secretMode: 'require', secrets: [new Secret(OF_B)] } },
  ]);

const off = registryWith({});
const observe = registryWith({ secretMode: 'observe' });
const require = registryWith({ secretMode: 'require' });
const suspended = openRegistry([
  { ...tenantA, isEnabled: false, proof: { ...stampsAlone, secrets, secretMode: 'require' } },
]);
const hybrid = registryWith({ isHybridRelayed: true });

const missing = 'C9 tenant-auth-missing';
const badClass = 'C7 class-not-authorized';
type Changes = NonNullable<Parameters<typeof message>[0]>;

const userCases: readonly Case[] = [
  { name: 'off, none', tenants: off, expect: 'user' },
  { name: 'require, current', tenants: require, text: message({ [AUTH]: CURRENT }), expect: 'user' },
  { name: 'require, previous', tenants: require, text: message({ [AUTH]: PREVIOUS }), expect: 'user' },
  { name: 'require, folded', tenants: require, text: message({ [AUTH]: `\r\n ${CURRENT}` }), expect: 'user' },
  { name: 'T9 require, none', tenants: require, expect: missing },
  { name: 'require, wrong', tenants: require, text: message({ [AUTH]: 'x'.repeat(24) }), expect: missing },
  { name: 'require, empty', tenants: require, text: message({ [AUTH]: '' }), expect: missing },
  {
    name: 'require, a part of it',
    tenants: require,
    text: message({ [AUTH]: CURRENT.slice(0, -1) }),
    expect: missing,
  },
  {
    name: 'require, letter case',
    tenants: require,
    text: message({ [AUTH]: CURRENT.toUpperCase() }),
    expect: missing,
  },
  {
    name: 'require, twice',
    tenants: require,
    text: message({ [AUTH]: [CURRENT, CURRENT] }),
    expect: missing,
  },
  {
    name: 'require, beside a wrong one',
    tenants: require,
    text: message({ [AUTH]: [CURRENT, 'guess-guess-guess-1'] }),
    expect: missing,
  },
  {
    name: 'require, secret of another tenant',
    tenants: require,
    text: message({ [AUTH]: OF_B }),
    expect: missing,
  },
  {
    name: 'require, none known',
    tenants: registryWith({ secretMode: 'require', secrets: [] }),
    text: message({ [AUTH]: '' }),
    expect: missing,
  },
  { name: 'suspended, wrong: learns nothing', tenants: suspended, expect: missing },
  {
    name: 'suspended, right',
    tenants: suspended,
    text: message({ [AUTH]: CURRENT }),
    expect: 'C11 tenant-suspended',
  },
];

/** T24: a report of A as Exchange sends it, without an id. */
function report(changes: Changes = {}): string {
  return message({
    [id]: undefined,
    From: 'postmaster@contoso.example',
    'Content-Type': 'multipart/report; report-type=delivery-status; boundary=b',
    'X-MS-Exchange-Message-Is-Ndr': '',
    [AUTH]: CURRENT,
    ...changes,
  });
}

const systemCases: readonly Case[] = [
  { name: 'T24 report', text: report(), expect: 'system' },
  {
    name: 'T24 old report without the pair',
    text: report({ [authAs]: undefined, [entity]: undefined }),
    expect: 'system',
  },
  {
    name: 'T24 organisation is the initial domain',
    text: report({ [org]: 'contoso.onmicrosoft.example' }),
    expect: 'system',
  },
  {
    name: 'T32 journal report',
    text: report({
      'Content-Type': undefined,
      'Auto-Submitted': 'auto-generated',
      'X-MS-Journal-Report': '',
    }),
    expect: 'system',
  },
  { name: 'T25 without the secret, whatever the mode', text: report({ [AUTH]: undefined }), expect: missing },
  { name: 'T25 with a secret of another tenant', text: report({ [AUTH]: OF_B }), expect: missing },
  {
    name: 'organisation of a stranger',
    text: report({ [org]: 'evil.example' }),
    expect: 'C5 organization-not-authorized',
  },
  {
    name: 'organisation missing',
    text: report({ [org]: undefined }),
    expect: 'C5 organization-not-authorized',
  },
  {
    name: 'organisation twice',
    text: report({ [org]: ['contoso.example', 'fabrikam.example'] }),
    expect: 'C5 organization-not-authorized',
  },
  {
    name: 'From outside',
    text: report({ From: 'postmaster@evil.example' }),
    expect: 'C6 sender-not-authorized',
  },
  {
    name: 'pair says Internet',
    text: report({ [authAs]: 'Anonymous', [entity]: 'Internet' }),
    expect: badClass,
  },
  { name: 'pair is repeated', text: report({ [authAs]: ['Internal', 'Internal'] }), expect: badClass },
  { name: 'not automatic', text: report({ 'Content-Type': undefined }), expect: 'C4 tenant-missing' },
  {
    name: 'an id of a stranger is not none',
    text: report({ [id]: TENANT_E }),
    expect: 'C4 organization-not-authorized',
  },
].map((each) => ({ ...each, sender: null, tenants: off }));

/** T30: mail of an on-premises user, which a connector took into A. */
function onPremises(changes: Changes = {}): string {
  return message({
    [authAs]: 'Anonymous',
    [entity]: 'HybridOnPrem',
    [attribution]: `TenantId=${TENANT_A};Ip=[192.0.2.10];Helo=[host.contoso.example]`,
    ...changes,
  });
}

const hybridCases: readonly Case[] = [
  { name: 'T30 with the flag', text: onPremises(), tenants: hybrid, expect: 'hybrid' },
  { name: 'T30 without the flag', text: onPremises(), tenants: off, expect: 'C7 hybrid-not-enabled' },
  {
    name: 'T30 attributed to E',
    text: onPremises({ [attribution]: `TenantId=${TENANT_E};Ip=[192.0.2.10];Helo=[x]` }),
    tenants: hybrid,
    expect: badClass,
  },
  {
    name: 'T30 not attributed',
    text: onPremises({ [attribution]: undefined }),
    tenants: hybrid,
    expect: badClass,
  },
  {
    name: 'T30 attributed twice',
    text: onPremises({ [attribution]: [`TenantId=${TENANT_A};`, `TenantId=${TENANT_E};`] }),
    tenants: hybrid,
    expect: badClass,
  },
  {
    name: 'T30 From outside',
    text: onPremises({ From: 'x@evil.example' }),
    tenants: hybrid,
    expect: 'C6 sender-not-authorized',
  },
  {
    name: 'T30 with the secret required and missing',
    text: onPremises(),
    tenants: registryWith({ isHybridRelayed: true, secretMode: 'require' }),
    expect: missing,
  },
  {
    name: 'T30 half of the pair',
    text: onPremises({ [authAs]: 'Internal' }),
    tenants: hybrid,
    expect: badClass,
  },
  {
    name: 'T30 automatic with the null sender is hybrid all the same',
    text: onPremises({ 'Auto-Submitted': 'auto-generated' }),
    sender: null,
    tenants: hybrid,
    expect: 'hybrid',
  },
];

const tables: Readonly<Record<string, readonly Case[]>> = {
  'C9 user': userCases,
  system: systemCases,
  hybrid: hybridCases,
};
for (const [table, cases] of Object.entries(tables)) {
  for (const each of cases) {
    test(`${table}: ${each.name}`, async () => {
      const origin = await verdict(each);
      if (origin.kind === 'proven') {
        assert.deepEqual(
          [origin.tenant, origin.class, origin.observed],
          [TENANT_A, each.expect as MessageClass, []],
        );
      } else {
        const [{ condition, error }] = origin.reasons;
        assert.equal(`${condition} ${error}`, each.expect);
      }
    });
  }
}

for (const [name, changes, reasons] of [
  ['missing', {}, ['C9 X-Postern-Tenant-Auth is missing']],
  ['wrong', { [AUTH]: 'guess-guess-guess-1' }, ['C9 X-Postern-Tenant-Auth is not the secret of the tenant']],
  ['right', { [AUTH]: CURRENT }, []],
] as const) {
  test(`observe: ${name} changes nothing, and is told`, async () => {
    const origin = await verdict({ name, text: message(changes), tenants: observe, expect: '' });
    assert.ok(origin.kind === 'proven');
    assert.deepEqual(
      origin.observed.map(({ condition, reason }) => `${condition} ${reason}`),
      reasons,
    );
  });
}

test('canary: no verdict shows a secret, neither a right nor a wrong one', async () => {
  const wrong = 'canary-wrong-secret-1';
  for (const value of [CURRENT, wrong]) {
    const text = message({ [AUTH]: [value, value] });
    const origin = await verdict({ name: '', text, tenants: require, expect: '' });
    const shown = `${inspect(origin, { depth: 9 })}${JSON.stringify(origin)}`;
    assert.doesNotMatch(shown, new RegExp(`${CURRENT}|${wrong}`));
  }
});

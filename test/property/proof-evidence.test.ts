// Properties of the proof: total over random evidence, and nothing is proven without every single condition.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Peer } from '../../src/core/peer.ts';
import { Secret } from '../../src/core/secret.ts';
import type { Evidence } from '../../src/tenant/evidence.ts';
import { canRelay, prove } from '../../src/tenant/proof.ts';
import { openRegistry, type ProofMode, type TenantProof } from '../../src/tenant/registry.ts';
import { address, TENANT_A, TENANT_B } from '../support/policy.ts';

const SECRET_A = 'secret-of-tenant-A-01';
const SECRET_B = 'secret-of-tenant-B-01';
const proofOf = (secretMode: ProofMode, secret: string, isHybridRelayed: boolean): TenantProof => ({
  secretMode,
  secrets: [new Secret(secret)],
  isHybridRelayed,
});

const registry = openRegistry([
  {
    id: TENANT_A,
    name: 'A',
    domains: ['contoso.example'],
    matchSubDomains: false,
    isEnabled: true,
    proof: proofOf('off', SECRET_A, true),
  },
  {
    id: TENANT_B,
    name: 'B',
    domains: ['fabrikam.example'],
    matchSubDomains: true,
    isEnabled: true,
    proof: proofOf('require', SECRET_B, false),
  },
]);
const settings = { certificateNames: ['mail.protection.outlook.com'], maxReceived: 25 };

const peer = (isVerified: boolean, name: string): Peer => ({
  address: '40.92.0.1',
  port: 25,
  helo: 'x',
  tls: {
    protocol: 'TLSv1.3',
    cipher: 'x',
    certificate: {
      isVerified,
      dnsNames: [name],
      fingerprint256: 'AA',
      validFrom: new Date(0),
      validTo: new Date(1),
    },
  },
});
const goodPeer = peer(true, 'mail.protection.outlook.com');

const some = (good: string, ...bad: string[]) =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constant([good]) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom(good, ...bad), { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.array(fc.string({ unit: 'binary' }), { maxLength: 2 }) },
  );

const anyEvidence: fc.Arbitrary<Evidence> = fc.record({
  peer: fc.constantFrom<Peer>(
    goodPeer,
    goodPeer,
    goodPeer,
    peer(false, 'mail.protection.outlook.com'),
    peer(true, 'x.example'),
    { address: 'x', port: 1, helo: 'x' },
  ),
  sender: fc.constantFrom(
    null,
    address('user@contoso.example'),
    address('x@evil.example'),
    address('x@fabrikam.example'),
  ),
  tenantIds: some(TENANT_A, TENANT_B, `{${TENANT_A}}`),
  organizations: some('contoso.example', 'fabrikam.example', 'evil.example'),
  authAs: some('Internal', 'Anonymous'),
  entities: some('Hosted', 'Internet', 'HybridOnPrem'),
  from: some(
    'user@contoso.example',
    'x@evil.example',
    'a@contoso.example, b@evil.example',
    'x@fabrikam.example',
  ),
  senderFields: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: some('a@contoso.example', 'a@evil.example') },
  ),
  attributions: some(`TenantId=${TENANT_A};`, `TenantId=${TENANT_B};`),
  secrets: some(SECRET_A, SECRET_B).map((values) => values.map((value) => new Secret(value))),
  isAutomatic: fc.boolean(),
  receivedCount: fc.oneof(fc.constant(3), fc.nat(60)),
});

/** One in five is stamped as on-premises mail, which chance alone would hardly make. */
const evidence = fc
  .tuple(anyEvidence, fc.nat(4))
  .map(([any, dice]) => (dice === 0 ? { ...any, authAs: ['Anonymous'], entities: ['HybridOnPrem'] } : any));

test('whatever is proven has one id, one organisation and one author of the same tenant', () => {
  let proven = 0;
  const seen = new Set<string>();
  fc.assert(
    fc.property(evidence, (evidence) => {
      const origin = prove(registry, evidence, settings);
      if (origin.kind === 'unproven') return assert.ok(origin.reasons.length > 0);
      proven += 1;
      const isA = origin.tenant === TENANT_A;
      const isSystemPath = evidence.tenantIds.length === 0;
      assert.deepEqual(evidence.tenantIds, isSystemPath ? [] : [origin.tenant]);
      if (isSystemPath || !isA)
        assert.deepEqual(
          evidence.secrets.map((secret) => secret.reveal().toString()),
          [isA ? SECRET_A : SECRET_B],
        );
      const domain = origin.tenant === TENANT_A ? 'contoso.example' : 'fabrikam.example';
      assert.deepEqual(evidence.organizations, [domain]);
      assert.equal(evidence.from.length, 1);
      assert.ok(evidence.from[0]?.endsWith(`@${domain}`));
      assert.ok(evidence.sender === null || evidence.sender.domain === domain);
      const pair = [...evidence.authAs, ...evidence.entities].join();
      if (origin.class === 'hybrid') {
        assert.deepEqual([pair, isA], ['Anonymous,HybridOnPrem', true]);
        assert.deepEqual(evidence.attributions, [`TenantId=${TENANT_A};`]);
      } else if (isSystemPath) assert.ok(['Internal,Hosted', 'Internal', 'Hosted', ''].includes(pair));
      else assert.equal(pair, 'Internal,Hosted');
      seen.add(isSystemPath ? 'system path' : origin.class);
      assert.equal(evidence.peer, goodPeer);
      assert.ok(evidence.receivedCount < 25);
      if (origin.class !== 'hybrid')
        assert.equal(origin.class, evidence.sender === null && evidence.isAutomatic ? 'system' : 'user');
    }),
    { numRuns: 6_000 },
  );
  assert.ok(proven > 20, `only ${proven} proven: the property says nothing`);
  assert.deepEqual([...seen].toSorted(), ['hybrid', 'system', 'system path', 'user']);
});

test('a client that may not relay at RCPT is never proven after DATA', () => {
  fc.assert(
    fc.property(evidence, (evidence) => {
      if (canRelay(evidence.peer, settings))
        assert.equal(prove(registry, evidence, settings).kind, 'unproven');
    }),
    { numRuns: 1_000 },
  );
});

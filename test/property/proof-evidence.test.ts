// Properties of the proof: total over random evidence, and nothing is proven without every single condition.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ProofMode } from '../../src/core/origin.ts';
import type { Peer } from '../../src/core/peer.ts';
import { Secret } from '../../src/core/secret.ts';
import type { Evidence } from '../../src/tenant/evidence.ts';
import { canRelay } from '../../src/tenant/client.ts';
import { prove } from '../../src/tenant/proof.ts';
import { openRegistry, type TenantProof } from '../../src/tenant/registry.ts';
import { address, TENANT_A, TENANT_B } from '../support/policy.ts';

const SECRET_A = 'secret-of-tenant-A-01';
const SECRET_B = 'secret-of-tenant-B-01';
const proofOf = (
  dkimMode: ProofMode,
  secretMode: ProofMode,
  secret: string,
  isHybridRelayed: boolean,
): TenantProof => ({
  addressMode: 'off',
  dkimMode,
  secretMode,
  secrets: [new Secret(secret)],
  ownDomainMode: 'off',
  isHybridRelayed,
  isForwardedRelayed: true,
});

const registry = openRegistry([
  {
    id: TENANT_A,
    name: 'A',
    domains: ['contoso.example'],
    matchSubDomains: false,
    isEnabled: true,
    isLoopBack: false,
    proof: proofOf('require', 'off', SECRET_A, true),
  },
  {
    id: TENANT_B,
    name: 'B',
    domains: ['fabrikam.example'],
    matchSubDomains: true,
    isEnabled: true,
    isLoopBack: false,
    proof: proofOf('observe', 'require', SECRET_B, false),
  },
]);
const settings = {
  certificateNames: ['mail.protection.outlook.com'],
  hostname: 'gw.example',
  maxReceived: 25,
};

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
  dkim: fc.array(
    fc.record({
      domain: fc.constantFrom('contoso.example', 'fabrikam.example', 'evil.example', ''),
      result: fc.constantFrom('pass', 'pass', 'fail', 'unavailable'),
      reason: fc.constant(''),
    }),
    { maxLength: 3 },
  ),
  isAutomatic: fc.boolean(),
  receivedBy: fc.constant([]),
  doneMarks: fc.constant([]),
  messageId: fc.constant(''),
  receivedCount: fc.oneof(fc.constant(3), fc.nat(60)),
});

/** Three in six are stamped as what chance alone would hardly make: on-premises, forwarded, a report without id. */
const evidence = fc.tuple(anyEvidence, fc.nat(5)).map(([any, dice]) => {
  if (dice === 0) return { ...any, authAs: ['Anonymous'], entities: ['HybridOnPrem'] };
  if (dice === 1) return { ...any, authAs: ['Anonymous'], entities: ['Internet'] };
  return dice === 2 ? { ...any, tenantIds: [], sender: null, isAutomatic: true } : any;
});

test('whatever is proven has the stamps of one tenant, and a signature or secret where they alone say too little', () => {
  let proven = 0;
  const seen = new Set<string>();
  fc.assert(
    fc.property(evidence, (evidence) => {
      const origin = prove(registry, evidence, settings);
      if (origin.kind === 'unproven') return assert.ok(origin.reasons.length > 0);
      proven += 1;
      const isA = origin.tenant === TENANT_A;
      const domain = isA ? 'contoso.example' : 'fabrikam.example';
      const isSystemPath = evidence.tenantIds.length === 0;
      assert.deepEqual(evidence.tenantIds, isSystemPath ? [] : [origin.tenant]);
      assert.deepEqual(evidence.organizations, [domain]);
      const isSigned = evidence.dkim.some((found) => found.domain === domain && found.result === 'pass');
      const secrets = evidence.secrets.map((secret) => secret.reveal().toString());
      const hasSecret = secrets.length === 1 && secrets[0] === (isA ? SECRET_A : SECRET_B);
      if (isSystemPath || origin.class === 'forwarded') assert.ok(isSigned || hasSecret);
      else assert.ok(isA ? isSigned : hasSecret);
      const pair = [...evidence.authAs, ...evidence.entities].join();
      if (origin.class === 'forwarded') assert.equal(pair, 'Anonymous,Internet');
      else {
        assert.equal(evidence.from.length, 1);
        assert.ok(evidence.from[0]?.endsWith(`@${domain}`));
        assert.ok(evidence.sender === null || evidence.sender.domain === domain);
      }
      if (origin.class === 'hybrid') {
        assert.deepEqual([pair, isA], ['Anonymous,HybridOnPrem', true]);
        assert.deepEqual(evidence.attributions, [`TenantId=${TENANT_A};`]);
      } else if (isSystemPath) assert.ok(['Internal,Hosted', 'Internal', 'Hosted', ''].includes(pair));
      else if (origin.class !== 'forwarded') assert.equal(pair, 'Internal,Hosted');
      seen.add(isSystemPath ? 'system path' : origin.class);
      assert.equal(evidence.peer, goodPeer);
      assert.ok(evidence.receivedCount < 25);
      if (origin.class === 'user' || origin.class === 'system')
        assert.equal(origin.class, evidence.sender === null && evidence.isAutomatic ? 'system' : 'user');
    }),
    { numRuns: 8_000 },
  );
  assert.ok(proven > 100, `only ${proven} proven: the property says nothing`);
  assert.deepEqual([...seen].toSorted(), ['forwarded', 'hybrid', 'system', 'system path', 'user']);
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

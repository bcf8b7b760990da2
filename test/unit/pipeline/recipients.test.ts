import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Address } from '../../../src/core/address.ts';
import { errorTable, replyFor } from '../../../src/core/errors.ts';
import type { Peer } from '../../../src/core/peer.ts';
import type { PolicySet } from '../../../src/pipeline/policy-set.ts';
import { answerRecipient } from '../../../src/pipeline/recipients.ts';
import { openRegistry } from '../../../src/tenant/registry.ts';
import { address, TENANT_A, TENANT_B } from '../../support/policy.ts';
import { stampsAlone } from '../../support/proof.ts';

const registry = openRegistry([
  {
    id: TENANT_A,
    name: 'A',
    domains: ['contoso.example'],
    matchSubDomains: false,
    isEnabled: true,
    isLoopBack: false,
    proof: stampsAlone,
  },
  {
    id: TENANT_B,
    name: 'B',
    domains: ['suspended.example'],
    matchSubDomains: false,
    isEnabled: false,
    isLoopBack: false,
    proof: stampsAlone,
  },
]);
const policies: PolicySet = { registry, all: [], of: () => undefined };
const proof = { certificateNames: ['mail.protection.outlook.com'], hostname: 'gw.example', maxReceived: 25 };

const clear: Peer = { address: '127.0.0.1', port: 1, helo: 'x' };
const tls: Peer = { ...clear, tls: { protocol: 'TLSv1.3', cipher: 'c' } };
const exchange: Peer = {
  ...tls,
  tls: {
    protocol: 'TLSv1.3',
    cipher: 'c',
    certificate: {
      isVerified: true,
      dnsNames: ['mail.protection.outlook.com'],
      fingerprint256: '',
      validFrom: new Date(0),
      validTo: new Date(0),
    },
  },
};

type Row = readonly [
  what: string,
  peer: Peer,
  accepted: readonly string[],
  recipient: string,
  expected: string,
];
const ROWS: readonly Row[] = [
  ['local mail needs no TLS', clear, [], 'user@contoso.example', '250 2.1.5'],
  ['relay without TLS', clear, [], 'bob@remote.example', '530 5.7.0'],
  ['relay without a certificate', tls, [], 'bob@remote.example', '550 5.7.1'],
  ['relay for Exchange Online', exchange, [], 'bob@remote.example', '250 2.1.5'],
  ['a second one of the same class', exchange, ['a@remote.example'], 'bob@remote.example', '250 2.1.5'],
  ['relay after local', exchange, ['user@contoso.example'], 'bob@remote.example', '452 4.5.3'],
  ['local after relay', exchange, ['bob@remote.example'], 'user@contoso.example', '452 4.5.3'],
  [
    'the other class is told so before whether it might relay',
    clear,
    ['user@contoso.example'],
    'b@remote.example',
    '452 4.5.3',
  ],
  ['a suspended tenant', clear, [], 'user@suspended.example', '550 5.7.1'],
];

for (const [what, peer, accepted, recipient, expected] of ROWS)
  test(`${what}: ${expected}`, () => {
    const reply = answerRecipient(policies, proof, peer, accepted.map(address), address(recipient));
    assert.equal(`${reply.code} ${reply.enhanced}`, expected);
  });

const strict = {
  refusal: (tenant: string, { key }: Address) =>
    tenant === TENANT_B || key.startsWith('nobody@') ? replyFor('recipient-unknown') : undefined,
};
const CHECKED: readonly Row[] = [
  ['known', clear, [], 'user@contoso.example', '250 2.1.5'],
  ['unknown', clear, [], 'nobody@contoso.example', '550 5.1.1'],
  ['unknown, beside a known one', clear, ['user@contoso.example'], 'nobody@contoso.example', '550 5.1.1'],
  ['unknown to Exchange Online as well', exchange, [], 'nobody@contoso.example', '550 5.1.1'],
  ['the other class comes first', exchange, ['bob@remote.example'], 'nobody@contoso.example', '452 4.5.3'],
  ['a suspended tenant comes first', clear, [], 'nobody@suspended.example', '550 5.7.1'],
  ['relay recipients are nobody of ours', exchange, [], 'nobody@remote.example', '250 2.1.5'],
];

for (const [what, peer, accepted, recipient, expected] of CHECKED)
  test(`with a recipients directory, ${what}: ${expected}`, () => {
    const reply = answerRecipient(policies, proof, peer, accepted.map(address), address(recipient), strict);
    assert.equal(`${reply.code} ${reply.enhanced}`, expected);
  });

test('other-class says what the client should do', () => {
  const reply = answerRecipient(
    policies,
    proof,
    exchange,
    [address('bob@remote.example')],
    address('user@contoso.example'),
  );
  assert.equal(reply.text, errorTable['other-class'].text);
});

// Attribution as a table: connectors, certificates and addresses in, tenant and direction out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attribute, type AttributionInput } from '../../../src/lab/attribution.ts';
import type { InboundConnector, LabTenant } from '../../../src/lab/exchange-tenant.ts';

const onPremises: InboundConnector = {
  name: 'allow',
  type: 'on-premises',
  tlsSenderCertificateName: 'gw.contoso.example',
};
const partner: InboundConnector = {
  name: 'restrict',
  type: 'partner',
  senderDomains: ['*'],
  requireTls: true,
  restrictDomainsToCertificate: true,
  tlsSenderCertificateName: 'a.t.gw.example',
};

function tenant(name: string, connectors: InboundConnector[], more: Partial<LabTenant> = {}): LabTenant {
  return {
    name,
    id: '00000000-0000-4000-8000-000000000001',
    initialDomain: `${name}.onmicrosoft.example`,
    acceptedDomains: [
      { name: `${name}.example`, type: 'authoritative' },
      { name: `${name}.onmicrosoft.example`, type: 'authoritative' },
    ],
    connectors,
    ...more,
  };
}

const withDomain = (name: string, domain: string, matchSubDomains = false): Partial<LabTenant> => ({
  acceptedDomains: [
    { name: `${name}.example`, type: 'authoritative' },
    { name: domain, type: 'authoritative', matchSubDomains },
  ],
});

const REMOTE = 'x@remote.example';
const A = 'user@contoso.example';
const B = 'user@fabrikam.example';
const gwA = ['gw.contoso.example'];

interface Row {
  readonly say: string;
  readonly tenants: readonly LabTenant[];
  readonly input: Partial<AttributionInput>;
  /** `originating contoso local`, `incoming contoso`, or the code. */
  readonly expect: string;
}

const plainB = tenant('fabrikam', []);
const ROWS: readonly Row[] = [
  { say: 'nobody has the domain', tenants: [plainB], input: { recipient: REMOTE }, expect: '5.7.64' },
  {
    say: 'no connector: direct send to the recipient',
    tenants: [plainB],
    input: { recipient: B },
    expect: 'incoming fabrikam',
  },
  {
    say: 'certificate domain accepted: originating, foreign sender',
    tenants: [tenant('contoso', [onPremises], withDomain('contoso', 'gw.contoso.example'))],
    input: { sender: REMOTE, recipient: 'y@remote.example', certificateNames: gwA },
    expect: 'originating contoso external',
  },
  {
    say: 'the same to an own mailbox',
    tenants: [tenant('contoso', [onPremises], withDomain('contoso', 'gw.contoso.example'))],
    input: { sender: REMOTE, recipient: A, certificateNames: gwA },
    expect: 'originating contoso local',
  },
  {
    say: 'certificate domain accepted under MatchSubDomains',
    tenants: [tenant('contoso', [onPremises], withDomain('contoso', 'contoso.example', true))],
    input: { sender: REMOTE, recipient: 'y@remote.example', certificateNames: gwA },
    expect: 'originating contoso external',
  },
  {
    say: 'certificate domain not accepted, own MAIL FROM',
    tenants: [tenant('contoso', [onPremises])],
    input: { sender: A, recipient: REMOTE, certificateNames: gwA },
    expect: 'originating contoso external',
  },
  {
    say: 'certificate domain not accepted, foreign MAIL FROM (wrong-3)',
    tenants: [tenant('contoso', [onPremises])],
    input: { sender: REMOTE, recipient: 'y@remote.example', certificateNames: gwA },
    expect: '5.7.64',
  },
  {
    say: 'certificate domain not accepted, null sender: the recipient decides',
    tenants: [tenant('contoso', [onPremises]), tenant('fabrikam', [onPremises])],
    input: { sender: '', recipient: B, certificateNames: gwA },
    expect: 'originating fabrikam local',
  },
  {
    say: 'a disabled connector counts for nothing',
    tenants: [tenant('contoso', [{ ...onPremises, isEnabled: false }])],
    input: { sender: A, recipient: REMOTE, certificateNames: gwA },
    expect: '5.7.64',
  },
  {
    say: 'a wildcard name covers names below it',
    tenants: [tenant('contoso', [{ ...onPremises, tlsSenderCertificateName: '*.contoso.example' }])],
    input: { sender: A, recipient: REMOTE, certificateNames: ['GW.contoso.example'] },
    expect: 'originating contoso external',
  },
  {
    say: 'and not the domain itself',
    tenants: [tenant('contoso', [{ ...onPremises, tlsSenderCertificateName: '*.contoso.example' }])],
    input: { sender: A, recipient: REMOTE, certificateNames: ['contoso.example'] },
    expect: '5.7.64',
  },
  {
    say: 'an address in the list, own MAIL FROM',
    tenants: [tenant('contoso', [{ name: 'ip', type: 'on-premises', senderIpAddresses: ['127.0.0.0/30'] }])],
    input: { sender: A, recipient: REMOTE, clientAddress: '127.0.0.3' },
    expect: 'originating contoso external',
  },
  {
    say: 'an address just outside it',
    tenants: [tenant('contoso', [{ name: 'ip', type: 'on-premises', senderIpAddresses: ['127.0.0.0/30'] }])],
    input: { sender: A, recipient: REMOTE, clientAddress: '127.0.0.4' },
    expect: '5.7.64',
  },
  {
    say: 'associated domains limit the connector',
    tenants: [tenant('contoso', [{ ...onPremises, associatedAcceptedDomains: ['pilot.contoso.example'] }])],
    input: { sender: A, recipient: REMOTE, certificateNames: gwA },
    expect: '5.7.64',
  },
  {
    say: 'Partner restriction met',
    tenants: [tenant('contoso', [partner])],
    input: { recipient: A, isTls: true, certificateNames: ['a.t.gw.example'] },
    expect: 'incoming contoso',
  },
  {
    say: 'Partner restriction, wrong name',
    tenants: [tenant('contoso', [partner])],
    input: { recipient: A, isTls: true, certificateNames: ['b.t.gw.example'] },
    expect: '5.7.51',
  },
  {
    say: 'Partner restriction, in clear',
    tenants: [tenant('contoso', [{ ...partner, restrictDomainsToCertificate: false }])],
    input: { recipient: A, isTls: false },
    expect: '5.7.3',
  },
  {
    say: 'on-premises connector by address, TLS required and missed',
    tenants: [
      tenant('contoso', [
        { name: 'ip', type: 'on-premises', requireTls: true, senderIpAddresses: ['127.0.0.0/30'] },
      ]),
    ],
    input: { sender: A, recipient: REMOTE, isTls: false, clientAddress: '127.0.0.1' },
    expect: '5.7.3',
  },
  {
    say: 'Partner restriction to addresses',
    tenants: [
      tenant('contoso', [
        { name: 'ip', type: 'partner', restrictDomainsToIpAddresses: true, senderIpAddresses: ['127.0.0.9'] },
      ]),
    ],
    input: { recipient: A, clientAddress: '127.0.0.8' },
    expect: '5.7.51',
  },
  {
    say: 'a Partner certificate gives no right to relay',
    tenants: [tenant('contoso', [partner])],
    input: { sender: A, recipient: REMOTE, isTls: true, certificateNames: ['a.t.gw.example'] },
    expect: '5.7.64',
  },
  {
    say: 'Partner connectors are those of the recipient',
    tenants: [tenant('contoso', [partner]), plainB],
    input: { sender: A, recipient: B, isTls: true, certificateNames: ['a.t.gw.example'] },
    expect: 'incoming fabrikam',
  },
  {
    say: 'a connector for other senders does not look at this mail',
    tenants: [tenant('contoso', [{ ...partner, senderDomains: ['isp.example'] }])],
    input: { recipient: A },
    expect: 'incoming contoso',
  },
  {
    say: 'the connector that names the sender beats the one for all',
    tenants: [
      tenant('contoso', [partner, { name: 'open', type: 'partner', senderDomains: ['remote.example'] }]),
    ],
    input: { recipient: A },
    expect: 'incoming contoso',
  },
  {
    say: 'the initial domain is locked to the gateway too',
    tenants: [tenant('contoso', [partner])],
    input: { isTls: true, recipient: 'user@contoso.onmicrosoft.example' },
    expect: '5.7.51',
  },
  {
    say: 'unless the connector is limited to other domains',
    tenants: [tenant('contoso', [{ ...partner, associatedAcceptedDomains: ['contoso.example'] }])],
    input: { recipient: 'user@contoso.onmicrosoft.example' },
    expect: 'incoming contoso',
  },
  {
    say: 'Direct Send closed, own sender',
    tenants: [tenant('contoso', [], { rejectDirectSend: true })],
    input: { sender: A, recipient: A },
    expect: '5.7.68',
  },
  {
    say: 'Direct Send closed, foreign sender',
    tenants: [tenant('contoso', [], { rejectDirectSend: true })],
    input: { sender: REMOTE, recipient: A },
    expect: 'incoming contoso',
  },
  {
    say: 'unknown recipient',
    tenants: [tenant('contoso', [], { recipients: ['Known@contoso.example'] })],
    input: { recipient: A },
    expect: '5.4.1',
  },
  {
    say: 'known recipient, other letter case',
    tenants: [tenant('contoso', [], { recipients: ['USER@contoso.example'] })],
    input: { recipient: A },
    expect: 'incoming contoso',
  },
];

test('every connection is somebody’s, or refused with the documented code', () => {
  for (const { say, tenants, input, expect } of ROWS) {
    const verdict = attribute(tenants, {
      sender: REMOTE,
      recipient: A,
      clientAddress: '127.0.0.1',
      isTls: (input.certificateNames?.length ?? 0) > 0,
      certificateNames: [],
      ...input,
    });
    const seen =
      verdict.kind === 'refused'
        ? verdict.text.split(' ')[0]
        : [
            verdict.direction,
            verdict.tenant.name,
            ...(verdict.direction === 'incoming' ? [] : [verdict.isLocal ? 'local' : 'external']),
          ].join(' ');
    assert.equal(seen, expect, say);
  }
});

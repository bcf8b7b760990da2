// Unproven mail with a From of a hosted domain: what speaks for it, and what does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DkimVerdict } from '../../../src/authentication/dkim.ts';
import type { SpfVerdict } from '../../../src/authentication/spf.ts';
import { bytesSource } from '../../../src/core/bytes.ts';
import { defaultLimits } from '../../../src/core/limits.ts';
import type { Peer } from '../../../src/core/peer.ts';
import { Secret } from '../../../src/core/secret.ts';
import { readMessage } from '../../../src/mime/header-section.ts';
import { exchangeRanges, parseRanges } from '../../../src/tenant/address-ranges.ts';
import { gatherEvidence } from '../../../src/tenant/evidence.ts';
import { canSpfDecide, checkOwnDomains } from '../../../src/tenant/own-domain.ts';
import { openRegistry } from '../../../src/tenant/registry.ts';
import { address } from '../../support/policy.ts';
import { peerWith, settings, stampsAlone, tenantA, tenantB } from '../../support/proof.ts';

const SECRET = 'current-secret-of-A-1';
const registry = openRegistry([
  { ...tenantA, matchSubDomains: true, proof: { ...stampsAlone, secrets: [new Secret(SECRET)] } },
  { ...tenantB, proof: { ...stampsAlone, ownDomainMode: 'off' } },
]);
const stranger: Peer = { address: '192.0.2.1', port: 1, helo: 'mx.contoso.example' };

interface Given {
  readonly from?: string;
  readonly more?: string;
  readonly dkim?: readonly DkimVerdict[];
  readonly spf?: SpfVerdict;
  readonly sender?: string | null;
  readonly peer?: Peer;
}

async function evidenceOf({
  from = 'user@contoso.example',
  more = '',
  dkim = [],
  sender,
  peer = stranger,
}: Given) {
  const text = `From: ${from}\r\n${more}\r\nbody\r\n`;
  const { header } = await readMessage(bytesSource(Buffer.from(text)).open(), defaultLimits);
  return gatherEvidence(
    peer,
    { sender: sender === null ? null : address(sender ?? 'user@contoso.example') },
    header,
    dkim,
  );
}

const signedBy = (domain: string, result: DkimVerdict['result'] = 'pass') => ({
  domain,
  result,
  reason: result,
});
const spfOf = (domain: string, result: SpfVerdict['result'] = 'pass') => ({ domain, result, reason: result });
const refused = ['require own-domain-unauthenticated'];
const later = ['require authentication-unavailable'];

const cases: readonly [string, Given, readonly string[]][] = [
  ['a stranger in From', { from: 'x@isp.example' }, []],
  ['T21 nothing speaks for it', {}, refused],
  ['an own address among others', { from: 'x@isp.example, user@contoso.example' }, refused],
  ['in a group', { from: 'us: user@contoso.example;' }, refused],
  ['a display name counts for nothing', { from: '"user@contoso.example" <x@isp.example>' }, []],
  ['From twice', { from: 'x@isp.example', more: 'From: user@contoso.example\r\n' }, refused],
  ['aligned signature', { dkim: [signedBy('contoso.example')] }, []],
  [
    'signature of a parent domain',
    { from: 'x@news.contoso.example', dkim: [signedBy('contoso.example')] },
    [],
  ],
  ['signature of a sub-domain', { dkim: [signedBy('news.contoso.example')] }, []],
  [
    "signature of the tenant's other domain is not aligned",
    { dkim: [signedBy('contoso.onmicrosoft.example')] },
    refused,
  ],
  ['signature of a stranger', { dkim: [signedBy('isp.example')] }, refused],
  ['signature of a neighbour in the name', { dkim: [signedBy('evil-contoso.example')] }, refused],
  ['broken signature', { dkim: [signedBy('contoso.example', 'fail')] }, refused],
  ['key unavailable', { dkim: [signedBy('contoso.example', 'unavailable')] }, later],
  ['aligned SPF', { spf: spfOf('contoso.example') }, []],
  ['SPF of a sub-domain', { spf: spfOf('bounce.contoso.example') }, []],
  ['SPF of a stranger', { spf: spfOf('isp.example') }, refused],
  ['SPF fails', { spf: spfOf('contoso.example', 'fail') }, refused],
  ['SPF unavailable', { spf: spfOf('contoso.example', 'unavailable') }, later],
  ["the tenant's own rule sent it", { more: `X-Postern-Tenant-Auth: ${SECRET}\r\n` }, []],
  ['a guessed secret', { more: 'X-Postern-Tenant-Auth: guess-guess-guess-1\r\n' }, refused],
  ['own-domain-unreadable', { from: 'Boss <user@contoso.example' }, refused],
  [
    'unreadable and signed',
    { from: 'Boss <user@contoso.example', dkim: [signedBy('contoso.example')] },
    refused,
  ],
  ['unreadable without own domain', { from: 'Boss <user@isp.example' }, []],
  ['IDN', { from: 'x@bücher.example' }, refused],
  ['a tenant that does not check', { from: 'x@fabrikam.example' }, []],
];
for (const [name, given, expect] of cases) {
  test(name, async () => {
    const missed = checkOwnDomains(registry, await evidenceOf(given), given.spf);
    assert.deepEqual(
      missed.map(({ mode, failure }) => `${mode} ${failure.error}`),
      expect,
    );
  });
}

const ranges = parseRanges(exchangeRanges.join('\n'));
assert.ok('ranges' in ranges);
const observing = { ...settings, addresses: { mode: 'observe', ranges: ranges.ranges } } as const;
const spfCases: readonly [string, Given, boolean][] = [
  ['an own sender', {}, true],
  ['the HELO name of a null sender', { sender: null }, true],
  ['a sender elsewhere', { sender: 'x@isp.example' }, false],
  ['a stranger in From', { from: 'x@isp.example' }, false],
  ['Exchange by certificate', { peer: { ...peerWith(), address: '192.0.2.1' } }, false],
  ['Exchange by address', { peer: { ...stranger, address: '40.92.0.1' } }, false],
  ['signed already', { dkim: [signedBy('contoso.example')] }, false],
];
for (const [name, given, expect] of spfCases) {
  test(`SPF is asked for: ${name}`, async () => {
    assert.equal(canSpfDecide(registry, await evidenceOf(given), observing), expect);
  });
}

// The proof of tenant, as a table over whole header sections: what EXO sends, and what somebody else makes up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openRegistry } from '../../../src/tenant/registry.ts';
import { canRelay } from '../../../src/tenant/client.ts';
import { TENANT_A, TENANT_B } from '../../support/policy.ts';
import {
  authAs,
  type Case,
  CONSUMER,
  entity,
  exoCertificate,
  id,
  message,
  org,
  peerWith,
  settings,
  TENANT_E,
  tenantA,
  tenantB,
  verdict,
  withFrom,
  withId,
  withoutCertificate,
  withoutTls,
} from '../../support/proof.ts';

const organization = 'C5 organization-not-authorized';
const sender = 'C6 sender-not-authorized';
const badClass = 'C7 class-not-authorized';
const conflicting = 'C4 tenant-conflicting';

const cases: readonly Case[] = [
  { name: 'T1 mail of a user of A', expect: 'user' },
  {
    name: 'T2 header names in lower case, GUID in upper case',
    text: message()
      .replace(/^[\w-]+(?=:)/gm, (name) => name.toLowerCase())
      .replace(TENANT_A, TENANT_A.toUpperCase()),
    expect: 'user',
  },
  { name: 'T3 folded tenant id', text: withId(`\r\n ${TENANT_A}`), expect: 'user' },
  { name: 'T4 tenant id in braces', text: withId(`{${TENANT_A}}`), expect: conflicting },
  { name: 'T4 tenant id in quotes', text: withId(`"${TENANT_A}"`), expect: conflicting },
  { name: 'T4 tenant id with a comment', text: withId(`${TENANT_A} (A)`), expect: conflicting },
  { name: 'T4 tenant id with trailing text', text: withId(`${TENANT_A}; x=1`), expect: conflicting },
  {
    name: 'T4 tenant id as an encoded word',
    text: withId(`=?us-ascii?q?${TENANT_A}?=`),
    expect: conflicting,
  },
  { name: 'T4 tenant id with NBSP (stamped-nbsp)', text: withId(`\u00a0${TENANT_A}`), expect: conflicting },
  {
    name: 'T4 tenant id with a blank inside, by folding',
    text: withId(TENANT_A.replace('-', '-\r\n ')),
    expect: conflicting,
  },
  { name: 'T4 empty tenant id', text: withId(''), expect: conflicting },
  { name: 'T5 two tenant ids, A then E', text: withId([TENANT_A, TENANT_E]), expect: conflicting },
  { name: 'T5 two tenant ids, E then A', text: withId([TENANT_E, TENANT_A]), expect: conflicting },
  { name: 'T5 the same tenant id twice', text: withId([TENANT_A, TENANT_A]), expect: conflicting },
  {
    name: "T7 E's real mail with From of A",
    text: message({ [id]: TENANT_E, [org]: 'evil.onmicrosoft.example', From: 'finance@contoso.example' }),
    expect: 'C4 organization-not-authorized',
  },
  {
    name: 'T8 E forges the tenant id only',
    text: message({ [org]: 'evil.onmicrosoft.example' }),
    sender: 'x@evil.onmicrosoft.example',
    expect: organization,
  },
  {
    name: 'T9 E forges tenant id and organisation, From of E',
    text: withFrom('x@evil.onmicrosoft.example'),
    expect: sender,
  },
  {
    name: 'T9 E forges tenant id, organisation, From and MAIL FROM: without C8 and C9 nothing tells it apart',
    expect: 'user',
  },
  {
    name: 'T11 tenant id in the body only',
    text: message({ [id]: undefined }, '', `${id}: ${TENANT_A}\r\n`),
    expect: 'C4 tenant-missing',
  },
  {
    name: 'T12 tenant id only in an attached message',
    text: message(
      { [id]: undefined, 'Content-Type': 'multipart/mixed; boundary=b' },
      '',
      `--b\r\nContent-Type: message/rfc822\r\n\r\n${message()}\r\n--b--\r\n`,
    ),
    expect: 'C4 tenant-missing',
  },
  {
    name: 'T12 foreign tenant id in an attached message',
    text: message(
      { 'Content-Type': 'multipart/mixed; boundary=b' },
      '',
      `--b\r\nContent-Type: message/rfc822\r\n\r\n${withId(TENANT_E)}\r\n--b--\r\n`,
    ),
    expect: 'user',
  },
  { name: 'T14 without STARTTLS', peer: withoutTls, expect: 'C1 tls-required' },
  { name: 'T15 without client certificate', peer: withoutCertificate, expect: 'C2 client-not-verified' },
  {
    name: 'T16 rogue CA, identical subject and SAN',
    peer: peerWith({ ...exoCertificate, isVerified: false, verifyError: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }),
    expect: 'C2 client-not-verified',
  },
  {
    name: 'T18 expired certificate',
    peer: peerWith({ ...exoCertificate, isVerified: false, verifyError: 'CERT_HAS_EXPIRED' }),
    expect: 'C2 client-not-verified',
  },
  {
    name: 'T24 report of A without tenant id: no evidence but what anybody can write',
    text: message({
      [id]: undefined,
      From: 'postmaster@contoso.example',
      'Content-Type': 'multipart/report; report-type=delivery-status; boundary=b',
    }),
    sender: null,
    expect: 'C9 tenant-auth-missing',
  },
  {
    name: 'T27 out-of-office reply of A',
    text: message({ 'Auto-Submitted': 'auto-generated' }),
    sender: null,
    expect: 'system',
  },
  {
    name: 'T28 forwarded Internet mail',
    text: message({ [authAs]: 'Anonymous', [entity]: 'Internet', From: 'user@isp.example' }),
    sender: 'user@isp.example',
    expect: 'C7 forwarded-not-enabled',
  },
  {
    name: 'T29 forwarded Internet mail with rewritten MAIL FROM',
    text: message({ [authAs]: 'Anonymous', [entity]: 'Internet', From: 'user@isp.example' }),
    sender: 'bounces+SRS=ab=cd@contoso.example',
    expect: 'C7 forwarded-not-enabled',
  },
  {
    name: 'T30 hybrid mail',
    text: message({ [authAs]: 'Anonymous', [entity]: 'HybridOnPrem' }),
    expect: badClass,
  },
  {
    name: 'T34 read receipt',
    text: message({ 'Content-Type': 'multipart/report; report-type=disposition-notification; boundary=b' }),
    sender: null,
    expect: 'system',
  },
  {
    name: "T42 From in A's second domain",
    text: withFrom('user@contoso.onmicrosoft.example'),
    expect: 'user',
  },
  {
    name: 'T44 U-label in From, A-label in the organisation',
    text: message({ From: 'Büro <büro@bücher.example>', [org]: 'xn--bcher-kva.example' }),
    sender: 'büro@bücher.example',
    expect: 'user',
  },
  {
    name: 'T45 connector validation mail',
    text: message({
      From: 'O365ConnectorValidation@contoso.onmicrosoft.example',
      [org]: 'contoso.onmicrosoft.example',
    }),
    sender: 'O365ConnectorValidation@contoso.onmicrosoft.example',
    expect: 'user',
  },
  {
    name: 'T48 tenant disabled',
    tenants: openRegistry([{ ...tenantA, isEnabled: false }, tenantB]),
    expect: 'C11 tenant-suspended',
  },
  {
    name: 'T48 a stranger does not learn that the tenant is disabled',
    text: message({ [org]: 'evil.onmicrosoft.example' }),
    tenants: openRegistry([{ ...tenantA, isEnabled: false }, tenantB]),
    expect: organization,
  },
  {
    name: 'T54 Resent-From of A, From outside',
    text: message({ From: 'user@isp.example', 'Resent-From': 'user@contoso.example' }),
    expect: sender,
  },

  // C10: once for the sender's side and once for the recipient's is as it should be.
  {
    name: 'C10 one Received field of this gateway',
    text: message({ Received: ['from a by GW.example with ESMTPS id 1; x', 'from b by other.example; x'] }),
    expect: 'user',
  },
  {
    name: 'C10 two Received fields of this gateway',
    text: message({
      Received: [
        'from a (x)\r\n\tby gw.example with ESMTPS id 1; x',
        'from b by other.example; x',
        'by GW.example; x',
      ],
    }),
    expect: 'C10 mail-loop',
  },
  {
    name: 'C10 the name of this gateway elsewhere in Received',
    text: message({
      Received: ['from gw.example by a.example; x', 'from gw.example by gw.example.a.example; x'],
    }),
    expect: 'user',
  },

  // C2: names are compared whole, and the common name only where the SAN has none.
  {
    name: 'C2 letter case of the name',
    peer: peerWith({ ...exoCertificate, dnsNames: ['Mail.Protection.Outlook.COM'] }),
    expect: 'user',
  },
  {
    name: 'C2 one of several names',
    peer: peerWith({ ...exoCertificate, dnsNames: ['x.example', 'mail.protection.outlook.com'] }),
    expect: 'user',
  },
  {
    name: 'C2 wildcard name',
    peer: peerWith({ ...exoCertificate, dnsNames: ['*.protection.outlook.com'] }),
    expect: 'C2 client-not-verified',
  },
  {
    name: 'C2 name with a suffix',
    peer: peerWith({ ...exoCertificate, dnsNames: ['mail.protection.outlook.com.evil.example'] }),
    expect: 'C2 client-not-verified',
  },
  {
    name: 'C2 accepted name in the common name only, another in the SAN',
    peer: peerWith({ ...exoCertificate, dnsNames: ['evil.example'] }),
    expect: 'C2 client-not-verified',
  },
  {
    name: 'C2 common name without any SAN',
    peer: peerWith({ ...exoCertificate, dnsNames: [] }),
    expect: 'user',
  },

  // C4 and C5
  {
    name: 'C4 nil GUID',
    text: withId('00000000-0000-0000-0000-000000000000'),
    expect: 'C4 organization-not-authorized',
  },
  { name: 'C4 consumer tenant', text: withId(CONSUMER), expect: 'C4 organization-not-authorized' },
  { name: 'C5 organisation missing', text: message({ [org]: undefined }), expect: organization },
  {
    name: 'C5 organisation twice, equal',
    text: message({ [org]: ['contoso.example', 'contoso.example'] }),
    expect: organization,
  },
  {
    name: 'C5 organisation of another hosted tenant',
    text: message({ [org]: 'fabrikam.example' }),
    expect: organization,
  },
  {
    name: 'C5 sub-domain without MatchSubDomains',
    text: message({ [org]: 'a.contoso.example' }),
    expect: organization,
  },
  {
    name: 'C5 sub-domain with MatchSubDomains',
    text: message({ [org]: 'a.contoso.example', From: 'user@b.contoso.example' }),
    tenants: openRegistry([{ ...tenantA, matchSubDomains: true }, tenantB]),
    expect: 'user',
  },
  { name: 'C5 letter case of the organisation', text: message({ [org]: 'Contoso.Example' }), expect: 'user' },

  // C6
  { name: 'C6 From missing', text: message({ From: undefined }), expect: sender },
  { name: 'C6 From twice', text: withFrom(['user@contoso.example', 'user@contoso.example']), expect: sender },
  { name: 'C6 From of another hosted tenant', text: withFrom('user@fabrikam.example'), expect: sender },
  {
    name: 'C6 two authors, one outside',
    text: withFrom('a@contoso.example, b@evil.example'),
    expect: sender,
  },
  {
    name: 'C6 two authors of the tenant',
    text: withFrom('a@contoso.example, b@contoso.example'),
    expect: 'user',
  },
  {
    name: 'C6 own address in the display name only',
    text: withFrom('"finance@contoso.example" <x@evil.example>'),
    expect: sender,
  },
  { name: 'C6 group', text: withFrom('all: a@contoso.example;'), expect: sender },
  { name: 'C6 empty group', text: withFrom('undisclosed:;'), expect: sender },
  { name: 'C6 From without an address', text: withFrom('user'), expect: sender },
  {
    name: 'C6 address glued by a comment',
    text: withFrom('x@evil.example(c)@contoso.example'),
    expect: sender,
  },
  {
    name: 'C6 quoted local part with an at sign',
    text: withFrom('"x@evil.example"@contoso.example'),
    expect: 'user',
  },
  { name: 'C6 Sender of the tenant', text: message({ Sender: 'b@contoso.example' }), expect: 'user' },
  { name: 'C6 Sender outside', text: message({ Sender: 'b@evil.example' }), expect: sender },
  {
    name: 'C6 Sender twice',
    text: message({ Sender: ['b@contoso.example', 'b@contoso.example'] }),
    expect: sender,
  },
  { name: 'C6 MAIL FROM outside', sender: 'x@evil.example', expect: sender },
  { name: 'C6 MAIL FROM in the second domain', sender: 'x@contoso.onmicrosoft.example', expect: 'user' },
  { name: 'C6 null sender, not automatic', sender: null, expect: 'user' },

  // C7
  { name: 'C7 AuthAs missing', text: message({ [authAs]: undefined }), expect: badClass },
  { name: 'C7 AuthAs twice', text: message({ [authAs]: ['Internal', 'Internal'] }), expect: badClass },
  { name: 'C7 Anonymous', text: message({ [authAs]: 'Anonymous' }), expect: badClass },
  { name: 'C7 entity missing', text: message({ [entity]: undefined }), expect: badClass },
  {
    name: 'C7 entity twice, different',
    text: message({ [entity]: ['Hosted', 'Internet'] }),
    expect: badClass,
  },

  // Automatic: RFC 3834 §5
  {
    name: 'class: Auto-Submitted: no',
    text: message({ 'Auto-Submitted': 'no' }),
    sender: null,
    expect: 'user',
  },
  {
    name: 'class: Auto-Submitted: No ; x',
    text: message({ 'Auto-Submitted': 'No ; x=y' }),
    sender: null,
    expect: 'user',
  },
  {
    name: 'class: auto-replied with a sender',
    text: message({ 'Auto-Submitted': 'auto-replied' }),
    expect: 'user',
  },

  // C10
  {
    name: 'C10 24 hops',
    text: message({ Received: Array.from({ length: 24 }, () => 'from a by b') }),
    expect: 'user',
  },
  {
    name: 'C10 25 hops',
    text: message({ Received: Array.from({ length: 25 }, () => 'from a by b') }),
    expect: 'C10 mail-loop',
  },
];

for (const each of cases) {
  test(each.name, async () => {
    const origin = await verdict(each);
    if (origin.kind === 'proven') {
      assert.equal(origin.class, each.expect);
      assert.equal(origin.tenant, TENANT_A);
    } else {
      const [{ condition, error }] = origin.reasons;
      assert.equal(`${condition} ${error}`, each.expect);
    }
  });
}

test('T40 mail of B is proven for B, with the same client certificate', async () => {
  const text = message({ [id]: TENANT_B, [org]: 'fabrikam.example', From: 'user@fabrikam.example' });
  const origin = await verdict({ name: '', text, sender: 'user@fabrikam.example', expect: '' });
  assert.ok(origin.kind === 'proven');
  assert.equal(origin.tenant, TENANT_B);
});

test('every failing condition is in the reasons, the one for the reply first', async () => {
  const text = message({ [org]: 'evil.example', [authAs]: undefined, From: 'x@evil.example' });
  const origin = await verdict({ name: '', text, peer: withoutTls, expect: '' });
  assert.ok(origin.kind === 'unproven');
  assert.deepEqual(
    origin.reasons.map(({ condition }) => condition),
    ['C1', 'C5', 'C7', 'C6'],
  );
});

test('T14, T15, T16 a relay recipient is refused at RCPT', () => {
  const rogue = peerWith({ ...exoCertificate, isVerified: false });
  assert.equal(canRelay(withoutTls, settings)?.error, 'tls-required');
  assert.equal(canRelay(withoutCertificate, settings)?.error, 'client-not-verified');
  assert.equal(canRelay(rogue, settings)?.error, 'client-not-verified');
  assert.equal(canRelay(peerWith(), settings), undefined);
  assert.equal(canRelay(peerWith(), { ...settings, certificateNames: [] })?.condition, 'C2');
});

// The Received field: what it says, and that nothing of a HELO argument gets through that is not a name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Envelope } from '../../../src/core/envelope.ts';
import type { Peer } from '../../../src/core/peer.ts';
import { parseHeaderSection } from '../../../src/mime/header-section.ts';
import { receivedField } from '../../../src/smtp/loop-guard.ts';
import { address } from '../../support/smtp.ts';

const at = new Date('2026-07-05T08:05:09Z');
const envelope: Envelope = {
  id: 'abc123',
  sender: null,
  recipients: [{ address: address('hidden@remote.example') }],
  smtpUtf8: false,
  body: '7BIT',
};
const peer: Peer = { address: '192.0.2.1', port: 4_000, helo: 'mail.contoso.example' };
const tls = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384' } as const;

const cases: readonly [peer: Partial<Peer>, envelope: Partial<Envelope>, expected: string][] = [
  [
    {},
    {},
    'from mail.contoso.example ([192.0.2.1])\r\n\tby gw.example with ESMTP id abc123;\r\n\tSun, 5 Jul 2026 08:05:09 +0000',
  ],
  [
    { tls },
    {},
    'from mail.contoso.example ([192.0.2.1])\r\n\tby gw.example with ESMTPS id abc123\r\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384);\r\n\tSun, 5 Jul 2026 08:05:09 +0000',
  ],
  [
    { address: '2001:db8::1', helo: '[IPv6:2001:db8::1]' },
    { smtpUtf8: true },
    'from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby gw.example with UTF8SMTP id abc123;\r\n\tSun, 5 Jul 2026 08:05:09 +0000',
  ],
  [
    { tls, helo: '' },
    { smtpUtf8: true },
    'from unknown ([192.0.2.1])\r\n\tby gw.example with UTF8SMTPS id abc123\r\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384);\r\n\tSun, 5 Jul 2026 08:05:09 +0000',
  ],
];

for (const [morePeer, moreEnvelope, expected] of cases) {
  test(expected, () => {
    const field = receivedField({ ...peer, ...morePeer }, { ...envelope, ...moreEnvelope }, 'gw.example', at);
    assert.equal(String(field), `Received: ${expected}\r\n`);
    const { fields } = parseHeaderSection(field, { maxHeaderBytes: 2_000, maxHeaderLines: 10 });
    assert.deepEqual(
      fields.map(({ name }) => name),
      ['Received'],
    );
    assert.ok(!String(field).includes('hidden'));
  });
}

for (const helo of [
  'a(b)',
  'x;y',
  'x\r\nEvil: y',
  'a b',
  '<script>',
  'x'.repeat(300),
  '[not an address]',
  'büro.example',
]) {
  test(`HELO ${JSON.stringify(helo.slice(0, 30))} is told as unknown`, () => {
    assert.match(
      String(receivedField({ ...peer, helo }, envelope, 'gw.example', at)),
      /^Received: from unknown \(/,
    );
  });
}

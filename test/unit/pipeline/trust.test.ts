// From the trust section of a policy file to the verdict on a certificate.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LoadedPolicy } from '../../../src/pipeline/policy-set.ts';
import { trustForMessage } from '../../../src/pipeline/trust.ts';
import { establishTrust } from '../../../src/smime/trust.ts';
import { caExtension, makeCertificate, name, policies } from '../../support/certificates.ts';
import { policyOf, policyText } from '../../support/policy.ts';

const at = new Date('2026-06-01T00:00:00Z');
const [MEDIUM, HIGH] = ['1.3.6.1.4.1.99999.1', '1.3.6.1.4.1.99999.2'];
const root = makeCertificate({ subject: name('Root'), extensions: [caExtension()] });
const ca = makeCertificate({
  subject: name('CA'),
  issuer: root,
  extensions: [caExtension(), policies(MEDIUM, HIGH)],
});

/** The verdict on a certificate with these policies, under a policy file with this trust section. */
async function judge(section: string, held: readonly string[]): Promise<string> {
  const policy = policyOf(policyText('otherwise: { sign: none, encrypt: never }', section));
  const loaded = { policy, anchors: [root.certificate], intermediates: [ca.certificate] } as const;
  const extensions = held.length > 0 ? [policies(...held)] : [];
  const { certificate } = makeCertificate({ subject: name('User'), issuer: ca, extensions });
  const trust = { ...trustForMessage()(loaded as unknown as LoadedPolicy), at };
  const result = await establishTrust(certificate, [], trust, 'sign');
  return result.trusted ? 'trusted' : result.reason;
}

test('trust.certificate_policies', async (t) => {
  const demanding = `trust: { certificate_policies: ["${HIGH}"] }\n`;
  const either = `trust: { certificate_policies: ["${HIGH}", "${MEDIUM}"] }\n`;
  for (const [title, section, held, expected] of [
    ['not set: a certificate without policies', '', [], 'trusted'],
    ['not set: any policy', '', [MEDIUM], 'trusted'],
    ['the one that is asked for', demanding, [HIGH], 'trusted'],
    ['one of two that are taken', either, [MEDIUM], 'trusted'],
    [
      'another one',
      demanding,
      [MEDIUM],
      'the path holds for none of the certificate policies that are asked for',
    ],
    ['none', demanding, [], 'no certificate policy holds for the whole path'],
  ] as const)
    await t.test(title, async () => assert.equal(await judge(section, held), expected));
});

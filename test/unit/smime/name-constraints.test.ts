// Name constraints on mail addresses (RFC 5280 §4.2.1.10, RFC 9598 §6): every form of a constraint against every form of an
// address, as permitted and as excluded.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constraintProblem } from '../../../src/smime/name-constraints.ts';
import {
  altNames,
  caExtension,
  constraints,
  element,
  emailName,
  makeCertificate,
  name,
  oid,
} from '../../support/certificates.ts';

const mailbox = (value: string): Buffer =>
  element(0xa0, oid('1.3.6.1.5.5.7.8.9'), element(0xa0, element(0x0c, value)));
const OUTSIDE = 'a name is outside the name constraints of an issuer';
const EXCLUDED = 'a name is excluded by the name constraints of an issuer';

/** What a CA with the constraint, permitted and then excluded, makes of a certificate with these parts. */
function judge(constraint: Buffer, names: readonly Buffer[], subject = name('User')): readonly string[] {
  const extensions = names.length > 0 ? [altNames(...names)] : [];
  const { certificate } = makeCertificate({ subject, extensions });
  return [constraints([constraint]), constraints([], [constraint])].map((extension) => {
    const ca = makeCertificate({ subject: name('CA'), extensions: [caExtension(), extension] }).certificate;
    assert(ca.nameConstraints);
    const problem = constraintProblem(certificate, ca.nameConstraints);
    return problem === OUTSIDE ? 'outside' : problem === EXCLUDED ? 'excluded' : (problem ?? 'fine');
  });
}

const WITHIN = ['fine', 'excluded'];
const APART = ['outside', 'fine'];
/** What cannot be compared fails both ways. */
const UNCLEAR = ['outside', 'excluded'];
const plain = emailName('user@contoso.example');
const below = emailName('user@mail.contoso.example');
const eai = mailbox('\u00fcser@contoso.example');
const idn = mailbox('\u00fcser@b\u00fccher.example');

const cases: readonly (readonly [string, Buffer, Buffer, readonly string[]])[] = [
  ['host', emailName('contoso.example'), plain, WITHIN],
  ['host in another case', emailName('CONTOSO.example'), plain, WITHIN],
  ['host against a name below it', emailName('contoso.example'), below, APART],
  [
    'host against another with the same end',
    emailName('contoso.example'),
    emailName('a@evil-contoso.example'),
    APART,
  ],
  ['domain', emailName('.contoso.example'), below, WITHIN],
  ['domain against its own host', emailName('.contoso.example'), plain, APART],
  [
    'domain against another with the same end',
    emailName('.contoso.example'),
    emailName('a@evilcontoso.example'),
    APART,
  ],
  ['a whole top level', emailName('.example'), plain, WITHIN],
  ['mailbox', emailName('user@contoso.example'), plain, WITHIN],
  ['mailbox in another case', emailName('User@Contoso.example'), plain, WITHIN],
  ['mailbox against another', emailName('ceo@contoso.example'), plain, APART],
  ['everything', emailName(''), plain, WITHIN],
  ['host against SmtpUTF8Mailbox', emailName('contoso.example'), eai, WITHIN],
  ['domain against SmtpUTF8Mailbox', emailName('.example'), eai, WITHIN],
  ['other host against SmtpUTF8Mailbox', emailName('fabrikam.example'), eai, APART],
  ['mailbox against SmtpUTF8Mailbox', emailName('user@contoso.example'), eai, APART],
  ['everything against SmtpUTF8Mailbox', emailName(''), eai, WITHIN],
  ['A-label against U-label', emailName('xn--bcher-kva.example'), idn, WITHIN],
  [
    'A-label of the domain above',
    emailName('.xn--bcher-kva.example'),
    mailbox('\u00fc@a.b\u00fccher.example'),
    WITHIN,
  ],
  ['SmtpUTF8Mailbox as constraint', mailbox('\u00fcser@contoso.example'), eai, WITHIN],
  ['SmtpUTF8Mailbox as constraint, another', mailbox('\u00e4ser@contoso.example'), eai, APART],
  ['SmtpUTF8Mailbox as constraint against rfc822Name', mailbox('contoso.example'), plain, WITHIN],
  ['pattern', emailName('*.contoso.example'), below, UNCLEAR],
  ['U-label in rfc822Name', emailName('b\u00fccher.example'), idn, UNCLEAR],
  ['blank behind the host', emailName('contoso.example '), plain, UNCLEAR],
  ['a dot alone', emailName('.'), plain, UNCLEAR],
  ['two in one', emailName('a@b@contoso.example'), plain, UNCLEAR],
  ['host with an @', emailName('@contoso.example'), plain, UNCLEAR],
  ['an address that is none', emailName('contoso.example'), emailName('contoso.example'), UNCLEAR],
  ['an address with an IP literal', emailName('contoso.example'), emailName('user@[192.0.2.1]'), UNCLEAR],
  ['a name of another form', element(0x82, 'contoso.example'), plain, ['fine', 'fine']],
];

test('mailbox constraints', async (t) => {
  for (const [title, constraint, address, expected] of cases)
    await t.test(title, () => assert.deepEqual(judge(constraint, [address]), expected));
  await t.test('one of two addresses is enough to fail', () => {
    assert.deepEqual(judge(emailName('contoso.example'), [plain, emailName('user@fabrikam.example')]), [
      'outside',
      'excluded',
    ]);
    assert.deepEqual(judge(emailName('fabrikam.example'), [plain, idn]), ['outside', 'fine']);
  });
  await t.test('emailAddress of the subject, alone and beside subjectAltName', () => {
    const subject = name('User', 'user@fabrikam.example');
    assert.deepEqual(judge(emailName('fabrikam.example'), [], subject), WITHIN);
    assert.deepEqual(judge(emailName('contoso.example'), [], subject), APART);
    assert.deepEqual(judge(emailName('contoso.example'), [plain], subject), UNCLEAR);
  });
});

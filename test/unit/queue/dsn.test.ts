import { test } from 'node:test';
import assert from 'node:assert/strict';
import { makeField } from '../../../src/mime/header-section.ts';
import { type Report, type ReportedRecipient, writeDsn } from '../../../src/queue/dsn.ts';
import { parseReport } from '../../support/reports.ts';
import { address } from '../../support/storage.ts';

const failed: ReportedRecipient = {
  recipient: { address: address('bob@fabrikam.example') },
  action: 'failed',
  status: '5.1.1',
  explanation: 'The message was refused for this recipient.',
  remote: { host: 'mx.fabrikam.example', reply: { code: 550, enhanced: '5.1.1', text: 'No such user' } },
};

const report: Report = {
  id: '0123456789abcdef',
  hostname: 'gateway.contoso.example',
  sender: address('alice@contoso.example'),
  at: new Date('2026-03-01T13:00:00Z'),
  arrivedAt: new Date('2026-03-01T12:00:00Z'),
  recipients: [failed],
  originalFields: [makeField('From', 'Alice <alice@contoso.example>'), makeField('Subject', 'plans')],
};

const withRecipient = (more: Partial<ReportedRecipient>): Report => ({
  ...report,
  recipients: [{ ...failed, ...more }],
});

test('a report is a multipart/report that a mail reader understands', async () => {
  const { mail, type, text, status, original } = await parseReport(writeDsn(report));
  assert.equal(type, 'multipart/report');
  assert.equal(mail.headers.get('auto-submitted'), 'auto-replied');
  assert.equal(mail.from?.text, '"Mail Delivery System" <MAILER-DAEMON@gateway.contoso.example>');
  assert.equal(mail.subject, 'Your message could not be delivered');
  assert.equal(mail.messageId, '<0123456789abcdef@gateway.contoso.example>');
  assert.equal(mail.date?.toISOString(), '2026-03-01T13:00:00.000Z');
  assert.match(text, /<bob@fabrikam\.example>: not delivered/);
  assert.match(text, /mx\.fabrikam\.example said: 550 5\.1\.1 No such user/);
  assert.deepEqual(status, [
    {
      'reporting-mta': 'dns; gateway.contoso.example',
      'arrival-date': 'Sun, 01 Mar 2026 12:00:00 +0000',
    },
    {
      'final-recipient': 'rfc822; bob@fabrikam.example',
      action: 'failed',
      status: '5.1.1',
      'remote-mta': 'dns; mx.fabrikam.example',
      'diagnostic-code': 'smtp; 550 5.1.1 No such user',
      'last-attempt-date': 'Sun, 01 Mar 2026 13:00:00 +0000',
    },
  ]);
  assert.equal(original, 'From: Alice <alice@contoso.example>\r\nSubject: plans\r\n');
});

test('every line ends with CRLF, is short, and is ASCII', () => {
  const bytes = writeDsn(withRecipient({ explanation: 'Prüfung: ключ fehlt' }));
  const text = bytes.toString('latin1');
  assert.doesNotMatch(text, /[^\r]\n|\r[^\n]/);
  assert.ok(bytes.every((byte) => byte < 0x80));
  assert.ok(text.split('\r\n').every((line) => line.length <= 998));
});

test('an explanation that is not ASCII reads as written', async () => {
  const { text } = await parseReport(writeDsn(withRecipient({ explanation: 'Prüfung: ключ fehlt' })));
  assert.match(text, /Prüfung: ключ fehlt/);
});

test('a relayed recipient is no failure', async () => {
  const { mail, status } = await parseReport(writeDsn(withRecipient({ action: 'relayed', status: '2.0.0' })));
  assert.equal(mail.subject, 'Your message was passed on');
  assert.equal(status[1]?.['action'], 'relayed');
});

test('without a remote answer there is no remote field', async () => {
  const { remote: _, ...local } = failed;
  const { status } = await parseReport(writeDsn({ ...report, recipients: [local] }));
  assert.equal(status[1]?.['remote-mta'], undefined);
  assert.equal(status[1]?.['diagnostic-code'], undefined);
});

test('ENVID and ORCPT come back decoded (RFC 3461)', async () => {
  const recipient = { ...failed.recipient, orcpt: 'rfc822;bob+2Btag@fabrikam.example' };
  const { status } = await parseReport(writeDsn({ ...withRecipient({ recipient }), envid: 'QQ+2B1' }));
  assert.equal(status[0]?.['original-envelope-id'], 'QQ+1');
  assert.equal(status[1]?.['original-recipient'], 'rfc822;bob+tag@fabrikam.example');
});

const hostile: readonly [string, Report][] = [
  ['envid-crlf', { ...report, envid: 'x+0D+0AAction:+20delivered' }],
  ['envid with a bare LF', { ...report, envid: 'x+0AInjected:+20yes' }],
  [
    'orcpt-crlf',
    withRecipient({ recipient: { ...failed.recipient, orcpt: 'rfc822;b+0D+0AInjected:+20yes' } }),
  ],
  [
    'a remote text with line ends',
    withRecipient({
      remote: {
        host: 'mx.example',
        reply: { code: 550, enhanced: '5.0.0', text: 'no\r\nInjected: yes\r\n\r\n--' },
      },
    }),
  ],
  ['an explanation with line ends', withRecipient({ explanation: 'no\r\n\r\nInjected: yes\r\n' })],
];

for (const [name, given] of hostile) {
  test(`nothing from outside becomes a line of its own: ${name}`, async () => {
    const bytes = writeDsn(given);
    assert.doesNotMatch(bytes.toString('latin1'), /^(Injected:|Action: *delivered)/m);
    const { status } = await parseReport(bytes);
    assert.equal(status.length, 2);
  });
}

test('a remote text without end is cut', () => {
  const reply = { code: 550, enhanced: '5.0.0', text: 'x'.repeat(100_000) };
  assert.ok(writeDsn(withRecipient({ remote: { host: 'mx.example', reply } })).length < 5_000);
});

test('an address that is not ASCII is escaped in the status part (RFC 6533 §3)', async () => {
  const recipient = { address: address('grün@fabrikam.example') };
  const { status } = await parseReport(writeDsn(withRecipient({ recipient })));
  assert.equal(status[1]?.['final-recipient'], 'utf-8; gr\\x{FC}n@fabrikam.example');
});

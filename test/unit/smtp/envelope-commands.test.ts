// MAIL and RCPT arguments: what they become, and what is refused with which code.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMailCommand, parseRecipientCommand } from '../../../src/smtp/envelope-commands.ts';

const mails: readonly [line: string, result: object | number][] = [
  ['MAIL FROM:<>', { sender: null, smtpUtf8: false, body: '7BIT' }],
  ['mail from: <a@contoso.example> ', { sender: 'a@contoso.example', smtpUtf8: false, body: '7BIT' }],
  [
    'MAIL FROM:<A@CONTOSO.example> body=8bitmime',
    { sender: 'A@contoso.example', smtpUtf8: false, body: '8BITMIME' },
  ],
  [
    'MAIL FROM:<a@contoso.example> SIZE=0',
    { sender: 'a@contoso.example', smtpUtf8: false, body: '7BIT', size: 0 },
  ],
  [
    'MAIL FROM:<"a b>c"@contoso.example>',
    { sender: '"a b>c"@contoso.example', smtpUtf8: false, body: '7BIT' },
  ],
  [
    'MAIL FROM:<"a\\"b"@contoso.example>',
    { sender: '"a\\"b"@contoso.example', smtpUtf8: false, body: '7BIT' },
  ],
  [
    'MAIL FROM:<büro@bücher.example> SMTPUTF8',
    { sender: 'büro@xn--bcher-kva.example', smtpUtf8: true, body: '7BIT' },
  ],
  [
    'MAIL FROM:<a@contoso.example> RET=full ENVID=a+2Bb',
    { sender: 'a@contoso.example', smtpUtf8: false, body: '7BIT', ret: 'FULL', envid: 'a+2Bb' },
  ],
  ['MAIL FROM:<büro@contoso.example>', 553],
  ['MAIL FROM:<a@bücher.example>', 553],
  ['MAIL FROM:<a@contoso.example> SMTPUTF8=1', 501],
  ['MAIL FROM:<a@contoso.example> SMTPUTF8=', 501],
  ['MAIL FROM:<a@contoso.example> SIZE=', 501],
  ['MAIL FROM:<a@contoso.example> SIZE=-1', 501],
  ['MAIL FROM:<a@contoso.example> SIZE=1e3', 501],
  ['MAIL FROM:<a@contoso.example> SIZE=111111111111111111111', 501],
  ['MAIL FROM:<a@contoso.example> BODY=7BIT BODY=8BITMIME', 501],
  ['MAIL FROM:<a@contoso.example> ENVID=a=b', 501],
  ['MAIL FROM:<a@contoso.example> ENVID=a+0Ab', 501],
  ['MAIL FROM:<a@contoso.example> ENVID=a+0ab', 501],
  ['MAIL FROM:<a@contoso.example> ENVID=a+7Fb', 501],
  ['MAIL FROM:<a@contoso.example> AUTH=<>', 555],
  ['MAIL FROM:<a@contoso.example> NOTIFY=NEVER', 555],
  ['MAIL FROM:<a@contoso.example>SIZE=1', 501],
  ['MAIL FROM:<a@contoso.example> <b@contoso.example>', 555],
  ['MAIL FROM a@contoso.example', 501],
  ['MAIL TO:<a@contoso.example>', 501],
  ['MAIL FROM:<<a@contoso.example>>', 501],
  ['MAIL FROM:<a@contoso.example\u202e>', 553],
  ['MAIL FROM:<a@contoso.example\u202e> SMTPUTF8', 553],
  ['MAIL FROM:<a@ｃontoso.example> SMTPUTF8', 553],
  ['MAIL FROM:<a@contoso。example> SMTPUTF8', 553],
  ['MAIL FROM:<a\u00ad@contoso.example> SMTPUTF8', 553],
];

for (const [line, expected] of mails) {
  test(line, () => {
    const parsed = parseMailCommand(line);
    if (typeof expected === 'number') {
      assert.equal('refused' in parsed && parsed.refused.code, expected);
    } else {
      assert.ok('value' in parsed);
      assert.deepEqual({ ...parsed.value, sender: parsed.value.sender?.text ?? null }, expected);
    }
  });
}

const recipients: readonly [line: string, result: object | number][] = [
  ['RCPT TO:<b@remote.example>', { address: 'b@remote.example' }],
  ['RCPT TO:<postmaster>', { address: 'postmaster@gw.example' }],
  ['RCPT TO:<b@remote.example> NOTIFY=never', { address: 'b@remote.example', notify: ['NEVER'] }],
  [
    'RCPT TO:<b@remote.example> NOTIFY=DELAY,SUCCESS',
    { address: 'b@remote.example', notify: ['SUCCESS', 'DELAY'] },
  ],
  [
    'RCPT TO:<b@remote.example> ORCPT=rfc822;B+2Bx@remote.example',
    { address: 'b@remote.example', orcpt: 'rfc822;B+2Bx@remote.example' },
  ],
  ['RCPT TO:<b@remote.example> NOTIFY=', 501],
  ['RCPT TO:<b@remote.example> NOTIFY=SUCCESS,SUCCESS', 501],
  ['RCPT TO:<b@remote.example> NOTIFY=NEVER,FAILURE', 501],
  ['RCPT TO:<b@remote.example> NOTIFY=ALWAYS', 501],
  ['RCPT TO:<b@remote.example> ORCPT=b@remote.example', 501],
  ['RCPT TO:<b@remote.example> ORCPT=rfc822;', 501],
  ['RCPT TO:<b@remote.example> ORCPT=rfc822;a+00b', 501],
  [`RCPT TO:<b@remote.example> ORCPT=rfc822;${'x'.repeat(500)}`, 501],
  ['RCPT TO:<b@remote.example> SIZE=1', 555],
  ['RCPT TO:<>', 501],
  ['RCPT TO:<b@remote.example> NOTIFY=NEVER NOTIFY=NEVER', 501],
  ['RCPT TO:<a@contoso.example\u0000>', 553],
];

for (const [line, expected] of recipients) {
  test(line, () => {
    const parsed = parseRecipientCommand(line, false, 'gw.example');
    if (typeof expected === 'number') {
      assert.equal('refused' in parsed && parsed.refused.code, expected);
    } else {
      assert.ok('value' in parsed);
      assert.deepEqual({ ...parsed.value, address: parsed.value.address.text }, expected);
    }
  });
}

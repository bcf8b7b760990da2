// Replies of other servers as data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRemoteReply, statusOf } from '../../../src/smtp/remote-reply.ts';

const cases: readonly [response: string, code: number, enhanced: string, text: string, status: string][] = [
  ['250 2.6.0 queued as 1', 250, '2.6.0', 'queued as 1', 'delivered'],
  ['250', 250, '2.0.0', '', 'delivered'],
  ['250-2.0.0 one\n250 2.0.0 two', 250, '2.0.0', 'one two', 'delivered'],
  ['550-5.7.1 first\r\n550 5.7.1 second', 550, '5.7.1', 'first second', 'failed'],
  ['550 no such user', 550, '5.0.0', 'no such user', 'failed'],
  ['450 4.2.0 later', 450, '4.2.0', 'later', 'deferred'],
  ['450 5.2.0 class does not fit', 450, '4.0.0', 'class does not fit', 'deferred'],
  ['354 go', 354, '3.0.0', 'go', 'deferred'],
  ['hello', 451, '4.5.0', 'The remote server sent no SMTP reply', 'deferred'],
  ['', 451, '4.5.0', 'The remote server sent no SMTP reply', 'deferred'],
  ['999 x', 451, '4.5.0', 'The remote server sent no SMTP reply', 'deferred'],
  ['550 5.1.1 a\u0007b\u001b[31mc', 550, '5.1.1', 'a b [31mc', 'failed'],
];

for (const [response, code, enhanced, text, status] of cases) {
  test(JSON.stringify(response), () => {
    const reply = parseRemoteReply(response);
    assert.deepEqual(reply, { code, enhanced, text });
    assert.equal(statusOf(reply), status);
  });
}

test('the text is bounded', () => {
  assert.equal(parseRemoteReply(`550 ${'x'.repeat(10_000)}`).text.length, 500);
});

// What a mail program is answered that hands in mail for the lab to send.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { openOutbox } from '../../../src/lab/outbox.ts';
import {
  type RecipientResult,
  submit,
  type Submission,
  type SubmissionResult,
} from '../../../src/lab/submission.ts';

const A = 'a@remote.example';
const B = 'b@remote.example';
const MESSAGE = Buffer.from('Subject: x\r\n\r\n.dot\r\nGr\u00fc\u00dfe\r\n');

function result(...answers: readonly (readonly [string, number, string])[]): SubmissionResult {
  const recipients = answers.map(([recipient, code, text]): RecipientResult => ({
    recipient,
    code,
    text,
    stage: 'data',
    transaction: 1,
  }));
  return { recipients, transactions: 1, extensions: new Map(), tls: undefined };
}

async function handIn(answer: SubmissionResult | undefined, sender = 'user@contoso.example') {
  const sent: Submission[] = [];
  await using outbox = await openOutbox('127.0.0.1', (submission) => {
    sent.push(submission);
    return Promise.resolve(answer);
  });
  const { recipients } = await submit(
    { host: outbox.address, port: outbox.port },
    { hello: 'client.example' },
    { sender, recipients: [A, B], message: bytesSource(MESSAGE) },
  );
  const [first] = recipients;
  return { sent, answer: `${first?.code} ${first?.text}` };
}

test('the answer of the gateway is the answer of the outbox', async () => {
  const long = 'x'.repeat(1000);
  for (const [answer, expected] of [
    [result([A, 250, '2.0.0 ok'], [B, 250, '2.0.0 ok']), '250 2.0.0 ok'],
    [result([A, 550, '5.7.1 no'], [B, 550, '5.7.1 no']), '550 5.7.1 no'],
    [result([A, 250, '2.0.0 ok'], [B, 550, '5.7.1 no']), `250 ${A}: 250 2.0.0 ok; ${B}: 550 5.7.1 no`],
    [result([A, 451, '4.3.0 later'], [B, 550, '5.7.1 no']), `451 ${A}: 451 4.3.0 later; ${B}: 550 5.7.1 no`],
    [result([A, 550, long], [B, 550, long]), `550 ${long.slice(0, 480)}`],
    [result(), '554 5.5.1 No valid recipients'],
    [undefined, '550 5.7.60 SMTP; Client does not have permissions to send as this sender'],
  ] as const) {
    assert.equal((await handIn(answer)).answer, expected);
  }
});

test('envelope and bytes are handed on as they came', async () => {
  for (const sender of ['user@contoso.example', '']) {
    const { sent } = await handIn(result([A, 250, '2.0.0 ok'], [B, 250, '2.0.0 ok']), sender);
    const [submission] = sent;
    assert.equal(sent.length, 1);
    assert.equal(submission?.sender, sender);
    assert.deepEqual(submission?.recipients, [A, B]);
    assert.ok(submission && (await collect(submission.message.open(), 1_000)).equals(MESSAGE));
  }
});

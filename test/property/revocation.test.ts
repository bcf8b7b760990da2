// Lists and answers of hostile servers: whatever comes, the verdict is one of three, and no change makes "good".
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { GatewayError } from '../../src/core/errors.ts';
import { parseRevocationList } from '../../src/smime/crl.ts';
import { judgeByLists } from '../../src/smime/crl-status.ts';
import { judgeOcspAnswer } from '../../src/smime/ocsp.ts';
import { element, sequence } from '../support/certificates.ts';
import {
  answerWith,
  at,
  certificate,
  issuer,
  listOf,
  question,
  revokedAnswer,
  revokedList,
  THIS,
} from '../support/revocation.ts';

async function judgeList(bytes: Buffer): Promise<string> {
  try {
    const verdict = await judgeByLists([parseRevocationList(bytes)], certificate, [issuer.certificate], {
      at,
    });
    return verdict.state;
  } catch (error) {
    assert(error instanceof GatewayError);
    return 'unreadable';
  }
}

const judgeAnswer = async (bytes: Buffer) => (await judgeOcspAnswer(bytes, question, at)).state;

test('unchanged, both say revoked; with nothing wrong, both say good', async () => {
  assert.equal(await judgeList(revokedList), 'revoked');
  assert.equal(await judgeAnswer(revokedAnswer), 'revoked');
  assert.equal(await judgeList(listOf(sequence(element(0x02, Buffer.of(1)), element(0x18, THIS)))), 'good');
  assert.equal(await judgeAnswer(answerWith(element(0x80))), 'good');
});

for (const [title, original, judge] of [
  ['a list', revokedList, judgeList],
  ['an answer', revokedAnswer, judgeAnswer],
] as const) {
  test(`${title} that was changed or cut is never good`, async () => {
    const change = fc.record({ place: fc.nat(original.length - 1), value: fc.nat(255), cut: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        let bytes = Buffer.from(original);
        for (const { place, value } of changes) bytes[place] = value;
        if (changes[0]?.cut) bytes = bytes.subarray(0, changes[0].place);
        assert.notEqual(await judge(bytes), 'good');
      }),
      { numRuns: 500 },
    );
  });
  test(`any bytes for ${title}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        assert.notEqual(await judge(Buffer.from(bytes)), 'good');
      }),
    );
  });
}

test('what is malformed but signed is unknown', async () => {
  const malformed = [
    listOf(sequence(element(0x02, Buffer.of(1)))),
    listOf(element(0x02, Buffer.of(1))),
    listOf(sequence(element(0x02, certificate.serial), element(0x18, 'yesterday'))),
  ];
  for (const bytes of malformed) assert.equal(await judgeList(bytes), 'unknown');
  assert.equal(await judgeAnswer(answerWith(element(0x83))), 'unknown');
  assert.equal(await judgeAnswer(answerWith(element(0x82))), 'unknown');
});

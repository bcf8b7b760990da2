// Lists and answers of hostile servers: whatever comes, the verdict is one of three, and no change makes "good".
import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { GatewayError } from '../../src/core/errors.ts';
import { parseRevocationList } from '../../src/smime/crl.ts';
import { judgeByLists } from '../../src/smime/crl-status.ts';
import { judgeOcspAnswer } from '../../src/smime/ocsp.ts';
import { caExtension, element, makeCertificate, name, oid, sequence } from '../support/certificates.ts';

const at = new Date('2026-06-01T00:00:00Z');
const issuer = makeCertificate({ subject: name('Postern test CA'), extensions: [caExtension()] });
const { certificate } = makeCertificate({ subject: name('User'), issuer });
const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
const [THIS, NEXT] = ['20260531000000Z', '20260701000000Z'];
const question = { certificate, issuer: issuer.certificate, nonce: Buffer.alloc(32) };

function signed(body: Buffer): Buffer {
  return element(0x03, Buffer.of(0), sign('sha256', body, issuer.key));
}

function listOf(entry: Buffer): Buffer {
  const times = [element(0x18, THIS), element(0x18, NEXT)];
  const body = sequence(element(0x02, Buffer.of(1)), algorithm, issuer.subject, ...times, sequence(entry));
  return sequence(body, algorithm, signed(body));
}

function answerWith(status: Buffer): Buffer {
  const key = issuer.certificate.publicKey.export({ type: 'spki', format: 'der' }).subarray(-65);
  const hashOf = (bytes: Uint8Array) => element(0x04, createHash('sha1').update(bytes).digest());
  const id = sequence(
    sequence(oid('1.3.14.3.2.26'), element(0x05)),
    hashOf(issuer.subject),
    hashOf(key),
    element(0x02, certificate.serial),
  );
  const single = sequence(id, status, element(0x18, THIS), element(0xa0, element(0x18, NEXT)));
  const data = sequence(element(0xa1, issuer.subject), element(0x18, THIS), sequence(single));
  const basic = sequence(data, algorithm, signed(data));
  const response = sequence(oid('1.3.6.1.5.5.7.48.1.1'), element(0x04, basic));
  return sequence(element(0x0a, Buffer.of(0)), element(0xa0, response));
}

const revokedList = listOf(sequence(element(0x02, certificate.serial), element(0x18, THIS)));
const revokedAnswer = answerWith(element(0xa1, element(0x18, THIS)));

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

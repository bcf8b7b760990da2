import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SignatureResult } from '../../../src/core/outcome.ts';
import { parseHeaderSection } from '../../../src/mime/header-section.ts';
import { isFarFromDate, matchSigner } from '../../../src/pipeline/signer-match.ts';
import { latin1, limits } from '../../support/mime.ts';

const RESULT: SignatureResult = {
  format: 'smime',
  integrity: 'intact',
  trust: 'trusted',
  signer: ['a@x.example', 'b@x.example'],
  signedAt: new Date('2026-03-04T12:00:00Z'),
};

function header(...lines: readonly string[]) {
  return parseHeaderSection(latin1(lines.map((line) => `${line}\r\n`).join('')), limits);
}

const matches: readonly (readonly [string, readonly string[], string, string])[] = [
  ['the author', ['From: A <a@X.example>'], 'signer', 'none'],
  ['the second address of the certificate', ['From: b@x.example'], 'signer', 'none'],
  ['the secretary', ['From: chief@x.example', 'Sender: a@x.example'], 'other', 'signer'],
  ['the author, sent by another', ['From: a@x.example', 'Sender: c@x.example'], 'signer', 'other'],
  ['one of two authors', ['From: a@x.example, c@x.example', 'Sender: a@x.example'], 'unclear', 'signer'],
  ['two authors', ['From: a@x.example', 'From: c@x.example'], 'unclear', 'none'],
  ['a group', ['From: all: a@x.example;'], 'unclear', 'none'],
  ['a Sender that is none', ['From: c@x.example', 'Sender: a@x.example a'], 'other', 'unclear'],
  ['nobody', ['Subject: x'], 'none', 'none'],
];
for (const [name, lines, from, sender] of matches) {
  test(`signed by ${name}`, () => {
    assert.equal(matchSigner(RESULT, header(...lines), 'From'), from);
    assert.equal(matchSigner(RESULT, header(...lines), 'Sender'), sender);
  });
}

const dates: readonly (readonly [string, boolean])[] = [
  ['Wed, 4 Mar 2026 12:30:00 +0000', false],
  ['Wed, 4 Mar 2026 14:00:00 +0200 (CEST)', false],
  ['Wed, 4 Mar 2026 11:00:00 +0000', false],
  ['Wed, 4 Mar 2026 10:59:59 +0000', true],
  ['Thu, 5 Mar 2026 12:00:00 +0000', true],
  ['yesterday', false],
];
for (const [date, isFar] of dates) {
  test(`dated ${date}`, () => {
    assert.equal(isFarFromDate(RESULT, header(`Date: ${date}`)), isFar);
    const { signedAt: _, ...untimed } = RESULT;
    assert.equal(isFarFromDate(untimed, header(`Date: ${date}`)), false);
  });
}

test('a message without Date is not far from it', () => {
  assert.equal(isFarFromDate(RESULT, header('Subject: x')), false);
});

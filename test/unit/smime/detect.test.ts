import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ID } from '../../../src/smime/algorithms.ts';
import { element, oid, sequence, tagged } from '../../../src/smime/ber-writer.ts';
import { detectCms, detectSmime } from '../../../src/smime/detect.ts';
import { chunkedSource, limits, mail } from '../../support/smime.ts';

const SEVEN_BIT = 'Content-Transfer-Encoding: 7bit';
const INDEFINITE = Buffer.concat([Buffer.from('3080', 'hex'), oid(ID.signedData), Buffer.alloc(60)]);
const cms = (type: string): Buffer => sequence(oid(type), tagged(0, sequence(Buffer.alloc(300))));

test('content types from the first bytes', async (t) => {
  const table: readonly (readonly [string, Uint8Array, string | undefined])[] = [
    ['enveloped', cms(ID.envelopedData), 'enveloped'],
    ['auth-enveloped', cms(ID.authEnvelopedData), 'auth-enveloped'],
    ['signed', cms(ID.signedData), 'signed'],
    ['compressed', cms(ID.compressedData), 'compressed'],
    ['data', cms(ID.data), 'other'],
    ['indefinite length', Buffer.concat([Buffer.from('3080', 'hex'), oid(ID.signedData)]), 'signed'],
    ['short length', sequence(oid(ID.signedData)), 'signed'],
    ['empty', Buffer.alloc(0), undefined],
    ['one byte', Buffer.from([0x30]), undefined],
    ['cut in the type', cms(ID.signedData).subarray(0, 10), undefined],
    ['no type', sequence(tagged(0)), undefined],
    ['a set', element(0x31, oid(ID.signedData)), undefined],
    ['length of 100 octets', Buffer.from('30e4060100', 'hex'), undefined],
    ['text', Buffer.from('hello world'), undefined],
  ];
  for (const [name, bytes, expected] of table) {
    await t.test(name, () => assert.equal(detectCms(bytes.subarray(0, 64)), expected));
  }
});

test('detect table: the bytes decide, labels only say where to look', async (t) => {
  const body = cms(ID.envelopedData).toString('base64');
  const base64 = 'Content-Transfer-Encoding: base64';
  const table: readonly (readonly [string, readonly string[], string | undefined])[] = [
    [
      'pkcs7-mime',
      ['Content-Type: application/pkcs7-mime; smime-type=enveloped-data', base64, '', body],
      'enveloped',
    ],
    ['x-pkcs7-mime', ['Content-Type: application/x-pkcs7-mime', base64, '', body], 'enveloped'],
    [
      'a wrong label',
      ['Content-Type: application/pkcs7-mime; smime-type=signed-data', base64, '', body],
      'enveloped',
    ],
    [
      'octet-stream with a name',
      ['Content-Type: application/octet-stream; name="smime.p7m"', base64, '', body],
      'enveloped',
    ],
    [
      'octet-stream with a file name',
      [
        'Content-Type: application/octet-stream',
        'Content-Disposition: attachment; filename=x.P7M',
        base64,
        '',
        body,
      ],
      'enveloped',
    ],
    ...['smime.p7m', 'smime.p7s', 'smime.p7c', 'smime.p7z', 'ATT00001.P7M', ' x.p7m '].map(
      (name) =>
        [
          `octet-stream called ${name}`,
          [`Content-Type: application/octet-stream; name="${name}"`, base64, '', body],
          'enveloped',
        ] as const,
    ),
    [
      'another type with such a name',
      ['Content-Type: application/ms-tnef; name=smime.p7m', base64, '', body],
      'enveloped',
    ],
    ['winmail.dat', ['Content-Type: application/ms-tnef; name=winmail.dat', base64, '', body], undefined],
    ['a name that hides another', ['Content-Type: a/b; name=x.p7m.txt', base64, '', body], undefined],
    ['such a name over text', ['Content-Type: a/b; name=x.p7m', base64, '', 'aGVsbG8='], undefined],
    ['no smime-type', ['Content-Type: application/pkcs7-mime', base64, '', body], 'enveloped'],
    ['base64 without its label', ['Content-Type: application/pkcs7-mime', '', body], 'enveloped'],
    ['base64 called 7bit', [SEVEN_BIT, 'Content-Type: application/pkcs7-mime', '', '', body], 'enveloped'],
    [
      'base64 of indefinite length without its label',
      [SEVEN_BIT, 'Content-Type: application/pkcs7-mime', '', INDEFINITE.toString('base64')],
      'signed',
    ],
    [
      'base64 in quoted-printable',
      [
        'Content-Type: application/pkcs7-mime',
        'Content-Transfer-Encoding: quoted-printable',
        '',
        `${body.slice(0, 9)}=\r\n${body.slice(9, 60)}`,
      ],
      'enveloped',
    ],
    [
      'base64 in base64',
      ['Content-Type: application/pkcs7-mime', base64, '', Buffer.from(body).toString('base64')],
      'enveloped',
    ],
    ['base64 of something else', ['Content-Type: application/pkcs7-mime', '', 'TUlNRSBpcyBub3Q='], undefined],
    ['text that begins alike', ['Content-Type: application/pkcs7-mime', '', 'MIME is not CMS'], undefined],
    ['octet-stream without a name', ['Content-Type: application/octet-stream', base64, '', body], undefined],
    ['labelled, but text', ['Content-Type: application/pkcs7-mime', '', 'hello'], undefined],
    ['labelled, but empty', ['Content-Type: application/pkcs7-mime', base64, '', ''], undefined],
    ['plain text', ['Content-Type: text/plain', '', body], undefined],
    [
      'two types',
      ['Content-Type: application/pkcs7-mime', 'Content-Type: text/plain', base64, '', body],
      undefined,
    ],
  ];
  for (const [name, lines, expected] of table) {
    await t.test(name, async () => {
      assert.equal(await detectSmime(chunkedSource(mail(...lines), 11), limits), expected);
    });
  }
});

test('binary transfer', async () => {
  const head = mail('Content-Type: application/pkcs7-mime', 'Content-Transfer-Encoding: binary', '', '');
  const message = Buffer.concat([head, cms(ID.signedData)]);
  assert.equal(await detectSmime(chunkedSource(message, 11), limits), 'signed');
});

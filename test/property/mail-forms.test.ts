// Kinds of mail that break signatures and structures elsewhere, over many inputs: lengths of the Subject, boundaries, and
// messages inside signed parts.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { bytesSource, rangeOf } from '../../src/core/bytes.ts';
import { parseContentType } from '../../src/mime/content-type.ts';
import { decodeHeaderText } from '../../src/mime/decoded-text.ts';
import { fieldsNamed, fieldValue, readMessage } from '../../src/mime/header-section.ts';
import { scanParts } from '../../src/mime/part-scanner.ts';
import { readParts } from '../../src/mime/shape.ts';
import { encryptMessage } from '../../src/smime/message.ts';
import { signedData } from '../support/cms.ts';
import { bytesOf, latin1, readWithMailsplit } from '../support/mime.ts';
import { ANNA, BOB, openPassage, outcomesOf, SIGNED } from '../support/passage.ts';
import { readLayers } from '../support/smime-reading.ts';
import { limits, mail, runStage } from '../support/smime.ts';

const passage = await openPassage('mail form properties');
after(() => passage[Symbol.asyncDispose]());
const { people, world } = passage;

async function subjectsOf(message: Uint8Array): Promise<readonly string[]> {
  const { header } = await readMessage(bytesSource(message).open(), limits);
  return fieldsNamed(header, 'Subject').map((field) => decodeHeaderText(fieldValue(field)));
}

/** Plain and encoded Subjects whose field is around the length at which writers fold. */
const subject = fc
  .tuple(fc.integer({ min: 60, max: 90 }), fc.constantFrom('word ', 'x', 'encoded', 'folded', 'trailing '))
  .map(([length, kind]) => {
    if (kind === 'encoded')
      return `=?utf-8?Q?${'=C3=BC'.repeat(9)}?=\r\n =?utf-8?Q?${'x'.repeat(length - 56)}?=`;
    if (kind === 'folded') return `${'a'.repeat(length - 30)}\r\n ${'b'.repeat(29)}`;
    if (kind === 'trailing ') return `${'y'.repeat(length - 3)}   `;
    return kind.repeat(length).slice(0, length);
  });

test('a Subject of any length is protected: signed, encrypted and put back', async () => {
  await fc.assert(
    fc.asyncProperty(subject, fc.constantFrom('signed', 'confidential-subject'), async (value, protect) => {
      const message = mail(`From: ${ANNA}`, `To: ${BOB}`, `Subject: ${value}`, '', 'text', '');
      const [wanted = ''] = await subjectsOf(message);
      const signed = await passage.sendOne(
        message,
        'otherwise: { sign: smime, encrypt: never, protect_headers: signed }',
      );
      const { outcome } = await runStage(passage.verify(signed.bytes));
      assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'intact');
      assert.deepEqual(await subjectsOf(signed.bytes), [wanted]);
      const [first] = await readParts(bytesSource(signed.bytes), limits);
      assert.ok(first);
      const [inside = ''] = fieldsNamed(first.header, 'Subject').map(fieldValue);
      assert.equal(decodeHeaderText(inside).trim(), wanted.trim());

      const sealed = await passage.sendOne(
        message,
        `otherwise: { sign: smime, encrypt: required, protect_headers: ${protect} }`,
      );
      assert.deepEqual(await subjectsOf(sealed.bytes), [protect === 'signed' ? wanted : '[...]']);
      const { layers, isAuthors } = await readLayers(sealed.bytes, [people.bob.decryption], world.trust);
      assert.deepEqual(layers.slice(0, 2), ['decrypted', `detached: intact trusted ${ANNA}`]);
      assert.ok(isAuthors);
      const protection = { hp: 'cipher', isSubjectHidden: protect !== 'signed' } as const;
      const theirs = await runStage(
        encryptMessage(bytesSource(message).open(), [people.anna.certificate], { limits, protection }),
      );
      const opened = await passage.receiveOne(theirs.bytes);
      assert.equal(outcomesOf(opened)[0], 'decrypted');
      assert.deepEqual(
        (await subjectsOf(opened.bytes)).map((text) => text.trim()),
        [wanted.trim()],
      );
    }),
    { numRuns: 30 },
  );
});

/** RFC 2046 §5.1.1: up to 70 of these, no blank at the end. */
const boundaryCharacters = `0123456789abzABZ'()+_,-./:=? `.split('');
const boundary = fc
  .array(fc.constantFrom(...boundaryCharacters), { minLength: 1, maxLength: 70 })
  .map((characters) => characters.join('').trimEnd())
  .filter((text) => text !== '');

test('any boundary: no part is lost or added, signed or encrypted', async () => {
  await fc.assert(
    fc.asyncProperty(boundary, boundary, fc.boolean(), async (outer, inner, isClosed) => {
      fc.pre(outer !== inner && outer !== `${inner}--` && inner !== `${outer}--`);
      const nested = `Content-Type: multipart/alternative; boundary="${inner}"\r\n\r\n--${inner}\r\n\r\none\r\n--${inner}\r\nContent-Type: text/html\r\n\r\ntwo${isClosed ? `\r\n--${inner}--` : ''}`;
      const content = `Content-Type: multipart/mixed;\r\n boundary="${outer}"\r\n\r\n--${outer}\r\n${nested}\r\n--${outer}\r\nContent-Type: application/x\r\n\r\nthree\r\n--${outer}--\r\n`;
      const message = latin1(`From: ${ANNA}\r\nTo: ${BOB}\r\nMIME-Version: 1.0\r\n${content}`);
      const types = ['multipart/mixed', 'multipart/alternative', 'text/plain', 'text/html', 'application/x'];
      assert.deepEqual(await typesOf(message), types);
      const signed = await passage.sendOne(message, SIGNED);
      assert.deepEqual(await typesOf(signed.bytes), [
        'multipart/signed',
        ...types,
        'application/pkcs7-signature',
      ]);
      const { outcome } = await runStage(passage.verify(signed.bytes));
      assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'intact');
      const source = bytesSource(signed.bytes);
      const [first] = await readParts(source, limits);
      assert.equal(
        (await bytesOf(rangeOf(source, first?.entity ?? { start: 0 }).open())).toString('latin1'),
        content,
      );
    }),
    { numRuns: 80 },
  );
});

async function typesOf(message: Uint8Array): Promise<readonly string[]> {
  const parts = await scanParts(bytesSource(message).open(), limits, { depth: 'all', isMeasured: false });
  assert.deepEqual(
    parts.flatMap(({ defects }) => defects),
    [],
  );
  return parts.map(({ contentType }) => contentType.mediaType);
}

test('any boundary that another reader takes as we do', async () => {
  await fc.assert(
    fc.asyncProperty(boundary, async (text) => {
      const message = latin1(
        `Content-Type: multipart/mixed; boundary="${text}"\r\n\r\n--${text}\r\n\r\na\r\n--${text}--\r\n`,
      );
      const { parts } = await readWithMailsplit(message);
      assert.equal(parts.length, (await typesOf(message)).length);
      assert.equal(parseContentType(`multipart/mixed; boundary="${text}"`).parameters.get('boundary'), text);
    }),
    { numRuns: 200 },
  );
});

const line = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    'x ',
    '\t',
    'From x',
    '.',
    '--',
    '-- ',
    '\xe9',
    '\xff\xfe',
    'Content-Type: text/plain',
    '--inner',
    '--inner--',
  ),
  fc
    .array(
      fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 10 && byte !== 13),
      { maxLength: 60 },
    )
    .map((bytes) => String.fromCharCode(...bytes)),
);

test('any bytes of a message inside a signed part are what is verified, and stay', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 12 }),
      fc.constantFrom('8bit', 'binary', '7bit'),
      async (lines, encoding) => {
        const inner = `Subject: \xfc\r\nContent-Type: multipart/mixed; boundary=inner\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${lines.join('\r\n')}`;
        const entity = latin1(
          `Content-Type: message/rfc822\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${inner}\r\n`,
        );
        const base64 = signedData(entity, people.bob).toString('base64').replace(/.{76}/g, '$&\r\n');
        const message = Buffer.concat([
          mail(
            `From: ${BOB}`,
            'MIME-Version: 1.0',
            'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=outer',
            '',
            '--outer',
            '',
          ),
          entity,
          mail(
            '',
            '--outer',
            'Content-Type: application/pkcs7-signature',
            'Content-Transfer-Encoding: base64',
            '',
            base64,
            '--outer--',
            '',
          ),
        ]);
        const copy = await passage.receiveOne(message);
        assert.deepEqual(outcomesOf(copy), ['verified intact']);
        assert.ok(copy.bytes.subarray(-message.length).equals(message));
        const sent = await passage.sendOne(message, 'otherwise: { sign: smime, encrypt: required }');
        const { layers, content } = await readLayers(sent.bytes, [people.bob.decryption], world.trust);
        assert.deepEqual(layers.slice(0, 2), ['decrypted', `detached: intact trusted ${BOB}`]);
        assert.ok(content.equals(message));
      },
    ),
    { numRuns: 40 },
  );
});

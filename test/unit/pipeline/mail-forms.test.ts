// Every form of mail through signing and encryption and back: what was encrypted comes out byte for byte, what was signed
// is exactly what is sent, and nothing is left for the next server to change.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { bytesSource, rangeOf } from '../../../src/core/bytes.ts';
import { readMessage } from '../../../src/mime/header-section.ts';
import { readParts } from '../../../src/mime/shape.ts';
import { scanText } from '../../../src/mime/text-facts.ts';
import { decodeTransfer } from '../../../src/mime/transfer-encoding.ts';
import { decryptMessage as decryptPgp, verifyMessage as verifyPgp } from '../../../src/pgp/message.ts';
import { afterDoor, mailForms, mailOf } from '../../support/mail-forms.ts';
import { bytesOf, readWithMailsplit, textOf } from '../../support/mime.ts';
import { ANNA, BOB, openPassage, outcomesOf, PETRA, REQUIRED, SIGNED } from '../../support/passage.ts';
import { options as pgpOptions } from '../../support/pgp.ts';
import { readLayers } from '../../support/smime-reading.ts';
import { limits, runStage } from '../../support/smime.ts';

const passage = await openPassage('mail forms');
after(() => passage[Symbol.asyncDispose]());
const { world, people, pgp } = passage;
const now = { ...pgpOptions, at: new Date() };

/** Fields by name, of the outer header section alone. */
async function outerFields(message: Uint8Array, name: RegExp): Promise<readonly string[]> {
  const { header } = await readMessage(bytesSource(message).open(), limits);
  return header.fields.filter((field) => name.test(field.name)).map(({ raw }) => raw.toString('latin1'));
}

async function assertOneOfEach(message: Uint8Array): Promise<void> {
  assert.deepEqual(await outerFields(message, /^mime-version$/i), ['MIME-Version: 1.0\r\n']);
  assert.equal((await outerFields(message, /^content-type$/i)).length, 1);
}

/** Types and decoded leaves, as a reader that is not ours sees them. */
async function leavesOf(message: Uint8Array): Promise<readonly (readonly string[])[]> {
  const { parts } = await readWithMailsplit(message);
  const leaves = parts.filter((part) => part.body !== undefined);
  return Promise.all(
    leaves.map(async ({ type, encoding, body }) => [
      type || 'text/plain',
      await textOf(decodeTransfer(bytesSource(body ?? Buffer.alloc(0)).open(), encoding)),
    ]),
  );
}

for (const form of mailForms) {
  const message = mailOf(form, ANNA, BOB);
  const content = afterDoor(form.content);
  const isTyped = content.startsWith('Content-Type:');
  const expected = isTyped ? content : `Content-Type: text/plain; charset=us-ascii\r\n${content}`;

  test(`encrypted, it comes back byte for byte: ${form.name}`, async () => {
    const copy = await passage.sendOne(message, REQUIRED);
    await assertOneOfEach(copy.bytes);
    const opened = await readLayers(copy.bytes, [people.bob.decryption], world.trust);
    await assertOneOfEach(opened.content);
    const outer = (await outerFields(message, /^(?!content-|mime-)/i)).join('');
    assert.equal(opened.content.toString('latin1'), `${outer}MIME-Version: 1.0\r\n${expected}`);

    const sealed = await passage.sendOne(message, REQUIRED, PETRA);
    await assertOneOfEach(sealed.bytes);
    const { bytes, outcome } = await runStage(
      decryptPgp(bytesSource(sealed.bytes), [pgp.petra.own], [], now),
    );
    assert.equal(outcome.kind, 'decrypted');
    assert.equal(bytes.toString('latin1'), `${outer}MIME-Version: 1.0\r\n${expected}`);
  });

  test(`signed, the signature is good and the parts are the same: ${form.name}`, async () => {
    for (const rules of [SIGNED, SIGNED.replace('smime', 'pgp')]) {
      const copy = await passage.sendOne(message, rules);
      assert.deepEqual(outcomesOf(copy), ['signed']);
      await assertOneOfEach(copy.bytes);
      const source = bytesSource(copy.bytes);
      const { outcome } =
        rules === SIGNED
          ? await runStage(passage.verify(copy.bytes))
          : await runStage(verifyPgp(source, [pgp.anna.certificate], now));
      assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'intact');
      const [first, second, ...more] = await readParts(source, limits);
      assert.ok(first && second && more.length === 0);
      const entity = await bytesOf(rangeOf(source, first.entity).open());
      const facts = await scanText(bytesSource(entity).open());
      assert.equal(facts.hasBareLineEnd, false);
      if (!form.content.includes('multipart/signed')) {
        assert.deepEqual([facts.is8bit, facts.hasTrailingBlanks, facts.hasFromLine], [false, false, false]);
        assert.ok(facts.maxLineOctets <= 980);
      }
      const signature = await scanText(rangeOf(source, second.entity).open());
      assert.ok(signature.maxLineOctets <= 76);
      assert.deepEqual(await leavesOf(entity), await leavesOf(Buffer.from(expected, 'latin1')));
    }
  });

  test(`neither signed nor encrypted, it is passed as it is: ${form.name}`, async () => {
    const copy = await passage.sendOne(message, 'otherwise: { sign: none, encrypt: never }');
    const head = message.toString('latin1').slice(0, -form.content.length);
    assert.equal(copy.text, `${head}${content}`);
  });
}

test('parts have the names, types and dispositions by which others know them', async () => {
  const message = mailOf({ name: '', content: '\r\nx\r\n' }, ANNA, BOB);
  const rules = (content: string): string =>
    `otherwise: { sign: none, encrypt: required, smime: { content: ${content} } }`;
  for (const [content, type] of [
    ['cbc', 'enveloped-data'],
    ['gcm', 'authEnveloped-data'],
  ] as const) {
    const { bytes } = await passage.sendOne(message, rules(content));
    assert.deepEqual(await outerFields(bytes, /^content-/i), [
      `Content-Type: application/pkcs7-mime; smime-type=${type};\r\n name="smime.p7m"\r\n`,
      'Content-Transfer-Encoding: base64\r\n',
      'Content-Disposition: attachment; filename="smime.p7m"\r\n',
    ]);
  }
  const signed = await passage.sendOne(message, SIGNED);
  const [, signature] = await readParts(bytesSource(signed.bytes), limits);
  assert.deepEqual(
    signature?.header.fields.map(({ raw }) => raw.toString()),
    [
      'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n',
      'Content-Transfer-Encoding: base64\r\n',
      'Content-Disposition: attachment; filename="smime.p7s"\r\n',
    ],
  );
});

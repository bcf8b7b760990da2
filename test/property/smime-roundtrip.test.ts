// S/MIME over random mail and random chunks: what goes in comes out, and no flipped bit goes by in silence.
import assert from 'node:assert/strict';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { StageOutcome } from '../../src/core/outcome.ts';
import { ID } from '../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../src/smime/ber-writer.ts';
import { parseDer } from '../../src/smime/der.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../../src/smime/message.ts';
import { writeRecipientInfo } from '../../src/smime/recipient-info.ts';
import { writeDetachedSignature } from '../../src/smime/signed-data.ts';
import { chunkedSource, latin1, sizesArbitrary } from '../support/mime.ts';
import { cmsMail, createWorld, limits, runStage, signedMail } from '../support/smime.ts';

const world = await createWorld('smime properties');
const people = [await world.person('rsa'), await world.person('p384', { keyType: 'p384' })] as const;
const [alice, bob] = people;
const at = new Date();

const octet = fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 10 && byte !== 13);
const line = fc.oneof(
  fc.constantFrom('', ' ', 'trailing \t', 'From here', '.', '--', '--b', '\xe4\xf6', 'a=b', '=20'),
  fc.string({ maxLength: 40 }).map((text) => text.replace(/[^\x20-\x7e]/g, '?')),
  fc.array(octet, { maxLength: 200 }).map((bytes) => String.fromCharCode(...bytes)),
  fc.integer({ min: 900, max: 3_000 }).map((size) => 'x'.repeat(size)),
);
const body = fc.oneof(
  { weight: 9, arbitrary: fc.array(line, { maxLength: 12 }) },
  // Beyond the blocks in which ciphers, base64 and octet strings work.
  { weight: 1, arbitrary: fc.integer({ min: 1_000, max: 4_000 }).map((count) => linesOf(count)) },
);
const contentFields = fc.constantFrom(
  'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n',
  'Content-Type: text/html;\r\n charset=utf-8\r\n',
  'Content-Type: application/octet-stream; name=x\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: binary\r\n',
);
const message = fc
  .tuple(
    fc.array(fc.constantFrom('X-A: 1', 'Subject:  two\r\n blanks', 'To: b@c.example')),
    contentFields,
    body,
  )
  .map(([outer, content, lines]) => {
    const head = outer.map((field) => `${field}\r\n`).join('');
    const text = lines.map((each) => `${each}\r\n`).join('');
    return latin1(`From: rsa@contoso.example\r\n${head}MIME-Version: 1.0\r\n${content}\r\n${text}`);
  });

function linesOf(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `line ${index} of a long body`);
}

test('decrypt(encrypt(message)) is the message', async () => {
  await fc.assert(
    fc.asyncProperty(
      message,
      sizesArbitrary,
      sizesArbitrary,
      fc.constantFrom(...people),
      async (bytes, one, other, reader) => {
        const sealed = await runStage(
          encryptMessage(chunkedSource(bytes, one).open(), [alice.certificate, bob.certificate], { limits }),
        );
        const opened = await runStage(
          decryptMessage(chunkedSource(sealed.bytes, other), [reader.decryption], { limits }),
        );
        assert.equal(opened.outcome.kind, 'decrypted');
        assert.deepEqual(opened.bytes, bytes);
      },
    ),
    { numRuns: 60 },
  );
});

test('what is signed is intact, in whatever chunks it is read', async () => {
  await fc.assert(
    fc.asyncProperty(
      message,
      sizesArbitrary,
      sizesArbitrary,
      fc.constantFrom(...people),
      async (bytes, one, other, author) => {
        const signed = await runStage(signMessage(chunkedSource(bytes, one), author.signer, { limits, at }));
        const { outcome } = await runStage(
          verifyMessage(chunkedSource(signed.bytes, other), world.trust, { limits }),
        );
        assert.deepEqual(judgement(outcome), ['detached', 'intact', 'trusted', author.certificate.addresses]);
      },
    ),
    { numRuns: 60 },
  );
});

test('what a client signed keeps every byte below our signature', async () => {
  const clientSigned = body.map((lines) => {
    const entity = latin1(`Content-Type: text/plain\r\n\r\n${lines.join('\r\n')}`);
    const digest = createHash('sha384').update(entity).digest();
    const mail = signedMail(entity, writeDetachedSignature(digest, bob.signer, at));
    return mail.subarray(mail.indexOf('Content-Type:'));
  });
  await fc.assert(
    fc.asyncProperty(clientSigned, body, sizesArbitrary, async (part, lines, sizes) => {
      const bytes = Buffer.concat([
        latin1('From: rsa@contoso.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; '),
        latin1(`boundary="=_m"\r\n\r\n--=_m\r\n\r\n${lines.join('\r\n')}\r\n--=_m\r\n`),
        part,
        latin1('\r\n--=_m--\r\n'),
      ]);
      const signed = await runStage(signMessage(chunkedSource(bytes, sizes), alice.signer, { limits, at }));
      assert.ok(signed.bytes.includes(Buffer.concat([latin1('\r\n--=_m\r\n'), part, latin1('\r\n--=_m--')])));
      const { outcome } = await runStage(verifyMessage(chunkedSource(part, sizes), world.trust, { limits }));
      assert.equal(judgement(outcome)[1], 'intact');
    }),
    { numRuns: 40 },
  );
});

test('signed, then encrypted: the signature survives', async () => {
  await fc.assert(
    fc.asyncProperty(message, sizesArbitrary, async (bytes, sizes) => {
      const signed = await runStage(signMessage(chunkedSource(bytes, sizes), bob.signer, { limits, at }));
      const sealed = await runStage(
        encryptMessage(chunkedSource(signed.bytes, sizes).open(), [alice.certificate], { limits }),
      );
      const opened = await runStage(
        decryptMessage(chunkedSource(sealed.bytes, sizes), [alice.decryption], { limits }),
      );
      assert.deepEqual(opened.bytes, signed.bytes);
      const { outcome } = await runStage(
        verifyMessage(chunkedSource(opened.bytes, sizes), world.trust, { limits }),
      );
      assert.equal(judgement(outcome)[1], 'intact');
    }),
    { numRuns: 30 },
  );
});

const ENTITY = latin1('Content-Type: text/plain\r\n\r\none line\r\nand another one\r\n');
const signature = writeDetachedSignature(createHash('sha384').update(ENTITY).digest(), bob.signer, at);
const unwrapped = Buffer.concat([latin1('From: rsa@contoso.example\r\nMIME-Version: 1.0\r\n'), ENTITY]);

function flipped(bytes: Buffer, bit: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return changed;
}

/** Every bit of the bytes, in random order. */
const bitOf = (bytes: Uint8Array): fc.Arbitrary<number> => fc.nat({ max: bytes.length * 8 - 1 });

test('a flipped bit in a detached content never verifies', async () => {
  for (let bit = 0; bit < ENTITY.length * 8; bit += 1) {
    const { outcome } = await runStage(
      verifyMessage(chunkedSource(signedMail(flipped(ENTITY, bit), signature), []), world.trust, { limits }),
    );
    assert.notEqual(judgement(outcome)[1], 'intact', `bit ${bit}`);
  }
});

test('a flipped bit in a signature verifies as what was signed, or not at all', async () => {
  await fc.assert(
    fc.asyncProperty(bitOf(signature), async (bit) => {
      const changed = signedMail(ENTITY, flipped(signature, bit));
      const { outcome } = await runStage(verifyMessage(chunkedSource(changed, []), world.trust, { limits }));
      if (judgement(outcome)[1] !== 'intact') return;
      // Only what the signature does not cover can have changed: it still says the same.
      const [result] = outcome.kind === 'verified' ? outcome.signatures : [];
      assert.deepEqual(result?.signedAt?.getTime(), Math.floor(at.getTime() / 1000) * 1000);
      if (result?.trust === 'trusted') assert.deepEqual(result.signer, bob.certificate.addresses);
    }),
    { numRuns: 500 },
  );
});

/** The signature with the content inside. */
function opaqueOf(content: Uint8Array): Buffer {
  const [version, digests, , certificates, signers] =
    parseDer(signature).children[1]?.children[0]?.children ?? [];
  assert.ok(version && digests && certificates && signers);
  const embedded = sequence(oid(ID.data), tagged(0, octetString(content)));
  const signedData = sequence(version.raw, digests.raw, embedded, certificates.raw, signers.raw);
  return sequence(oid(ID.signedData), tagged(0, signedData));
}

test('a flipped bit in an opaque content never verifies', async () => {
  const good = await runStage(
    verifyMessage(chunkedSource(cmsMail(opaqueOf(ENTITY)), []), world.trust, { limits }),
  );
  assert.deepEqual(judgement(good.outcome), ['opaque', 'intact', 'trusted', bob.certificate.addresses]);
  for (let bit = 0; bit < ENTITY.length * 8; bit += 1) {
    const message = cmsMail(opaqueOf(flipped(ENTITY, bit)));
    const { outcome } = await runStage(verifyMessage(chunkedSource(message, []), world.trust, { limits }));
    assert.notEqual(judgement(outcome)[1], 'intact', `bit ${bit}`);
  }
});

/** AuthEnvelopedData with AES-256-GCM (RFC 5084), which we read but do not write. */
function authenticatedEnvelope(): Buffer {
  const [key, nonce] = [randomBytes(32), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const encrypted = Buffer.concat([cipher.update(ENTITY), cipher.final()]);
  const parameters = sequence(octetString(nonce), integer(16));
  const envelope = sequence(
    integer(0),
    element(0x31, writeRecipientInfo(alice.certificate, key)),
    sequence(oid(ID.data), algorithmIdentifier(ID.aes256Gcm, parameters), element(0x80, encrypted)),
    octetString(cipher.getAuthTag()),
  );
  return sequence(oid(ID.authEnvelopedData), tagged(0, envelope));
}

const decrypt = (cms: Buffer): ReturnType<typeof runStage> =>
  runStage(decryptMessage(chunkedSource(cmsMail(cms), []), [alice.decryption], { limits }));

test('a flipped bit in an authenticated envelope decrypts to what was encrypted, or not at all', async () => {
  const cms = authenticatedEnvelope();
  const good = await decrypt(cms);
  assert.equal(good.outcome.kind === 'decrypted' && good.outcome.authenticated, true);
  assert.deepEqual(good.bytes, unwrapped);
  await fc.assert(
    fc.asyncProperty(bitOf(cms), async (bit) => {
      const { bytes, outcome } = await decrypt(flipped(cms, bit));
      if (outcome.kind === 'decrypted') assert.deepEqual(bytes, unwrapped);
    }),
    { numRuns: 500 },
  );
});

test('a flipped bit in an envelope without integrity is never called authenticated', async () => {
  const { bytes } = await runStage(
    encryptMessage(chunkedSource(unwrapped, []).open(), [alice.certificate], { limits }),
  );
  const cms = Buffer.from(bytes.subarray(bytes.indexOf('\r\n\r\n') + 4).toString('latin1'), 'base64');
  await fc.assert(
    fc.asyncProperty(bitOf(cms), async (bit) => {
      const { outcome } = await decrypt(flipped(cms, bit));
      if (outcome.kind === 'decrypted') assert.equal(outcome.authenticated, false);
      else assert.equal(outcome.kind, 'not-decrypted');
    }),
    { numRuns: 300 },
  );
});

function judgement(outcome: StageOutcome): readonly unknown[] {
  if (outcome.kind !== 'verified') return [outcome.kind];
  const [{ integrity, trust, signer }] = outcome.signatures;
  return [outcome.form, integrity, trust, signer];
}

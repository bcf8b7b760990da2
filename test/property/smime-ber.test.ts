// CMS is BER: the same structure with indefinite and long lengths and strings in pieces is the same message. Only signed
// attributes and certificates have one form (RFC 5652 §2, §5.4).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type DerNode, parseDer, TAG } from '../../src/smime/der.ts';
import { decryptMessage, verifyMessage } from '../../src/smime/message.ts';
import { authEnveloped, enveloped, signedData } from '../support/cms.ts';
import { chunkedSource, sizesArbitrary } from '../support/mime.ts';
import { cmsMail, createWorld, limits, mail, runStage, signedMail } from '../support/smime.ts';

const world = await createWorld('smime BER');
const alice = await world.person('rsa');
const carol = await world.person('p256', { keyType: 'p256' });
const CONTENT = Buffer.concat([
  mail('Content-Type: text/plain', '', ''),
  Buffer.alloc(3_000, 'a line of the text\r\n'),
]);
const UNWRAPPED = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), CONTENT]);

/** Small numbers that decide form by form; used in turn. */
const choices = fc.array(fc.nat(5), { minLength: 10, maxLength: 80 });

function encoder(numbers: readonly number[]): (node: DerNode, isKept?: (node: DerNode) => boolean) => Buffer {
  let turn = 0;
  const next = (): number => numbers[turn++ % numbers.length] ?? 0;

  function framed(tag: number, content: Uint8Array): Buffer {
    const form = next();
    if ((tag & 0x20) !== 0 && form >= 3)
      return Buffer.concat([Buffer.of(tag, 0x80), content, Buffer.alloc(2)]);
    // Lengths of four octets are legal for any size.
    const length = Buffer.of(0x84, 0, 0, 0, 0);
    length.writeUInt32BE(content.length, 1);
    return form === 0 && content.length < 128
      ? Buffer.concat([Buffer.of(tag, content.length), content])
      : Buffer.concat([Buffer.of(tag), length, content]);
  }

  /** An OCTET STRING in pieces, of which some are in pieces again. */
  function inPieces(tag: number, content: Buffer, depth: number): Buffer {
    const form = next();
    if (form < 2 || depth > 2) return framed(tag, content);
    const at = Math.floor((content.length * form) / 6);
    const pieces = [content.subarray(0, at), Buffer.alloc(0), content.subarray(at)];
    return framed(
      tag | 0x20,
      Buffer.concat(pieces.map((piece) => inPieces(TAG.octetString, piece, depth + 1))),
    );
  }

  return function encode(node, isKept = () => false): Buffer {
    if (isKept(node)) return node.raw;
    if (node.tag === TAG.octetString || node.tag === 0x80) return inPieces(node.tag, node.content, 0);
    if ((node.tag & 0x20) === 0) return node.raw;
    return framed(node.tag, Buffer.concat(node.children.map((child) => encode(child, isKept))));
  };
}

const envelopes = {
  'aes-256-cbc': enveloped(CONTENT, { to: [alice.certificate, carol.certificate] }),
  'aes-256-gcm': authEnveloped(CONTENT, { to: [carol.certificate, alice.certificate] }),
};
for (const [algorithm, cms] of Object.entries(envelopes)) {
  test(`an envelope in any BER opens: ${algorithm}`, async () => {
    const tree = parseDer(cms);
    await fc.assert(
      fc.asyncProperty(choices, sizesArbitrary, fc.nat(1), async (numbers, sizes, index) => {
        const message = cmsMail(encoder(numbers)(tree, isHashed));
        const { bytes, outcome } = await runStage(
          decryptMessage(chunkedSource(message, sizes), [index === 0 ? alice.decryption : carol.decryption], {
            limits,
          }),
        );
        assert.equal(outcome.kind === 'decrypted' && outcome.algorithm, algorithm);
        assert.deepEqual(bytes, UNWRAPPED);
      }),
      { numRuns: 60 },
    );
  });
}

/** The algorithm of a key agreement goes into its key derivation as DER (RFC 5753 §7.2). */
function isHashed({ tag, children: [first, second] }: DerNode): boolean {
  return tag === TAG.sequence && first?.tag === TAG.oid && second?.children[0]?.tag === TAG.oid;
}

/** Certificates, and what is signed as DER: the first [0] of SignedData after its content, and that of a SignerInfo. */
function isOneForm(node: DerNode): boolean {
  return (
    node.tag === 0xa0 && node.children.every(({ tag }) => tag === TAG.sequence) && node !== encapsulated(node)
  );
}

/** Not the [0] around the SignedData itself, which has a version first. */
function encapsulated(node: DerNode): DerNode | undefined {
  return node.children.length === 1 && node.children[0]?.children[0]?.tag === TAG.integer ? node : undefined;
}

test('a signature in any BER is good, opaque and detached', async () => {
  const opaque = parseDer(signedData(CONTENT, alice, { embedded: CONTENT }));
  const detached = parseDer(signedData(CONTENT, alice));
  await fc.assert(
    fc.asyncProperty(choices, sizesArbitrary, fc.boolean(), async (numbers, sizes, isOpaque) => {
      const cms = encoder(numbers)(isOpaque ? opaque : detached, isOneForm);
      const message = isOpaque ? cmsMail(cms) : signedMail(CONTENT, cms);
      const { bytes, outcome } = await runStage(
        verifyMessage(chunkedSource(message, sizes), world.trust, { limits }),
      );
      assert.equal(outcome.kind, 'verified');
      assert.deepEqual(
        outcome.signatures.map(({ integrity, trust, signer }) => [integrity, trust, ...signer]),
        [['intact', 'trusted', 'rsa@contoso.example']],
      );
      assert.deepEqual(bytes, isOpaque ? UNWRAPPED : Buffer.alloc(0));
    }),
    { numRuns: 60 },
  );
});

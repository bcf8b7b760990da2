// Signatures of keys that few certificates have yet, and their look-alikes.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import type { SignatureResult } from '../../../src/core/outcome.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { issuerAndSerial } from '../../../src/smime/recipient-info.ts';
import { verifyMessage } from '../../../src/smime/message.ts';
import { altNames, caExtension, emailName, makeCertificate, name } from '../../support/certificates.ts';
import { chunkedSource, limits, mail, runStage, signedMail } from '../../support/smime.ts';

const root = makeCertificate({ subject: name('root'), extensions: [caExtension()] });
const ENTITY = mail('Content-Type: text/plain', '', 'hello', '');
const SHAKE256 = '2.16.840.1.101.3.4.2.12';
const ED25519 = '1.3.101.112';
const ED448 = '1.3.101.113';
const ML_DSA = '2.16.840.1.101.3.4.3.';

type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };

function digestOf(id: string): Buffer {
  return id === SHAKE256
    ? createHash('shake256', { outputLength: 64 }).update(ENTITY).digest()
    : createHash('sha512').update(ENTITY).digest();
}

async function judged(keys: Keys, algorithm: string, digest: string): Promise<SignatureResult> {
  const extensions = [altNames(emailName('rsa@contoso.example'))];
  const { certificate, der } = makeCertificate({ subject: name('signer'), issuer: root, keys, extensions });
  const attributes = setOf(
    sequence(oid(ID.contentType), setOf(oid(ID.data))),
    sequence(oid(ID.messageDigest), setOf(octetString(digestOf(digest)))),
  );
  const info = sequence(
    integer(1),
    issuerAndSerial(certificate),
    algorithmIdentifier(digest),
    Buffer.concat([Buffer.from([0xa0]), attributes.subarray(1)]),
    algorithmIdentifier(algorithm),
    octetString(sign(null, attributes, keys.privateKey)),
  );
  const signedData = sequence(
    integer(1),
    setOf(algorithmIdentifier(digest)),
    sequence(oid(ID.data)),
    tagged(0, der),
    element(0x31, info),
  );
  const message = signedMail(ENTITY, sequence(oid(ID.signedData), tagged(0, signedData)));
  const trust = { anchors: [root.certificate], intermediates: [], at: new Date() };
  const { outcome } = await runStage(verifyMessage(chunkedSource(message, 999), trust, { limits }));
  assert.equal(outcome.kind, 'verified', JSON.stringify(outcome));
  return outcome.signatures[0];
}

const table: readonly (readonly [string, Keys, string, string, 'intact' | 'broken'])[] = [
  ['Ed25519', generateKeyPairSync('ed25519'), ED25519, ID.sha512, 'intact'],
  ['Ed448 with SHAKE256', generateKeyPairSync('ed448'), ED448, SHAKE256, 'intact'],
  ['ML-DSA-44', generateKeyPairSync('ml-dsa-44'), `${ML_DSA}17`, ID.sha512, 'intact'],
  ['ML-DSA-65', generateKeyPairSync('ml-dsa-65'), `${ML_DSA}18`, ID.sha512, 'intact'],
  ['ML-DSA-87 with SHAKE256', generateKeyPairSync('ml-dsa-87'), `${ML_DSA}19`, SHAKE256, 'intact'],
  ['Ed448 named Ed25519', generateKeyPairSync('ed448'), ED25519, ID.sha512, 'broken'],
  ['ML-DSA-44 named ML-DSA-65', generateKeyPairSync('ml-dsa-44'), `${ML_DSA}18`, ID.sha512, 'broken'],
];

test('keys that sign the bytes themselves', async (t) => {
  for (const [title, keys, algorithm, digest, integrity] of table) {
    await t.test(title, async () => {
      const result = await judged(keys, algorithm, digest);
      assert.equal(result.integrity, integrity);
      assert.deepEqual([result.trust, result.signer], ['trusted', ['rsa@contoso.example']]);
    });
  }
});

// What a sender learns of a key that was tried: nothing. Messages whose content key is damaged in every way, for each way to
// transport one, all end alike, after all has been read.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { type ByteSource, bytesSource, collect } from '../../../src/core/bytes.ts';
import { encryptContent } from '../../../src/smime/enveloped-data.ts';
import { decryptMessage, type SmimeDecryptionKey } from '../../../src/smime/message.ts';
import { writeRecipientInfo } from '../../../src/smime/recipient-info.ts';
import { caExtension, makeCertificate, name } from '../../support/certificates.ts';
import { cmsMail, limits, mail, runStage } from '../../support/smime.ts';

const ENTITY = mail('Content-Type: text/plain', '', 'for her only '.repeat(20_000), '');
const ca = makeCertificate({ subject: name('ca'), extensions: [caExtension()] });

function holder(keys: { publicKey: KeyObject; privateKey: KeyObject }): SmimeDecryptionKey {
  const { certificate } = makeCertificate({ subject: name('holder'), issuer: ca, keys });
  return { certificate, key: keys.privateKey };
}

const holders: readonly (readonly [string, SmimeDecryptionKey])[] = [
  ['RSA', holder(generateKeyPairSync('rsa', { modulusLength: 2_048 }))],
  ['P-256', holder(generateKeyPairSync('ec', { namedCurve: 'P-256' }))],
  ['X25519', holder(generateKeyPairSync('x25519'))],
  ['ML-KEM-512', holder(generateKeyPairSync('ml-kem-512'))],
  ['ML-KEM-1024', holder(generateKeyPairSync('ml-kem-1024'))],
];

/** A source that counts what was taken of it in its longest reading. */
function counted(bytes: Buffer): { source: ByteSource; read: () => number } {
  const whole = bytesSource(bytes);
  let longest = 0;
  const source: ByteSource = {
    size: whole.size,
    async *open(range) {
      let size = 0;
      for await (const chunk of whole.open(range)) {
        size += chunk.length;
        longest = Math.max(longest, size);
        yield chunk;
      }
    },
  };
  return { source, read: () => longest };
}

/** How far before the end of the RecipientInfo, which is the wrapped key. */
const DAMAGES: readonly (readonly [string, number])[] = [
  ['the last octet of the wrapped key', 1],
  ['the first octets of the wrapped key', 30],
];

test('damage to a content key has one outcome, whatever transported it', async (t) => {
  for (const [title, { certificate, key }] of holders) {
    for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
      const cms = await collect(
        encryptContent(bytesSource(ENTITY).open(), [certificate], cipher),
        10_000_000,
      );
      const infoBytes = writeRecipientInfo(certificate, Buffer.alloc(32)).length;
      const end = cms.indexOf(certificate.issuerDer) + infoBytes;
      const wrappedAt = cms.lastIndexOf(Buffer.of(0x30, 0x80, 0x06, 0x09), Math.min(end, cms.length));
      for (const [damage, back] of DAMAGES) {
        await t.test(`${title}, ${cipher}, ${damage}`, async () => {
          const changed = Buffer.from(cms);
          changed[wrappedAt - back] = (changed[wrappedAt - back] ?? 0) ^ 1;
          const message = cmsMail(changed);
          const { source, read } = counted(message);
          const { outcome } = await runStage(decryptMessage(source, [{ certificate, key }], { limits }));
          assert.deepEqual(outcome, { kind: 'not-decrypted', reason: 'failed' });
          assert.equal(read(), message.length);
        });
      }
      await t.test(`${title}, ${cipher}, whole`, async () => {
        const { outcome } = await runStage(
          decryptMessage(bytesSource(cmsMail(cms)), [{ certificate, key }], { limits }),
        );
        assert.equal(outcome.kind, 'decrypted');
      });
    }
  }
});

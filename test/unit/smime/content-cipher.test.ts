// Derived content keys (RFC 9709), AES-CCM (RFC 5084) and key wrap with Triple-DES (RFC 3217): few programs write them, so
// they are made here from their standards.
import assert from 'node:assert/strict';
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import type { WeakAlgorithm } from '../../../src/core/plan.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { CcmDecipher, fitsCcm } from '../../../src/smime/ccm.ts';
import { deriveContentKey } from '../../../src/smime/content-cipher.ts';
import { parseDer } from '../../../src/smime/der.ts';
import { ContentError, encryptContent, openEnvelope } from '../../../src/smime/enveloped-data.ts';
import { issuerAndSerial, writeRecipientInfo } from '../../../src/smime/recipient-info.ts';
import { assertUnreadable, createWorld, inChunks, type TestPerson } from '../../support/smime.ts';

const world = await createWorld('content cipher');
const alice = await world.person('alice');
const carol = await world.person('carol', { keyType: 'p256' });
const CONTENT = Buffer.from('Content-Type: text/plain\r\n\r\nfor her only\r\n');
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const CCM = {
  16: '2.16.840.1.101.3.4.1.7',
  24: '2.16.840.1.101.3.4.1.27',
  32: '2.16.840.1.101.3.4.1.47',
} as const;
const TRIPLE_DES = '1.2.840.113549.3.7';

interface Parts {
  readonly contentType?: string;
  readonly info: Uint8Array;
  readonly algorithm: Uint8Array;
  readonly encrypted: Uint8Array;
  readonly tail?: readonly Uint8Array[];
}

function envelope({ contentType = ID.envelopedData, info, algorithm, encrypted, tail = [] }: Parts): Buffer {
  const inner = sequence(oid(ID.data), algorithm, element(0x80, encrypted));
  return sequence(oid(contentType), tagged(0, sequence(integer(0), element(0x31, info), inner, ...tail)));
}

async function open(
  bytes: Uint8Array,
  person: TestPerson = alice,
  weak: readonly WeakAlgorithm[] = [],
): ReturnType<typeof openEnvelope> {
  return openEnvelope(() => inChunks(bytes, 100), [person.decryption], { maxRecipientInfos: 5, weak });
}

async function contentOf(...args: Parameters<typeof open>): Promise<Buffer> {
  const envelopeOpened = await open(...args);
  assert.equal(envelopeOpened.kind, 'opened', JSON.stringify(envelopeOpened));
  return collect(envelopeOpened.content, 10_000_000);
}

test('derived keys: the examples of RFC 9709, appendix B', () => {
  const sent = hex('c702e7d0a9e064b09ba55245fb733cf3');
  for (const [algorithm, key] of [
    ['301b0609608648016503040106300e040c5c79058ba2f43447639d29e2', '2124ffb29fac4e0fbbc7d5d87492bff3'],
    ['301d06096086480165030401020410651f722ffd512c52fe072e507d72b377', '9cd102c52f1e19ece8729b35bfeceb50'],
  ] as const)
    assert.equal(deriveContentKey(sent, hex(algorithm)).toString('hex'), key);
});

test('derived keys: what we write opens, with each cipher', async (t) => {
  for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
    await t.test(cipher, async () => {
      const bytes = await collect(
        encryptContent(bytesSource(CONTENT).open(), [alice.certificate, carol.certificate], cipher, true),
        1_000_000,
      );
      assert.ok(bytes.includes(oid(ID.cekHkdfSha256)));
      for (const person of [alice, carol]) assert.deepEqual(await contentOf(bytes, person), CONTENT);
    });
  }
});

test('derived keys: an algorithm that is renamed opens nothing', async (t) => {
  const key = randomBytes(32);
  const iv = randomBytes(16);
  const inner = algorithmIdentifier(ID.aes256Cbc, octetString(iv));
  const cipher = createCipheriv('aes-256-cbc', deriveContentKey(key, inner), iv);
  const encrypted = Buffer.concat([cipher.update(CONTENT), cipher.final()]);
  const good = { info: writeRecipientInfo(alice.certificate, key), encrypted };
  const derived = (algorithm: Uint8Array): Buffer =>
    envelope({ ...good, algorithm: algorithmIdentifier(ID.cekHkdfSha256, algorithm) });
  assert.deepEqual(await contentOf(derived(inner)), CONTENT);
  await t.test('the name taken off', async () => {
    const result = await open(envelope({ ...good, algorithm: inner }));
    assert.equal(result.kind, 'opened');
    await assertUnreadable(result.content, CONTENT);
  });
  for (const [title, algorithm, reason] of [
    ['GCM inside EnvelopedData', algorithmIdentifier(ID.aes256Gcm, sequence(octetString(iv))), 'unsupported'],
    ['derived twice', algorithmIdentifier(ID.cekHkdfSha256, inner), 'unsupported'],
    ['unknown inside', algorithmIdentifier('1.2.3', NULL), 'unsupported'],
    ['3DES inside, not named', algorithmIdentifier(TRIPLE_DES, octetString(iv.subarray(8))), 'unsupported'],
    ['nothing inside', NULL, 'malformed'],
  ] as const) {
    await t.test(title, async () => {
      assert.deepEqual(await open(derived(algorithm)), { kind: 'refused', reason });
    });
  }
});

function sealed(keyBytes: 16 | 24 | 32, nonce: Buffer, tagBytes: number, plain: Buffer, aad?: Buffer) {
  const key = randomBytes(keyBytes);
  const name = `aes-${keyBytes * 8}-ccm` as 'aes-256-ccm';
  const cipher = createCipheriv(name, key, nonce, { authTagLength: tagBytes });
  if (aad) cipher.setAAD(aad, { plaintextLength: plain.length });
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  return { key, encrypted, tag: cipher.getAuthTag() };
}

test('CCM is what OpenSSL has, in pieces of any size', async (t) => {
  for (const keyBytes of [16, 24, 32] as const) {
    for (const [nonceBytes, tagBytes, contentBytes, aadBytes] of [
      [7, 16, 0, 0],
      [8, 12, 1, 1],
      [11, 14, 16, 14],
      [12, 12, 31, 15],
      [12, 16, 70_000, 70_000],
      [13, 16, 4_096, 100],
    ] as const) {
      await t.test(`${keyBytes * 8} bits, ${contentBytes} and ${aadBytes} octets`, () => {
        const [nonce, plain] = [randomBytes(nonceBytes), randomBytes(contentBytes)];
        const aad = aadBytes > 0 ? randomBytes(aadBytes) : undefined;
        const { key, encrypted, tag } = sealed(keyBytes, nonce, tagBytes, plain, aad);
        const parameters = { key, nonce, tag, contentBytes, ...(aad && { authenticated: aad }) };
        for (const size of [1_000_000, 997, 16]) {
          const decipher = new CcmDecipher(parameters);
          const parts: Buffer[] = [];
          for (let at = 0; at < encrypted.length; at += size)
            parts.push(decipher.update(encrypted.subarray(at, at + size)));
          decipher.final();
          assert.deepEqual(Buffer.concat(parts), plain);
        }
        const other = new CcmDecipher({
          ...parameters,
          tag: tag.map((byte, at) => (at === 0 ? byte ^ 1 : byte)),
        });
        other.update(encrypted);
        assert.throws(() => other.final());
      });
    }
  }
  assert.deepEqual([fitsCcm(13, 65_535), fitsCcm(13, 65_536)], [true, false]);
});

test('CCM envelopes', async (t) => {
  const attribute = sequence(oid(ID.contentType), element(0x31, oid(ID.data)));
  const make = (
    change: { tagBytes?: number; nonceBytes?: number; flip?: boolean; type?: string } = {},
  ): Buffer => {
    const nonce = randomBytes(change.nonceBytes ?? 12);
    const { key, encrypted, tag } = sealed(32, nonce.subarray(0, 13), 16, CONTENT, element(0x31, attribute));
    if (change.flip) encrypted[0] = (encrypted[0] ?? 0) ^ 1;
    const tagBytes = change.tagBytes ?? 16;
    return envelope({
      contentType: change.type ?? ID.authEnvelopedData,
      info: writeRecipientInfo(alice.certificate, key),
      algorithm: algorithmIdentifier(CCM[32], sequence(octetString(nonce), integer(tagBytes))),
      encrypted,
      tail: [element(0xa1, attribute), octetString(tag.subarray(0, tagBytes))],
    });
  };
  const result = await open(make());
  assert.equal(result.kind, 'opened');
  assert.deepEqual([result.algorithm, result.isAuthenticated], ['aes-256-ccm', true]);
  assert.deepEqual(await collect(result.content, 10_000), CONTENT);
  await t.test('content changed', async () => {
    const changed = await open(make({ flip: true }));
    assert.equal(changed.kind, 'opened');
    await assert.rejects(collect(changed.content, 10_000), ContentError);
  });
  for (const [title, change, reason] of [
    ['short tag', { tagBytes: 8 }, 'malformed'],
    ['odd tag', { tagBytes: 13 }, 'malformed'],
    ['long nonce', { nonceBytes: 14 }, 'malformed'],
    ['as EnvelopedData', { type: ID.envelopedData }, 'unsupported'],
  ] as const) {
    await t.test(title, async () => {
      assert.deepEqual(await open(make(change)), { kind: 'refused', reason });
    });
  }
});

/** RFC 3217 §3.1, by hand. */
function wrapTripleDes(kek: Buffer, key: Buffer): Buffer {
  const sum = createHash('sha1').update(key).digest().subarray(0, 8);
  const iv = randomBytes(8);
  const encrypt = (start: Buffer, bytes: Buffer): Buffer => {
    const cipher = createCipheriv('des-ede3-cbc', kek, start).setAutoPadding(false);
    return Buffer.concat([cipher.update(bytes), cipher.final()]);
  };
  const inner = Buffer.concat([iv, encrypt(iv, Buffer.concat([key, sum]))]).reverse();
  return encrypt(hex('4adda22c79e82105'), inner);
}

/** A KeyAgreeRecipientInfo for carol, with SHA-1 in its KDF as older software writes it. */
function agreedTripleDes(wrapped: (kek: Buffer) => Buffer): Buffer {
  const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: carol.certificate.publicKey });
  const wrap = algorithmIdentifier('1.2.840.113549.1.9.16.3.6', NULL);
  const shared = sequence(wrap, tagged(2, octetString(hex('000000c0'))));
  const block = (count: number): Buffer =>
    createHash('sha1')
      .update(secret)
      .update(Buffer.of(0, 0, 0, count))
      .update(shared)
      .digest();
  const kek = Buffer.concat([block(1), block(2)], 24);
  const point = parseDer(ephemeral.publicKey.export({ format: 'der', type: 'spki' })).children[1]?.raw;
  return tagged(
    1,
    integer(3),
    tagged(0, tagged(1, algorithmIdentifier(ID.ecPublicKey), point ?? Buffer.alloc(0))),
    algorithmIdentifier('1.3.133.16.840.63.0.2', wrap),
    sequence(sequence(issuerAndSerial(carol.certificate), octetString(wrapped(kek)))),
  );
}

test('key wrap with Triple-DES: where the policy names it, and with one outcome', async (t) => {
  const key = randomBytes(24);
  const iv = randomBytes(8);
  const cipher = createCipheriv('des-ede3-cbc', key, iv);
  const encrypted = Buffer.concat([cipher.update(CONTENT), cipher.final()]);
  const made = (wrapped: (kek: Buffer) => Buffer): Buffer =>
    envelope({
      info: agreedTripleDes(wrapped),
      algorithm: algorithmIdentifier(TRIPLE_DES, octetString(iv)),
      encrypted,
    });
  const good = made((kek) => wrapTripleDes(kek, key));
  assert.deepEqual(await contentOf(good, carol, ['3des']), CONTENT);
  for (const weak of [[], ['rc2', 'sha1']] as const)
    assert.deepEqual(await open(good, carol, weak), { kind: 'refused', reason: 'unsupported' });
  for (const [title, wrapped] of [
    ['checksum wrong', () => randomBytes(40)],
    ['cut off', () => randomBytes(32)],
    ['odd length', () => randomBytes(39)],
    ['empty', () => Buffer.alloc(0)],
    ['another key length', (kek: Buffer) => wrapTripleDes(kek, randomBytes(16))],
  ] as const) {
    await t.test(title, async () => {
      const result = await open(made(wrapped), carol, ['3des']);
      assert.equal(result.kind, 'opened');
      await assertUnreadable(result.content, CONTENT);
    });
  }
  await t.test('with a strong content cipher the result is weak all the same', async () => {
    const [strong, strongIv] = [randomBytes(24), randomBytes(16)];
    const aes = createCipheriv('aes-192-cbc', strong, strongIv);
    const bytes = envelope({
      info: agreedTripleDes((kek) => wrapTripleDes(kek, strong)),
      algorithm: algorithmIdentifier('2.16.840.1.101.3.4.1.22', octetString(strongIv)),
      encrypted: Buffer.concat([aes.update(CONTENT), aes.final()]),
    });
    const result = await open(bytes, carol, ['3des']);
    assert.equal(result.kind === 'opened' && result.isWeak, true);
  });
});

test('the wrap of node:crypto and ours by hand are one', () => {
  const [kek, key] = [randomBytes(24), randomBytes(24)];
  const decipher = createDecipheriv('des3-wrap', kek, null);
  assert.deepEqual(Buffer.concat([decipher.update(wrapTripleDes(kek, key)), decipher.final()]), key);
});

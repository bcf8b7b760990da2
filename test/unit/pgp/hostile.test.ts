// What a sender may do to us with encrypted mail: each case must end in the right outcome, cheaply, and never in released
// plaintext that counts. Signed mail is in hostile-signatures.test.ts.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { createMessage, type PrivateKey, sign } from 'openpgp';
import { defaultLimits } from '../../../src/core/limits.ts';
import type { StageOutcome } from '../../../src/core/outcome.ts';
import { decryptMessage } from '../../../src/pgp/message.ts';
import { packetTag, writePacket } from '../../../src/pgp/packet.ts';
import {
  armoured,
  AT,
  encryptedMail,
  flip,
  literal,
  makeKey,
  options,
  protect,
  run,
  sessionKeyPacket,
  SIMPLE,
  source,
} from '../../support/pgp.ts';

const bob = await makeKey('bob@fabrikam.example', { type: 'rsa', rsaBits: 2048 });
const alice = await makeKey('alice@contoso.example');
const mallory = await makeKey('alice@contoso.example');

async function decrypt(binary: Uint8Array): Promise<StageOutcome> {
  const sealed = encryptedMail(await armoured(binary));
  return (await run(decryptMessage(source(sealed), [bob.own], [alice.certificate], options))).outcome;
}

async function signedBy(key: PrivateKey, content: Uint8Array, date = AT): Promise<Buffer> {
  const message = await createMessage({ binary: content, date });
  return Buffer.from(await sign({ message, signingKeys: key, date, format: 'binary' }));
}

const failed: StageOutcome = { kind: 'not-decrypted', reason: 'failed' };
const good = await protect(literal(SIMPLE), bob.publicKey);
const pkesk = await sessionKeyPacket(bob.publicKey);
const oneSignature = await signedBy(alice.privateKey, SIMPLE);
/** The signature packet of a signed message is its last packet. */
const splitSigned = (message: Buffer) => {
  const ops = message.subarray(0, 2 + (message[1] ?? 0));
  const rest = message.subarray(ops.length);
  const literalBytes =
    2 +
    (rest[1] ?? 0) +
    ((rest[1] ?? 0) >= 192 ? 1 + (((rest[1] ?? 0) - 192) << 8) + (rest[2] ?? 0) + 192 - (rest[1] ?? 0) : 0);
  return { ops, literal: rest.subarray(0, literalBytes), signature: rest.subarray(literalBytes) };
};

test('the material of these tests is good', async () => {
  assert.equal((await decrypt(good)).kind, 'decrypted');
  const { ops, literal: signedLiteral, signature } = splitSigned(oneSignature);
  assert.equal(ops[0], 0xc0 | packetTag.onePassSignature);
  assert.equal(signedLiteral[0], 0xc0 | packetTag.literal);
  assert.equal(signature[0], 0xc0 | packetTag.signature);
});

test('mdc: every flipped byte and every cut fails at the end, whatever came out before', async () => {
  for (let at = pkesk.length + 7; at < good.length; at += 9) {
    assert.deepEqual(await decrypt(flip(good, at)), failed, `flip at ${at}`);
  }
  for (const at of [-1, -2, -21, -22, -23])
    assert.deepEqual(await decrypt(flip(good, at)), failed, `flip at ${at}`);
  // The length of the data packet says more than there is.
  for (const size of [good.length - 1, good.length - 23, pkesk.length + 20]) {
    assert.deepEqual(await decrypt(good.subarray(0, size)), failed, `cut at ${size}`);
  }
  // The length fits, the content is cut.
  const data = good.subarray(pkesk.length + 6);
  for (const cut of [1, 20, 22, 30]) {
    const shorter = writePacket(packetTag.protected, data.subarray(0, data.length - cut));
    assert.deepEqual(await decrypt(Buffer.concat([pkesk, shorter])), failed, `shorter by ${cut}`);
  }
});

test('mdc: a damaged large message yields bytes and still does not end as decrypted', async () => {
  const large = await protect(
    literal(
      Buffer.concat(
        [SIMPLE, randomBytes(3_000_000)].map((part, at) =>
          at === 0 ? part : Buffer.from(part.toString('hex')),
        ),
      ),
    ),
    bob.publicKey,
  );
  const sealed = encryptedMail(await armoured(flip(large, -100)));
  const { bytes, outcome } = await run(decryptMessage(source(sealed), [bob.own], [], options));
  assert.ok(bytes.length > 1_000_000);
  assert.deepEqual(outcome, failed);
});

test('sed: the packet without integrity is refused before a key is used', async () => {
  const data = good.subarray(pkesk.length + 7);
  const sed = Buffer.concat([pkesk, writePacket(packetTag.unprotected, data)]);
  assert.deepEqual(await decrypt(sed), { kind: 'not-decrypted', reason: 'unsupported' });
});

test('one outcome: whatever went wrong after a key was tried', async () => {
  const cases: Record<string, Buffer> = {
    'damaged session key': Buffer.concat([flip(pkesk, -1), good.subarray(pkesk.length)]),
    'other session key': Buffer.concat([
      await sessionKeyPacket(bob.publicKey, { data: Buffer.alloc(32, 9) }),
      good.subarray(pkesk.length),
    ]),
    'changed data': flip(good, -30),
    'changed prefix': flip(good, pkesk.length + 10),
    'no packets inside': await protect(Buffer.alloc(0), bob.publicKey),
    'garbage inside': await protect(Buffer.alloc(200, 0xff), bob.publicKey),
    'text inside': await protect(Buffer.from('no packet at all'), bob.publicKey),
    'bad inner header': await protect(literal('no header\r\n\r\nx'), bob.publicKey),
    'NUL in the content': await protect(literal('Content-Type: text/plain\r\n\r\na\0b\r\n'), bob.publicKey),
    'unknown compression': await protect(
      writePacket(packetTag.compressed, Buffer.of(77, 1, 2)),
      bob.publicKey,
    ),
    'damaged compression': await protect(
      writePacket(packetTag.compressed, Buffer.of(2, 1, 2, 3, 4)),
      bob.publicKey,
    ),
  };
  for (const [name, binary] of Object.entries(cases)) assert.deepEqual(await decrypt(binary), failed, name);
});

function compressed(inner: Uint8Array): Buffer {
  return writePacket(packetTag.compressed, Buffer.concat([Buffer.of(1), deflateRawSync(inner)]));
}

test('grammar: anything but one literal with its signatures', async () => {
  const { ops, literal: signedLiteral, signature } = splitSigned(oneSignature);
  const one = literal(SIMPLE);
  const inside: Record<string, Buffer> = {
    'two literals': Buffer.concat([one, one]),
    'literal in front of a signed one': Buffer.concat([one, oneSignature]),
    'literal behind a signed one': Buffer.concat([oneSignature, one]),
    'compressed twice': compressed(compressed(one)),
    'literal behind compressed': Buffer.concat([compressed(one), one]),
    'encrypted data inside': good,
    'signature without content': Buffer.concat([ops, signature]),
    'one-pass signature without signature': Buffer.concat([ops, signedLiteral]),
    'surplus signature': Buffer.concat([one, signature]),
    'a public key inside': Buffer.concat([bob.publicKey.write(), one]),
  };
  for (const [name, packets] of Object.entries(inside)) {
    assert.deepEqual(await decrypt(await protect(packets, bob.publicKey)), failed, name);
  }
  assert.equal((await decrypt(await protect(compressed(one), bob.publicKey))).kind, 'decrypted');
  assert.equal((await decrypt(await protect(compressed(oneSignature), bob.publicKey))).kind, 'decrypted');
  const around: Record<string, Buffer> = {
    'literal behind': Buffer.concat([good, one]),
    'message behind': Buffer.concat([good, good]),
  };
  for (const [name, binary] of Object.entries(around)) assert.deepEqual(await decrypt(binary), failed, name);
  for (const binary of [
    one,
    Buffer.concat([one, good]),
    oneSignature,
    pkesk,
    Buffer.alloc(0),
    Buffer.from('xyz'),
  ]) {
    assert.deepEqual(await decrypt(binary), { kind: 'not-decrypted', reason: 'malformed' });
  }
});

test('marker, padding and unknown uncritical packets are ignored', async () => {
  const marker = writePacket(packetTag.marker, Buffer.from('PGP'));
  const padding = writePacket(packetTag.padding, randomBytes(100));
  const unknown = writePacket(60, randomBytes(10));
  const packets = Buffer.concat([marker, unknown, literal(SIMPLE), padding]);
  assert.equal(
    (await decrypt(Buffer.concat([marker, await protect(packets, bob.publicKey)]))).kind,
    'decrypted',
  );
});

test('nosig: a plain literal has no signatures', async () => {
  const outcome = await decrypt(good);
  assert.ok(outcome.kind === 'decrypted');
  assert.deepEqual(outcome.signatures, []);
});

test("wrong-key: another key with the sender's user id is unknown", async () => {
  const outcome = await decrypt(await protect(await signedBy(mallory.privateKey, SIMPLE), bob.publicKey));
  assert.ok(outcome.kind === 'decrypted');
  assert.deepEqual(outcome.signatures, [
    {
      format: 'pgp',
      integrity: 'unchecked',
      trust: 'unknown-key',
      signer: [],
      keyId: mallory.certificate.keyIds[0],
      reason: 'the key is not known here',
    },
  ]);
});

test('a broken signature inside a good message is broken, and the content comes out', async () => {
  const { ops, literal: signedLiteral, signature } = splitSigned(oneSignature);
  const other = Buffer.concat([ops, flip(signedLiteral, -3), signature]);
  const outcome = await decrypt(await protect(other, bob.publicKey));
  assert.ok(outcome.kind === 'decrypted');
  assert.equal(outcome.signatures[0]?.integrity, 'broken');
  assert.equal(outcome.signatures[0]?.trust, 'untrusted');
});

async function signaturesOf(packets: readonly Uint8Array[]): Promise<readonly string[]> {
  const outcome = await decrypt(await protect(Buffer.concat(packets), bob.publicKey));
  assert.ok(outcome.kind === 'decrypted', JSON.stringify(outcome));
  return outcome.signatures.map(({ integrity, trust, reason }) =>
    [integrity, trust, reason].join(' ').trim(),
  );
}

test('a signature in front of its content, as old writers have it', async () => {
  const { literal: signedLiteral, signature } = splitSigned(oneSignature);
  assert.deepEqual(await signaturesOf([signature, signedLiteral]), ['intact trusted']);
  const changed = await signaturesOf([signature, flip(signedLiteral, -3)]);
  assert.deepEqual(changed, ['broken untrusted the content is not what was signed']);
});

test('announcements: every one that does not fit its signature leaves it unchecked', async () => {
  const { ops, literal: signedLiteral, signature } = splitSigned(oneSignature);
  const unchecked = ['unchecked untrusted it is not the one that was announced'];
  const rewritten = (at: number, value: number) => {
    const copy = Buffer.from(ops);
    copy[at] = value;
    return copy;
  };
  // Octets of the packet: version, type, hash, key algorithm, key id.
  for (const [at, value] of [
    [3, 1],
    [4, 8],
    [4, 99],
    [2, 9],
  ] as const) {
    assert.deepEqual(await signaturesOf([rewritten(at, value), signedLiteral, signature]), unchecked);
  }
  assert.deepEqual(await signaturesOf([flip(ops, 8), signedLiteral, signature]), unchecked);
  // The first signature belongs to the last announcement.
  const other = await signedBy(mallory.privateKey, SIMPLE);
  const foreign = splitSigned(other);
  const nested = rewritten(ops.length - 1, 0);
  const unknown = 'unchecked unknown-key the key is not known here';
  const inOrder = [nested, foreign.ops, signedLiteral, foreign.signature, signature];
  assert.deepEqual(await signaturesOf(inOrder), [unknown, 'intact trusted']);
  const crossed = [nested, foreign.ops, signedLiteral, signature, foreign.signature];
  assert.deepEqual(await signaturesOf(crossed), [unchecked[0], unknown]);
});

test('recipients: nobody of ours, password only, both', async () => {
  const foreign = await protect(literal(SIMPLE), alice.publicKey);
  const skesk = writePacket(packetTag.passwordSessionKey, Buffer.of(4, 9, 3, 8, 1, 2, 3, 4, 5, 6, 7, 8, 96));
  const data = good.subarray(pkesk.length);
  assert.deepEqual(await decrypt(foreign), { kind: 'not-decrypted', reason: 'no-recipient' });
  assert.deepEqual(await decrypt(Buffer.concat([skesk, data])), {
    kind: 'not-decrypted',
    reason: 'password-only',
  });
  assert.deepEqual(await decrypt(data), { kind: 'not-decrypted', reason: 'malformed' });
  assert.deepEqual(await decrypt(Buffer.concat([skesk, foreign])), {
    kind: 'not-decrypted',
    reason: 'no-recipient',
  });
  assert.equal((await decrypt(Buffer.concat([skesk, good]))).kind, 'decrypted');
});

test('hidden recipients: own keys are tried, up to the cap', async () => {
  const hidden = await sessionKeyPacket(bob.publicKey, { wildcard: true });
  const decoy = await sessionKeyPacket(mallory.publicKey, { wildcard: true });
  const data = good.subarray(pkesk.length);
  assert.equal((await decrypt(Buffer.concat([hidden, data]))).kind, 'decrypted');
  assert.equal((await decrypt(Buffer.concat([decoy, decoy, hidden, data]))).kind, 'decrypted');
  const many = Array.from({ length: defaultLimits.maxKeysTried }, () => decoy);
  assert.deepEqual(await decrypt(Buffer.concat([...many, hidden, data])), failed);
  // A packet with our key id comes first, wherever it stands.
  assert.equal((await decrypt(Buffer.concat([...many, good]))).kind, 'decrypted');
});

test('pkesk-flood: the count is refused before any private key operation', async () => {
  const hidden = await sessionKeyPacket(bob.publicKey, { wildcard: true });
  const flood = Buffer.concat([...Array.from({ length: 101 }, () => hidden), good.subarray(pkesk.length)]);
  assert.deepEqual(await decrypt(flood), { kind: 'not-decrypted', reason: 'unsupported' });
});

test('sizes: a session key packet and a signature packet of a megabyte', async () => {
  const big = writePacket(
    packetTag.publicKeySessionKey,
    Buffer.concat([pkesk.subarray(6), Buffer.alloc(1_000_000)]),
  );
  assert.deepEqual(await decrypt(Buffer.concat([big, good])), { kind: 'not-decrypted', reason: 'malformed' });
  const signature = writePacket(packetTag.signature, Buffer.alloc(1_000_000));
  assert.deepEqual(
    await decrypt(await protect(Buffer.concat([signature, literal(SIMPLE)]), bob.publicKey)),
    failed,
  );
});

test('signature flood inside: more one-pass signatures than signers', async () => {
  const { ops, literal: signedLiteral, signature } = splitSigned(oneSignature);
  // All but the last are nested (RFC 9580 §5.4).
  const nested = Buffer.from(ops);
  nested[nested.length - 1] = 0;
  const build = (count: number) =>
    Buffer.concat([
      ...Array.from({ length: count - 1 }, () => nested),
      ops,
      signedLiteral,
      ...Array.from({ length: count }, () => signature),
    ]);
  const few = await decrypt(await protect(build(defaultLimits.maxSigners), bob.publicKey));
  assert.equal(few.kind === 'decrypted' && few.signatures.length, defaultLimits.maxSigners);
  assert.deepEqual(await decrypt(await protect(build(defaultLimits.maxSigners + 1), bob.publicKey)), failed);
});

test('compression: what follows the end of the compressed stream is padding', async () => {
  const stream = deflateRawSync(literal(SIMPLE));
  for (const padding of [0, 1, 1_000, 300_000]) {
    const body = Buffer.concat([Buffer.of(1), stream, Buffer.alloc(padding)]);
    const packet = writePacket(packetTag.compressed, body);
    assert.equal((await decrypt(await protect(packet, bob.publicKey))).kind, 'decrypted', `${padding}`);
    const damaged = await protect(packet, bob.publicKey);
    assert.deepEqual(await decrypt(flip(damaged, -10)), failed, `${padding}, changed`);
  }
  const cut = writePacket(packetTag.compressed, Buffer.concat([Buffer.of(1), stream.subarray(0, -5)]));
  assert.deepEqual(await decrypt(await protect(cut, bob.publicKey)), failed);
});

test('pgp-bomb: compressed data that grows without end stops early', async () => {
  const bomb = writePacket(
    packetTag.compressed,
    Buffer.concat([Buffer.of(1), deflateRawSync(literal(Buffer.alloc(60_000_000)))]),
  );
  assert.ok(bomb.length < 100_000);
  const before = process.memoryUsage.rss();
  assert.deepEqual(await decrypt(await protect(bomb, bob.publicKey)), failed);
  assert.ok(process.memoryUsage.rss() - before < 100_000_000);
});

test('partial lengths: first part too small, and a message in many parts', async () => {
  const data = good.subarray(pkesk.length + 6);
  const tiny = Buffer.concat([
    pkesk,
    Buffer.of(0xd2, 0xe1),
    data.subarray(0, 2),
    Buffer.of(data.length - 2),
    data.subarray(2),
  ]);
  assert.deepEqual(await decrypt(tiny), { kind: 'not-decrypted', reason: 'malformed' });
  const long = await protect(literal(Buffer.concat([SIMPLE, Buffer.alloc(2_000, 'y')])), bob.publicKey);
  const body = long.subarray(pkesk.length + 6);
  const parts = [
    Buffer.of(0xd2, 0xe9),
    body.subarray(0, 512),
    Buffer.of(0xe0),
    body.subarray(512, 513),
    Buffer.of(0xea),
    body.subarray(513, 1537),
  ];
  const last = body.subarray(1537);
  const lastLength = Buffer.of(0xff, 0, 0, last.length >> 8, last.length & 0xff);
  assert.equal((await decrypt(Buffer.concat([pkesk, ...parts, lastLength, last]))).kind, 'decrypted');
});

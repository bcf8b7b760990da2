// For every message, every way of cutting it and every kind of key: what is encrypted is decrypted to the same bytes, what is
// signed verifies, and one changed byte is never taken for good.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { ByteSource, Chunks } from '../../src/core/bytes.ts';
import { collect, concat } from '../../src/core/bytes.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { decodeBase64 } from '../../src/mime/transfer-encoding.ts';
import { decodeArmorLines } from '../../src/pgp/armor-lines.ts';
import {
  decryptMessage,
  encryptMessage,
  signAndEncryptMessage,
  signMessage,
  verifyMessage,
} from '../../src/pgp/message.ts';
import {
  armoured,
  encryptedMail,
  inChunks,
  literal,
  makeKey,
  options,
  protect,
  run,
} from '../support/pgp.ts';

const KEYS = [
  await makeKey('ecc@contoso.example'),
  await makeKey('rsa@contoso.example', { type: 'rsa', rsaBits: 2048 }),
  await makeKey('v6@contoso.example', { type: 'curve25519', config: { v6Keys: true, aeadProtect: true } }),
];
const OUTER = Buffer.from('From: a@contoso.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n');
const LIMIT = 10_000_000;

const key = fc.constantFrom(...KEYS);
/** Sizes of chunks, used in turn. */
const cuts = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 });
/** Lines that need care, and now and then a body that is longer than a part of a packet. */
const line = fc.oneof(
  fc.string({ maxLength: 80 }).map((text) => text.replace(/[\r\n\0]/g, ' ')),
  fc.constantFrom('', 'From me', '- dash', '--b', '-----BEGIN PGP MESSAGE-----', 'blanks  ', '.', '=20'),
);
const body = fc
  .tuple(fc.array(line, { maxLength: 30 }), fc.constantFrom(1, 1, 1, 700))
  .map(([lines, times]) =>
    Buffer.from(
      lines
        .map((text) => `${text}\r\n`)
        .join('')
        .repeat(times),
      'utf8',
    ),
  );
const entity = body.map((bytes) =>
  Buffer.concat([
    Buffer.from('Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'),
    bytes,
  ]),
);

function cut(bytes: Uint8Array, sizes: readonly number[], start = 0, end = bytes.length): Chunks {
  return (async function* () {
    let turn = 0;
    for (let at = start; at < end; turn += 1) {
      const next = Math.min(end, at + (sizes[turn % sizes.length] ?? 1));
      yield bytes.subarray(at, next);
      at = next;
    }
  })();
}

function sourceOf(bytes: Uint8Array, sizes: readonly number[]): ByteSource {
  return {
    size: bytes.length,
    open: (range) => cut(bytes, sizes, range?.start ?? 0, Math.min(range?.end ?? bytes.length, bytes.length)),
  };
}

async function prepared(message: Buffer): Promise<Buffer> {
  const { entity: content } = await prepareEntity(sourceOf(message, [65_536]), options.limits);
  return collect(concat(OUTER, content.open()), LIMIT);
}

test('decrypt(encrypt(m)) = m', async () => {
  await fc.assert(
    fc.asyncProperty(entity, key, cuts, cuts, async (content, to, writeCuts, readCuts) => {
      const message = Buffer.concat([OUTER, content]);
      const sealed = await run(encryptMessage(cut(message, writeCuts), [to.certificate], options));
      const opened = await run(decryptMessage(sourceOf(sealed.bytes, readCuts), [to.own], [], options));
      assert.equal(opened.outcome.kind, 'decrypted');
      assert.ok(opened.bytes.equals(message));
    }),
    { numRuns: 60 },
  );
});

test('decrypt(sign and encrypt(m)) = prepare(m), with a good signature', async () => {
  await fc.assert(
    fc.asyncProperty(entity, key, key, cuts, cuts, async (content, to, by, writeCuts, readCuts) => {
      const message = Buffer.concat([OUTER, content]);
      const input = sourceOf(message, writeCuts);
      const sealed = await run(signAndEncryptMessage(input, [to.certificate], by.own, options));
      const output = sourceOf(sealed.bytes, readCuts);
      const opened = await run(decryptMessage(output, [to.own], [by.certificate], options));
      assert.ok(opened.outcome.kind === 'decrypted');
      const results = opened.outcome.signatures.map(({ integrity, trust }) => `${integrity} ${trust}`);
      assert.deepEqual(results, ['intact trusted']);
      assert.ok(opened.bytes.equals(await prepared(message)));
    }),
    { numRuns: 40 },
  );
});

test('verify(sign(m)) is good, and not after a byte of the signed part was changed', async () => {
  await fc.assert(
    fc.asyncProperty(entity, key, cuts, fc.nat(), async (content, by, sizes, place) => {
      const signed = await run(
        signMessage(sourceOf(Buffer.concat([OUTER, content]), sizes), by.own, options),
      );
      const verify = (bytes: Uint8Array) =>
        run(verifyMessage(sourceOf(bytes, sizes), [by.certificate], options));
      const good = await verify(signed.bytes);
      assert.ok(good.outcome.kind === 'verified');
      assert.equal(good.outcome.signatures[0].trust, 'trusted');
      const text = signed.bytes.toString('latin1');
      const start = text.indexOf('\r\n--=_') + 2;
      const from = text.indexOf('\r\n', start) + 2;
      const until = text.lastIndexOf(`\r\n${text.slice(start, from - 2)}\r\n`);
      const changed = Buffer.from(signed.bytes);
      const at = from + (place % (until - from));
      changed[at] = (changed[at] ?? 0) ^ 1;
      const { outcome } = await verify(changed);
      if (outcome.kind === 'verified') assert.equal(outcome.signatures[0].integrity, 'broken');
      else assert.equal(outcome.kind, 'not-verified');
    }),
    { numRuns: 40 },
  );
});

test('one changed byte of the encrypted part is never decrypted', async () => {
  const bits = fc.integer({ min: 1, max: 255 });
  await fc.assert(
    fc.asyncProperty(entity, key, fc.nat(), bits, cuts, async (content, to, place, bit, sizes) => {
      const binary = await protect(literal(content), to.publicKey);
      // Only what is encrypted: another octet in a length, a version or a key id may be another way to say the same.
      const from = binary.length - content.length - 30;
      const changed = Buffer.from(binary);
      const at = from + (place % (binary.length - from));
      changed[at] = (changed[at] ?? 0) ^ bit;
      const mailWith = async (bytes: Uint8Array) => sourceOf(encryptedMail(await armoured(bytes)), sizes);
      const good = await run(decryptMessage(await mailWith(binary), [to.own], [], options));
      assert.equal(good.outcome.kind, 'decrypted');
      const { outcome } = await run(decryptMessage(await mailWith(changed), [to.own], [], options));
      assert.deepEqual(outcome, { kind: 'not-decrypted', reason: 'failed' });
    }),
    { numRuns: 60 },
  );
});

test('any changed byte anywhere in a message: the same content, or not decrypted', async () => {
  await fc.assert(
    fc.asyncProperty(entity, key, fc.nat(), async (content, to, place) => {
      const message = Buffer.concat([OUTER, content]);
      const sealed = await run(encryptMessage(inChunks(message, 65_536), [to.certificate], options));
      const changed = Buffer.from(sealed.bytes);
      const at = OUTER.length + (place % (changed.length - OUTER.length));
      changed[at] = (changed[at] ?? 0) ^ 1;
      const { bytes, outcome } = await run(
        decryptMessage(sourceOf(changed, [65_536]), [to.own], [], options),
      ).catch((error: unknown) => {
        // A header that cannot be read any more is refused, not decrypted.
        assert.equal((error as { code?: string }).code, 'header-malformed');
        return { bytes: Buffer.alloc(0), outcome: { kind: 'not-decrypted' } as const };
      });
      // A blank, a letter's case or the checksum of the armour may change without harm.
      if (outcome.kind === 'decrypted') assert.ok(bytes.subarray(-content.length).equals(content));
      else assert.equal(outcome.kind, 'not-decrypted');
    }),
    { numRuns: 80 },
  );
});

test('the fast way to read armour gives what the general one gives', async () => {
  const piece = fc.oneof(
    fc.base64String({ minLength: 4, maxLength: 200 }),
    fc.constantFrom('\r\n', '\n', '\r', ' ', '=', '==', '_', '*', 'QUJD', '\t\r\n'),
  );
  const width = fc.constantFrom(0, 4, 60, 64, 76, 77);
  await fc.assert(
    fc.asyncProperty(fc.array(piece), width, cuts, async (pieces, columns, sizes) => {
      const joined = pieces.join('').repeat(20);
      const text = columns === 0 ? joined : joined.replace(new RegExp(`.{${columns}}`, 'g'), '$&\r\n');
      const input = () => cut(Buffer.from(text), sizes);
      const fast = await collect(decodeArmorLines(input()), LIMIT);
      assert.ok(fast.equals(await collect(decodeBase64(input()), LIMIT)));
    }),
    { numRuns: 300 },
  );
});

// Streams are cut where the network cuts them: every result must be the same for every cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Chunks, bytesSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { canonicalLines, normaliseMessage } from '../../src/mime/canonical.ts';
import { unwrapMessage } from '../../src/mime/entity.ts';
import { decodeQuotedPrintable, encodeQuotedPrintable } from '../../src/mime/quoted-printable.ts';
import { readParts, scanStructure } from '../../src/mime/shape.ts';
import { scanText } from '../../src/mime/text-facts.ts';
import { decodeBase64, encodeBase64 } from '../../src/mime/transfer-encoding.ts';
import {
  bytesOf,
  chunked,
  chunkedSource,
  latin1,
  limits,
  sizesArbitrary,
  textOf,
  treeArbitrary,
  trickyBytes,
  writeTree,
} from '../support/mime.ts';

/** The result, or the code of the error: an error too must not depend on the cut. */
async function resultOf(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof GatewayError) return { code: error.code };
    throw error;
  }
}

const streams: readonly (readonly [string, (chunks: Chunks) => Promise<unknown>])[] = [
  ['base64 encoding', (chunks) => textOf(encodeBase64(chunks))],
  ['base64 decoding', (chunks) => textOf(decodeBase64(chunks))],
  ['quoted-printable encoding', (chunks) => textOf(encodeQuotedPrintable(chunks))],
  ['quoted-printable decoding', (chunks) => textOf(decodeQuotedPrintable(chunks))],
  ['line ends', (chunks) => textOf(canonicalLines(chunks, 'normalise'))],
  ['line ends, refused', (chunks) => textOf(canonicalLines(chunks, 'refuse'))],
  ['facts of a text', scanText],
];
for (const [name, run] of streams) {
  test(`any cut gives the same result: ${name}`, async () => {
    await fc.assert(
      fc.asyncProperty(trickyBytes, sizesArbitrary, async (bytes, sizes) => {
        assert.deepEqual(
          await resultOf(() => run(chunked(bytes, sizes))),
          await resultOf(() => run(chunked(bytes))),
        );
      }),
      { numRuns: 400 },
    );
  });
}

const message = fc.oneof(
  treeArbitrary.map(writeTree),
  trickyBytes.map((bytes) => Buffer.concat([latin1('Subject: x\r\n\r\n'), bytes])),
  fc
    .tuple(fc.constantFrom('b', 'b"; boundary="c', '--b', ''), trickyBytes, trickyBytes)
    .map(([boundary, head, bytes]) =>
      Buffer.concat([
        latin1(`Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\n--b\r\n`),
        head,
        latin1('\r\n\r\n'),
        bytes,
        latin1('\r\n--b--\r\n'),
      ]),
    ),
);
const outer = { fields: [] };
const messages: readonly (readonly [
  string,
  (bytes: Buffer, sizes: readonly number[]) => Promise<unknown>,
])[] = [
  [
    'the door',
    (bytes, sizes) => textOf(normaliseMessage(chunked(bytes, sizes), { bareLineEnds: 'normalise', limits })),
  ],
  ['structure', (bytes, sizes) => scanStructure(chunkedSource(bytes, sizes), limits)],
  [
    'parts',
    async (bytes, sizes) =>
      (await readParts(chunkedSource(bytes, sizes), limits)).map(({ entity, body }) => [entity, body]),
  ],
  ['unwrapping', (bytes, sizes) => textOf(unwrapMessage(outer, chunked(bytes, sizes), limits))],
];
for (const [name, run] of messages) {
  test(`any cut gives the same result: ${name}`, async () => {
    await fc.assert(
      fc.asyncProperty(message, sizesArbitrary, async (bytes, sizes) => {
        assert.deepEqual(await resultOf(() => run(bytes, sizes)), await resultOf(() => run(bytes, [])));
      }),
      { numRuns: 300 },
    );
  });
}

/** RFC 2045 §6.8 read character by character: everything but the alphabet is skipped, padding ends a group. */
function plainBase64(bytes: Buffer): Buffer {
  const groups = bytes
    .toString('latin1')
    .replace(/[^A-Za-z0-9+/=]/g, '')
    .split('=');
  return Buffer.concat(groups.map((group) => Buffer.from(group, 'base64')));
}

test('base64 decoding equals a reading character by character, in clean lines and in damaged ones', async () => {
  const lines = fc.record({
    bytes: fc.uint8Array({ minLength: 0, maxLength: 400 }),
    lineLength: fc.constantFrom(4, 8, 60, 64, 76),
    lineEnd: fc.constantFrom('\r\n', '\n'),
    damage: fc.constantFrom('', '', '-', '_', '=', '\xff', ' ', '\r', '\n', 'A'),
    at: fc.nat(600),
  });
  await fc.assert(
    fc.asyncProperty(lines, sizesArbitrary, async ({ bytes, lineLength, lineEnd, damage, at }, sizes) => {
      const text = Buffer.from(bytes).toString('base64');
      const rows = (text.match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? [])
        .map((row) => row + lineEnd)
        .join('');
      const damaged = latin1(rows.slice(0, at) + damage + rows.slice(at + damage.length));
      for (const cut of [[], sizes]) {
        assert.deepEqual(await bytesOf(decodeBase64(chunked(damaged, cut))), plainBase64(damaged));
      }
    }),
    { numRuns: 1_000 },
  );
});

test('what is encoded decodes to itself', async () => {
  await fc.assert(
    fc.asyncProperty(trickyBytes, sizesArbitrary, async (bytes, sizes) => {
      const source = bytesSource(bytes);
      assert.deepEqual(
        await bytesOf(decodeBase64(chunkedSource(await bytesOf(encodeBase64(source.open())), sizes).open())),
        bytes,
      );
      assert.deepEqual(
        await bytesOf(
          decodeQuotedPrintable(
            chunkedSource(await bytesOf(encodeQuotedPrintable(source.open())), sizes).open(),
          ),
        ),
        bytes,
      );
    }),
    { numRuns: 400 },
  );
});

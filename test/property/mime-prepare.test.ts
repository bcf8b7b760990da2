// Preparing for signing: the content stays the same to the last byte, and nothing is left that a relay would change.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesSource, concat } from '../../src/core/bytes.ts';
import { entityHeader } from '../../src/mime/entity.ts';
import { scanParts, type ScannedPart } from '../../src/mime/part-scanner.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { scanText } from '../../src/mime/text-facts.ts';
import { decodeTransfer } from '../../src/mime/transfer-encoding.ts';
import {
  bytesOf,
  chunked,
  chunkedSource,
  latin1,
  limits,
  readWithMailsplit,
  sizesArbitrary,
  treeArbitrary,
  type Tree,
  trickyBytes,
  writeTree,
} from '../support/mime.ts';

async function prepared(message: Buffer, sizes: readonly number[] = []): Promise<Buffer> {
  const { entity } = await prepareEntity(chunkedSource(message, sizes), limits);
  return bytesOf(entity.open());
}

/** Type and decoded body of each leaf, as an independent reader finds them. */
async function leavesOf(message: Buffer): Promise<readonly (readonly [string, string])[]> {
  const { parts } = await readWithMailsplit(message);
  const leaves = parts.flatMap(({ body, type, encoding }) => (body ? [{ body, type, encoding }] : []));
  return Promise.all(
    leaves.map(async ({ body, type, encoding }) => {
      const decoded = await bytesOf(decodeTransfer(chunked(body), encoding));
      return [type, decoded.toString('latin1')] as const;
    }),
  );
}

function isSigned(part: ScannedPart | undefined): boolean {
  if (part === undefined) return false;
  return part.contentType.mediaType === 'multipart/signed' || isSigned(part.parent);
}

function holdsSigned(tree: Tree): boolean {
  return tree.type === 'multipart/signed' || tree.children.some(holdsSigned);
}

test('a prepared entity holds the same leaves, byte for byte once decoded', async () => {
  await fc.assert(
    fc.asyncProperty(treeArbitrary, sizesArbitrary, async (tree, sizes) => {
      const message = writeTree(tree);
      assert.deepEqual(await leavesOf(await prepared(message, sizes)), await leavesOf(message));
    }),
    { numRuns: 300 },
  );
});

test('a prepared entity is 7-bit, in short lines, without trailing blanks and From lines', async () => {
  await fc.assert(
    fc.asyncProperty(
      treeArbitrary.filter((tree) => !holdsSigned(tree)),
      async (tree) => {
        const facts = await scanText(chunked(await prepared(writeTree(tree))));
        assert.ok(facts.maxLineOctets <= 980);
        assert.deepEqual(
          { ...facts, maxLineOctets: 0 },
          {
            is8bit: false,
            maxLineOctets: 0,
            hasTrailingBlanks: false,
            hasFromLine: false,
            hasBareLineEnd: false,
          },
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('signed parts inside keep their bytes, header and delimiters too', async () => {
  await fc.assert(
    fc.asyncProperty(treeArbitrary.filter(holdsSigned), async (tree) => {
      const message = writeTree(tree);
      const signedOf = async (bytes: Buffer) => {
        const parts = await scanParts(chunked(bytes), limits, { depth: 'all', isMeasured: false });
        return parts
          .filter((part) => isSigned(part) && !isSigned(part.parent))
          .map((part) => bytes.toString('latin1', part.depth === 0 ? part.bodyStart : part.start, part.end));
      };
      assert.deepEqual(await signedOf(await prepared(message)), await signedOf(message));
    }),
    { numRuns: 150 },
  );
});

test('preparing twice changes nothing', async () => {
  await fc.assert(
    fc.asyncProperty(treeArbitrary, async (tree) => {
      const once = await prepared(writeTree(tree));
      const again = await prepareEntity(bytesSource(once), limits);
      assert.equal((await bytesOf(again.entity.open())).toString('latin1'), once.toString('latin1'));
    }),
    { numRuns: 150 },
  );
});

test('any text, in any encoding, decodes to the same bytes', async () => {
  const encodings = fc.constantFrom('7bit', '8bit', 'quoted-printable', 'base64');
  await fc.assert(
    fc.asyncProperty(trickyBytes, encodings, sizesArbitrary, async (body, encoding, sizes) => {
      const head = `Content-Type: text/plain\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
      const message = Buffer.concat([latin1(`Subject: x\r\nMIME-Version: 1.0\r\n${head}`), body]);
      const entity = await prepared(message, sizes);
      const [part] = await scanParts(chunked(entity), limits, { depth: 'all', isMeasured: false });
      assert.deepEqual(
        await bytesOf(decodeTransfer(chunked(entity.subarray(part?.bodyStart)), part?.encoding)),
        await bytesOf(decodeTransfer(chunked(body), encoding)),
      );
    }),
    { numRuns: 500 },
  );
});

test('what needs no change passes byte for byte', async () => {
  const clean = fc.array(
    fc.string({ maxLength: 70 }).map((text) => `x${text.replace(/[^\x21-\x7e]/g, '?')}\r\n`),
  );
  await fc.assert(
    fc.asyncProperty(clean, sizesArbitrary, async (lines, sizes) => {
      const body = latin1(lines.join(''));
      const message = Buffer.concat([latin1('Subject: x\r\n\r\n'), body]);
      assert.deepEqual(await prepared(message, sizes), await bytesOf(concat(entityHeader([]), body)));
    }),
  );
});

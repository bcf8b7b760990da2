// Dot transparency in both directions, by itself: no sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { GatewayError } from '../../../src/core/errors.ts';
import { openUnstuffer, stuffDots } from '../../../src/smtp/dot-lines.ts';

const cases: readonly [wire: string, content: string, rest: string | undefined][] = [
  ['.\r\n', '', ''],
  ['.\r\nQUIT\r\n', '', 'QUIT\r\n'],
  ['x\r\n.\r\n', 'x\r\n', ''],
  ['..\r\n.\r\n', '.\r\n', ''],
  ['...\r\n.\r\n', '..\r\n', ''],
  ['.x\r\n.\r\n', 'x\r\n', ''],
  ['x\n.\n.\r\n', 'x\n.\n.\r\n', undefined],
  ['x\n..\r\n.\r\n', 'x\n..\r\n', ''],
  ['x\r.\r\n.\r\n', 'x\r.\r\n', ''],
  ['\r\n.\r\r\n.\r\n', '\r\n\r\r\n', ''],
  ['\r\n\r\n.\r\n', '\r\n\r\n', ''],
  ['\r\n.', '\r\n', undefined],
  ['\r\n.\r', '\r\n', undefined],
  ['x\r', 'x\r', undefined],
  ['\r\n.\r\n.\r\n', '\r\n', '.\r\n'],
];

for (const [wire, content, rest] of cases) {
  test(`unstuffing ${JSON.stringify(wire)}, cut at every byte`, () => {
    for (let cut = 0; cut <= wire.length; cut += 1) {
      assert.deepEqual(unstuff([wire.slice(0, cut), wire.slice(cut)]), { content, rest }, `cut at ${cut}`);
    }
    assert.deepEqual(unstuff(wire.split('')), { content, rest }, 'byte by byte');
  });
}

test('what is stuffed comes back, in any chunks', async () => {
  const line = fc.stringMatching(/^[.\x01-\x09\x0e-\x7f]{0,6}$/);
  await fc.assert(
    fc.asyncProperty(
      fc.array(line),
      fc.array(fc.nat(9)),
      fc.array(fc.nat(9)),
      async (lines, sizes, wireSizes) => {
        const message = lines.map((text) => `${text}\r\n`).join('');
        const wire = `${await stuffed(message, sizes)}.\r\n`;
        assert.deepEqual(unstuff(cut(wire, wireSizes)), { content: message, rest: '' });
      },
    ),
  );
});

for (const message of ['a\nb\r\n', 'a\rb\r\n', '\n', 'a\r', '.\r\n\n.\r\n', 'a\r\r\n']) {
  test(`smuggle-out: ${JSON.stringify(message)} is not sent`, async () => {
    for (const sizes of [[], [1, 1, 1, 1, 1, 1, 1]]) {
      await assert.rejects(
        stuffed(message, sizes),
        (error) => error instanceof GatewayError && error.code === 'bare-line-end',
      );
    }
  });
}

test('a last line without CRLF gets it', async () => {
  assert.equal(await stuffed('a', []), 'a\r\n');
  assert.equal(await stuffed('', []), '');
});

test('content made of stuffed dots costs no more than other content', () => {
  const dots = Buffer.from('..\r\n'.repeat(1_250_000));
  const started = performance.now();
  const feed = openUnstuffer();
  let size = 0;
  for (let at = 0; at < dots.length; at += 65_536)
    size += feed(dots.subarray(at, at + 65_536)).content.length;
  assert.equal(size, 3_750_000);
  assert.ok(performance.now() - started < 2_000);
});

function unstuff(parts: readonly string[]): { content: string; rest: string | undefined } {
  const feed = openUnstuffer();
  let content = '';
  let rest: string | undefined;
  for (const part of parts) {
    if (rest !== undefined) {
      rest += part;
      continue;
    }
    const result = feed(Buffer.from(part, 'latin1'));
    content += result.content.toString('latin1');
    rest = result.rest?.toString('latin1');
  }
  return { content, rest };
}

async function stuffed(message: string, sizes: readonly number[]): Promise<string> {
  async function* chunks() {
    for (const part of cut(message, sizes)) yield Buffer.from(part, 'latin1');
  }
  const parts: Uint8Array[] = [];
  for await (const part of stuffDots(chunks())) parts.push(part);
  return Buffer.concat(parts).toString('latin1');
}

function cut(text: string, sizes: readonly number[]): readonly string[] {
  const parts: string[] = [];
  let at = 0;
  for (const size of sizes) {
    parts.push(text.slice(at, at + size));
    at += size;
  }
  return [...parts, text.slice(at)];
}

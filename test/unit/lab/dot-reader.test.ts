// The two sides of DATA in the lab: what is stuffed, what is taken out, and what a strict receiver counts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, assert as check, asyncProperty, constantFrom, nat } from 'fast-check';
import { collect } from '../../../src/core/bytes.ts';
import { DotReader, type WireFacts } from '../../../src/lab/dot-reader.ts';
import { stuffDots } from '../../../src/lab/smtp-client.ts';

function readAll(chunks: readonly Buffer[]): { data: string; rest: string | undefined; facts: WireFacts } {
  const reader = new DotReader();
  const data: Buffer[] = [];
  for (const chunk of chunks) {
    const read = reader.read(chunk);
    data.push(...read.data);
    if (read.rest)
      return {
        data: Buffer.concat(data).toString('latin1'),
        rest: read.rest.toString('latin1'),
        facts: reader.facts,
      };
  }
  return { data: Buffer.concat(data).toString('latin1'), rest: undefined, facts: reader.facts };
}

/** Every way to split the wire in two, and byte by byte. */
function* splits(wire: string): Generator<Buffer[]> {
  const bytes = Buffer.from(wire, 'latin1');
  for (let at = 0; at <= bytes.length; at += 1) yield [bytes.subarray(0, at), bytes.subarray(at)];
  yield Array.from(bytes, (byte) => Buffer.of(byte));
}

const WIRES: readonly (readonly [wire: string, data: string, facts: Partial<WireFacts>])[] = [
  ['.\r\n', '', { bytes: 0, lines: 0 }],
  ['a\r\n.\r\n', 'a\r\n', { bytes: 3, lines: 1, longestLine: 1 }],
  ['..\r\n.\r\n', '.\r\n', { stuffedLines: 1, unstuffedLines: 0 }],
  ['....\r\n...\r\n.\r\n', '...\r\n..\r\n', { stuffedLines: 2 }],
  ['.a\r\n.\r\n', 'a\r\n', { stuffedLines: 0, unstuffedLines: 1 }],
  ['a\n.\nb\r\n.\r\n', 'a\n.\nb\r\n', { bareLineFeeds: 2, lines: 3 }],
  ['a\n.\r\n\r\n.\r\n', 'a\n.\r\n\r\n', { bareLineFeeds: 1 }],
  ['a\r.\r\nb\r\n.\r\n', 'a\r.\r\nb\r\n', { bareCarriageReturns: 1, bareLineFeeds: 0 }],
  ['a\r\r\n.\r\n', 'a\r\r\n', { bareCarriageReturns: 1, longestLine: 2 }],
  [`${'x'.repeat(1200)}\r\n.\r\n`, `${'x'.repeat(1200)}\r\n`, { longestLine: 1200 }],
];

test('the data and the counts do not depend on how the bytes arrive', () => {
  for (const [wire, data, facts] of WIRES) {
    if (wire.length > 100) continue;
    for (const chunks of splits(wire)) {
      const read = readAll(chunks);
      assert.equal(read.data, data, JSON.stringify(wire));
      assert.equal(read.rest, '', JSON.stringify(wire));
      for (const [name, value] of Object.entries(facts))
        assert.equal(read.facts[name as keyof WireFacts], value, `${name} of ${JSON.stringify(wire)}`);
    }
  }
});

test('long lines are counted whole', () => {
  const [wire, data, facts] = WIRES.at(-1) ?? ['', '', {}];
  const read = readAll([Buffer.from(wire)]);
  assert.equal(read.data, data);
  assert.equal(read.facts.longestLine, facts.longestLine);
});

test('half an end is not the end', () => {
  for (const wire of ['', 'a', 'a\r\n', 'a\r\n.', 'a\r\n.\r', 'a\n.\n', 'a\r.\r', 'a\n.\r\n', 'a\r\n.\n'])
    for (const chunks of splits(wire)) assert.equal(readAll(chunks).rest, undefined, JSON.stringify(wire));
});

test('commands behind the end are given back', () => {
  assert.equal(readAll([Buffer.from('a\r\n.\r\nQUIT\r\n')]).rest, 'QUIT\r\n');
});

test('what one side stuffs the other takes out', async () => {
  const text = array(constantFrom('.', '..', 'a', '\r\n', '\n', '\r', '\r\n.', 'x\r\n'), {
    maxLength: 40,
  });
  await check(
    asyncProperty(text, array(nat(60), { maxLength: 6 }), async (parts, cuts) => {
      const bytes = Buffer.from(parts.join(''));
      const at = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index] ?? 0, end));
      const stuffed = await collect(
        stuffDots(
          (async function* () {
            yield* chunks;
          })(),
        ),
        10_000,
      );
      const read = readAll([stuffed]);
      const isEnded = bytes.length === 0 || bytes.subarray(-2).equals(Buffer.from('\r\n'));
      assert.equal(read.data, bytes.toString('latin1') + (isEnded ? '' : '\r\n'));
      assert.equal(read.rest, '');
      assert.equal(read.facts.unstuffedLines, 0);
    }),
    { numRuns: 300 },
  );
});

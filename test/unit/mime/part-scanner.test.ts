import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MimeLimits, scanParts } from '../../../src/mime/part-scanner.ts';
import { chunked, latin1, limits } from '../../support/mime.ts';

const all = { depth: 'all', isMeasured: true } as const;
const cuts = [[], [1], [2], [3, 5], [1000]];

/** One line per part: depth, kind, type, body or regions, defects. */
async function outline(text: string, sizes: readonly number[] = []): Promise<string[]> {
  const parts = await scanParts(chunked(latin1(text), sizes), limits, all);
  return parts.map((part) => {
    const regions = part.regions.map(({ start, end }) => JSON.stringify(text.slice(start, end)));
    const facts = [part.kind, part.contentType.mediaType, ...regions, ...part.defects];
    return `${'  '.repeat(part.depth)}${facts.join(' ')}`;
  });
}

const mixed = 'Content-Type: multipart/mixed; boundary=b\r\n\r\n';
const outlines: readonly (readonly [string, string, readonly string[]])[] = [
  ['a plain message', 'Subject: x\r\n\r\nbody\r\n', ['leaf text/plain "body\\r\\n"']],
  ['a header alone', 'Subject: x\r\n', ['leaf text/plain ""']],
  ['nothing', '', ['leaf text/plain ""']],
  [
    'preamble and epilogue are regions of the multipart',
    `${mixed}pre\r\n--b\r\n\r\none\r\n--b--\r\npost\r\n`,
    ['multipart multipart/mixed "pre" "post\\r\\n"', '  leaf text/plain "one"'],
  ],
  [
    'a message inside has a header and parts of its own',
    `${mixed}--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n${mixed.replace('=b', '=c')}--c\r\n\r\ntwo\r\n--c--\r\n\r\n--b--\r\n`,
    [
      'multipart multipart/mixed "" ""',
      '  message message/rfc822',
      '    multipart multipart/mixed "" ""',
      '      leaf text/plain "two"',
    ],
  ],
  [
    'in a digest, what has no type is a message',
    'Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\none\r\n--b\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--b--\r\n',
    [
      'multipart multipart/digest "" ""',
      '  message message/rfc822',
      '    leaf text/plain "one"',
      '  leaf text/plain "two"',
    ],
  ],
  [
    'the outer delimiter ends whatever is open inside',
    `${mixed}--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: message/rfc822\r\n\r\nSubject: cut\r\n--b\r\n\r\nlast\r\n--b--\r\n`,
    [
      'multipart multipart/mixed "" ""',
      '  multipart multipart/mixed ""',
      '    message message/rfc822',
      '      leaf text/plain ""',
      '  leaf text/plain "last"',
    ],
  ],
  [
    'a boundary that starts with another one',
    `${mixed}--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nin\r\n--bb--\r\n--b--\r\n`,
    ['multipart multipart/mixed "" ""', '  multipart multipart/mixed "" ""', '    leaf text/plain "in"'],
  ],
  [
    'a delimiter after the closing one is noted once and not obeyed',
    `${mixed}--b\r\n\r\none\r\n--b--\r\n--b\r\nX: y\r\n\r\nhidden\r\n--b\r\n--b--\r\n`,
    [
      'multipart multipart/mixed "" "--b\\r\\nX: y\\r\\n\\r\\nhidden\\r\\n--b\\r\\n--b--\\r\\n" a delimiter follows the closing one',
      '  leaf text/plain "one"',
    ],
  ],
  [
    'a header line that is too long makes the header unreadable, and the delimiter still counts',
    `${mixed}--b\r\nX: ${'y'.repeat(3000)}\r\n\r\none\r\n--b--\r\n`,
    ['multipart multipart/mixed "" ""', '  leaf text/plain "one" the header of a part cannot be read'],
  ],
  [
    'a line of dashes that a bare line feed ends makes no delimiter of the next one',
    `${mixed}--b\r\n\r\n--x\n--b--\r\nend\r\n--b--\r\n`,
    ['multipart multipart/mixed "" ""', '  leaf text/plain "--x\\n--b--\\r\\nend"'],
  ],
  [
    'a delimiter inside a long header line is none',
    `${mixed}--b\r\nX: ${'y'.repeat(997)}--b--\r\n\r\none\r\n--b--\r\n`,
    ['multipart multipart/mixed "" ""', '  leaf text/plain "one" the header of a part cannot be read'],
  ],
];
for (const [name, text, wanted] of outlines) {
  test(`structure: ${name}`, async () => {
    for (const sizes of cuts) assert.deepEqual(await outline(text, sizes), wanted);
  });
}

test('blanks at the end of delimiters are found, and nothing else', async () => {
  const text = `${mixed}--b \r\n\r\none \r\n--b\t \r\n\r\ntwo\r\n--b-- \r\nend \r\n--b-- x\r\n`;
  for (const sizes of cuts) {
    const [root] = await scanParts(chunked(latin1(text), sizes), limits, all);
    const found = root?.padding.map(({ start, end }) => [
      text.slice(start - 3, start),
      text.slice(start, end),
    ]);
    assert.deepEqual(found, [
      ['--b', ' '],
      ['--b', '\t '],
      ['b--', ' '],
    ]);
  }
});

test('children alone: what is inside a child is text', async () => {
  const text = `${mixed}--b\r\nContent-Type: message/rfc822\r\n\r\nno header\r\n--b--\r\n`;
  const parts = await scanParts(chunked(latin1(text)), limits, { depth: 'children', isMeasured: false });
  assert.deepEqual(
    parts.map((part) => [part.kind, text.slice(part.bodyStart, part.end)]),
    [
      ['multipart', text.slice(mixed.length)],
      ['leaf', 'no header'],
    ],
  );
});

const bounded: readonly (readonly [string, Partial<MimeLimits>, string])[] = [
  ['depth', { maxDepth: 1 }, `${mixed}--b\r\nContent-Type: message/rfc822\r\n\r\n\r\n--b--\r\n`],
  ['parts', { maxParts: 2 }, `${mixed}--b\r\n\r\n--b\r\n\r\n--b--\r\n`],
  ['one header', { maxHeaderBytes: 100 }, `${mixed}--b\r\nX: ${'y'.repeat(100)}\r\n\r\n`],
  ['all headers', { maxHeaderBytes: 100 }, `${mixed}${`--b\r\nX: ${'y'.repeat(80)}\r\n\r\n`.repeat(5)}`],
];
for (const [name, limit, text] of bounded) {
  test(`limit: ${name}`, async () => {
    for (const sizes of cuts) {
      const scan = scanParts(chunked(latin1(text), sizes), { ...limits, ...limit }, all);
      await assert.rejects(scan, { code: 'mime-malformed' });
    }
    await scanParts(chunked(latin1(text)), limits, all);
  });
}

const nested = Array.from(
  { length: 45 },
  (_, index) => `Content-Type: multipart/mixed; boundary=b${index}\r\n\r\n--b${index}\r\n`,
).join('');
const hostile: readonly (readonly [string, string, string])[] = [
  ['dashes in short lines, many levels deep', `${nested}\r\n`, '--\r\n'],
  ['dashes without line end', `${mixed}--b\r\n\r\n`, '-'],
  ['half a delimiter again and again', `${mixed}--b\r\n\r\n`, '\r\n--'],
  ['delimiters after the closing one', `${mixed}--b--\r\n`, '--b\r\n'],
  ['delimiters with more blanks than a line holds', `${mixed}--b\r\n\r\n`, `--b${' '.repeat(2_000)}\r\n`],
  ['bare line feeds', `${mixed}--b\r\n\r\n`, '--b\n'],
  ['bare carriage returns', `${mixed}--b\r\n\r\n`, '\r--b\r'],
];
for (const [name, head, piece] of hostile) {
  test(`hostile-lines: ${name}`, async () => {
    const start = performance.now();
    const chunk = latin1(piece.repeat(Math.ceil(65_536 / piece.length)));
    const message = async function* () {
      yield latin1(head);
      for (let count = 0; count < 160; count += 1) yield chunk;
    };
    const parts = await scanParts(message(), limits, all);
    assert.ok(parts.every((part) => part.defects.length <= 1 && part.padding.length === 0));
    assertLinear(start);
  });
}

test('hostile-lines: one byte at a time', async () => {
  const start = performance.now();
  const line = `--${'x'.repeat(990)}\r\n`;
  const text = latin1(`${mixed}--b\r\nX: ${'y'.repeat(200_000)}\r\n\r\n${line.repeat(100)}--b--\r\n`);
  const parts = await scanParts(chunked(text, [1]), limits, all);
  assert.equal(parts.length, 2);
  assertLinear(start);
});

/** Anything quadratic takes hours on these inputs, and a busy machine a few seconds for the rest. */
function assertLinear(start: number): void {
  assert.ok(performance.now() - start < 60_000);
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normaliseMessage } from '../../../src/mime/canonical.ts';
import { chunked, latin1, limits, textOf } from '../../support/mime.ts';

const HEAD = 'Subject: x\r\n\r\n';

function door(
  text: string,
  bareLineEnds: 'normalise' | 'refuse',
  sizes: readonly number[] = [],
): Promise<string> {
  return textOf(normaliseMessage(chunked(latin1(text), sizes), { bareLineEnds, limits }));
}

const canonical = [
  `${HEAD}body\r\n`,
  `${HEAD}\r\n\r\n`,
  HEAD,
  'Subject: x\r\n',
  '\r\nbody\r\n',
  `${HEAD}\xe9\xff\t.\r\n.\r\nFrom x \r\n`,
  `Subject: \xe9\r\n folded\r\n\r\n${'x'.repeat(5000)}\r\n`,
];
for (const text of canonical) {
  test(`canonical input passes byte for byte: ${JSON.stringify(text.slice(0, 40))}`, async () => {
    for (const sizes of [[], [1], [2], [3, 5]]) {
      assert.equal(await door(text, 'refuse', sizes), text);
      assert.equal(await door(text, 'normalise', sizes), text);
    }
  });
}

const bare: readonly (readonly [string, string])[] = [
  ['a\nb\r\n', 'a\r\nb\r\n'],
  ['a\rb\r\n', 'a\r\nb\r\n'],
  ['a\n\r\n', 'a\r\n\r\n'],
  ['a\r\r\n', 'a\r\n\r\n'],
  ['a\n\n', 'a\r\n\r\n'],
  ['a\n\rb\r\n', 'a\r\n\r\nb\r\n'],
  ['\n', '\r\n'],
  ['\r', '\r\n'],
  ['a\r\n\r', 'a\r\n\r\n'],
  // Smuggling forms: the dot ends up on a line of its own, which the writer stuffs.
  ['x\n.\nMAIL', 'x\r\n.\r\nMAIL\r\n'],
  ['x\r.\rMAIL\r\n', 'x\r\n.\r\nMAIL\r\n'],
];
for (const [body, wanted] of bare) {
  test(`bare line ends in ${JSON.stringify(body)}`, async () => {
    for (const sizes of [[], [1], [2], [3]]) {
      assert.equal(await door(HEAD + body, 'normalise', sizes), HEAD + wanted);
      await assert.rejects(door(HEAD + body, 'refuse', sizes), { code: 'bare-line-end' });
    }
  });
}

test('a last line without line end gets one', async () => {
  assert.equal(await door(`${HEAD}a`, 'refuse'), `${HEAD}a\r\n`);
});

test('NUL is refused under every setting', async () => {
  for (const setting of ['normalise', 'refuse'] as const) {
    await assert.rejects(door(`${HEAD}a\0b\r\n`, setting), { code: 'bare-line-end' });
  }
});

for (const text of [
  'Subject: x\nTo: y\n\nbody\n',
  'Subject: x\r\nTo: y\n\r\nbody',
  'Subject: x\r\r\n\r\n',
  'A\0: x\r\n\r\n',
  'no colon\r\n\r\n',
]) {
  test(`header is refused under every setting: ${JSON.stringify(text)}`, async () => {
    for (const setting of ['normalise', 'refuse'] as const) {
      await assert.rejects(door(text, setting, [1]), { code: 'header-malformed' });
    }
  });
}

const AUTHOR = 'From: a@x.example\r\n';
for (const [name, head] of [
  ['two authors', `${AUTHOR}From: b@x.example\r\n`],
  ['one author twice, other letters', `${AUTHOR}FROM: a@x.example\r\n`],
  ['two senders', `${AUTHOR}Sender: b@x.example\r\nSender: c@x.example\r\n`],
  ['two subjects', 'Subject: one\r\nsubject: two\r\n'],
  ['two dates', 'Date: 1 Jan 2026 00:00:00 +0000\r\nDate: 2 Jan 2026 00:00:00 +0000\r\n'],
  ['two types', 'Content-Type: text/plain\r\nContent-Type: text/html\r\n'],
  [
    'two encodings',
    'Content-Transfer-Encoding: base64\r\nReceived: x\r\nContent-Transfer-Encoding: 7bit\r\n',
  ],
  ['two dispositions', 'Content-Disposition: inline\r\nContent-Disposition: attachment\r\n'],
] as const) {
  test(`a message with two readings is refused: ${name}`, async () => {
    for (const setting of ['normalise', 'refuse'] as const) {
      await assert.rejects(door(`${head}\r\nbody\r\n`, setting, [1]), { code: 'header-malformed' });
    }
  });
}

test('repeated alike: fields that leave one reading pass byte for byte', async () => {
  const text = [
    'Received: one',
    'Received: two',
    'DKIM-Signature: one',
    'DKIM-Signature: two',
    'To: a@x.example',
    'To: b@x.example',
    'Cc: c@x.example',
    'Cc: d@x.example',
    'Resent-From: a@x.example',
    'Resent-From: b@x.example',
    'Comments: one',
    'Comments: two',
    'MIME-Version: 1.0',
    'mime-version:  1.0 (relay)',
    'Subject: the same',
    'Subject: the',
    '  same',
    'Content-Type: text/plain',
    'Content-Type: text/plain',
    '',
    'body',
    '',
  ].join('\r\n');
  await assert.rejects(door(text, 'refuse'), { code: 'header-malformed' });
  const alike = text.replace('the\r\n  same', 'the\r\n same');
  assert.equal(await door(alike, 'refuse'), alike);
});

test('a refused header closes its source', async () => {
  let isClosed = false;
  const source = async function* () {
    try {
      yield latin1(`${AUTHOR}${AUTHOR}\r\n`);
      yield latin1('body\r\n');
    } finally {
      isClosed = true;
    }
  };
  await assert.rejects(textOf(normaliseMessage(source(), { bareLineEnds: 'refuse', limits })), {
    code: 'header-malformed',
  });
  assert.ok(isClosed);
});

test('30 MB in one line pass in pieces', async () => {
  const piece = Buffer.alloc(65_536, 'x');
  const message = async function* () {
    yield latin1(HEAD);
    for (let count = 0; count < 480; count += 1) yield piece;
  };
  let size = 0;
  let largest = 0;
  for await (const chunk of normaliseMessage(message(), { bareLineEnds: 'refuse', limits })) {
    size += chunk.length;
    largest = Math.max(largest, chunk.length);
  }
  assert.equal(size, HEAD.length + 480 * 65_536 + 2);
  assert.ok(largest <= 65_536);
});

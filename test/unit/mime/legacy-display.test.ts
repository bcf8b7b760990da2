// Legacy Display Elements: which parts get one, in which bytes, and that leaving it out gives the text back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import { addLegacyDisplay, dropLegacyDisplay } from '../../../src/mime/legacy-display.ts';
import { chunkedSource, latin1, limits, textOf } from '../../support/mime.ts';

const HEAD = 'From: a@x.example\r\nSubject: Dinner plans\r\n';
const HTML_ELEMENT =
  '<div class="header-protection-legacy-display">\r\n<pre>Subject: Dinner plans</pre>\r\n</div>\r\n';

async function added(text: string): Promise<string | undefined> {
  const chunks = await addLegacyDisplay(chunkedSource(latin1(text), [7]), limits);
  return chunks && (await textOf(chunks));
}
async function dropped(text: string): Promise<string | undefined> {
  const chunks = await dropLegacyDisplay(chunkedSource(latin1(text), [7]), limits);
  return chunks && (await textOf(chunks));
}

const PLAIN = 'Content-Type: text/plain; charset=us-ascii';
const LABEL = ';\r\n hp-legacy-display="1"\r\n';
const table: readonly (readonly [string, string, string])[] = [
  [
    'plain text',
    `${HEAD}${PLAIN}\r\n\r\nAt 8pm.\r\n`,
    `${HEAD}${PLAIN}${LABEL}\r\nSubject: Dinner plans\r\n\r\nAt 8pm.\r\n`,
  ],
  [
    'no fields of content',
    `${HEAD}\r\nAt 8pm.\r\n`,
    `${HEAD}${PLAIN}${LABEL}\r\nSubject: Dinner plans\r\n\r\nAt 8pm.\r\n`,
  ],
  [
    'base64 in UTF-8',
    `${HEAD}Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nw6QNCg==\r\n`,
    `${HEAD}Content-Type: text/plain; charset=utf-8${LABEL}Content-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogRGlubmVyIHBsYW5zDQoNCsOkDQo=\r\n`,
  ],
  [
    'HTML, after the tag that opens the body',
    `${HEAD}Content-Type: text/html\r\n\r\n<html><body class="x"><p>hi\r\n`,
    `${HEAD}Content-Type: text/html${LABEL}\r\n<html><body class="x">${HTML_ELEMENT}<p>hi\r\n`,
  ],
  [
    'both texts of an alternative, and no attachment',
    `${HEAD}Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nhi\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>hi\r\n--a\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN\r\n--a--\r\n--m\r\nContent-Type: text/plain\r\n\r\nattached\r\n--m--\r\n`,
    `${HEAD}Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n${PLAIN}${LABEL}\r\nSubject: Dinner plans\r\n\r\nhi\r\n--a\r\nContent-Type: text/html${LABEL}\r\n${HTML_ELEMENT}<p>hi\r\n--a\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN\r\n--a--\r\n--m\r\nContent-Type: text/plain\r\n\r\nattached\r\n--m--\r\n`,
  ],
];
for (const [name, before, after] of table) {
  test(`the Subject on top: ${name}`, async () => {
    assert.equal(await added(before), after);
    const back = await dropped(after);
    const labelled = before.replace(/^((?:.+\r\n)*)\r\n(?=At 8pm)/, (_, head: string) =>
      head.includes('Content-Type') ? `${head}\r\n` : `${head}${PLAIN}\r\n\r\n`,
    );
    assert.equal(back, labelled.replace('--a\r\n\r\nhi', `--a\r\n${PLAIN}\r\n\r\nhi`));
  });
}

test('a Subject beyond the charset: UTF-8 as it is, entities in HTML, else question marks', async () => {
  const head = 'Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_=E2=82=AC_=3Cb=3E?=\r\n';
  const utf8 = await added(`${head}Content-Type: text/plain; charset=UTF-8\r\n\r\nx\r\n`);
  assert.match(utf8 ?? '', /quoted-printable\r\n\r\nSubject: Gr=C3=BC=C3=9Fe =E2=82=AC <b>\r\n\r\nx\r\n$/);
  const latin = await added(`${head}Content-Type: text/plain; charset=iso-8859-1\r\n\r\nx\r\n`);
  assert.match(latin ?? '', /quoted-printable\r\n\r\nSubject: Gr=FC=DFe \? <b>\r\n\r\nx\r\n$/);
  const ascii = await added(`${head}${PLAIN}\r\n\r\nx\r\n`);
  assert.match(ascii ?? '', /\r\n\r\nSubject: Gr\?\?e \? <b>\r\n\r\nx\r\n$/);
  const html = await added(`${head}Content-Type: text/html\r\n\r\n<p>x\r\n`);
  assert.match(html ?? '', /<pre>Subject: Gr&#252;&#223;e &#8364; &#60;b&#62;<\/pre>/);
});

test('nothing is added without one Subject and one readable text', async () => {
  for (const text of [
    `From: a@x.example\r\n${PLAIN}\r\n\r\nx\r\n`,
    `Subject: a\r\nSubject: b\r\n${PLAIN}\r\n\r\nx\r\n`,
    `Subject:  \r\n${PLAIN}\r\n\r\nx\r\n`,
    `${HEAD}Content-Type: image/png\r\n\r\nx\r\n`,
    `${HEAD}${PLAIN}\r\nContent-Disposition: attachment\r\n\r\nx\r\n`,
    `${HEAD}${PLAIN}\r\nContent-Transfer-Encoding: x-uue\r\n\r\nx\r\n`,
    `${HEAD}Content-Type: text/plain; charset=utf-16\r\n\r\nx\r\n`,
    `${HEAD}Content-Type: text/html\r\n\r\n<html><head></head>no body\r\n`,
    `${HEAD}Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nx\r\n--s--\r\n`,
  ])
    assert.equal(await added(text), undefined);
});

test('only what is labelled and looks like an element is left out', async () => {
  const head = `${HEAD}${PLAIN}${LABEL}\r\n`;
  assert.equal(await dropped(`${HEAD}${PLAIN}\r\n\r\nSubject: x\r\n\r\ny\r\n`), undefined);
  assert.equal(await dropped(`${head}Dear Bob,\r\n\r\ny\r\n`), undefined);
  assert.equal(await dropped(`${head}Subject: x\r\nsecond line\r\n\r\ny\r\n`), undefined);
  const html = `${HEAD}Content-Type: text/html${LABEL}\r\n`;
  assert.equal(await dropped(`${html}<body><p>x\r\n`), undefined);
  const nested = '<div class="header-protection-legacy-display"><div>x</div></div>';
  assert.equal(await dropped(`${html}<body>${nested}\r\n`), undefined);
});

test('blanks without end cost nothing', async () => {
  const started = performance.now();
  const text = `Subject: x\r\n${' '.repeat(60_000)}`;
  assert.equal(await dropped(`${HEAD}${PLAIN}${LABEL}\r\n${text}`), undefined);
  const html = `<body>${' '.repeat(30_000)}<div ${'class='.repeat(5_000)}`;
  assert.equal(await dropped(`${HEAD}Content-Type: text/html${LABEL}\r\n${html}`), undefined);
  assert.ok(performance.now() - started < 2_000);
});

test('several fields, folded, as other programs write them', async () => {
  const text = 'Subject: Dinner\r\n plans\r\nCc: b@x.example\r\n\r\nAt 8pm.\r\n';
  const found = await dropped(`${HEAD}${PLAIN}${LABEL}\r\n${text}`);
  assert.equal(found, `${HEAD}${PLAIN}\r\n\r\nAt 8pm.\r\n`);
});

test('a long text passes in pieces', async () => {
  const body = 'line\r\n'.repeat(100_000);
  const chunks = await addLegacyDisplay(bytesSource(latin1(`${HEAD}${PLAIN}\r\n\r\n${body}`)), limits);
  assert.ok(chunks);
  assert.ok((await textOf(chunks)).endsWith(`Subject: Dinner plans\r\n\r\n${body}`));
});

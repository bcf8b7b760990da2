import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GatewayError } from '../../../src/core/errors.ts';
import { csvSource, parseRecipientsCsv, readRecipientsCsv } from '../../../src/tenant/recipients/csv.ts';
import { makeFolder, ManualClock } from '../../support/storage.ts';

const TYPE = 'System.Collections.ArrayList';

type Row = readonly [what: string, text: string, expected: readonly string[]];
const GOOD: readonly Row[] = [
  ['one column', 'a@x.example\nb@x.example\n', ['a@x.example', 'b@x.example']],
  ['no line end at the end', 'a@x.example', ['a@x.example']],
  ['CRLF, blank lines, comments', '# all\r\n\r\na@x.example\r\n  \r\n', ['a@x.example']],
  ['letter case and IDN', 'Ann@X.Example\nb@bücher.example', ['ann@x.example', 'b@xn--bcher-kva.example']],
  ['proxy notation in a plain list', 'SMTP:a@x.example\nsmtp:b@x.example', ['a@x.example', 'b@x.example']],
  ['the same address twice', 'a@x.example\nA@x.example', ['a@x.example']],
  ['a heading', 'PrimarySmtpAddress\na@x.example', ['a@x.example']],
  ['a heading among others', '"Name","PrimarySmtpAddress"\n"Ann, A.","a@x.example"', ['a@x.example']],
  [
    'Windows PowerShell with its type line',
    '#TYPE Selected.System\n"primarysmtpaddress"\n"a@x.example"',
    ['a@x.example'],
  ],
  ['semicolons', 'Name;PrimarySmtpAddress\nAnn;a@x.example', ['a@x.example']],
  [
    'proxy addresses by semicolon',
    'PrimarySmtpAddress,EmailAddresses\na@x.example,"SMTP:a@x.example;smtp:b@x.example;SIP:a@x.example"',
    ['a@x.example', 'b@x.example'],
  ],
  [
    'proxy addresses by blank, with other types between',
    'EmailAddresses\n"X500:/o=Ex Org, Inc/ou=G (X)/cn=a smtp:b@x.example EUM:12;p=x SMTP:a@x.example"',
    ['b@x.example', 'a@x.example'],
  ],
  [
    'the same by semicolon',
    'EmailAddresses\n"X500:/o=Ex Org, Inc/cn=a;EUM:12;p=x;smtp:b@x.example;SMTP:a@x.example"',
    ['b@x.example', 'a@x.example'],
  ],
  ['a list without types', 'EmailAddresses\na@x.example;b@x.example', ['a@x.example', 'b@x.example']],
  ['a recipient without address', 'Name,PrimarySmtpAddress\nRoom,\nAnn,a@x.example', ['a@x.example']],
  ['quotes and a line end in a cell', 'Name,mail\n"Ann ""A""\nB",a@x.example', ['a@x.example']],
  ['proxyAddresses of Active Directory', 'DN,proxyAddresses\n"CN=a",smtp:b@x.example', ['b@x.example']],
];

for (const [what, text, expected] of GOOD)
  test(`good: ${what}`, () => {
    const result = parseRecipientsCsv(text);
    assert.ok('addresses' in result, JSON.stringify(result));
    assert.deepEqual([...result.addresses], expected);
  });

const BAD: readonly (readonly [what: string, text: string, expected: readonly string[]])[] = [
  ['nothing', '', ['1: holds no address']],
  ['comments alone', '# nobody\n', ['1: holds no address']],
  ['a heading alone', 'PrimarySmtpAddress\n', ['1: holds no address']],
  [
    'another heading',
    'Name,Alias\nAnn,ann',
    [
      '1: is neither one address nor a heading with PrimarySmtpAddress or EmailAddresses',
      '2: is neither one address nor a heading with PrimarySmtpAddress or EmailAddresses',
    ],
  ],
  [
    'lines that are no addresses',
    'a@x.example\nnobody\n\nb@x.example\n@x.example\n',
    ['2: is not a mail address', '5: is not a mail address'],
  ],
  ['two columns without heading', 'a@x.example,Ann', ['1: is neither one address nor a heading with']],
  ['a broken primary address', 'PrimarySmtpAddress\na@x.example\nb@', ['3: PrimarySmtpAddress is not']],
  ['a broken alias', 'EmailAddresses\nsmtp:a@x.example;smtp:b', ['2: EmailAddresses is not a mail address']],
  [
    'unflattened collection',
    `PrimarySmtpAddress,EmailAddresses\na@x.example,${TYPE}`,
    ["2: EmailAddresses holds the name of a type; export it with @{n='EmailAddresses';e={"],
  ],
  [
    'the line of a record behind one with a line end',
    'Name,mail\n"a\nb",a@x.example\nc,d',
    ['4: mail is not'],
  ],
];

for (const [what, text, expected] of BAD)
  test(`bad: ${what}`, () => {
    const result = parseRecipientsCsv(text);
    assert.ok('problems' in result);
    const lines = result.problems.map(({ line, message }) => `${line}: ${message}`);
    assert.equal(lines.length, expected.length, lines.join('\n'));
    for (const [index, start] of expected.entries())
      assert.equal(lines[index]?.slice(0, start.length), start);
  });

test('at most 20 problems', () => {
  const result = parseRecipientsCsv(`a@x.example\n${'x\n'.repeat(1_000)}`);
  assert.equal('problems' in result && result.problems.length, 20);
});

test('files: utf-16, a byte order mark, what is no text, what is no file', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'recipients.csv');
  const text = '\uFEFFPrimarySmtpAddress\r\na@x.example\r\n';
  for (const bytes of [Buffer.from(text, 'utf16le'), Buffer.from(text)]) {
    writeFileSync(path, bytes);
    const result = await readRecipientsCsv(path);
    assert.deepEqual('addresses' in result && [...result.addresses], ['a@x.example']);
  }
  writeFileSync(path, Buffer.from('m\xfcller@x.example', 'latin1'));
  await assert.rejects(readRecipientsCsv(path), /recipients\.csv is not UTF-8 text/);
  await assert.rejects(readRecipientsCsv(folder.path), /is not a regular file/);
  await assert.rejects(readRecipientsCsv(join(folder.path, 'gone')), /gone cannot be read: there is no such/);
});

test('the source reads the file anew each time; its failure names the line and no address', async () => {
  await using folder = await makeFolder();
  const path = join(folder.path, 'recipients.csv');
  const source = csvSource(path);
  const load = () =>
    source.load(undefined, { clock: new ManualClock(), signal: new AbortController().signal });
  writeFileSync(path, 'a@x.example\n');
  assert.deepEqual([...(await load()).addresses], ['a@x.example']);
  writeFileSync(path, 'a@x.example\ncanary@\n');
  await assert.rejects(load(), (error: unknown) => {
    assert.ok(error instanceof GatewayError);
    assert.equal(error.code, 'recipients-unavailable');
    assert.equal(error.message, 'recipients.csv:2: is not a mail address');
    return true;
  });
});

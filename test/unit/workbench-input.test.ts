// Messages as people have them on disk, in any chunking.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { silentLog } from '../../src/core/log.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { holdMessage } from '../../src/workbench-input.ts';
import { inChunks } from '../support/smime.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-input-'));
const holds = await openHolds({ folder, memoryBytes: 1_000, log: silentLog });
after(async () => {
  await holds[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function held(text: string, size: number): Promise<string> {
  const input = inChunks(Buffer.from(text, 'latin1'), size);
  await using hold = (await holdMessage(input, 'mail.eml', holds, defaultLimits)).held;
  return (await collect(hold.open(), 1_000_000)).toString('latin1');
}

const SIZES = [1, 2, 3, 7, 1_000_000];

for (const [name, text, expected] of [
  [
    'CRLF passes byte for byte',
    'From: a\r\nTo: b\r\n\r\nx\r\n\r\ny\r\n',
    'From: a\r\nTo: b\r\n\r\nx\r\n\r\ny\r\n',
  ],
  ['LF becomes CRLF', 'From: a\nTo: b\n\nx\n\ny\n', 'From: a\r\nTo: b\r\n\r\nx\r\n\r\ny\r\n'],
  ['a last line without end gets one', 'From: a\n\nx', 'From: a\r\n\r\nx\r\n'],
  ['LF file with some CRLF', 'From: a\nTo: b\r\n\r\nx\ny\r\n', 'From: a\r\nTo: b\r\n\r\nx\r\ny\r\n'],
  ['CRLF file with bare LF in the body', 'From: a\r\n\r\nx\ny\r\n', 'From: a\r\n\r\nx\r\ny\r\n'],
  ['header section alone', 'From: a\nTo: b\n', 'From: a\r\nTo: b\r\n'],
  ['8-bit bytes', 'From: \xe4\xff\n\n\xfc\n', 'From: \xe4\xff\r\n\r\n\xfc\r\n'],
] as const) {
  test(`input: ${name}`, async () => {
    for (const size of SIZES) assert.equal(await held(text, size), expected, `chunks of ${size}`);
  });
}

for (const [name, text, code, reason] of [
  ['bare CR in an LF header section', 'From: a\rBcc: c\n\nx\n', 'header-malformed', /bare CR/],
  ['bare CR before CRLF', 'From: a\r\r\n\r\nx\r\n', 'header-malformed', /bare CR/],
  ['bare LF in a CRLF header section', 'From: a\r\nTo: b\nCc: c\r\n\r\nx\r\n', 'header-malformed', /bare LF/],
  ['NUL', 'From: a\n\nx\0y\n', 'bare-line-end', /NUL/],
  ['mbox', 'From a@b Mon Jan 1\nFrom: a\n\nx\n', 'header-malformed', /mbox/],
  ['no field of a message', 'key: value\n', 'header-malformed', /no field of a message/],
  ['prose', 'Dear all,\nplease: read\n', 'header-malformed', /no field name/],
  ['empty', '', 'header-malformed', /no header section/],
  ['one line without end', 'x'.repeat(70_000), 'header-malformed', /./],
] as const) {
  test(`input refused: ${name}`, async () => {
    for (const size of SIZES.filter((each) => each > 1 || text.length < 1_000)) {
      await assert.rejects(held(text, size), (error: { code: string; message: string }) => {
        assert.equal(error.code, code, error.message);
        assert.match(error.message, /^mail\.eml is not a mail message: /);
        assert.match(error.message, reason);
        return true;
      });
    }
  });
}

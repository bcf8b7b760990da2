// The bzip2 decoder against streams of the bzip2 command, and against damage: never a hang, never a crash, always a fault.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect } from '../../../src/core/bytes.ts';
import { readBytes } from '../../../src/pgp/byte-reader.ts';
import { decompressBzip2 } from '../../../src/pgp/bzip2.ts';
import { PgpFault } from '../../../src/pgp/fault.ts';
import { flip, inChunks } from '../../support/pgp.ts';

const SENTENCE = 'The quick brown fox jumps over the lazy dog.\r\n';
const EVERY_BYTE = Buffer.from(Array.from({ length: 768 }, (_, index) => index % 256));
const a = (count: number) => Buffer.alloc(count, 'a');

/** Written by `bzip2 -9`; the last two with `-1`. */
const STREAMS: readonly (readonly [string, Uint8Array, string])[] = [
  ['nothing', a(0), 'QlpoORdyRThQkAAAAAA='],
  ['a byte', a(1), 'QlpoOTFBWSZTWRmTm2sAAAABACAAIAAhGEaC7kinChIDMnNtYA=='],
  [
    'a sentence',
    Buffer.from(SENTENCE),
    'QlpoOTFBWSZTWSx5sUAAAAXTgAASQAEEAD////AgACMemoaaGmmjI2ptqDGAAAAAI4DwPQkjtPiRSwVlK9rl6TBQ+Uqcf1MCGNrXF3JFOFCQLHmxQA==',
  ],
  ['a run of 3', a(3), 'QlpoOTFBWSZTWR/l384AAAEBACAAIAAwjBQYu5IpwoSA/y7+cA=='],
  ['a run of 4', a(4), 'QlpoOTFBWSZTWYgSM6YAAAJBAEAAIAAgACEAggsXckU4UJCIEjOm'],
  ['a run of 5', a(5), 'QlpoOTFBWSZTWUSkMD0AAAJBACAAIAAgACEAggsXckU4UJBEpDA9'],
  ['a run of 258', a(258), 'QlpoOTFBWSZTWVAqqaQAAAGBAKAAAAggACEAgpcXckU4UJBQKqmk'],
  ['a run of 259', a(259), 'QlpoOTFBWSZTWUutlGwAAALBAMAAIAAACCAAIKptQZjFR4u5IpwoSCXWyjYA'],
  ['a run of 260', a(260), 'QlpoOTFBWSZTWavKTH0AAALBAKAAIAAACCAAIKptQZjFR4u5IpwoSFXlJj6A'],
  ['a run of 600', a(600), 'QlpoOTFBWSZTWetqKmUAAAMDAIEAIAAACCAAMMwFU2piUPF3JFOFCQ62oqZQ'],
  [
    'every byte',
    EVERY_BYTE,
    'QlpoMTFBWSZTWe3ga8wAAAF/////////////////////////////////////////////sAFgAS//9VVQJgJgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACTAATAAEwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAASYACYAAmAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAH9QFAkDQRBX/IMg6EIShSFoY/9DUOQ9EERRJE0URVFkXRhGUaRtHEdR5H0gSFIkjSRJUmSdKEpSpK0sS1LkvTBMUyTNNE1TZN04TlOk7TxPU+T9QFBUJQ1EUVRlHUhSVKUtTFNU5T1QVFUlTVRVVWVdWFZVpW1cV1XlfWBYViWNZFlWZZ1oWlalrWxbVuW9cFxXJc10XVdl3XheV6XtfF9X5f2AYFgmDYRhWGYdiGJYpi2MY1jmPZBkWSZNlGVZZl2YZlmmbZxnWeZ9oGhaJo2kaVpmnahqWqatrGta5r2wbFsmzbRtW2bduG5bpu28b1vm/cBwXCcNxHFcZx3IclynLcxzXOc90HRdJ03UdV1nXdh2Xadt3Hdd533geF4njeR5Xmed6Hpep63se17nvfB8XyfN9H1fZ934fl+n7fx/X+F3JFOFCQ7eBrzAA==',
  ],
  [
    'several blocks',
    Buffer.from('line of text\r\n'.repeat(20_000)),
    'QlpoMTFBWSZTWVJTljkAb5ZRgAASQAADJYRAIACQIBppoE1UjQeo0lAmJQJuKBOkoE9igTlKBMigTIoE34lAmRQJkUCfJQJpKBMSgT8xQVkmU1nIY0M4ADfLUYAAEkAAAyWEQCAAkCAaaaBNVI0HqNRQJkUCbSgTpKBN+pQJuKBMSgTEoE2lAmJQJiUCfRQJqKBMigT8xQVkmU1nl880PAGR+UYAAEkAAAyWEQCAAkCAaaaApUhoeo1JIpkkinUkim5JFPZJFOZJFMkkUySRTySRTJJFMkkU+kkU1JIpkkin4u5IpwoSB49ic2A=',
  ],
];

async function decompress(stream: Uint8Array, chunk = 1_000): Promise<Buffer> {
  return collect(decompressBzip2(readBytes(inChunks(stream, chunk))), 10_000_000);
}

for (const [name, content, base64] of STREAMS) {
  const stream = Buffer.from(base64, 'base64');

  test(`bzip2 of ${name}`, async () => {
    for (const chunk of [1, 7, 1_000]) assert.deepEqual(await decompress(stream, chunk), content);
  });

  test(`bzip2 of ${name}: what follows is left unread`, async () => {
    const reader = readBytes(inChunks(Buffer.concat([stream, Buffer.from('more')]), 5));
    assert.deepEqual(await collect(decompressBzip2(reader), 10_000_000), content);
    assert.equal((await reader.take(10)).toString(), 'more');
  });

  test(`bzip2 of ${name}: cuts and changed bits are faults`, async () => {
    const step = stream.length > 60 ? 17 : 3;
    for (let size = 0; size < stream.length; size += step) {
      await assert.rejects(decompress(stream.subarray(0, size)), isFault, `cut at ${size}`);
    }
    for (let bit = 0; bit < stream.length * 8; bit += step) {
      const changed = Buffer.from(stream);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const result = await decompress(changed).catch((error: unknown) => error);
      // The block size and the padding of the last byte have no check.
      if (result instanceof Buffer) assert.deepEqual(result, content, `bit ${bit}`);
      else assert.ok(isFault(result), `bit ${bit}: ${String(result)}`);
    }
  });
}

test('bzip2: nothing of a damaged block ends well', async () => {
  const [, , base64 = ''] = STREAMS.at(-1) ?? [];
  const stream = Buffer.from(base64, 'base64');
  await assert.rejects(decompress(flip(stream, 60)), isFault);
  await assert.rejects(decompress(Buffer.from('BZh0')), isFault);
  await assert.rejects(decompress(Buffer.from('no bzip2 at all')), isFault);
});

function isFault(error: unknown): boolean {
  return error instanceof PgpFault && error.reason === 'failed';
}

// Armour: what is read leniently, what is refused, and that chunks never matter.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { armor, enums, unarmor } from 'openpgp';
import { collect } from '../../../src/core/bytes.ts';
import { parseArmor, readArmor, readMaybeArmor, writeArmor } from '../../../src/pgp/armor.ts';
import { PgpFault } from '../../../src/pgp/fault.ts';
import { inChunks } from '../../support/pgp.ts';

const LIMIT = 10_000_000;
const CONTENT = randomBytes(1_000);

async function write(bytes: Uint8Array, hasChecksum = true): Promise<string> {
  return (await collect(writeArmor('MESSAGE', inChunks(bytes, 333), hasChecksum), LIMIT)).toString('latin1');
}

async function read(text: string, chunk = 1_000): Promise<Buffer> {
  return collect(readArmor(inChunks(Buffer.from(text, 'latin1'), chunk), ['MESSAGE']), LIMIT);
}

for (const size of [0, 1, 2, 3, 46, 47, 48, 49, 96, 1_000, 100_001]) {
  test(`the library reads what we write, and we what it writes: ${size} bytes`, async () => {
    const bytes = randomBytes(size);
    const text = await write(bytes);
    const other = await unarmor(text, { checksumRequired: true } as never);
    assert.deepEqual(Buffer.from(other.data as Uint8Array), bytes);
    assert.deepEqual(await read(armor(enums.armor.message, bytes)), bytes);
    assert.deepEqual(await read(text), bytes);
    // The checksum is the library's.
    const [theirs] =
      /\n=(.{4})\r?\n/
        .exec(armor(enums.armor.message, bytes, undefined, undefined, undefined, true))
        ?.slice(1) ?? [];
    assert.equal(/\n=(.{4})\r\n/.exec(text)?.[1], theirs);
  });
}

test('every chunk size gives the same bytes', async () => {
  const text = await write(CONTENT);
  for (const chunk of [1, 2, 3, 5, 7, 63, 64, 65, 66, 67, 100, 1_000]) {
    assert.deepEqual(await read(text, chunk), CONTENT, `chunks of ${chunk}`);
  }
});

const good = await write(CONTENT);
const LENIENT: readonly (readonly [string, string])[] = [
  ['no checksum', await write(CONTENT, false)],
  ['wrong checksum', good.replace(/\n=..../, '\n=AAAA')],
  ['malformed checksum', good.replace(/\n=..../, '\n=A')],
  ['headers', good.replace('-----\r\n\r\n', '-----\r\nVersion: PGP 1.0\r\nComment: x\r\n\r\n')],
  ['F98: headers without a blank line', good.replace('-----\r\n\r\n', '-----\r\nVersion: PGP 1.0\r\n')],
  ['no headers, no blank line', good.replace('-----\r\n\r\n', '-----\r\n')],
  ['blank lines around', `\r\n  \r\n${good}\r\n\t\r\n`],
  ['trailing blanks', good.replaceAll('\r\n', '  \r\n')],
  ['line feeds only', good.replaceAll('\r\n', '\n')],
  ['no last line end', good.trimEnd()],
  ['long lines', good.replace(/([A-Za-z0-9+/]{64})\r\n/g, '$1')],
];
for (const [name, text] of LENIENT) {
  test(`read: ${name}`, async () => assert.deepEqual(await read(text), CONTENT));
}

const REFUSED: readonly (readonly [string, string])[] = [
  ['empty', ''],
  ['text in front', `Hello\r\n${good}`],
  ['text behind', `${good}Bye\r\n`],
  ['two armours', good + good],
  ['another label', good.replaceAll('MESSAGE', 'SIGNATURE')],
  ['another end', good.replace('END PGP MESSAGE', 'END PGP SIGNATURE')],
  ['no end', good.slice(0, good.indexOf('-----END'))],
  ['half an end', good.slice(0, -10)],
  ['dashes in the middle', good.replace(/\r\n(?=[A-Za-z])/, '\r\n-')],
  ['a hundred headers', good.replace('-----\r\n', `-----\r\n${'A: b\r\n'.repeat(100)}`)],
  ['an endless first line', '-'.repeat(5_000)],
];
for (const [name, text] of REFUSED) {
  for (const chunk of [1, 1_000_000]) {
    test(`refused: ${name}, in chunks of ${chunk}`, async () => {
      await assert.rejects(
        read(text, chunk),
        (error) => error instanceof PgpFault && error.reason === 'malformed',
      );
    });
  }
}

test('binary is passed as it is', async () => {
  const binary = Buffer.concat([Buffer.of(0xc1), CONTENT]);
  assert.deepEqual(await collect(readMaybeArmor(inChunks(binary, 10), ['MESSAGE']), LIMIT), binary);
  assert.deepEqual(
    await collect(readMaybeArmor(inChunks(Buffer.from(good), 10), ['MESSAGE']), LIMIT),
    CONTENT,
  );
});

test('an armour in a text', async () => {
  assert.deepEqual(await parseArmor(`Here it is:\n${good}\nthanks`, 'MESSAGE'), CONTENT);
  await assert.rejects(parseArmor(good + good, 'MESSAGE'), PgpFault);
  await assert.rejects(parseArmor('nothing', 'MESSAGE'), PgpFault);
});

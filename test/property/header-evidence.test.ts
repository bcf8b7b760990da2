// The header parser under the proof: what is only written differently changes no verdict, what is repeated is never proven,
// and what is broken is refused as a whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { bytesSource } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { fieldsNamed, fieldValue, readMessage } from '../../src/mime/header-section.ts';
import { TENANT_A, TENANT_B } from '../support/policy.ts';
import { TENANT_E, userFields, verdict } from '../support/proof.ts';

const NAMES = Object.keys(userFields);
const EVIDENCE = [
  'From',
  'X-OriginatorOrg',
  'X-MS-Exchange-CrossTenant-AuthAs',
  'X-MS-Exchange-CrossTenant-FromEntityHeader',
  'X-MS-Exchange-CrossTenant-Id',
] as const;

/** Blanks and line breaks that may stand around a value (RFC 5322 §2.2.3). */
const fold = fc.constantFrom('', ' ', '\t', '\r\n ', '\r\n\t', ' \r\n  ', '  \r\n \t');
const cased = (name: string) =>
  fc.array(fc.boolean(), { minLength: name.length, maxLength: name.length }).map((flags) =>
    Array.from(name)
      .map((char, index) => (flags[index] ? char.toUpperCase() : char.toLowerCase()))
      .join(''),
  );
const harmless = fc.constantFrom(
  'X-Other: y\r\n',
  'x-ms-exchange-crosstenant-ids: z\r\n',
  `X-Note: ${TENANT_E}\r\n`,
);

/** The stamps of a user of A, written in any way that RFC 5322 takes for the same. */
const sameMeaning = fc
  .tuple(
    fc.shuffledSubarray(NAMES, { minLength: NAMES.length }),
    fc.tuple(...NAMES.map((name) => fc.tuple(cased(name), fold, fc.constantFrom('', ' ', '\t')))),
    fc.array(harmless, { maxLength: 3 }),
  )
  .map(([order, written, more]) => {
    const lines = order.map((name) => {
      const [shown = name, before = '', after = ''] = written[NAMES.indexOf(name)] ?? [];
      return `${shown}:${before}${userFields[name]}${after}\r\n`;
    });
    return [...lines, ...more];
  });

test('case, order, folding and other fields change no verdict', async () => {
  await fc.assert(
    fc.asyncProperty(sameMeaning, async (lines) => {
      const origin = await verdict({ name: '', text: `${lines.join('')}\r\ntext\r\n`, expect: '' });
      assert.equal(origin.kind === 'proven' && origin.tenant, TENANT_A, JSON.stringify(origin));
    }),
    { numRuns: 500 },
  );
});

test('a repeated field of the evidence is never proven, wherever and however it is written', async () => {
  const values = fc.constantFrom(
    TENANT_A,
    TENANT_B,
    TENANT_E,
    'contoso.example',
    'user@contoso.example',
    'Internal',
    'Hosted',
    '',
  );
  const repeated = fc
    .constantFrom(...EVIDENCE)
    .chain((name) => fc.tuple(fc.constant(name), cased(name), fold, values, fc.nat()));
  await fc.assert(
    fc.asyncProperty(sameMeaning, repeated, async (lines, [name, shown, before, value, place]) => {
      const at = place % (lines.length + 1);
      const same = userFields[name] ?? '';
      for (const text of [value, same]) {
        const all = lines.toSpliced(at, 0, `${shown}:${before}${text}\r\n`);
        const origin = await verdict({ name: '', text: `${all.join('')}\r\ntext\r\n`, expect: '' }).catch(
          refused,
        );
        assert.notEqual(origin?.kind, 'proven', `${name} repeated with ${text}`);
      }
    }),
    { numRuns: 300 },
  );
});

/** The only other outcome there is. */
function refused(error: unknown): undefined {
  assert.equal((error as { readonly code?: string }).code, 'header-malformed');
}

test('a broken line refuses the whole header section', async () => {
  const broken = fc.constantFrom(
    'no colon at all\r\n',
    `X-MS-Exchange-CrossTenant-Id : ${TENANT_A}\r\n`,
    ': no name\r\n',
    'Na\u00efve: x\r\n',
    'X: bare\nX-MS-Exchange-CrossTenant-Id: y\r\n',
    'X: bare\rX-OriginatorOrg: y\r\n',
    'X: zero\0\r\n',
    'X: folded\r\n \r\n y\r\n',
    `X: ${'l'.repeat(999)}\r\n`,
    'X\tY: tab in the name\r\n',
  );
  await fc.assert(
    fc.asyncProperty(sameMeaning, broken, fc.nat(), async (lines, line, place) => {
      const all = lines.toSpliced(place % (lines.length + 1), 0, line);
      const text = `${all.join('')}\r\ntext\r\n`;
      await assert.rejects(
        verdict({ name: '', text, expect: '' }),
        { code: 'header-malformed' },
        JSON.stringify(line),
      );
    }),
    { numRuns: 300 },
  );
});

test('any bytes: refused, or read so that each field is found where it stands', async () => {
  const piece = fc.constantFrom(
    '\r\n',
    '\n',
    '\r',
    ' ',
    ':',
    'From: a@b.example',
    'X',
    '\0',
    '\u00e9',
    '\r\n\r\n',
    'X-OriginatorOrg: c.example',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
      const bytes = Buffer.from(pieces.join(''), 'latin1');
      const read = await readMessage(bytesSource(bytes).open(), defaultLimits).catch(refused);
      if (!read) return;
      for (const field of read.header.fields) {
        assert.ok(bytes.includes(field.raw), 'raw bytes of a field are bytes of the message');
        assert.match(field.name, /^[\x21-\x39\x3b-\x7e]+$/);
        assert.doesNotMatch(fieldValue(field), /[\r\n\0]/);
      }
      const whole = read.header.fields.reduce((size, { raw }) => size + raw.length, 0);
      assert.ok(whole <= bytes.length);
      assert.ok(fieldsNamed(read.header, 'from').length <= pieces.length);
    }),
    { numRuns: 2_000 },
  );
});

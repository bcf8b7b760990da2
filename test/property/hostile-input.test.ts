// Damaged mail and damaged CMS: every reader ends, in time and in bounded memory, with an outcome or a GatewayError. The
// seeds are made here and, where they are beside the repository, taken from the public suites.
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { parseAddressList } from '../../src/mime/address-list.ts';
import { normaliseMessage } from '../../src/mime/canonical.ts';
import { parseContentType, parseDisposition } from '../../src/mime/content-type.ts';
import { decodeHeaderText } from '../../src/mime/decoded-text.ts';
import { fieldValue, readMessage } from '../../src/mime/header-section.ts';
import { scanParts } from '../../src/mime/part-scanner.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { mimeShape, readParts, scanStructure } from '../../src/mime/shape.ts';
import { BerError, BerReader } from '../../src/smime/ber-reader.ts';
import { parseBer, parseDer } from '../../src/smime/der.ts';
import { parseCertificate } from '../../src/smime/certificate.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../../src/smime/message.ts';
import { bytesOf, chunked, latin1, limits, sizesArbitrary } from '../support/mime.ts';
import { asn1Damage, fuzzRuns, mailDamage, survives } from '../support/mutate.ts';
import { cmsMail, createWorld, mail, runStage, SAMPLE_MESSAGE } from '../support/smime.ts';
import { readMail, readVector, vectorFiles } from '../support/vectors.ts';

const world = await createWorld('hostile input');
const alice = await world.person('rsa');
const bob = await world.person('p384', { keyType: 'p384' });
const keys = [alice.decryption, bob.decryption];
const at = new Date();
const MAX_SEED_BYTES = 40_000;

const PLAIN = mail('From: rsa@contoso.example', 'Content-Type: text/plain', '', 'a short text', '');
const sealed = await runStage(
  encryptMessage(bytesSource(PLAIN).open(), [alice.certificate, bob.certificate], { limits }),
);
const signed = await runStage(signMessage(bytesSource(PLAIN), alice.signer, { limits, at }));
const signature = decoded(signed.bytes, signed.bytes.lastIndexOf('\r\n\r\n') + 4);

function decoded(bytes: Buffer, from: number): Buffer {
  return Buffer.from(bytes.toString('latin1', from).replace(/\r\n--[^]*$/, ''), 'base64');
}

// Suites that are not there add nothing: the properties hold for the seeds of our own.
const cmsSeeds = [
  decoded(sealed.bytes, sealed.bytes.indexOf('\r\n\r\n') + 4),
  signature,
  ...vectorFiles('rfc4134', '*.bin').map(readVector),
  ...vectorFiles('openssl-cms', 'recipes/80-test_cms_data/*attr.cms').map(readVector),
  ...vectorFiles('nss-smime', 'interop-openssl/*.env').map(readVector),
].filter(({ length }) => length < MAX_SEED_BYTES);
const mailSeeds = [
  PLAIN,
  sealed.bytes,
  signed.bytes,
  SAMPLE_MESSAGE.subarray(0, 5_000),
  ...vectorFiles('thunderbird-smime', '{smime,browser}/*.eml').map(readMail),
  ...vectorFiles('johnny-you-are-fired', '0[1-4]-*/**/*smime.eml').map(readMail),
  ...vectorFiles('mime-stalwart', 'eml/{rfc,legacy,malformed}/*.eml').map(readMail),
  ...vectorFiles('mime-james-mime4j', 'testmsgs/*.msg').map(readMail),
].filter(({ length }) => length < MAX_SEED_BYTES);

const damagedCms = fc.tuple(fc.constantFrom(...cmsSeeds), asn1Damage).map(([seed, damage]) => damage(seed));
const damagedMail = fc.tuple(fc.constantFrom(...mailSeeds), mailDamage).map(([seed, damage]) => damage(seed));

const isAsn1Failure = (error: unknown): boolean =>
  error instanceof BerError || (error instanceof GatewayError && error.code === 'config-invalid');

test('ASN.1: the streaming reader and the reader of heads', async () => {
  await fc.assert(
    fc.asyncProperty(damagedCms, sizesArbitrary, async (bytes, sizes) => {
      await survives(() => walk(bytes, sizes), isAsn1Failure);
      for (const parse of [parseBer, parseDer, parseCertificate])
        await survives(async () => parse(bytes), isAsn1Failure);
    }),
    { numRuns: fuzzRuns() },
  );
});

/** Into every container of the first level, over everything else. */
async function walk(bytes: Buffer, sizes: readonly number[]): Promise<void> {
  await using reader = new BerReader(chunked(bytes, sizes));
  const first = await reader.peek();
  if (!first) return;
  await reader.enter(first.identifier);
  for (let next = await reader.peek(); next; next = await reader.peek()) {
    if (next.identifier === 0xa1) await reader.skip();
    else if (next.identifier === 0x24 || next.identifier === 0x04) {
      for await (const piece of reader.octets(0x04)) void piece;
    } else if ((next.identifier & 0x20) !== 0 && next.length === undefined)
      await reader.enter(next.identifier);
    else if (next.identifier % 2 === 0) await reader.element();
    else await reader.skip();
  }
  await reader.leave();
  await reader.end();
}

test('CMS: decryption and verification of damaged structures', async () => {
  await fc.assert(
    fc.asyncProperty(damagedCms, async (bytes) => {
      await survives(() => throughStages(cmsMail(bytes)));
    }),
    { numRuns: fuzzRuns() },
  );
});

test('CMS: decryption and verification of damaged messages', async () => {
  await fc.assert(
    fc.asyncProperty(damagedMail, async (bytes) => {
      await survives(() => throughStages(bytes));
    }),
    { numRuns: fuzzRuns() },
  );
});

async function throughStages(message: Buffer): Promise<void> {
  const source = bytesSource(message);
  const { outcome, bytes } = await runStage(decryptMessage(source, keys, { limits }));
  const content = outcome.kind === 'decrypted' ? bytes : message;
  await runStage(verifyMessage(bytesSource(content), world.trust, { limits }));
}

const readers: readonly (readonly [
  string,
  (message: Buffer, sizes: readonly number[]) => Promise<unknown>,
])[] = [
  [
    'the door',
    (message, sizes) =>
      bytesOf(normaliseMessage(chunked(message, sizes), { bareLineEnds: 'normalise', limits })),
  ],
  [
    'the scanner',
    (message, sizes) => scanParts(chunked(message, sizes), limits, { depth: 'all', isMeasured: true }),
  ],
  ['structure', (message) => scanStructure(bytesSource(message), limits)],
  ['direct children', (message) => readParts(bytesSource(message), limits)],
  [
    'preparation',
    async (message) => bytesOf((await prepareEntity(bytesSource(message), limits)).entity.open()),
  ],
  ['header fields', readFields],
];
for (const [name, read] of readers) {
  test(`MIME: ${name}`, async () => {
    await fc.assert(
      fc.asyncProperty(damagedMail, sizesArbitrary, async (message, sizes) => {
        await survives(() => read(message, sizes));
      }),
      { numRuns: fuzzRuns(0.5) },
    );
  });
}

async function readFields(message: Buffer): Promise<void> {
  const { header } = await readMessage(bytesSource(message).open(), limits);
  mimeShape(header);
  for (const field of header.fields) {
    const value = fieldValue(field);
    for (const parse of [parseContentType, parseDisposition, parseAddressList, decodeHeaderText])
      parse(value);
  }
}

// What random damage seldom builds: input made to be slow or large.
const hostile: readonly (readonly [string, Buffer])[] = [
  ['containers without end', Buffer.alloc(2_000_000, Buffer.from('3080', 'hex'))],
  ['octet strings without end', Buffer.alloc(2_000_000, Buffer.from('2480', 'hex'))],
  [
    'empty elements',
    Buffer.concat([Buffer.from('3080a180', 'hex'), Buffer.alloc(1_500_000, Buffer.from('0500', 'hex'))]),
  ],
  ['a length of four gigabytes', Buffer.from('3084ffffffff', 'hex')],
  ['a tag without end', Buffer.alloc(1_000_000, 0x3f)],
  ['random bytes', randomBytes(1_000_000)],
];
test('ASN.1 that is made to be slow', async (t) => {
  for (const [name, bytes] of hostile) {
    await t.test(name, async () => {
      await survives(() => walk(bytes, [65_536]), isAsn1Failure);
      await survives(async () => parseBer(bytes), isAsn1Failure);
      await survives(() => throughStages(cmsMail(bytes)));
    });
  }
});

const slowMails: readonly (readonly [string, Buffer])[] = [
  [
    'parts without number',
    latin1(`Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\n'.repeat(200_000)}`),
  ],
  [
    'levels without number',
    latin1(
      Array.from(
        { length: 3_000 },
        (_, index) => `Content-Type: multipart/mixed; boundary=b${index}\r\n\r\n--b${index}\r\n`,
      ).join(''),
    ),
  ],
  ['messages in messages', latin1('Content-Type: message/rfc822\r\n\r\n'.repeat(50_000))],
  [
    'near delimiters',
    latin1(
      `Content-Type: multipart/mixed; boundary=${'b'.repeat(70)}\r\n\r\n${`--${'b'.repeat(69)}c\r\n`.repeat(30_000)}`,
    ),
  ],
  ['blanks in a field', latin1(`Content-Type: a/b;${' '.repeat(900)}x\r\n`.repeat(250))],
  ['parameters', latin1(`Content-Type: a/b${';\r\n a*0=b'.repeat(1_900)}\r\n\r\n`)],
  ['comments', latin1(`To: ${'('.repeat(990)}\r\nFrom: ${'"\\'.repeat(400)}\r\n\r\n`)],
  ['one line', Buffer.concat([latin1('Subject: x\r\n\r\n'), Buffer.alloc(8_000_000, 'x')])],
];
test('mail that is made to be slow', async (t) => {
  for (const [name, message] of slowMails) {
    await t.test(name, async () => {
      for (const [, read] of readers) await survives(() => read(message, [65_536]));
      await survives(() => throughStages(message));
    });
  }
});

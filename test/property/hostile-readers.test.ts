// Damaged input for the readers behind the messages: certificates, revocation, key files, compression, transfer encodings
// and protected headers. And for all of them together: nothing is held on to when a reader is done.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { bytesSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { Secret } from '../../src/core/secret.ts';
import { repairBase64 } from '../../src/mime/base64-lines.ts';
import { compareHeaders } from '../../src/mime/header-compare.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { readProtectedHeader } from '../../src/mime/protected-header.ts';
import { encodeQuotedPrintable } from '../../src/mime/quoted-printable.ts';
import { decodeTransfer, encodeBase64 } from '../../src/mime/transfer-encoding.ts';
import { inspect } from '../../src/pipeline/inspect.ts';
import { ID } from '../../src/smime/algorithms.ts';
import { BerError } from '../../src/smime/ber-reader.ts';
import {
  algorithmIdentifier,
  integer,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../src/smime/ber-writer.ts';
import {
  certificateUse,
  parseCertificate,
  parsePemCertificates,
  validityProblem,
} from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import { ExpansionError, openCompressedData } from '../../src/smime/compressed-data.ts';
import { parseRevocationList } from '../../src/smime/crl.ts';
import { judgeByLists } from '../../src/smime/crl-status.ts';
import { encryptMessage, signMessage } from '../../src/smime/message.ts';
import { judgeOcspAnswer } from '../../src/smime/ocsp.ts';
import { readPkcs12 } from '../../src/smime/pkcs12.ts';
import { readPrivateKey } from '../../src/smime/private-key.ts';
import {
  altNames,
  constraints,
  emailName,
  extension,
  makeCertificate,
  policies,
} from '../support/certificates.ts';
import { mailForms, mailOf } from '../support/mail-forms.ts';
import { bytesOf, chunked, limits, sizesArbitrary, trickyBytes } from '../support/mime.ts';
import { asn1Damage, fuzzRuns, holdsNothing, mailDamage, survives } from '../support/mutate.ts';
import { factsOf } from '../support/policy.ts';
import {
  answerWith,
  at,
  certificate,
  issuer,
  listOf,
  question,
  revokedAnswer,
  revokedList,
} from '../support/revocation.ts';
import { createWorld, mail, runStage } from '../support/smime.ts';

const world = await createWorld('hostile readers');
const alice = await world.person('rsa');
const bob = await world.person('p384', { keyType: 'p384' });
const rich = makeCertificate({
  extensions: [
    altNames(emailName('a@contoso.example'), emailName('b@contoso.example')),
    constraints([emailName('contoso.example')]),
    policies('1.2.3.4', '2.5.29.32.0'),
    extension('2.5.29.15', Buffer.from([0x03, 0x02, 0x05, 0xa0]), true),
  ],
  issuer,
});

const isExpected = (error: unknown): boolean =>
  error instanceof GatewayError || error instanceof BerError || error instanceof ExpansionError;

type Reader = (bytes: Buffer, sizes: readonly number[]) => Promise<unknown>;

async function readCertificate(bytes: Buffer): Promise<void> {
  const parsed = parseCertificate(bytes);
  validityProblem(parsed, at);
  certificateUse(parsed, 'encrypt', at);
  certificateUse(parsed, 'sign', at);
  const trust = { anchors: [issuer.certificate], intermediates: [], at };
  validateChain(parsed, [issuer.certificate], trust, 'sign');
}

function compressed(content: Uint8Array): Buffer {
  const inner = sequence(oid(ID.data), tagged(0, octetString(deflateSync(content))));
  const body = sequence(integer(0), algorithmIdentifier('1.2.840.113549.1.9.16.3.8'), inner);
  return sequence(oid(ID.compressedData), tagged(0, body));
}

const folder = mkdtempSync(join(tmpdir(), 'postern-hostile-'));
after(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'in.pem'), bob.keyPem + bob.certificatePem, { mode: 0o600 });
function keyFile(...options: readonly string[]): Buffer {
  const path = join(folder, 'out.p12');
  const made = [
    'pkcs12',
    '-export',
    '-in',
    join(folder, 'in.pem'),
    '-out',
    path,
    '-passout',
    'pass:x',
    '-iter',
    '10',
  ];
  execFileSync('openssl', [...made, ...options]);
  return readFileSync(path);
}

const asn1: readonly (readonly [string, readonly Buffer[], Reader])[] = [
  ['certificates', [alice.der, bob.der, rich.certificate.der, issuer.certificate.der], readCertificate],
  [
    'revocation lists',
    [revokedList, listOf(Buffer.alloc(0))],
    async (bytes) => judgeByLists([parseRevocationList(bytes)], certificate, [issuer.certificate], { at }),
  ],
  [
    'answers about revocation',
    [revokedAnswer, answerWith(Buffer.of(0x80, 0))],
    (bytes) => judgeOcspAnswer(bytes, question, at),
  ],
  [
    'key files',
    [keyFile(), keyFile('-legacy'), keyFile('-nomac'), keyFile('-keypbe', 'NONE', '-certpbe', 'NONE')],
    async (bytes) => readPkcs12(bytes, new Secret('x')),
  ],
  [
    'private keys',
    [Buffer.from(alice.key.export({ type: 'pkcs8', format: 'der' }))],
    async (bytes) => readPrivateKey(bytes),
  ],
  [
    'compressed data',
    [
      compressed(Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n')),
      compressed(Buffer.alloc(100_000, 'a')),
    ],
    (bytes, sizes) => bytesOf(openCompressedData(chunked(bytes, sizes), limits)),
  ],
];
for (const [name, seeds, read] of asn1) {
  test(`ASN.1: ${name}`, async () => {
    const damaged = fc.tuple(fc.constantFrom(...seeds), asn1Damage).map(([seed, damage]) => damage(seed));
    await fc.assert(
      fc.asyncProperty(damaged, sizesArbitrary, (bytes, sizes) =>
        survives(() => read(bytes, sizes), isExpected),
      ),
      { numRuns: fuzzRuns(0.5) },
    );
  });
}

test('what is not damaged is read', async () => {
  for (const [, seeds, read] of asn1) for (const seed of seeds) await read(seed, [1_000]);
  for (const [, seeds, read] of mails) for (const seed of seeds) await read(seed);
});

test('certificates in PEM', async () => {
  const damaged = mailDamage.map((damage) => damage(Buffer.from(alice.certificatePem + bob.certificatePem)));
  await fc.assert(
    fc.asyncProperty(damaged, (bytes) =>
      survives(async () => parsePemCertificates(bytes.toString('latin1'))),
    ),
    { numRuns: fuzzRuns(0.5) },
  );
});

const encodings = fc.constantFrom(
  'base64',
  'BASE64',
  'quoted-printable',
  '7bit',
  '8bit',
  'binary',
  'x-uuencode',
  '',
  '\xff',
);
const bodies = fc.oneof(
  trickyBytes,
  fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(fc.constantFrom(alice.der, Buffer.alloc(3_000, '=e9=\r\n')), mailDamage)
    .map(([seed, damage]) => damage(Buffer.from(seed.toString('base64').replace(/.{76}/g, '$&\r\n')))),
);
test('transfer encodings, read and written', async () => {
  await fc.assert(
    fc.asyncProperty(bodies, encodings, sizesArbitrary, (bytes, encoding, sizes) =>
      survives(async () => {
        const decoded = await bytesOf(decodeTransfer(chunked(bytes, sizes), encoding));
        await bytesOf(repairBase64(chunked(bytes, sizes)));
        await bytesOf(encodeQuotedPrintable(chunked(decoded, sizes)));
        await bytesOf(encodeBase64(chunked(decoded, sizes)));
      }),
    ),
    { numRuns: fuzzRuns(0.5) },
  );
});

const protection = { hp: 'cipher', isSubjectHidden: true } as const;
const PLAIN = mail(
  'From: rsa@contoso.example',
  'To: p384@contoso.example',
  'Subject: the subject',
  'Content-Type: text/plain',
  '',
  'text',
  '',
);
const told = await runStage(
  signMessage(bytesSource(PLAIN), alice.signer, { limits, at: new Date(), protection }),
);
const older = mail(
  'From: rsa@contoso.example',
  'Subject: ...',
  'Content-Type: multipart/mixed; protected-headers="v1"; boundary=b',
  'Subject: inside',
  '',
  '--b',
  'Content-Type: text/rfc822-headers; protected-headers="v1"',
  'Content-Disposition: inline',
  '',
  'Subject: inside',
  '',
  '--b',
  '',
  'text',
  '--b--',
  '',
);
const wrapped = mail(
  'From: rsa@contoso.example',
  'Subject: ...',
  'Content-Type: message/rfc822; forwarded=no',
  '',
  'From: x@y.example',
  'Subject: inside',
  '',
  'text',
  '',
);

async function readProtected(message: Buffer): Promise<void> {
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), limits);
  for (const inner of [header, undefined]) {
    const found = await readProtectedHeader(source, inner, limits);
    if (found) compareHeaders(found, header, { isDecrypted: true, isSound: true });
  }
}

const sealed = await runStage(
  encryptMessage(bytesSource(PLAIN).open(), [alice.certificate], { limits, protection }),
);
const { envelope } = factsOf({ to: ['p384@contoso.example'] });
async function look(message: Buffer): Promise<void> {
  const source = bytesSource(message);
  const { header } = await readMessage(source.open(), limits);
  await inspect(source, header, envelope, limits);
}

const mails: readonly (readonly [string, readonly Buffer[], (message: Buffer) => Promise<void>])[] = [
  ['protected headers', [told.bytes, older, wrapped], readProtected],
  [
    'what a message is',
    [told.bytes, sealed.bytes, ...mailForms.map((form) => mailOf(form, 'a@b.example', 'c@d.example'))],
    look,
  ],
];
for (const [name, seeds, read] of mails) {
  test(`MIME: ${name}`, async () => {
    const damaged = fc.tuple(fc.constantFrom(...seeds), mailDamage).map(([seed, damage]) => damage(seed));
    await fc.assert(
      fc.asyncProperty(damaged, (message) => survives(() => read(message))),
      { numRuns: fuzzRuns() },
    );
  });
}

test('no reader holds on to what it has read', async () => {
  const inputs = fc.sample(asn1Damage, { numRuns: 40, seed: 1 });
  await holdsNothing(async () => {
    for (const [, seeds, read] of asn1) {
      for (const damage of inputs.slice(0, 8)) {
        for (const seed of seeds) await survives(() => read(damage(seed), [65_536]), isExpected);
      }
    }
    for (const [, seeds, read] of mails) for (const seed of seeds) await read(seed);
  });
});

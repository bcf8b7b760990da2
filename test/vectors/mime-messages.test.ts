// Public collections of odd mail: nothing of it crashes or stalls a reader, bytes are kept, and the structure is the one
// that the collection's own parser found, where it tells.
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { bytesSource, type ByteSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { parseAddressList } from '../../src/mime/address-list.ts';
import { normaliseMessage } from '../../src/mime/canonical.ts';
import { parseContentType } from '../../src/mime/content-type.ts';
import { readMessage, writeHeaderSection } from '../../src/mime/header-section.ts';
import { scanParts, type ScannedPart } from '../../src/mime/part-scanner.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { mimeShape, readParts, scanStructure } from '../../src/mime/shape.ts';
import { decryptMessage, verifyMessage } from '../../src/smime/message.ts';
import { openUnstuffer } from '../../src/smtp/dot-lines.ts';
import { bytesOf, chunked, latin1, limits } from '../support/mime.ts';
import { runStage } from '../support/smime.ts';
import { openVectorSuites, readMail, readVector, type Vector, vectorFiles } from '../support/vectors.ts';

const suites = openVectorSuites('mime-messages-exceptions.json');
const ALL = { depth: 'all', isMeasured: false } as const;
const MAX_MS = 2_000;
const NOBODY = { anchors: [], intermediates: [], at: new Date(0) };

/** Mails of mbox files lose their first line. */
function mailOf(name: string): Buffer {
  const mail = readMail(name);
  return mail.subarray(0, 5).equals(latin1('From ')) ? mail.subarray(mail.indexOf('\r\n') + 2) : mail;
}

suites.suite('mime-cpython', 'mails', 47, () => mails('mime-cpython', 'msg_*.txt'));
suites.suite('mime-james-mime4j', 'mails', 80, () => mails('mime-james-mime4j', '*/*.msg'));
suites.suite('mime-stalwart', 'mails', 107, () => mails('mime-stalwart', 'eml/*/*.eml'));
suites.suite('mime-thunderbird', 'mails', 122, () =>
  mails('mime-thunderbird', '{mime/jsmime/test/unit,test}/data/*').filter(
    ([id]) => !/\.(?:out|json|sql|msf|txt|db|dat)$/.test(id),
  ),
);

function mails(collection: string, pattern: string): readonly Vector[] {
  return vectorFiles(collection, pattern).map((name): Vector => [name, () => readInEveryWay(name)]);
}

/** Every reader of the MIME layer, and the S/MIME stages. A header section that cannot be read ends it: an exception. */
async function readInEveryWay(name: string): Promise<void> {
  const started = performance.now();
  // As it lies on disk, with bare line ends and all: an answer, whichever.
  await settled(bytesOf(normaliseMessage(chunked(readVector(name)), { bareLineEnds: 'normalise', limits })));
  const mail = mailOf(name);
  const door = await settled(bytesOf(normaliseMessage(chunked(mail), { bareLineEnds: 'normalise', limits })));
  if (door instanceof Error) assert.fail(`refused: ${door.message}`);
  if (!/\r(?!\n)/.test(mail.toString('latin1'))) assert(door.equals(withLastLineEnd(mail)), 'bytes changed');
  const source = bytesSource(door);
  await keepsHeader(source, door);
  await keepsParts(source, door);
  await settled(scanStructure(source, limits));
  await settled(readParts(source, limits));
  const decrypted = await settled(runStage(decryptMessage(source, [], { limits })));
  const verified = await settled(runStage(verifyMessage(source, NOBODY, { limits })));
  for (const result of [decrypted, verified]) if (result instanceof Error) assert.fail(result.message);
  const prepared = await settled(prepareEntity(source, limits).then(({ entity }) => bytesOf(entity.open())));
  if (Buffer.isBuffer(prepared))
    assert(
      prepared.every((byte) => byte < 0x80),
      'not 7-bit after all',
    );
  assert(performance.now() - started < MAX_MS, 'took too long');
}

/** The result, or the GatewayError; any other error is a crash. */
async function settled<T>(work: Promise<T>): Promise<T | GatewayError> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
}

function withLastLineEnd(mail: Buffer): Buffer {
  return mail.length === 0 || mail.at(-1) === 10 ? mail : Buffer.concat([mail, latin1('\r\n')]);
}

async function keepsHeader(source: ByteSource, mail: Buffer): Promise<void> {
  const { header, body, hasBlankLine } = await readMessage(source.open(), limits);
  const rest = await bytesOf(body);
  const blank = hasBlankLine ? latin1('\r\n') : Buffer.alloc(0);
  assert(Buffer.concat([writeHeaderSection(header.fields), blank, rest]).equals(mail), 'header changed');
  mimeShape(header);
}

async function keepsParts(source: ByteSource, mail: Buffer): Promise<void> {
  const parts = await settled(scanParts(source.open(), limits, ALL));
  const pieces = await settled(scanParts(chunked(mail, [1, 61, 7, 1000]), limits, ALL));
  if (parts instanceof Error || pieces instanceof Error) {
    assert(parts instanceof Error && pieces instanceof Error, 'the cut decides');
    return;
  }
  assert.deepEqual(pieces.map(rangeWords), parts.map(rangeWords), 'the cut decides');
  let start = 0;
  for (const part of parts) {
    assert(part.start >= start && part.bodyStart >= part.start && part.end >= part.bodyStart);
    assert(part.end <= (part.parent?.end ?? mail.length));
    start = part.start;
  }
}

function rangeWords({ depth, start, bodyStart, end, kind, defects }: ScannedPart): string {
  return [depth, start, bodyStart, end, kind, ...defects].join(' ');
}

// --- Structure as other parsers see it ---

interface StalwartMessage {
  readonly parts: readonly {
    readonly offset_header: number;
    readonly offset_body: number;
    readonly offset_end: number;
    readonly body: { readonly Multipart?: readonly number[]; readonly Message?: StalwartMessage };
  }[];
}

suites.suite('mime-stalwart', 'byte ranges of all parts', 107, () =>
  vectorFiles('mime-stalwart', 'eml/*/*.eml').map((name): Vector => [
    `parts of ${name.replace('mime-stalwart/', '')}`,
    async () => {
      const expected = JSON.parse(
        readVector(name.replace(/\.eml$/, '.crlf.json')).toString(),
      ) as StalwartMessage;
      const parts = await settled(scanParts(chunked(readMail(name)), limits, ALL));
      if (parts instanceof Error) assert.fail(`refused: ${parts.message}`);
      assert.deepEqual(
        parts.map(({ start, bodyStart, end }) => [start, bodyStart, end]),
        stalwartRanges(expected),
      );
    },
  ]),
);

function stalwartRanges(message: StalwartMessage, index = 0): readonly (readonly number[])[] {
  const part = message.parts[index];
  if (!part) return [];
  const { Multipart: children = [], Message: inner } = part.body;
  return [
    [part.offset_header, part.offset_body, part.offset_end],
    ...children.flatMap((child) => stalwartRanges(message, child)),
    ...(inner ? stalwartRanges(inner) : []),
  ];
}

suites.suite('mime-james-mime4j', 'levels and fields of all parts', 80, () =>
  vectorFiles('mime-james-mime4j', '*/*.msg').map((name): Vector => [
    `parts of ${basename(name)}`,
    async () => {
      const parts = await settled(scanParts(chunked(readMail(name)), limits, ALL));
      if (parts instanceof Error) assert.fail(`refused: ${parts.message}`);
      assert.deepEqual(
        parts.map(({ depth, header }) => [depth, header?.fields.length]),
        mime4jParts(readVector(name.replace(/\.msg$/, '.xml')).toString('latin1')),
      );
    },
  ]),
);

/** Level and number of fields of each entity, from the events that the other parser wrote down as XML. */
function mime4jParts(xml: string): readonly (readonly number[])[] {
  const fields = [...xml.matchAll(/<header>([^]*?)<\/header>/g)].map(
    ([, header = '']) => header.split('<field>').length - 1,
  );
  let depth = -1;
  const depths: number[] = [];
  for (const [, closing] of xml.matchAll(/<(\/?)(?:message|body-part)>/g)) {
    if (closing === '') depths.push((depth += 1));
    else depth -= 1;
  }
  return depths.map((level, index) => [level, fields[index] ?? -1]);
}

// --- Values of header fields ---

const unfolded = (text: string): string => text.replace(/\r?\n(?=[ \t])/g, '').trim();
const isEncodedWord = (text: string): boolean => text.includes('=?');

interface HeaderVector {
  readonly header: string;
  readonly expected: {
    readonly c_type?: string;
    readonly c_subtype?: string | null;
    readonly attributes?: readonly (readonly [string, string])[] | null;
    readonly List?: readonly { readonly address: string | null }[];
    readonly Group?: readonly { readonly addresses: readonly { readonly address: string | null }[] }[];
  } | null;
}

const headerVectors = (name: string): readonly HeaderVector[] =>
  JSON.parse(readVector(`mime-stalwart/${name}.json`).toString()) as readonly HeaderVector[];

// A value without defects is read by both in the same way; encoded words are not decoded here.
suites.suite('mime-stalwart', 'Content-Type', 103, () =>
  headerVectors('content_type').map(({ header, expected }, index): Vector => [
    `content type ${index}: ${JSON.stringify(header)}`,
    () => {
      const read = parseContentType(unfolded(header));
      if (read.defects.length > 0) return;
      assert.deepEqual(
        [read.type, read.subtype],
        [expected?.c_type?.toLowerCase(), expected?.c_subtype?.toLowerCase()],
      );
      const wanted = (expected?.attributes ?? []).filter(
        ([name]) => !name.endsWith('-language') && !isEncodedWord(read.parameters.get(name) ?? ''),
      );
      const found = [...read.parameters].filter(([, value]) => !isEncodedWord(value));
      assert.deepEqual(new Map(found), new Map(wanted));
    },
  ]),
);

// What both take for a list of addresses is the same list; ours refuses more.
suites.suite('mime-stalwart', 'address lists', 60, () =>
  headerVectors('address').map(({ header, expected }, index): Vector => [
    `addresses ${index}: ${JSON.stringify(header)}`,
    () => {
      const list = parseAddressList(unfolded(header));
      if (!list) return;
      const boxes = [
        ...(expected?.List ?? []),
        ...(expected?.Group ?? []).flatMap((group) => group.addresses),
      ];
      assert.deepEqual(
        list.mailboxes.map(({ address }) => address.text.toLowerCase()),
        boxes.flatMap(({ address }) => address?.toLowerCase() ?? []),
      );
    },
  ]),
);

// --- The end of DATA ---

suites.suite('smtp-smuggling', 'false ends of DATA', 23, () => {
  const { only_valid_eod: valid, ...lists } = JSON.parse(
    readVector('smtp-smuggling/sequences.json').toString(),
  ) as {
    readonly only_valid_eod: string;
    readonly inbound_eod_sequences: readonly string[];
    readonly outbound_eod_sequences: readonly string[];
    readonly extra: readonly string[];
  };
  const { inbound_eod_sequences: inbound, outbound_eod_sequences: outbound, extra } = lists;
  return [...inbound, ...outbound, ...extra].map((sequence, index): Vector => [
    `end ${index}: ${JSON.stringify(sequence)}`,
    async () => {
      const smuggled = `Subject: a\r\n\r\nfirst${sequence}MAIL FROM:<x@y.example>\r\n${valid}`;
      for (const sizes of [[], [1], [2, 3]]) {
        const unstuff = openUnstuffer();
        const content: Buffer[] = [];
        let rest: Buffer | undefined;
        for await (const chunk of chunked(latin1(smuggled), sizes)) {
          assert.equal(rest, undefined, 'the message ended too early');
          const read = unstuff(chunk);
          content.push(read.content);
          rest = read.rest;
        }
        assert.deepEqual(rest, Buffer.alloc(0), 'the message did not end');
        const door = normaliseMessage(chunked(Buffer.concat(content)), { bareLineEnds: 'normalise', limits });
        const mail = await settled(bytesOf(door));
        // One message with the command in its body, or a refusal.
        if (Buffer.isBuffer(mail)) assert(mail.includes('MAIL FROM'));
      }
    },
  ]);
});

suites.end();

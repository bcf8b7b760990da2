// Support for MIME tests: streams cut anywhere, messages as random data, and a second reader of structure.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import { Joiner, type MimeNode, Splitter, type SplitterChunk } from 'mailsplit';
import { bytesSource, type ByteSource, type Chunks, collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';

/** A text as bytes, one byte per character: `\xe9` is the byte 0xE9. */
export function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A stream of `bytes` in chunks of these sizes, used in turn. An empty list gives one chunk. */
export async function* chunked(
  bytes: Uint8Array,
  sizes: readonly number[] = [],
): Chunks & AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes.length === 0 ? bytes.length : (sizes[turn % sizes.length] ?? 1);
    yield bytes.subarray(at, at + size);
    at += size;
    if (sizes.every((each) => each === 0) && sizes.length > 0) throw new RangeError('sizes are all zero');
  }
}

/** All bytes of a stream, bounded for tests. */
export function bytesOf(chunks: Chunks): Promise<Buffer> {
  return collect(chunks, 200_000_000);
}

/** All bytes of a stream as latin1. */
export async function textOf(chunks: Chunks): Promise<string> {
  return (await bytesOf(chunks)).toString('latin1');
}

/** A source whose streams are cut into chunks of these sizes. */
export function chunkedSource(bytes: Uint8Array, sizes: readonly number[]): ByteSource {
  return {
    size: bytes.length,
    open: (range) => chunked(bytes.subarray(range?.start ?? 0, range?.end), sizes),
  };
}

export function sourceOf(text: string): ByteSource {
  return bytesSource(latin1(text));
}

export const limits = defaultLimits;

/** Chunk sizes, small ones more often. */
export const sizesArbitrary = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 200 })),
  {
    minLength: 1,
    maxLength: 6,
  },
);

/** Bytes in which what matters to MIME is frequent. */
export const trickyBytes = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\r\n',
        '\r\n',
        '\n',
        '\r',
        '\0',
        ' ',
        '\t',
        '=',
        '==',
        '=\r\n',
        '=3D',
        '=e9',
        '= \r\n',
        '--',
        '.',
        'From ',
      ),
      fc.constantFrom('--b', '--b--', '\r\n--b', '\xe9', '\xff', 'a'.repeat(80), 'word', 'A'),
      fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
    ),
    { maxLength: 60 },
  )
  .map((pieces) => latin1(pieces.join('')));

/** A tree of parts to write as a message. */
export interface Tree {
  readonly type: string;
  readonly encoding: string;
  /** Leaf: the body as it stands in the message. */
  readonly body: string;
  /** Only multiparts and messages. */
  readonly children: readonly Tree[];
  readonly preamble: string;
  readonly epilogue: string;
  readonly isUnclosed: boolean;
  /** Multipart: blanks at the end of its delimiters. */
  readonly padding: string;
}

const line = fc.oneof(
  fc.constantFrom(
    '',
    'text',
    'trailing ',
    'tab\t',
    'From x',
    '.',
    '--',
    '-- ',
    '--other',
    '--b1',
    'umlaut \xe4',
    'a=b',
    // Once decoded, delimiters of the parts around it.
    '=2D-=3D_b1_',
    '=2D-=3D_b2_--',
  ),
  fc.constantFrom('long '.repeat(300), 'x'.repeat(990)),
  fc.string({ maxLength: 40 }).map((text) => text.replace(/[^\x20-\x7e]/g, '?')),
);
const text = fc.array(line, { maxLength: 6 }).map((lines) => lines.join('\r\n'));
const leaf = fc.record({
  type: fc.constantFrom('text/plain; charset=iso-8859-1', 'text/html', 'application/json', 'image/png', ''),
  encoding: fc.constantFrom('', '7bit', '8bit', 'quoted-printable', 'base64', 'BASE64'),
  body: text,
  children: fc.constant([]),
  preamble: fc.constant(''),
  epilogue: fc.constant(''),
  isUnclosed: fc.constant(false),
  padding: fc.constant(''),
});

/** Trees of mixed, alternative, rfc822 and signed parts up to a few levels. */
export const treeArbitrary: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaf,
    fc.record({
      type: fc.constantFrom('multipart/mixed', 'multipart/alternative', 'multipart/signed'),
      encoding: fc.constantFrom('', '8bit'),
      body: fc.constant(''),
      children: fc.array(tie('tree'), { minLength: 1, maxLength: 4 }),
      preamble: fc.constantFrom('', 'This is MIME.\r\n', 'pre\xe4mble\r\n'),
      epilogue: fc.constantFrom('', '\r\n', 'after\r\n', '\xe9pilogue \r\n'),
      isUnclosed: fc.boolean(),
      padding: fc.constantFrom('', '', ' ', '\t '),
    }),
    fc.record({
      type: fc.constant('message/rfc822'),
      encoding: fc.constantFrom('', '8bit'),
      body: fc.constant(''),
      children: fc.array(tie('tree'), { minLength: 1, maxLength: 1 }),
      preamble: fc.constant(''),
      epilogue: fc.constant(''),
      isUnclosed: fc.constant(false),
      padding: fc.constant(''),
    }),
  ),
})).tree;

/** Writes a tree as a message; boundaries are `=_b1_`, `=_b2_`, ..., which no text line holds as it stands. */
export function writeTree(tree: Tree): Buffer {
  let boundaries = 0;
  const entity = (node: Tree): string => {
    boundaries += 1;
    const boundary = `=_b${boundaries}_`;
    const isMultipart = node.type.startsWith('multipart/');
    const type =
      node.type === ''
        ? ''
        : `Content-Type: ${node.type}${isMultipart ? `; boundary="${boundary}"` : ''}\r\n`;
    const encoding = node.encoding === '' ? '' : `Content-Transfer-Encoding: ${node.encoding}\r\n`;
    const head = `${type}${encoding}\r\n`;
    if (!isMultipart)
      return node.children.length > 0 ? head + node.children.map(entity).join('') : head + node.body;
    const parts = node.children
      .map((child) => `--${boundary}${node.padding}\r\n${entity(child)}\r\n`)
      .join('');
    return `${head}${node.preamble}${parts}${node.isUnclosed ? '' : `--${boundary}--${node.padding}\r\n`}${node.epilogue}`;
  };
  return latin1(`Subject: tree\r\nMIME-Version: 1.0\r\n${entity(tree)}\r\n`);
}

/** A part as the package mailsplit sees it: an independent reader of structure. */
export interface PeerPart {
  readonly type: string;
  readonly encoding: string;
  /** Undefined for multiparts and opened messages. */
  readonly body: Buffer | undefined;
}

export interface PeerReading {
  /** The message as put together again from its pieces. */
  readonly joined: Buffer;
  /** In the order of the message. */
  readonly parts: readonly PeerPart[];
}

/** Reads a message with mailsplit, from chunks of these sizes. Attached messages are opened. */
export async function readWithMailsplit(
  message: Uint8Array,
  sizes: readonly number[] = [],
): Promise<PeerReading> {
  const bodies = new Map<MimeNode, Buffer[]>();
  const joined: Buffer[] = [];
  await pipeline(
    Readable.from(chunked(message, sizes), { objectMode: false }),
    new Splitter({ defaultInlineEmbedded: true, maxHeadSize: 10_000_000, maxChildNodes: 10_000 }),
    async function* (pieces: AsyncIterable<SplitterChunk>) {
      for await (const piece of pieces) {
        if (piece.type === 'node') bodies.set(piece, []);
        else if (piece.type === 'body' && piece.value) bodies.get(piece.node)?.push(piece.value);
        yield piece;
      }
    },
    new Joiner(),
    async (bytes: AsyncIterable<Buffer>) => {
      for await (const chunk of bytes) joined.push(chunk);
    },
  );
  return {
    joined: Buffer.concat(joined),
    parts: [...bodies].map(([node, body]) => ({
      type: node.contentType || '',
      encoding: node.encoding || '',
      body: node.multipart !== false || node.messageNode === true ? undefined : Buffer.concat(body),
    })),
  };
}

// A message as a person has it on disk, brought to the form in which mail travels: files with bare LF as line ends, mbox
// files, and files that are no message at all. What comes out passed the gateway's own door.
import { type Chunks, concat } from './core/bytes.ts';
import { GatewayError } from './core/errors.ts';
import type { Limits } from './core/limits.ts';
import { normaliseMessage } from './mime/canonical.ts';
import { isNamed, readHeader, type HeaderSection } from './mime/header-section.ts';
import type { Hold, Holds } from './storage/hold.ts';

export interface HeldMessage {
  readonly held: Hold;
  readonly header: HeaderSection;
}

const LF = 10;
const CR = 13;
const MAX_LINE_BYTES = 65_536;
/** A text with colons is no message yet: one of these fields has to be there. */
const MAIL_FIELDS = [
  'From',
  'To',
  'Cc',
  'Date',
  'Subject',
  'Message-ID',
  'Received',
  'MIME-Version',
  'Content-Type',
];

/**
 * Holds the input as a message with CRLF line ends. Throws GatewayError `header-malformed` or `bare-line-end` for what
 * is no message, with `name` in the reason; `message-too-large`; and what the stream throws.
 */
export async function holdMessage(
  input: Chunks,
  name: string,
  holds: Holds,
  limits: Limits,
): Promise<HeldMessage> {
  try {
    const door = normaliseMessage(withMailLineEnds(input), { bareLineEnds: 'normalise', limits });
    const held = await holds.write(door, limits.maxMessageBytes);
    const header = await readHeader(held, limits);
    if (!header.fields.some((field) => MAIL_FIELDS.some((known) => isNamed(field, known))))
      throw new GatewayError(
        'header-malformed',
        header.fields.length === 0 ? 'no header section' : 'no field of a message',
      );
    return { held, header };
  } catch (error) {
    const isBad =
      error instanceof GatewayError && (error.code === 'header-malformed' || error.code === 'bare-line-end');
    if (!isBad) throw error;
    throw new GatewayError(error.code, `${name} is not a mail message: ${error.message}`, { cause: error });
  }
}

/** The first line decides: where it ends with a bare LF, every LF becomes CRLF. Everything else passes unchanged. */
async function* withMailLineEnds(input: Chunks): AsyncGenerator<Uint8Array, void> {
  const iterator = input[Symbol.asyncIterator]();
  const rest = { [Symbol.asyncIterator]: () => iterator };
  const parts: Uint8Array[] = [];
  let size = 0;
  let hasLine = false;
  while (!hasLine && size < MAX_LINE_BYTES) {
    const next = await iterator.next();
    if (next.done) break;
    parts.push(next.value);
    size += next.value.length;
    hasLine = next.value.includes(LF);
  }
  const head = Buffer.concat(parts, size);
  if (head.subarray(0, 5).equals(Buffer.from('From '))) {
    await iterator.return?.();
    throw new GatewayError('header-malformed', 'it is an mbox file; take one message out of it');
  }
  const end = head.indexOf(LF);
  const isUnix = end >= 0 && head[end - 1] !== CR;
  yield* isUnix ? withCrBeforeLf(concat(head, rest)) : concat(head, rest);
}

/** SECURITY: a bare CR stays, so that the door refuses it in a header section and no field comes out of it (test: bare CR). */
async function* withCrBeforeLf(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
  let last = 0;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const from = last === CR && bytes[0] === LF ? 1 : 0;
    if (from === 1) yield bytes.subarray(0, 1);
    const text = bytes.toString('latin1', from);
    yield Buffer.from(text.replace(/(?<!\r)\n/g, '\r\n'), 'latin1');
    last = bytes.at(-1) ?? last;
  }
}

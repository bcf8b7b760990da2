// The message that the demo sends: the bundled one or the user's own, made fit for the simulated people, shown to a reader
// in a few lines, and compared by what a reader would see of it.
import { simpleParser } from 'mailparser';
import { bytesSource, type ByteSource, collect } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { defaultLimits } from '../core/limits.ts';
import { normaliseMessage } from '../mime/canonical.ts';
import { type HeaderSection, readHeader } from '../mime/header-section.ts';
import { mimeShape } from '../mime/shape.ts';
import { sampleMessage } from './messages.ts';
import {
  hasName,
  hasPrefix,
  type RawField,
  rawField,
  readRawMessage,
  writeRawMessage,
} from './raw-header.ts';

export interface DemoMessage {
  /** Canonical: CRLF line ends, a header that can be read in one way. */
  readonly source: ByteSource;
  readonly content: DemoContent;
  /** What it is and what was changed, one fact a line. */
  readonly notes: readonly string[];
}

/** Texts and attachments after decoding: what a reader sees. */
export interface DemoContent {
  /** For a reader: the first words, the attachments. */
  readonly summary: string;
  /** Equal for messages that show the same. */
  readonly fingerprint: string;
}

/** Larger files are refused: the demo sends, decrypts and compares a message six times and should end soon. */
const MAX_FILE_BYTES = 10 * 1024 * 1024;
const MAX_BYTES = 4 * MAX_FILE_BYTES;
/** Fields that name people or paths of the real message; the demo's take their place. */
const REPLACED = [
  'From',
  'Sender',
  'To',
  'Cc',
  'Bcc',
  'Reply-To',
  'Return-Path',
  'Received',
  'DKIM-Signature',
  'X-OriginatorOrg',
];
const REPLACED_PREFIXES = ['Resent-', 'ARC-', 'X-MS-Exchange-'];
const SHOWN = ['X-Postern-', 'From', 'To', 'Subject', 'MIME-Version', 'Content-'];
const SHOWN_BODY_LINES = 5;
const SHOWN_COLUMNS = 110;
const SUMMARY_CHARACTERS = 60;
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** The bundled message. */
export async function demoMessage(): Promise<DemoMessage> {
  const head = { from: 'user@contoso.example', to: ['bob@remote.example'], subject: 'Angebot 2026' };
  const source = sampleMessage('html', head);
  return { source, content: await contentOf(source), notes: ['message: the bundled one'] };
}

/**
 * A message from a file. Throws GatewayError `message-too-large`, `header-malformed` or `mime-malformed` for what is no
 * message, for one that can be read in two ways, and for one that is signed or encrypted already.
 */
export async function readDemoMessage(bytes: Uint8Array): Promise<DemoMessage> {
  if (bytes.length > MAX_FILE_BYTES)
    throw new GatewayError(
      'message-too-large',
      `larger than the ${MAX_FILE_BYTES} bytes that the demo takes`,
    );
  const written = Buffer.from(bytes).toString('latin1');
  const text = withoutMailboxLine(written)
    .replace(/\r?\n/g, '\r\n')
    .replace(/(?<!\r\n)$/, '\r\n');
  const canonical = await collect(
    normaliseMessage(bytesSource(Buffer.from(text, 'latin1')).open(), {
      bareLineEnds: 'normalise',
      limits: defaultLimits,
    }),
    MAX_BYTES,
  );
  const source = bytesSource(canonical);
  const header = await readHeader(source, defaultLimits);
  checkHeader(header);
  return { source, content: await contentOf(source), notes: await notesOf(source, written) };
}

/** The message with other people in From and To, and without the traces of its real way. */
export async function readdressed(message: ByteSource, from: string, to: string): Promise<ByteSource> {
  const { fields, rest } = await readRawMessage(message);
  const kept = fields.filter((field) => !isReplaced(field));
  return writeRawMessage({ fields: [rawField('From', from), rawField('To', to), ...kept], rest });
}

/** The fields that tell something here, and the beginning of the body, as much as fits a terminal. */
export async function shown(message: ByteSource): Promise<string> {
  const { fields, rest } = await readRawMessage(message);
  const told = fields.filter((field) => SHOWN.some((name) => hasPrefix(field, name)));
  const header = told.map(({ raw }) => raw.toString('utf8')).join('');
  const body = (await collect(rest.open({ start: 0, end: 4_096 }), 4_096)).toString('utf8');
  const lines = `${header}\r\n${body.replace(/^\r\n/, '')}`.replace(/(\r\n)+$/, '').split('\r\n');
  const count = header.split('\r\n').length + SHOWN_BODY_LINES;
  const cut = lines.slice(0, count).map((line) => line.replace(UNPRINTABLE, ' ').slice(0, SHOWN_COLUMNS));
  return [...cut, ...(lines.length > count ? ['...'] : [])].join('\n');
}

/** Reads a message as a mail client does; its signature parts count for nothing. */
export async function contentOf(message: ByteSource): Promise<DemoContent> {
  const bytes = await collect(message.open(), MAX_BYTES);
  const {
    text = '',
    html,
    attachments,
  } = await simpleParser(bytes, {
    skipTextToHtml: true,
    // Made inside a multipart only in part, so that one text would differ from itself.
    skipHtmlToText: true,
  });
  const files = attachments.filter(({ contentType }) => !/(pkcs7|pgp)-signature$/.test(contentType));
  const markup = typeof html === 'string' ? html.trim() : '';
  const words = (text.trim() === '' ? markup.replace(/<[^>]*>/g, ' ') : text)
    .replace(UNPRINTABLE, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  const beginning = words.length > SUMMARY_CHARACTERS ? `${words.slice(0, SUMMARY_CHARACTERS)}...` : words;
  const named = files.map(
    ({ filename, size, contentType }) =>
      `${(filename ?? contentType).replace(UNPRINTABLE, ' ')} (${size} bytes)`,
  );
  return {
    summary: [`"${beginning}"`, ...named].join(', '),
    fingerprint: JSON.stringify([
      text.trim(),
      markup,
      files.map(({ checksum, filename, size }) => [checksum, filename, size]),
    ]),
  };
}

/** Mail programs save with a byte order mark, or with the line that separates messages in a mailbox file. */
function withoutMailboxLine(text: string): string {
  return text.replace(/^\u00ef\u00bb\u00bf/, '').replace(/^From [^\r\n]*\r?\n/, '');
}

function checkHeader(header: HeaderSection): void {
  if (header.fields.length === 0)
    throw new GatewayError('header-malformed', 'it has no header, so it is no message');
  const shape = mimeShape(header);
  switch (shape.kind) {
    case 'plain':
    case 'multipart-report':
      return;
    case 'ambiguous':
      throw new GatewayError('mime-malformed', `it can be read in more than one way: ${shape.reason}`);
    case 'smime-opaque-candidate':
    case 'multipart-signed':
    case 'multipart-encrypted':
      throw new GatewayError(
        'mime-malformed',
        'it is signed or encrypted already, and the gateway keeps such mail as it is: take one that is neither',
      );
  }
}

async function notesOf(source: ByteSource, written: string): Promise<readonly string[]> {
  const { fields } = await readRawMessage(source);
  const replaced = [...new Set(fields.filter(isReplaced).map(({ name }) => name))];
  const notes = ['message: yours; its subject, text and attachments stay as they are'];
  notes.push(
    `put in for the demo: From and To${replaced.length > 0 ? `; taken out of yours: ${replaced.join(', ')}` : ''}`,
  );
  if (withoutMailboxLine(written) !== written)
    notes.push('left out: what stood before the first header field (a mailbox line or byte order mark)');
  if (/(?<!\r)\n/.test(written)) notes.push('line ends: LF became CRLF, as mail travels');
  return notes;
}

function isReplaced(field: RawField): boolean {
  return (
    REPLACED.some((name) => hasName(field, name)) ||
    REPLACED_PREFIXES.some((prefix) => hasPrefix(field, prefix))
  );
}

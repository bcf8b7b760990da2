// Sample messages: whole, with CRLF line ends, and each with one thing that mail software gets wrong.
import { randomUUID } from 'node:crypto';
import { type ByteSource, bytesSource } from '../core/bytes.ts';

export interface SampleHead {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject?: string;
  readonly date?: Date;
  readonly messageId?: string;
  /** More fields, as `Name: value`. */
  readonly fields?: readonly string[];
}

export type SampleName =
  | 'plain'
  | 'html'
  | 'latin1'
  | 'calendar'
  | 'long-lines'
  | 'tricky'
  | 'report'
  | 'utf8'
  | 'signed'
  | 'encrypted';

const BOUNDARY = 'lab_boundary_=_1';
const INNER = 'lab_boundary_=_2';

/** Every sample by name. */
export function sampleMessage(name: SampleName, head: SampleHead): ByteSource {
  return bytesSource(SAMPLES[name](head));
}

/**
 * A message of about `bytes` bytes, made while it is read: text lines of 78 octets with CRLF, so that nothing has to be
 * re-encoded. The same arguments give the same bytes; the size is exact in `ByteSource.size`.
 */
export function largeMessage(head: SampleHead, bytes: number): ByteSource {
  const top = Buffer.from(`${headerOf(head, ['Content-Type: text/plain; charset=us-ascii'])}\r\n`);
  const line = `${'0123456789abcdefghijklmnopqrstuvwxyz +-'.repeat(2).slice(0, 76)}\r\n`;
  const block = Buffer.from(line.repeat(840));
  const lines = Math.max(1, Math.ceil((bytes - top.length) / line.length));
  const size = top.length + lines * line.length;
  return {
    size,
    async *open(range) {
      const end = Math.min(range?.end ?? size, size);
      let at = range?.start ?? 0;
      if (at < Math.min(top.length, end)) {
        yield top.subarray(at, Math.min(top.length, end));
        at = top.length;
      }
      while (at < end) {
        const offset = (at - top.length) % block.length;
        const piece = block.subarray(offset, Math.min(block.length, offset + end - at));
        yield piece;
        at += piece.length;
      }
    },
  };
}

const SAMPLES: Readonly<Record<SampleName, (head: SampleHead) => Buffer>> = {
  plain: (head) =>
    Buffer.from(
      `${headerOf(head, ['Content-Type: text/plain; charset=us-ascii'])}\r\nGood morning,\r\n\r\nthe figures are as agreed.\r\n`,
    ),
  html: (head) => Buffer.from(htmlWithAttachment(head)),
  latin1: (head) =>
    Buffer.from(
      `${headerOf(head, ['Content-Type: text/plain; charset=iso-8859-1', 'Content-Transfer-Encoding: 8bit'])}\r\nGr\u00fc\u00dfe aus K\u00f6ln, 5 \u00b5m\r\n`,
      'latin1',
    ),
  utf8: (head) =>
    Buffer.from(
      `${headerOf(head, ['Content-Type: text/plain; charset=utf-8', 'Content-Transfer-Encoding: 8bit'])}\r\n\u4f60\u597d, \u20ac 12\r\n`,
    ),
  calendar: (head) => Buffer.from(meetingRequest(head)),
  'long-lines': (head) =>
    Buffer.from(
      `${headerOf(head, ['Content-Type: text/plain; charset=us-ascii'])}\r\n${'long '.repeat(600)}\r\nshort\r\n`,
    ),
  tricky: (head) =>
    Buffer.from(
      `${headerOf(head, ['Content-Type: text/plain; charset=us-ascii'])}\r\n.\r\n..\r\n.dot\r\nFrom here on\r\n  trailing  \t\r\n-- \r\n\r\n\r\nend without line end`,
    ),
  report: (head) => Buffer.from(deliveryReport(head)),
  signed: (head) =>
    Buffer.from(
      twoParts(
        head,
        'multipart/signed; micalg=pgp-sha256; protocol="application/pgp-signature"',
        ['Content-Type: text/plain; charset=us-ascii', '', 'Signed by a mail program.'],
        ['Content-Type: application/pgp-signature', '', ...armored('SIGNATURE')],
      ),
    ),
  encrypted: (head) =>
    Buffer.from(
      twoParts(
        head,
        'multipart/encrypted; protocol="application/pgp-encrypted"',
        ['Content-Type: application/pgp-encrypted', '', 'Version: 1'],
        ['Content-Type: application/octet-stream', '', ...armored('MESSAGE')],
      ),
    ),
};

/** The form of a signed or encrypted message; what is in the armour is nobody's. */
function twoParts(
  head: SampleHead,
  type: string,
  first: readonly string[],
  second: readonly string[],
): string {
  const parts = [first, second].flatMap((part) => [`--${BOUNDARY}`, ...part]);
  return [
    headerOf(head, [`Content-Type: ${type};\r\n boundary="${BOUNDARY}"`]),
    ...parts,
    `--${BOUNDARY}--`,
    '',
  ].join('\r\n');
}

function armored(what: 'SIGNATURE' | 'MESSAGE'): readonly string[] {
  return [`-----BEGIN PGP ${what}-----`, '', 'bGFiIGxhYiBsYWI=', `-----END PGP ${what}-----`];
}

function headerOf(head: SampleHead, content: readonly string[]): string {
  const lines = [
    `From: ${head.from}`,
    `To: ${head.to.join(',\r\n ')}`,
    `Subject: ${head.subject ?? 'Sample'}`,
    `Date: ${(head.date ?? new Date()).toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: ${head.messageId ?? `<${randomUUID()}@lab.example>`}`,
    'MIME-Version: 1.0',
    ...content,
    ...(head.fields ?? []),
  ];
  return `${lines.join('\r\n')}\r\n`;
}

function htmlWithAttachment(head: SampleHead): string {
  const attachment = Buffer.from(Uint8Array.from({ length: 600 }, (_unused, index) => (index * 7) & 255));
  return [
    headerOf(head, [`Content-Type: multipart/mixed;\r\n boundary="${BOUNDARY}"`]),
    'This is a multi-part message in MIME format.',
    `--${BOUNDARY}`,
    `Content-Type: multipart/alternative; boundary="${INNER}"`,
    '',
    `--${INNER}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    'Gr=C3=BC=C3=9Fe',
    `--${INNER}`,
    'Content-Type: text/html; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    '<p>Gr=C3=BC=C3=9Fe</p>',
    `--${INNER}--`,
    '',
    `--${BOUNDARY}`,
    'Content-Type: application/pdf; name="angebot.pdf"',
    'Content-Disposition: attachment; filename="angebot.pdf"',
    'Content-Transfer-Encoding: base64',
    '',
    attachment.toString('base64').replace(/.{76}(?=.)/g, '$&\r\n'),
    `--${BOUNDARY}--`,
    '',
  ].join('\r\n');
}

function meetingRequest(head: SampleHead): string {
  const event = [
    'BEGIN:VCALENDAR',
    'VERSION:2.0',
    'PRODID:-//lab//EN',
    'METHOD:REQUEST',
    'BEGIN:VEVENT',
    'UID:lab-event-1',
    'DTSTAMP:20260710T080000Z',
    'DTSTART:20260711T080000Z',
    'DTEND:20260711T090000Z',
    `ORGANIZER:mailto:${head.from}`,
    ...head.to.map((attendee) => `ATTENDEE;RSVP=TRUE:mailto:${attendee}`),
    'SUMMARY:Planning',
    'END:VEVENT',
    'END:VCALENDAR',
  ];
  return [
    headerOf(head, [`Content-Type: multipart/alternative; boundary="${BOUNDARY}"`]),
    `--${BOUNDARY}`,
    'Content-Type: text/plain; charset=us-ascii',
    '',
    'Planning',
    `--${BOUNDARY}`,
    'Content-Type: text/calendar; charset=utf-8; method=REQUEST',
    '',
    ...event,
    `--${BOUNDARY}--`,
    '',
  ].join('\r\n');
}

/** An NDR with the failed message inside, whose own header must count for nothing. */
function deliveryReport(head: SampleHead): string {
  return [
    headerOf(head, [
      `Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="${BOUNDARY}"`,
    ]),
    `--${BOUNDARY}`,
    'Content-Type: text/plain; charset=us-ascii',
    '',
    'Your message could not be delivered.',
    `--${BOUNDARY}`,
    'Content-Type: message/delivery-status',
    '',
    'Reporting-MTA: dns; lab.example',
    '',
    'Final-Recipient: rfc822; nobody@remote.example',
    'Action: failed',
    'Status: 5.1.1',
    '',
    `--${BOUNDARY}`,
    'Content-Type: message/rfc822',
    '',
    'From: sender@remote.example',
    'To: nobody@remote.example',
    'Subject: Original',
    'X-MS-Exchange-CrossTenant-Id: eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee',
    '',
    'Original text',
    `--${BOUNDARY}--`,
    '',
  ].join('\r\n');
}

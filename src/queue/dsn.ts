// A delivery status notification (RFC 3464) from data to bytes. No body of the original, no configuration, no text but
// the remote's own reply and what was written for the sender.
import { isAsciiAddress, type Address } from '../core/address.ts';
import type { Recipient } from '../core/envelope.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { Reply } from '../core/reply.ts';
import type { HeaderField } from '../mime/header-section.ts';

export interface ReportedRecipient {
  readonly recipient: Recipient;
  readonly action: 'failed' | 'relayed';
  /** RFC 3463. */
  readonly status: string;
  /** For people, one sentence. */
  readonly explanation: string;
  /** The remote MTA and its reply, where one answered. */
  readonly remote?: { readonly host: string; readonly reply: Reply };
}

export interface Report {
  /** Unique; made by us, safe in a Message-ID and a boundary. */
  readonly id: string;
  /** Our name in the report and in its addresses. */
  readonly hostname: string;
  readonly sender: Address;
  readonly at: Date;
  readonly arrivedAt: Date;
  /** As received, xtext. */
  readonly envid?: string;
  readonly recipients: NonEmpty<ReportedRecipient>;
  /** Fields of the original that may be shown. */
  readonly originalFields: readonly HeaderField[];
}

const MAX_TEXT_CHARACTERS = 500;
const MAX_LINE_CHARACTERS = 900;

/** The whole report, CRLF lines, 7-bit except for a `To` of a sender with a non-ASCII address. */
export function writeDsn(report: Report): Buffer {
  const boundary = `=_report_${report.id}`;
  const parts = [textPart(explain(report)), statusPart(report), fieldsPart(report.originalFields)];
  const body = parts.flatMap((part) => [Buffer.from(`--${boundary}\r\n`), part, Buffer.from('\r\n')]);
  return Buffer.concat([Buffer.from(header(report, boundary)), ...body, Buffer.from(`--${boundary}--\r\n`)]);
}

function header(report: Report, boundary: string): string {
  const isFailure = report.recipients.some(({ action }) => action === 'failed');
  return lines(
    `From: Mail Delivery System <MAILER-DAEMON@${report.hostname}>`,
    `To: ${report.sender.text}`,
    `Date: ${formatDate(report.at)}`,
    `Message-ID: <${report.id}@${report.hostname}>`,
    `Subject: ${isFailure ? 'Your message could not be delivered' : 'Your message was passed on'}`,
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    'Content-Type: multipart/report; report-type=delivery-status;',
    ` boundary="${boundary}"`,
    '',
  );
}

function explain({ recipients, hostname }: Report): string {
  const list = recipients.flatMap(({ recipient, action, explanation, remote }) => [
    `<${recipient.address.text}>: ${action === 'failed' ? 'not delivered' : 'passed on'}`,
    `    ${oneLine(explanation)}`,
    ...(remote ? [`    ${remote.host} said: ${diagnostic(remote.reply)}`] : []),
    '',
  ]);
  return lines(
    `This is the mail system at ${hostname}.`,
    '',
    'About your message, these recipients are reported:',
    '',
    ...list,
  );
}

function textPart(text: string): Buffer {
  const isPlain =
    /^[\t\r\n\x20-\x7e]*$/.test(text) &&
    text.split('\r\n').every((line) => line.length <= MAX_LINE_CHARACTERS);
  const encoded = Buffer.from(text)
    .toString('base64')
    .replace(/.{1,76}/g, '$&\r\n');
  return Buffer.from(
    lines(
      'Content-Type: text/plain; charset=utf-8',
      `Content-Transfer-Encoding: ${isPlain ? '7bit' : 'base64'}`,
      '',
      isPlain ? text : encoded,
    ),
  );
}

function statusPart(report: Report): Buffer {
  const envid = report.envid === undefined ? undefined : decodeXtext(report.envid);
  const message = [
    `Reporting-MTA: dns; ${report.hostname}`,
    ...(envid === undefined ? [] : [`Original-Envelope-Id: ${envid}`]),
    `Arrival-Date: ${formatDate(report.arrivedAt)}`,
    '',
  ];
  const recipients = report.recipients.flatMap((recipient) => recipientFields(recipient, report.at));
  return Buffer.from(lines('Content-Type: message/delivery-status', '', ...message, ...recipients));
}

function recipientFields({ recipient, action, status, remote }: ReportedRecipient, at: Date): string[] {
  const orcpt = recipient.orcpt === undefined ? undefined : decodeXtext(recipient.orcpt);
  const isOrcpt = orcpt !== undefined && /^[A-Za-z0-9-]+;.+$/.test(orcpt);
  return [
    ...(isOrcpt ? [`Original-Recipient: ${orcpt}`] : []),
    `Final-Recipient: ${typedAddress(recipient.address)}`,
    `Action: ${action}`,
    `Status: ${status}`,
    ...(remote
      ? [`Remote-MTA: dns; ${remote.host}`, `Diagnostic-Code: smtp; ${diagnostic(remote.reply)}`]
      : []),
    `Last-Attempt-Date: ${formatDate(at)}`,
    '',
  ];
}

function fieldsPart(fields: readonly HeaderField[]): Buffer {
  const head = lines('Content-Type: text/rfc822-headers', '');
  return Buffer.concat([Buffer.from(head), ...fields.map(({ raw }) => raw)]);
}

/** The address in the form that seven-bit reports allow (RFC 6533 §3): `\x{...}` for what is not ASCII. */
function typedAddress(address: Address): string {
  if (isAsciiAddress(address)) return `rfc822; ${address.text}`;
  const escaped = address.text.replace(/[^\x21-\x7e]|[\\+=]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\x{${code.toString(16).toUpperCase().padStart(2, '0')}}`;
  });
  return `utf-8; ${escaped}`;
}

/** SECURITY: decoded xtext may hold line ends: whatever is not printable ASCII is not shown (test: envid-crlf). */
function decodeXtext(xtext: string): string | undefined {
  const text = xtext.replace(/\+([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  return /^[\x20-\x7e]{1,500}$/.test(text) ? text : undefined;
}

function diagnostic(reply: Reply): string {
  return oneLine(`${reply.code} ${reply.enhanced} ${reply.text}`.replace(/[^\x20-\x7e]/g, '?'));
}

function oneLine(text: string): string {
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
    .trim()
    .slice(0, MAX_TEXT_CHARACTERS);
}

/** RFC 5322 §3.3. */
function formatDate(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000');
}

function lines(...list: readonly string[]): string {
  return list.map((line) => `${line}\r\n`).join('');
}

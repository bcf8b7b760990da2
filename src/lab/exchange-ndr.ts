// The NDR by which Exchange Online tells a sender that mail was not delivered, with the reply of the other side in it.
import { randomUUID } from 'node:crypto';
import { type ByteSource, bytesSource } from '../core/bytes.ts';
import type { LabTenant } from './exchange-tenant.ts';
import { EXCHANGE_HOST } from './exchange-rewrite.ts';
import { hasName, readRawMessage } from './raw-header.ts';

export interface FailedRecipient {
  readonly recipient: string;
  /** Enhanced code for the report: `5.7.1`. */
  readonly status: string;
  /** For the reader: what happened, and the other side's own words. */
  readonly diagnostic: string;
}

const BOUNDARY = 'lab_ndr_=_1';

/** The whole message. The original's header goes with it, its body does not. */
export async function composeNdr(
  tenant: LabTenant,
  to: string,
  failures: readonly FailedRecipient[],
  original: ByteSource,
  at: Date,
): Promise<ByteSource> {
  const { fields } = await readRawMessage(original);
  const postmaster = `postmaster@${tenant.initialDomain}`;
  const subject = fields
    .find((field) => hasName(field, 'Subject'))
    ?.raw.toString('latin1')
    .slice(8)
    .trim();
  const head = [
    `From: Microsoft Outlook <${postmaster}>`,
    `To: <${to}>`,
    `Subject: Undeliverable: ${subject ?? ''}`,
    `Date: ${at.toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${randomUUID()}@${EXCHANGE_HOST}>`,
    'MIME-Version: 1.0',
    'Auto-Submitted: auto-replied',
    'X-MS-Exchange-Message-Is-Ndr:',
    `Content-Type: multipart/report; report-type=delivery-status; boundary="${BOUNDARY}"`,
  ];
  const text = failures.flatMap(({ recipient, diagnostic }) => [
    `Your message to ${recipient} couldn't be delivered.`,
    `Remote server returned '${diagnostic}'`,
  ]);
  const status = failures.flatMap(({ recipient, status: code, diagnostic }) => [
    '',
    `Final-Recipient: rfc822;${recipient}`,
    'Action: failed',
    `Status: ${code}`,
    `Diagnostic-Code: smtp;${diagnostic}`,
  ]);
  const lines = [
    ...head,
    '',
    `--${BOUNDARY}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    ...text,
    `--${BOUNDARY}`,
    'Content-Type: message/delivery-status',
    '',
    `Reporting-MTA: dns;${EXCHANGE_HOST}`,
    ...status,
    '',
    `--${BOUNDARY}`,
    'Content-Type: text/rfc822-headers',
    '',
    fields.map(({ raw }) => raw.toString('latin1')).join(''),
    `--${BOUNDARY}--`,
    '',
  ];
  return bytesSource(Buffer.from(lines.join('\r\n'), 'utf8'));
}

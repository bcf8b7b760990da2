// Reads delivery reports with a parser that is not ours.
import assert from 'node:assert/strict';
import { type ParsedMail, simpleParser } from 'mailparser';

export interface ParsedReport {
  readonly mail: ParsedMail;
  readonly type: string;
  /** What people read. */
  readonly text: string;
  /** Fields of the message, then of each recipient; names in lower case. */
  readonly status: readonly Readonly<Record<string, string>>[];
  /** The header fields that came back, as they are. */
  readonly original: string;
}

export async function parseReport(bytes: Uint8Array): Promise<ParsedReport> {
  const mail = await simpleParser(Buffer.from(bytes), { keepDeliveryStatus: true });
  const part = (type: string): string => {
    const found = mail.attachments.filter(({ contentType }) => contentType === type);
    assert.equal(found.length, 1, `one ${type}`);
    return found[0]?.content.toString('latin1') ?? '';
  };
  const type = mail.headers.get('content-type') as { readonly value: string; readonly params: object };
  assert.deepEqual({ ...type.params, boundary: '' }, { 'report-type': 'delivery-status', boundary: '' });
  return {
    mail,
    type: type.value,
    text: mail.text ?? '',
    status: part('message/delivery-status')
      .trim()
      .split('\r\n\r\n')
      .map((block) => Object.fromEntries(block.split('\r\n').map(splitField))),
    original: part('text/rfc822-headers'),
  };
}

function splitField(line: string): readonly [string, string] {
  const colon = line.indexOf(':');
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}

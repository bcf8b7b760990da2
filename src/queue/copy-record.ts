// The sealed record of one queued copy: everything that decides where it goes and what it is. Written once at commit and
// bound to its id, so that a column changed on disk cannot send mail elsewhere.
import { type Address, parseAddress } from '../core/address.ts';
import type { NotifyCondition, Recipient } from '../core/envelope.ts';
import { formatLeg, type LegName, parseLeg } from '../core/leg.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import { parseTenantId, type TenantId } from '../core/origin.ts';
import { damagedError } from '../storage/storage-error.ts';

export interface CopyRecord {
  readonly transactionId: string;
  readonly tenant: TenantId;
  readonly isProven: boolean;
  readonly direction: 'inbound' | 'outbound';
  readonly policyVersion: string;
  readonly inputSha256: string;
  /** Who gets reports. */
  readonly sender: Address | null;
  /** MAIL FROM, where it is another. */
  readonly mailFrom?: Address | null;
  readonly recipients: NonEmpty<Recipient>;
  readonly smtpUtf8: boolean;
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
  readonly leg: LegName;
  readonly returnLeg: LegName;
  readonly rule: string;
  readonly isEncrypted: boolean;
  readonly is8bit: boolean;
  readonly size: number;
  /** Of the body: what the policy decided is what is sent. */
  readonly sha256: string;
}

interface WrittenRecipient {
  readonly address: string;
  readonly notify?: readonly NotifyCondition[];
  readonly orcpt?: string;
}

type WrittenRecord = Omit<
  CopyRecord,
  'sender' | 'mailFrom' | 'recipients' | 'leg' | 'returnLeg' | 'tenant'
> & {
  readonly sender: string | null;
  readonly mailFrom?: string | null;
  readonly recipients: readonly WrittenRecipient[];
  readonly leg: string;
  readonly returnLeg: string;
  readonly tenant: string;
};

export function formatCopyRecord(record: CopyRecord): Buffer {
  const { mailFrom, ...rest } = record;
  const written: WrittenRecord = {
    ...rest,
    sender: record.sender && record.sender.text,
    ...(mailFrom === undefined ? {} : { mailFrom: mailFrom && mailFrom.text }),
    recipients: record.recipients.map((recipient) => ({ ...recipient, address: recipient.address.text })),
    leg: formatLeg(record.leg),
    returnLeg: formatLeg(record.returnLeg),
  };
  return Buffer.from(JSON.stringify(written));
}

/** Reads what `formatCopyRecord` wrote (authentic bytes). Throws GatewayError `store-failed` for anything else. */
export function parseCopyRecord(bytes: Buffer): CopyRecord {
  const written = JSON.parse(bytes.toString('utf8')) as WrittenRecord;
  const recipients = written.recipients.map((recipient) => ({
    ...recipient,
    address: storedAddress(recipient.address),
  }));
  const leg = parseLeg(written.leg);
  const returnLeg = parseLeg(written.returnLeg);
  const { tenant: tenantText, mailFrom, ...rest } = written;
  const tenant = parseTenantId(tenantText);
  if (!leg || !returnLeg || !isNonEmpty(recipients) || !tenant) throw unreadable();
  return {
    ...rest,
    tenant,
    sender: storedSender(written.sender),
    ...(mailFrom === undefined ? {} : { mailFrom: storedSender(mailFrom) }),
    recipients,
    leg,
    returnLeg,
  };
}

function storedSender(text: string | null): Address | null {
  return text === null ? null : storedAddress(text);
}

function storedAddress(text: string): Address {
  const address = parseAddress(text);
  if (!address) throw unreadable();
  return address;
}

function unreadable(): Error {
  return damagedError('a queue record was written by another version');
}

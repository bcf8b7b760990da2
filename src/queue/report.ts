// Who is told what: decides which closed recipients deserve a DSN, and makes it a message of the queue. A report is never
// made for the null sender, so never for a report.
import { randomBytes } from 'node:crypto';
import { isAsciiAddress } from '../core/address.ts';
import { type ByteSource, bytesSource, collect } from '../core/bytes.ts';
import type { CommittedMessage, FinishedCopy } from '../core/commit.ts';
import type { Recipient } from '../core/envelope.ts';
import { replyFor } from '../core/errors.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { Reply } from '../core/reply.ts';
import { type HeaderField, fieldsNamed, isNamed, makeField, readMessage } from '../mime/header-section.ts';
import type { CopyRecord } from './copy-record.ts';
import { type ReportedRecipient, writeDsn } from './dsn.ts';
import type { CommittedEnvelope } from './prepared-message.ts';

/** A recipient that was just closed. */
export interface Closing {
  readonly recipient: Recipient;
  readonly state: 'delivered' | 'failed' | 'expired';
  readonly reply: Reply;
  readonly remote?: string;
  readonly isDsnRelayed: boolean;
}

export interface ReportSettings {
  readonly hostname: string;
  /** `proven`: only senders that were proven get reports, so that forged senders get none (backscatter). */
  readonly reportTo: 'proven' | 'everyone';
}

export interface ReportMessage {
  readonly message: CommittedEnvelope;
  readonly copy: FinishedCopy;
}

type Reported = Pick<
  CopyRecord,
  'transactionId' | 'tenant' | 'isProven' | 'policyVersion' | 'inputSha256' | 'sender' | 'returnLeg' | 'envid'
>;

const MAX_HEADER_BYTES = 262_144;
const MAX_FIELD_BYTES = 4_096;
const SHOWN_FIELDS = ['From', 'To', 'Date', 'Message-ID'];
const HIDDEN_SUBJECT = makeField('Subject', '[not shown]');

/** Whether this sender gets reports at all. */
function canReport(original: Pick<CopyRecord, 'sender' | 'isProven'>, settings: ReportSettings): boolean {
  return original.sender !== null && (original.isProven || settings.reportTo === 'everyone');
}

/** The recipients of `closings` that the sender wants to hear about (RFC 3461 §4.1). */
export function reportedOf(closings: readonly Closing[]): readonly ReportedRecipient[] {
  return closings.filter(isReported).map(describe);
}

/**
 * The report about the recipients that the policy refused while the message is committed, or undefined where there are
 * none to tell of. Without copies the report belongs to the tenant that it goes to.
 */
export async function refusalReport(
  message: CommittedMessage,
  at: Date,
  settings: ReportSettings,
): Promise<ReportMessage | undefined> {
  const { envelope, isProven, inputSha256, returnLeg, copies } = message;
  const reported = reportedRefusals(message);
  const [copy] = copies;
  const tenant = copy?.tenant ?? (returnLeg.kind === 'tenant' ? returnLeg.tenant : undefined);
  if (reported.length === 0 || tenant === undefined) return undefined;
  const original: Reported = {
    transactionId: envelope.id,
    tenant,
    isProven,
    policyVersion: copy?.policyVersion ?? '',
    inputSha256,
    sender: envelope.sender,
    returnLeg,
    ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
  };
  const fields = copy ? await readOriginalFields(copy.body) : [];
  return makeReport(original, reported, fields, { at, arrivedAt: at }, settings);
}

/** The report as a message for the queue, or undefined where there is nobody to tell or nothing to say. */
export function makeReport(
  original: Reported,
  reported: readonly ReportedRecipient[],
  originalFields: readonly HeaderField[],
  times: { readonly at: Date; readonly arrivedAt: Date },
  settings: ReportSettings,
): ReportMessage | undefined {
  const { sender } = original;
  if (sender === null || !canReport(original, settings) || !isNonEmpty(reported)) return undefined;
  const id = randomBytes(12).toString('hex');
  const bytes = writeDsn({
    id,
    hostname: settings.hostname,
    sender,
    ...times,
    ...(original.envid === undefined ? {} : { envid: original.envid }),
    recipients: reported,
    originalFields,
  });
  const recipients = [{ address: sender }] as const;
  const isUtf8 = !isAsciiAddress(sender);
  return {
    message: {
      envelope: {
        id: original.transactionId,
        sender: null,
        recipients,
        smtpUtf8: isUtf8,
        body: isUtf8 ? '8BITMIME' : '7BIT',
      },
      isProven: true,
      inputSha256: original.inputSha256,
      returnLeg: original.returnLeg,
    },
    copy: {
      leg: original.returnLeg,
      recipients,
      tenant: original.tenant,
      direction: original.returnLeg.kind === 'tenant' ? 'inbound' : 'outbound',
      policyVersion: original.policyVersion,
      rule: 'delivery-report',
      body: bytesSource(bytes),
      isEncrypted: false,
      is8bit: isUtf8,
    },
  };
}

/**
 * The fields of the original that its report may show: short ASCII ones that tell the sender which message it was.
 * SECURITY: never the Subject, which may be secret or come from a decrypted header (test: dsn-subject). A body that
 * cannot be read has no fields.
 */
export async function readOriginalFields(body: ByteSource): Promise<readonly HeaderField[]> {
  try {
    const head = await collect(body.open({ start: 0, end: MAX_HEADER_BYTES }), MAX_HEADER_BYTES);
    const { header } = await readMessage(bytesSource(head).open(), {
      maxHeaderBytes: MAX_HEADER_BYTES,
      maxHeaderLines: 5_000,
    });
    const shown = [...SHOWN_FIELDS, 'Subject'].flatMap((name) => fieldsNamed(header, name).slice(0, 1));
    return shown.map((field) => (isNamed(field, 'Subject') ? HIDDEN_SUBJECT : field)).filter(isShowable);
  } catch {
    return [];
  }
}

/** SECURITY: the explanation names a rule, so only proven senders read it (test: refused, unproven). */
function reportedRefusals({ refused, isProven }: CommittedMessage): readonly ReportedRecipient[] {
  const general = replyFor('refused-by-rule').text;
  return refused
    .filter(({ recipient }) => wantsFailure(recipient))
    .map(({ recipient, explanation }) => ({
      recipient,
      action: 'failed',
      status: '5.7.1',
      explanation: isProven ? explanation : general,
    }));
}

function isShowable({ raw }: HeaderField): boolean {
  return raw.length <= MAX_FIELD_BYTES && raw.every((byte) => byte < 0x80);
}

function isReported({ recipient, state, isDsnRelayed }: Closing): boolean {
  if (state !== 'delivered') return wantsFailure(recipient);
  return !isDsnRelayed && recipient.notify?.includes('SUCCESS') === true;
}

function wantsFailure({ notify }: Recipient): boolean {
  return notify === undefined || notify.includes('FAILURE');
}

function describe({ recipient, state, reply, remote }: Closing): ReportedRecipient {
  const host = remote !== undefined && /^[A-Za-z0-9.:-]{1,255}$/.test(remote) ? remote : undefined;
  return {
    recipient,
    action: state === 'delivered' ? 'relayed' : 'failed',
    status: statusOf(state, reply),
    explanation: EXPLANATION[state],
    // Our own reasons (no remote) may tell how this system is built: they stay in the log.
    ...(host === undefined ? {} : { remote: { host, reply } }),
  };
}

const EXPLANATION: Readonly<Record<Closing['state'], string>> = {
  delivered: 'The message was passed on to a system that does not report its delivery.',
  failed: 'The message was refused for this recipient. It will not be tried again.',
  expired: 'The message could not be delivered in the time allowed. It will not be tried again.',
};

function statusOf(state: Closing['state'], reply: Reply): string {
  if (state === 'expired') return '4.4.7';
  const wanted = state === 'delivered' ? '2' : '5';
  return /^\d\.\d{1,3}\.\d{1,3}$/.test(reply.enhanced) && reply.enhanced.startsWith(wanted)
    ? reply.enhanced
    : `${wanted}.0.0`;
}

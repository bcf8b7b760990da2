// A message on its way into the queue: its copies sealed and their files durable first, then its rows.
import { randomBytes } from 'node:crypto';
import type { CommittedMessage, FinishedCopy } from '../core/commit.ts';
import type { Recipient } from '../core/envelope.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { Sql } from '../storage/queue-database.ts';
import { type CopySeal, insertCopy, type PreparedCopy, prepareCopy } from './copy-store.ts';
import type { CopyRecord } from './copy-record.ts';

/** What all copies of a message share. */
export type CommittedEnvelope = Omit<CommittedMessage, 'copies' | 'refused'>;

export interface PreparedMessage {
  readonly id: string;
  readonly message: CommittedEnvelope;
  /** Filled one by one: whatever is in it when `prepareCopies` throws may have a file. */
  readonly copies: PreparedCopy[];
  readonly isReport: boolean;
}

/** An empty message with a new queue id: random, safe as a file name. */
export function startMessage(message: CommittedEnvelope, isReport: boolean): PreparedMessage {
  return { id: randomBytes(8).toString('hex'), message, copies: [], isReport };
}

export async function prepareCopies(
  seal: CopySeal,
  prepared: PreparedMessage,
  copies: readonly FinishedCopy[],
): Promise<void> {
  for (const [index, copy] of copies.entries()) {
    const id = `${prepared.id}-${index + 1}`;
    prepared.copies.push(await prepareCopy(seal, id, recordOf(prepared.message, copy), copy.body));
  }
}

export function insertMessage(sql: Sql, { id, message, copies, isReport }: PreparedMessage, at: Date): void {
  sql.run(
    `INSERT INTO messages (id, transaction_id, created_at, sender, is_report) VALUES (?, ?, ?, ?, ?)`,
    id,
    message.envelope.id,
    at.getTime(),
    message.envelope.sender?.key ?? null,
    Number(isReport),
  );
  for (const copy of copies) insertCopy(sql, id, copy, at);
}

/** What is known of a copy before its body is read. A recipient that was given twice counts once. */
function recordOf(
  message: CommittedEnvelope,
  copy: Omit<FinishedCopy, 'body'>,
): Omit<CopyRecord, 'size' | 'sha256'> {
  const { envelope } = message;
  return {
    transactionId: envelope.id,
    tenant: copy.tenant,
    isProven: message.isProven,
    direction: copy.direction,
    policyVersion: copy.policyVersion,
    inputSha256: message.inputSha256,
    sender: envelope.sender,
    ...(copy.mailFrom === undefined ? {} : { mailFrom: copy.mailFrom }),
    recipients: firstOfEach(copy.recipients),
    smtpUtf8: envelope.smtpUtf8,
    ...(envelope.ret ? { ret: envelope.ret } : {}),
    ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
    leg: copy.leg,
    returnLeg: message.returnLeg,
    rule: copy.rule,
    isEncrypted: copy.isEncrypted,
    is8bit: copy.is8bit,
  };
}

/** Results come back by address: a second row of the same address would never be closed (test: recipient given twice). */
function firstOfEach([first, ...rest]: NonEmpty<Recipient>): NonEmpty<Recipient> {
  const seen = new Set([first.address.key]);
  const others = rest.filter(({ address }) => !seen.has(address.key) && seen.add(address.key));
  return [first, ...others];
}

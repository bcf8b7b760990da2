// What the results of one attempt make of a copy: decided as a value, then written as one set of rows together with the
// report to the sender.
import type { DeliveryResult } from '../core/delivery.ts';
import type { Recipient } from '../core/envelope.ts';
import { replyFor } from '../core/errors.ts';
import type { Reply } from '../core/reply.ts';
import type { Sql } from '../storage/queue-database.ts';
import { type CopySeal, eraseCopy, type OpenedCopy, sealReply } from './copy-store.ts';
import type { CopyRecord } from './copy-record.ts';
import type { Delivery } from './message-types.ts';
import type { Closing } from './report.ts';
import { nextAttempt, type RetryPolicy } from './schedule.ts';

/** A recipient that stays in the queue. */
export interface Deferral {
  readonly recipient: Recipient;
  readonly reply: Reply;
  readonly remote?: string;
}

export interface Settlement {
  readonly closings: readonly Closing[];
  readonly deferrals: readonly Deferral[];
  /** undefined where nobody is left. */
  readonly nextAt?: Date;
}

/** Decides; a recipient without a result counts as deferred. Pure. */
export function decideSettlement(
  delivery: Delivery,
  results: readonly DeliveryResult[],
  at: Date,
  policy: RetryPolicy,
): Settlement {
  const byAddress = new Map(results.map((result) => [result.recipient.address.key, result]));
  const next = nextAttempt(delivery.firstAt, delivery.attempts + 1, at, policy);
  const closings: Closing[] = [];
  const deferrals: Deferral[] = [];
  for (const recipient of delivery.shipment.recipients) {
    const result = byAddress.get(recipient.address.key);
    const reply = result?.reply ?? replyFor('next-hop-failed');
    const remote = result?.remote === undefined ? {} : { remote: result.remote };
    const isDeferred = result === undefined || result.status === 'deferred';
    if (isDeferred && next !== 'expired') {
      deferrals.push({ recipient, reply, ...remote });
      continue;
    }
    const state = isDeferred ? 'expired' : result.status;
    closings.push({
      recipient,
      state,
      reply,
      ...remote,
      isDsnRelayed: result?.isDsnRelayed === true,
    });
  }
  return { closings, deferrals, ...(deferrals.length > 0 && next !== 'expired' ? { nextAt: next } : {}) };
}

/** Writes a settlement inside a transaction. Returns whether the copy is finished, so that its file can go. */
export function writeSettlement(
  sql: Sql,
  seal: CopySeal,
  copy: Pick<OpenedCopy, 'id' | 'record' | 'dek'>,
  settlement: Settlement,
  at: Date,
): { readonly isFinished: boolean } {
  for (const closing of settlement.closings) {
    sql.run(
      `UPDATE recipients SET state = ?, closed_at = ?, reply_code = ?, reply_enhanced = ?, remote = ?
       WHERE copy_id = ? AND position = ? AND state = 'queued'`,
      closing.state,
      at.getTime(),
      closing.reply.code,
      closing.reply.enhanced,
      closing.remote ?? null,
      copy.id,
      positionOf(copy.record, closing.recipient),
    );
  }
  for (const { recipient, reply, remote } of settlement.deferrals) {
    sql.run(
      `UPDATE recipients SET reply_code = ?, reply_enhanced = ?, reply_text = ?, remote = ?
       WHERE copy_id = ? AND position = ? AND state = 'queued'`,
      reply.code,
      reply.enhanced,
      sealReply(seal, copy.dek, copy.id, reply.text),
      remote ?? null,
      copy.id,
      positionOf(copy.record, recipient),
    );
  }
  const isFinished =
    sql.one(`SELECT 1 FROM recipients WHERE copy_id = ? AND state = 'queued'`, copy.id) === undefined;
  if (isFinished) eraseCopy(sql, copy.id);
  else {
    const next = (settlement.nextAt ?? at).getTime();
    sql.run('UPDATE copies SET attempts = attempts + 1, next_at = ? WHERE id = ?', next, copy.id);
  }
  return { isFinished };
}

function positionOf(record: CopyRecord, recipient: Recipient): number {
  return record.recipients.findIndex(({ address }) => address.key === recipient.address.key);
}

// The queue on SQLite and sealed files: the order of writes, and what is in flight. The promises are those of queue.ts.
import type { ByteSource, Chunks } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import type { CommittedMessage } from '../core/commit.ts';
import type { DeliveryResult, Shipment } from '../core/delivery.ts';
import type { Recipient } from '../core/envelope.ts';
import { GatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { TenantId } from '../core/origin.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import { checkFreeSpace } from '../storage/free-space.ts';
import type { QueueDatabase, Row, Sql } from '../storage/queue-database.ts';
import { isDamage } from '../storage/storage-error.ts';
import { type CopySeal, eraseCopy, openCopy, type OpenedCopy, removeCopyFiles } from './copy-store.ts';
import { dueRows, nextDueTime, openPositions, queuedLegs } from './due-rows.ts';
import type { Delivery, QueueCounts, QueueEntry, QueueFilter } from './message-types.ts';
import { insertMessage, type PreparedMessage, prepareCopies, startMessage } from './prepared-message.ts';
import { countQueue, listEntries, showEntry } from './queue-view.ts';
import { markDamaged } from './recover.ts';
import {
  makeReport,
  readOriginalFields,
  refusalReport,
  reportedOf,
  type ReportMessage,
  type ReportSettings,
} from './report.ts';
import { longestDelayMs, type RetryPolicy } from './schedule.ts';
import { decideSettlement, type Settlement, writeSettlement } from './settle.ts';

export interface QueueParts {
  readonly database: QueueDatabase;
  readonly seal: CopySeal;
  readonly clock: Clock;
  readonly log: Log;
  readonly retry: RetryPolicy;
  readonly reports: ReportSettings;
  readonly reserveBytes: number;
  readonly maxCopies: number;
  readonly keepClosedMs: number;
  /** Database and lock, in the order in which they were opened. */
  readonly owned: AsyncDisposable;
}

export class SqliteQueue {
  readonly #parts: QueueParts;
  readonly #sql: Sql;
  readonly #inFlight = new Set<string>();
  readonly #listeners = new Set<() => void>();

  constructor(parts: QueueParts) {
    this.#parts = parts;
    this.#sql = parts.database.sql;
  }

  async commit(message: CommittedMessage): Promise<string> {
    this.#throwIfFailed();
    const { seal, database, clock, reports, log } = this.#parts;
    const written: PreparedMessage[] = [];
    await this.#orRemoveFiles(written, async () => {
      if (message.copies.length > 0) {
        const prepared = startMessage(message, false);
        written.push(prepared);
        await prepareCopies(seal, prepared, message.copies);
      }
      const report = await this.#prepareReport(await refusalReport(message, clock.now(), reports));
      if (report) written.push(report);
      const at = clock.now();
      await database.write((sql) => {
        for (const each of written) insertMessage(sql, each, at);
      });
    });
    const [first] = written;
    // A 250 for nothing would be a lost message.
    if (!first) throw new GatewayError('unplanned', 'a commit without copies and without a report');
    const copies = message.copies.length;
    log.info('queued', {
      queue: first.id,
      transaction: message.envelope.id,
      copies,
      messages: written.length,
    });
    this.#wake();
    return first.id;
  }

  due(at: Date, limit: number, isLegBusy: (leg: string) => boolean = () => false): Delivery[] {
    this.#throwIfFailed();
    const legs = queuedLegs(this.#sql).filter((leg) => !isLegBusy(leg));
    const byLeg = legs.map((leg) => dueRows(this.#sql, leg, at, limit, this.#inFlight));
    const deliveries: Delivery[] = [];
    for (let turn = 0; turn < limit; turn += 1) {
      for (const rows of byLeg) {
        const row = rows[turn];
        if (row === undefined || deliveries.length >= limit) continue;
        const delivery = this.#openDelivery(row);
        if (delivery) deliveries.push(delivery);
      }
    }
    return deliveries;
  }

  nextDueAt(): Date | undefined {
    this.#throwIfFailed();
    return nextDueTime(this.#sql, this.#inFlight);
  }

  async settle(delivery: Delivery, results: readonly DeliveryResult[], at: Date): Promise<void> {
    this.#throwIfFailed();
    const { seal, database, reports } = this.#parts;
    const row = this.#queuedCopy(delivery.id);
    const copy = row && this.#openOrSetAside(row);
    if (copy) {
      const settlement = decideSettlement(delivery, results, at, this.#parts.retry);
      const reported = reportedOf(settlement.closings);
      const fields = reported.length > 0 ? await readOriginalFields(copy.body) : [];
      const times = { at, arrivedAt: delivery.firstAt };
      const report = await this.#prepareReport(makeReport(copy.record, reported, fields, times, reports));
      // SECURITY: closing and report are one write: never a closed recipient without its report, never two of them
      // (test: kill around every commit and settle).
      const { isFinished } = await this.#orRemoveFiles(report ? [report] : [], () =>
        database.write((sql) => {
          if (report) insertMessage(sql, report, at);
          return writeSettlement(sql, seal, copy, settlement, at);
        }),
      );
      if (isFinished && copy.isFile) await removeCopyFiles(seal, [delivery.id]);
      this.#logSettlement(delivery.id, settlement, report);
    }
    this.release(delivery);
  }

  release(delivery: Delivery): void {
    this.#inFlight.delete(delivery.id);
    this.#wake();
  }

  list(filter: QueueFilter = {}): readonly QueueEntry[] {
    return listEntries(this.#view(), filter);
  }

  show(id: string): QueueEntry | undefined {
    return showEntry(this.#view(), id);
  }

  counts(): QueueCounts {
    return countQueue(this.#view());
  }

  queuedOf(tenant: TenantId): number {
    const row = this.#sql.one(
      `SELECT count(*) AS n FROM copies WHERE tenant = ? AND state = 'queued'`,
      tenant,
    );
    return Number(row?.['n'] ?? 0);
  }

  async retry(id: string): Promise<number> {
    const now = this.#parts.clock.now().getTime();
    const changed = await this.#parts.database.write((sql) =>
      sql.run(
        `UPDATE copies SET next_at = ?1 WHERE state = 'queued' AND (id = ?2 OR message_id = ?2)`,
        now,
        id,
      ),
    );
    this.#wake();
    return changed;
  }

  async remove(id: string): Promise<'removed' | 'not-found' | 'in-flight'> {
    const now = this.#parts.clock.now().getTime();
    const answer = await this.#parts.database.write((sql) => {
      const rows = sql.all(
        `SELECT id FROM copies WHERE state <> 'closed' AND (id = ?1 OR message_id = ?1)`,
        id,
      );
      const ids = rows.map((row) => String(row['id']));
      if (ids.some((copy) => this.#inFlight.has(copy))) return 'in-flight';
      for (const copy of ids) {
        sql.run(
          `UPDATE recipients SET state = 'removed', closed_at = ? WHERE copy_id = ? AND state = 'queued'`,
          now,
          copy,
        );
        eraseCopy(sql, copy);
      }
      return ids;
    });
    if (answer === 'in-flight') return answer;
    await removeCopyFiles(this.#parts.seal, answer);
    if (answer.length > 0) this.#parts.log.warn('queue-entry-removed', { queue: id, copies: answer.length });
    return answer.length > 0 ? 'removed' : 'not-found';
  }

  async checkRoom(messageBytes = 0): Promise<void> {
    this.#throwIfFailed();
    const queued = Number(
      this.#sql.one(`SELECT count(*) AS n FROM copies WHERE state = 'queued'`)?.['n'] ?? 0,
    );
    if (queued >= this.#parts.maxCopies) {
      throw new GatewayError('queue-full', 'the queue is at its limit', { detail: { queued } });
    }
    await checkFreeSpace(this.#parts.seal.folder, this.#parts.reserveBytes + messageBytes);
  }

  async tidy(at: Date): Promise<void> {
    const latest = at.getTime() + longestDelayMs(this.#parts.retry);
    const { forgotten, corrected } = await this.#parts.database.write((sql) => ({
      forgotten: sql.run('DELETE FROM messages WHERE closed_at < ?', at.getTime() - this.#parts.keepClosedMs),
      corrected: sql.run(
        `UPDATE copies SET next_at = ? WHERE state = 'queued' AND next_at > ?`,
        at.getTime(),
        latest,
      ),
    }));
    // SECURITY: what was deleted is still in the log of writes until then (test: erased).
    this.#parts.database.checkpoint();
    if (forgotten + corrected > 0) this.#parts.log.info('queue-tidied', { forgotten, corrected });
  }

  onWork(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  failure(): GatewayError | undefined {
    return this.#parts.database.failure();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.owned[Symbol.asyncDispose]();
  }

  /** Runs what makes messages durable; where it fails, the files of those messages go. */
  async #orRemoveFiles<T>(messages: readonly PreparedMessage[], write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      // After a failed write the rows may be there: then the files must stay too, and the next start decides.
      if (!this.failure()) {
        const ids = messages.flatMap(({ copies }) => copies.map((copy) => copy.id));
        await removeCopyFiles(this.#parts.seal, ids);
      }
      throw error;
    }
  }

  async #prepareReport(report: ReportMessage | undefined): Promise<PreparedMessage | undefined> {
    if (!report) return undefined;
    const prepared = startMessage(report.message, true);
    await prepareCopies(this.#parts.seal, prepared, [report.copy]);
    return prepared;
  }

  #openDelivery(row: Row): Delivery | undefined {
    const copy = this.#openOrSetAside(row);
    if (!copy) return undefined;
    const { id, record } = copy;
    const open = openPositions(this.#sql, id);
    const recipients: readonly Recipient[] = record.recipients.filter((_, position) => open.has(position));
    if (!isNonEmpty(recipients)) return undefined;
    this.#inFlight.add(id);
    const shipment: Shipment = {
      id,
      leg: record.leg,
      sender: record.mailFrom === undefined ? record.sender : record.mailFrom,
      recipients,
      body: this.#watched(id, copy.body),
      smtpUtf8: record.smtpUtf8,
      is8bit: record.is8bit,
      ...(record.ret ? { ret: record.ret } : {}),
      ...(record.envid === undefined ? {} : { envid: record.envid }),
    };
    return { id, shipment, attempts: Number(row['attempts']), firstAt: new Date(Number(row['first_at'])) };
  }

  #openOrSetAside(row: Row): OpenedCopy | undefined {
    try {
      return openCopy(this.#parts.seal, this.#sql, row);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#setAside(String(row['id']), error);
      return undefined;
    }
  }

  /** The body; damage found while it is read sets the copy aside, so that it is not tried again and again. */
  #watched(id: string, body: ByteSource): ByteSource {
    const setAside = (error: unknown): void => this.#setAside(id, error);
    async function* watch(chunks: Chunks): AsyncGenerator<Uint8Array, void> {
      try {
        yield* chunks;
      } catch (error) {
        if (isDamage(error)) setAside(error);
        throw error;
      }
    }
    return { size: body.size, open: (range) => watch(body.open(range)) };
  }

  #setAside(id: string, error: unknown): void {
    const { log, database } = this.#parts;
    log.error('queued-copy-damaged', { copy: id, reason: error instanceof Error ? error.message : '' });
    // In flight until the row says so, so that it is not taken again meanwhile.
    this.#inFlight.add(id);
    database
      .write((sql) => markDamaged(sql, id))
      .then(
        () => {
          this.#inFlight.delete(id);
          this.#wake();
        },
        (failure: unknown) => log.error('queue-failed', { reason: String(failure) }),
      );
  }

  #queuedCopy(id: string): Row | undefined {
    return this.#sql.one(`SELECT id, dek, record, is_file FROM copies WHERE id = ? AND state = 'queued'`, id);
  }

  #logSettlement(copy: string, settlement: Settlement, report: PreparedMessage | undefined): void {
    const { log } = this.#parts;
    for (const { recipient, state, reply, remote } of settlement.closings) {
      const level = state === 'delivered' ? 'info' : 'warn';
      log[level](state, {
        copy,
        recipient: recipient.address.key,
        code: reply.code,
        enhanced: reply.enhanced,
        remote,
      });
    }
    for (const { recipient, reply, remote } of settlement.deferrals) {
      const next = settlement.nextAt?.toISOString();
      log.info('deferred', {
        copy,
        recipient: recipient.address.key,
        code: reply.code,
        enhanced: reply.enhanced,
        remote,
        next,
      });
    }
    if (report) log.info('report-queued', { copy, queue: report.id });
  }

  #view(): { sql: Sql; seal: CopySeal; inFlight: ReadonlySet<string> } {
    return { sql: this.#sql, seal: this.#parts.seal, inFlight: this.#inFlight };
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }

  #throwIfFailed(): void {
    const failure = this.failure();
    if (failure) throw failure;
  }
}

// The queue: finished copies between 250 and their delivery. A commit that resolved is durable; each recipient leaves
// the queue once, together with the report that it may need. Rows and files are in copy-store, times in schedule.
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { CommittedMessage } from '../core/commit.ts';
import type { DeliveryResult } from '../core/delivery.ts';
import { GatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { TenantId } from '../core/origin.ts';
import type { Secret } from '../core/secret.ts';
import { diskFiles } from '../storage/files.ts';
import { acquireOwnerLock } from '../storage/owner-lock.ts';
import { openQueueDatabase, type QueueDatabase } from '../storage/queue-database.ts';
import { openRecord, sealRecord } from '../storage/seal.ts';
import { asStorageError } from '../storage/storage-error.ts';
import type { CopySeal } from './copy-store.ts';
import type { Delivery, QueueCounts, QueueEntry, QueueFilter } from './message-types.ts';
import { recoverQueue } from './recover.ts';
import type { ReportSettings } from './report.ts';
import { defaultRetryPolicy, type RetryPolicy } from './schedule.ts';
import { queueSchema } from './schema.ts';
import { SqliteQueue } from './sqlite-queue.ts';

export interface QueueOptions {
  /** A folder for the queue alone; made if missing. */
  readonly folder: string;
  readonly kek: Secret;
  readonly clock: Clock;
  readonly log: Log;
  /** Our name in delivery reports. */
  readonly hostname: string;
  readonly retry?: RetryPolicy;
  /** Default `everyone`: see ReportSettings. */
  readonly reportTo?: ReportSettings['reportTo'];
  /** Free space that `checkRoom` insists on, in bytes. Default 512 MiB. */
  readonly reserveBytes?: number;
  /** Most queued copies before `checkRoom` refuses. Default 100,000. */
  readonly maxCopies?: number;
  /** How long closed messages stay visible, in ms. Default 14 days. */
  readonly keepClosedMs?: number;
}

/** Errors are GatewayErrors: `queue-full` where there is no room, `store-failed` for everything else on the disk. */
export interface Queue extends AsyncDisposable {
  /**
   * Makes a message with all its copies, and the report about its refused recipients, durable, or nothing of it; only
   * then may 250 be answered. A rejected commit may still be on the disk after a crash: the sender tries again. Returns
   * the queue id. Without copies only the report is queued; where there is none either, throws `unplanned`.
   */
  commit(message: CommittedMessage): Promise<string>;
  /**
   * Up to `limit` deliveries that are due, the legs in turn, each in flight until it is settled. `isLegBusy` leaves legs
   * out. Copies that are damaged are set aside here and never returned.
   */
  due(at: Date, limit: number, isLegBusy?: (leg: string) => boolean): Delivery[];
  /** When the next copy that is not in flight is due. */
  nextDueAt(): Date | undefined;
  /** Records an attempt: closes or defers each recipient and queues the report, in one write. In flight until it resolves. */
  settle(delivery: Delivery, results: readonly DeliveryResult[], at: Date): Promise<void>;
  /** Gives a delivery back that was not attempted. */
  release(delivery: Delivery): void;
  list(filter?: QueueFilter): readonly QueueEntry[];
  /** By the id of a message or of a copy. */
  show(id: string): QueueEntry | undefined;
  /** Makes the queued copies of a message due now; returns how many. */
  retry(id: string): Promise<number>;
  /** Ends the queued and damaged copies of a message without a report. `in-flight`: try again after the attempt. */
  remove(id: string): Promise<'removed' | 'not-found' | 'in-flight'>;
  counts(): QueueCounts;
  /** Queued copies of a tenant. */
  queuedOf(tenant: TenantId): number;
  /** For MAIL: throws what the answer should be where a message of `messageBytes` should not be taken now. */
  checkRoom(messageBytes?: number): Promise<void>;
  /** Forgets closed messages that are old enough, puts right times that a wrong clock wrote, and wipes deleted keys. */
  tidy(at: Date): Promise<void>;
  /** Calls `listener` when something may have become due. Returns the function that ends it. */
  onWork(listener: () => void): () => void;
  /** Why the queue has stopped writing, if it has: the process should end and start again. */
  failure(): GatewayError | undefined;
}

const DEFAULT_RESERVE_BYTES = 512 * 1024 * 1024;
const DEFAULT_MAX_COPIES = 100_000;
const DEFAULT_KEEP_MS = 14 * 24 * 60 * 60 * 1000;

/** Opens the queue as its only owner and recovers it. Throws GatewayError `store-failed` or `queue-full`. */
export async function openQueue(options: QueueOptions): Promise<Queue> {
  await using stack = new AsyncDisposableStack();
  try {
    stack.use(await acquireOwnerLock(options.folder));
    const folder = join(options.folder, 'bodies');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // The names of the folders must be on the disk before mail is in them.
    await diskFiles.syncFolder(dirname(options.folder));
    await diskFiles.syncFolder(options.folder);
    const database = stack.use(openQueueDatabase(join(options.folder, 'queue.db'), queueSchema));
    const seal: CopySeal = { kek: options.kek, folder, storeId: await openStore(database, options.kek) };
    await recoverQueue({
      database,
      seal,
      orphanFolder: join(options.folder, 'orphans'),
      keepOrphansMs: options.keepClosedMs ?? DEFAULT_KEEP_MS,
      now: options.clock.now(),
      log: options.log,
    });
    const queue = new SqliteQueue({
      database,
      seal,
      clock: options.clock,
      log: options.log,
      retry: options.retry ?? defaultRetryPolicy,
      reports: { hostname: options.hostname, reportTo: options.reportTo ?? 'everyone' },
      reserveBytes: options.reserveBytes ?? DEFAULT_RESERVE_BYTES,
      maxCopies: options.maxCopies ?? DEFAULT_MAX_COPIES,
      keepClosedMs: options.keepClosedMs ?? DEFAULT_KEEP_MS,
      owned: stack.move(),
    });
    await queue.tidy(options.clock.now());
    return queue;
  } catch (error) {
    throw asStorageError(error, 'the queue cannot be opened');
  }
}

/** The id of the queue, made at its first start. Throws GatewayError `store-failed` for another KEK than it was made with. */
async function openStore(database: QueueDatabase, kek: Secret): Promise<string> {
  const id = database.sql.one(`SELECT value FROM store WHERE name = 'id'`)?.['value'];
  const check = database.sql.one(`SELECT value FROM store WHERE name = 'check'`)?.['value'];
  if (!(id instanceof Uint8Array) || !(check instanceof Uint8Array)) {
    const storeId = randomUUID();
    const sealed = sealRecord(kek, Buffer.alloc(0), checkPlace(storeId));
    await database.write((sql) => {
      sql.run(`INSERT INTO store (name, value) VALUES ('id', ?), ('check', ?)`, Buffer.from(storeId), sealed);
    });
    return storeId;
  }
  const storeId = Buffer.from(id).toString('latin1');
  try {
    openRecord(kek, check, checkPlace(storeId));
  } catch {
    throw new GatewayError('store-failed', 'the KEK is not the one that the queue was made with');
  }
  return storeId;
}

function checkPlace(storeId: string): string {
  return `queue|${storeId}|check`;
}

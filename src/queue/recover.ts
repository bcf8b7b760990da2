// Start of the queue as a function of the disk: temporary files go, each queued copy is verified, files without a row
// are set aside, counts are logged. Nothing is guessed and nothing half is queued.
import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../core/log.ts';
import { MESSAGE_SUFFIX, prepareMessageFolder } from '../storage/message-file.ts';
import type { QueueDatabase } from '../storage/queue-database.ts';
import { isDamage } from '../storage/storage-error.ts';
import { type CopySeal, openCopy } from './copy-store.ts';

export interface RecoveryOptions {
  readonly database: QueueDatabase;
  readonly seal: CopySeal;
  /** Where files without a row go. Their DEK is gone or was never kept: nobody can read them. */
  readonly orphanFolder: string;
  readonly keepOrphansMs: number;
  readonly now: Date;
  readonly log: Log;
}

export interface Recovery {
  readonly queued: number;
  readonly damaged: number;
  readonly orphans: number;
  readonly temporary: number;
}

/** Brings folder and rows into agreement. Throws GatewayError or Node's errors: then the queue must not open. */
export async function recoverQueue(options: RecoveryOptions): Promise<Recovery> {
  const { database, seal, log } = options;
  const temporary = await prepareMessageFolder(seal.folder);
  const orphans = await setOrphansAside(options);
  const ids = database.sql
    .all(`SELECT id FROM copies WHERE state = 'queued'`)
    .map((row) => String(row['id']));
  const damaged: string[] = [];
  for (const id of ids) {
    const reason = await findDamage(database, seal, id);
    if (reason === undefined) continue;
    damaged.push(id);
    log.error('queued-copy-damaged', { copy: id, reason });
  }
  if (damaged.length > 0) await database.write((sql) => damaged.forEach((id) => markDamaged(sql, id)));
  const recovery = { queued: ids.length - damaged.length, damaged: damaged.length, orphans, temporary };
  log.info('queue-recovered', recovery);
  return recovery;
}

/** Sets a copy aside: it is never sent, and stays until the operator removes it. */
export function markDamaged(sql: QueueDatabase['sql'], id: string): void {
  sql.run(`UPDATE copies SET state = 'damaged' WHERE id = ? AND state = 'queued'`, id);
}

async function findDamage(database: QueueDatabase, seal: CopySeal, id: string): Promise<string | undefined> {
  const row = database.sql.one('SELECT id, dek, record, is_file FROM copies WHERE id = ?', id);
  if (row === undefined) return undefined;
  try {
    const { body } = openCopy(seal, database.sql, row);
    // The end proves the length. A large file's middle is verified segment by segment while it is sent.
    for await (const chunk of body.open({ start: Math.max(0, body.size - 1) })) void chunk;
    return undefined;
  } catch (error) {
    if (isDamage(error) && error instanceof Error) return error.message;
    throw error;
  }
}

async function setOrphansAside({
  database,
  seal,
  orphanFolder,
  keepOrphansMs,
  now,
}: RecoveryOptions): Promise<number> {
  const known = new Set(
    database.sql
      .all(`SELECT id FROM copies WHERE is_file = 1 AND state <> 'closed'`)
      .map((row) => `${String(row['id'])}${MESSAGE_SUFFIX}`),
  );
  await mkdir(orphanFolder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(orphanFolder)) {
    const { mtimeMs } = await stat(join(orphanFolder, name));
    if (mtimeMs < now.getTime() - keepOrphansMs) await unlink(join(orphanFolder, name));
  }
  const orphans = (await readdir(seal.folder)).filter((name) => !known.has(name));
  for (const name of orphans) await rename(join(seal.folder, name), join(orphanFolder, name));
  return orphans.length;
}

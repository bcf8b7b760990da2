// One owner per folder. The lock is the kernel's (through SQLite's file locking), so it ends with the process however
// that ends: no stale lock, no guessing by process id. The id is kept beside it only to name the owner.
import { chmod, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { GatewayError } from '../core/errors.ts';
import { asStorageError, primaryResult } from './storage-error.ts';

const SQLITE_BUSY = 5;
/** Opened by SQLite alone: closing any other descriptor of it in this process would drop the lock (POSIX locks). */
const LOCK_FILE = 'owner.lock';
const PID_FILE = 'owner.pid';

/**
 * Becomes the only owner of `folder`, which is made if missing. Holds against other processes and against a second call
 * in this one. Throws GatewayError `store-failed` that names the owner's process id.
 */
export async function acquireOwnerLock(folder: string): Promise<AsyncDisposable> {
  const pidFile = join(folder, PID_FILE);
  let database: DatabaseSync | undefined;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await makeLockFile(join(folder, LOCK_FILE));
    database = new DatabaseSync(join(folder, LOCK_FILE), { timeout: 0 });
    database.exec('PRAGMA journal_mode = OFF; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    await writeFile(pidFile, `${process.pid}\n`, { mode: 0o600 });
  } catch (error) {
    database?.close();
    if (primaryResult(error) !== SQLITE_BUSY) throw asStorageError(error, `${folder} cannot be locked`);
    const pid = await readFile(pidFile, 'utf8').then(
      (text) => text.trim(),
      () => 'unknown',
    );
    throw new GatewayError('store-failed', `${folder} is in use by process ${pid}: stop it first`);
  }
  const owned = database;
  let isHeld = true;
  return {
    [Symbol.asyncDispose]: async () => {
      if (!isHeld) return;
      isHeld = false;
      await rm(pidFile, { force: true });
      owned.close();
    },
  };
}

/** Makes the file with its mode before SQLite would make it with the umask's. An existing file is not opened. */
async function makeLockFile(path: string): Promise<void> {
  try {
    const handle = await open(path, 'wx', 0o600);
    await handle.close();
  } catch {
    await chmod(path, 0o600);
  }
}

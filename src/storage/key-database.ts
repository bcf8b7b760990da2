// The key database: sealed records by name on LevelDB. LevelDB keeps bytes; what they mean, whether they are whole and
// whether one is missing is decided here, by an AEAD per record and an authenticated index (key-index.ts).
import { randomUUID } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { Secret } from '../core/secret.ts';
import { emptyIndex, indexRows, type KeyIndex, namesIn, versionOf } from './key-index.ts';
import { type KeyOperation, type LevelRows, openLevel, SealedRows, writeRows } from './key-rows.ts';
import { readStoreSheet, removeTemporaryFiles, writeStoreMark, writeStoreSheet } from './key-store-sheet.ts';
import { acquireOwnerLock } from './owner-lock.ts';
import { asStorageError } from './storage-error.ts';

/**
 * Records by name (1 to 512 bytes of UTF-8). A promise of a write that resolved means durable; one that rejected may
 * have happened or not, and the database stops: open it again and look. Throws GatewayError `key-unreadable` for a
 * record that is there but damaged, replayed or gone, `store-failed` for the database as a whole.
 */
export interface KeyDatabase extends AsyncDisposable {
  /** undefined: there is no such record, by the authenticated index. */
  get(name: string): Promise<Buffer | undefined>;
  /** Names with this prefix, sorted, of damaged records too. */
  names(prefix: string): readonly string[];
  /** Records with this prefix by name. Throws at a damaged one: use `names` and `get` to go past it. */
  list(prefix: string): AsyncIterable<{ readonly name: string; readonly value: Buffer }>;
  put(name: string, value: Uint8Array): Promise<void>;
  /** Destroys the record and its DEK, on the disk too. No error where there is none. */
  delete(name: string): Promise<void>;
  /** All of the operations or none. */
  batch(operations: readonly KeyOperation[]): Promise<void>;
}

export interface KeyDatabaseOptions {
  /** Made by `initKeyDatabase`, mode 0700. */
  readonly folder: string;
  readonly kek: Secret;
  readonly log?: Log;
  /** Index whatever still opens instead of refusing a damaged store. Only with the operator's consent: keys may be lost. */
  readonly acceptLoss?: boolean;
}

const LEVEL_FOLDER = 'level';
const MAX_NAME_BYTES = 512;

/** Makes an empty key database. Throws GatewayError `store-failed` where the folder has one, or remains of one. */
export async function initKeyDatabase(options: Pick<KeyDatabaseOptions, 'folder' | 'kek'>): Promise<void> {
  const { folder, kek } = options;
  process.umask(0o077);
  await using stack = new AsyncDisposableStack();
  stack.use(await acquireOwnerLock(folder));
  if (await hasKeyDatabase(folder))
    throw new GatewayError('store-failed', `${folder} has a key database, or what is left of one`);
  const storeId = randomUUID();
  try {
    await mkdir(join(folder, LEVEL_FOLDER), { mode: 0o700 });
    const level = await openLevel(join(folder, LEVEL_FOLDER), true);
    try {
      await writeRows(level, indexRows(emptyIndex(), { kek, storeId }));
    } finally {
      await level.close();
    }
    await writeStoreMark(folder, kek, storeId, 0);
    // The sheet comes last: without it nothing here counts as a key database.
    await writeStoreSheet(folder, kek, storeId);
  } catch (error) {
    throw asStorageError(error, 'the key database cannot be made');
  }
}

/** Whether the folder holds a key database, or what is left of one. */
export async function hasKeyDatabase(folder: string): Promise<boolean> {
  return stat(join(folder, LEVEL_FOLDER)).then(
    () => true,
    () => false,
  );
}

/** Opens the key database and becomes its only owner until disposed. See `KeyDatabase` for the errors. */
export async function openKeyDatabase(options: KeyDatabaseOptions): Promise<KeyDatabase> {
  const { folder, kek, log = silentLog } = options;
  await refuseLooseFolder(folder);
  // LevelDB makes its files with the process's umask, at any time.
  process.umask(0o077);
  const lock = await acquireOwnerLock(folder);
  let level: LevelRows | undefined;
  try {
    const storeId = await readStoreSheet(folder, kek);
    await removeTemporaryFiles(folder);
    level = await openLevel(join(folder, LEVEL_FOLDER), false);
    const rows = new SealedRows(level, folder, kek, storeId);
    const index = options.acceptLoss ? await rows.rebuildIndex(log) : await rows.readIndex();
    log.info('key-database-opened', { records: namesIn(index, '').length, generation: index.generation });
    return new LevelKeyDatabase(rows, lock, index);
  } catch (error) {
    await level?.close();
    await lock[Symbol.asyncDispose]();
    throw asStorageError(error, 'the key database cannot be opened');
  }
}

class LevelKeyDatabase implements KeyDatabase {
  readonly #rows: SealedRows;
  readonly #lock: AsyncDisposable;
  #index: KeyIndex;
  #failure: GatewayError | undefined;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(rows: SealedRows, lock: AsyncDisposable, index: KeyIndex) {
    this.#rows = rows;
    this.#lock = lock;
    this.#index = index;
  }

  async get(name: string): Promise<Buffer | undefined> {
    for (;;) {
      this.#throwIfFailed();
      const version = versionOf(this.#index, name);
      if (version === undefined) return undefined;
      const value = await this.#rows.read(name, version).catch(async (error: unknown) => {
        // A write under way explains another version: then what it wrote is read.
        await this.#lastWrite;
        if (versionOf(this.#index, name) === version) throw error;
      });
      if (value !== undefined) return value;
    }
  }

  names(prefix: string): readonly string[] {
    this.#throwIfFailed();
    return namesIn(this.#index, prefix);
  }

  async *list(prefix: string): AsyncGenerator<{ readonly name: string; readonly value: Buffer }, void> {
    for (const name of this.names(prefix)) {
      const value = await this.get(name);
      if (value !== undefined) yield { name, value };
    }
  }

  put(name: string, value: Uint8Array): Promise<void> {
    return this.batch([{ kind: 'put', name, value }]);
  }

  delete(name: string): Promise<void> {
    return this.batch([{ kind: 'delete', name }]);
  }

  batch(operations: readonly KeyOperation[]): Promise<void> {
    for (const { name } of operations) checkName(name);
    const written = this.#lastWrite.then(() => this.#write(operations));
    this.#lastWrite = written.catch(() => undefined);
    return written;
  }

  async #write(operations: readonly KeyOperation[]): Promise<void> {
    this.#throwIfFailed();
    const last = [...new Map(operations.map((operation) => [operation.name, operation])).values()];
    const existing = last.filter(({ name }) => versionOf(this.#index, name) !== undefined);
    const effective = last.filter((operation) => operation.kind === 'put' || existing.includes(operation));
    if (effective.length === 0) return;
    try {
      this.#index = await this.#rows.write(this.#index, effective);
      await this.#rows.forget(existing.map(({ name }) => name));
    } catch (error) {
      this.#failure = asStorageError(error, 'the key database cannot be written and has stopped');
      throw this.#failure;
    }
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lastWrite;
    this.#failure ??= new GatewayError('store-failed', 'the key database is closed');
    await this.#rows.close();
    await this.#lock[Symbol.asyncDispose]();
  }
}

async function refuseLooseFolder(folder: string): Promise<void> {
  const found = await stat(folder).catch((error: unknown) => {
    throw asStorageError(
      error,
      `the key database folder ${folder} cannot be read: run the set-up, or restore it`,
    );
  });
  if ((found.mode & 0o077) !== 0) {
    throw new GatewayError('config-invalid', `${folder} is open to other users: run \`chmod 700\` on it`);
  }
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_NAME_BYTES || !name.isWellFormed() || name.includes('\u0000')) {
    throw new GatewayError(
      'store-failed',
      'a record name is empty, too long, or has a character that is not allowed',
    );
  }
}

// The queue's SQLite database as a durable thing: settings, group commit, fail stop. Tables and what they mean belong to
// queue/. Statements run on the calling thread; one commit (one fsync) serves all writes of a turn of the event loop.
import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { GatewayError } from '../core/errors.ts';
import { asStorageError, primaryResult } from './storage-error.ts';

export type Row = Readonly<Record<string, null | number | bigint | string | Uint8Array>>;

/** Prepared statements by their text, inside or outside a write. */
export interface Sql {
  run(text: string, ...values: SQLInputValue[]): number;
  all(text: string, ...values: SQLInputValue[]): readonly Row[];
  one(text: string, ...values: SQLInputValue[]): Row | undefined;
}

export interface QueueDatabase extends Disposable {
  /** For reads. Throws GatewayError `store-failed`. */
  readonly sql: Sql;
  /**
   * Runs `work` in a transaction and resolves once it is durable. Writes asked for in the same turn share one commit;
   * one that throws is undone alone and rejects with its own error. Rejects with `queue-full` where there is no room.
   * SECURITY: after any other disk error the outcome on disk is unknown, so the database stops: each later write
   * rejects with `store-failed` (test: fail stop).
   */
  write<T>(work: (sql: Sql) => T): Promise<T>;
  /** Moves the log of writes into the file and empties it, as far as other connections let it. */
  checkpoint(): void;
  /** Why the database has stopped, if it has. */
  failure(): GatewayError | undefined;
}

interface Waiting {
  readonly work: (sql: Sql) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Result codes after which the file itself is sound: constraint, full, too big, mismatch, schema, range. */
const HARMLESS = new Set([1, 13, 17, 18, 19, 20, 25]);

/** Opens or makes the database at `path`, mode 0600, and runs `schema` (idempotent). Throws GatewayError `store-failed`. */
export function openQueueDatabase(path: string, schema: string): QueueDatabase {
  try {
    closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
    const database = new DatabaseSync(path, { timeout: 5_000 });
    // secure_delete: a deleted row's DEK is overwritten, not only unlinked from its page.
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
      PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;
      PRAGMA wal_autocheckpoint = 2000;`);
    database.exec(schema);
    return new SqliteQueueDatabase(database);
  } catch (error) {
    throw asStorageError(error, 'the queue database cannot be opened');
  }
}

class SqliteQueueDatabase implements QueueDatabase {
  readonly sql: Sql;
  readonly #database: DatabaseSync;
  #waiting: Waiting[] = [];
  #failure: GatewayError | undefined;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.sql = new PreparedSql(database, (error) => this.#judge(error));
  }

  write<T>(work: (sql: Sql) => T): Promise<T> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ work, resolve: resolve as (value: unknown) => void, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#commit());
    });
  }

  checkpoint(): void {
    this.sql.one('PRAGMA wal_checkpoint(TRUNCATE)');
  }

  failure(): GatewayError | undefined {
    return this.#failure;
  }

  [Symbol.dispose](): void {
    this.#commit();
    this.#failure ??= new GatewayError('store-failed', 'the queue database is closed');
    if (this.#database.isOpen) this.#database.close();
  }

  #commit(): void {
    const group = this.#waiting;
    this.#waiting = [];
    if (group.length === 0) return;
    if (this.#failure) return rejectAll(group, this.#failure);
    const answers: (() => void)[] = [];
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      for (const waiting of group) answers.push(this.#runOne(waiting));
      this.#database.exec('COMMIT');
    } catch (error) {
      const failure = this.#judge(error);
      this.#rollBack();
      return rejectAll(group, failure);
    }
    for (const answer of answers) answer();
  }

  /** Runs one write inside the group's transaction. Its answer is given only once the group is durable. */
  #runOne({ work, resolve, reject }: Waiting): () => void {
    this.#database.exec('SAVEPOINT one');
    try {
      const value = work(this.sql);
      this.#database.exec('RELEASE one');
      return () => resolve(value);
    } catch (error) {
      if (this.#failure || !this.#database.isTransaction) throw error;
      this.#database.exec('ROLLBACK TO one; RELEASE one');
      return () => reject(error);
    }
  }

  #rollBack(): void {
    if (!this.#database.isTransaction) return;
    try {
      this.#database.exec('ROLLBACK');
    } catch (error) {
      this.#judge(error);
    }
  }

  #judge(error: unknown): GatewayError {
    const failure = asStorageError(error, 'the queue database failed');
    const code = primaryResult(error);
    if (code !== undefined && !HARMLESS.has(code)) this.#failure ??= failure;
    return failure;
  }
}

class PreparedSql implements Sql {
  readonly #database: DatabaseSync;
  readonly #judge: (error: unknown) => GatewayError;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(database: DatabaseSync, judge: (error: unknown) => GatewayError) {
    this.#database = database;
    this.#judge = judge;
  }

  run(text: string, ...values: SQLInputValue[]): number {
    return this.#with(text, (statement) => Number(statement.run(...values).changes));
  }

  all(text: string, ...values: SQLInputValue[]): readonly Row[] {
    return this.#with(text, (statement) => statement.all(...values) as Row[]);
  }

  one(text: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#with(text, (statement) => statement.get(...values) as Row | undefined);
  }

  #with<T>(text: string, use: (statement: StatementSync) => T): T {
    try {
      const found = this.#prepared.get(text) ?? this.#database.prepare(text);
      this.#prepared.set(text, found);
      return use(found);
    } catch (error) {
      throw this.#judge(error);
    }
  }
}

function rejectAll(group: readonly Waiting[], error: GatewayError): void {
  for (const { reject } of group) reject(error);
}

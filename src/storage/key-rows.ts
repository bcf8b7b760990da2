// Sealed records and the sealed index as rows of LevelDB: byte layout, atomic writes, recovery of the index. The order
// of writes and what a failure means belong to key-database.ts.
import { Level } from 'level';
import { GatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { Secret } from '../core/secret.ts';
import { changeIndex, emptyIndex, indexRows, type KeyIndex, readIndex, versionOf } from './key-index.ts';
import { readStoreMark, writeStoreMark } from './key-store-sheet.ts';
import { makeKey, openRecord, sealRecord } from './seal.ts';
import { asStorageError, errorCode } from './storage-error.ts';

const RECORD_PREFIX = 'record:';
const VERSION_BYTES = 8;
const WRAPPED_DEK_BYTES = 73;

export type KeyOperation =
  | { readonly kind: 'put'; readonly name: string; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly name: string };

export type LevelRows = Level<string, Buffer> & { compactRange(start: string, end: string): Promise<void> };

/** Sealed records and the index on LevelDB rows. */
export class SealedRows {
  readonly #level: LevelRows;
  readonly #folder: string;
  readonly #kek: Secret;
  readonly #storeId: string;

  constructor(level: LevelRows, folder: string, kek: Secret, storeId: string) {
    this.#level = level;
    this.#folder = folder;
    this.#kek = kek;
    this.#storeId = storeId;
  }

  /** SECURITY: refuses a store whose last writes are gone, as a damaged log leaves it (test: lost tail). */
  async readIndex(): Promise<KeyIndex> {
    const index = await readIndex((row) => this.#level.get(row), this.#seal());
    const mark = await readStoreMark(this.#folder, this.#kek, this.#storeId);
    if (index.generation < mark) {
      const reason = `the key database has lost its last ${mark - index.generation} writes; restore it from a backup`;
      throw new GatewayError('store-failed', reason);
    }
    if (index.generation > mark)
      await writeStoreMark(this.#folder, this.#kek, this.#storeId, index.generation);
    return index;
  }

  async rebuildIndex(log: Log): Promise<KeyIndex> {
    const found = new Map<string, number>();
    const damaged: string[] = [];
    for await (const [row, record] of this.#level.iterator({
      gte: RECORD_PREFIX,
      lt: `${RECORD_PREFIX}\uFFFF`,
    })) {
      const name = row.slice(RECORD_PREFIX.length);
      const version = recordVersion(record);
      try {
        this.#open(name, version, record);
        found.set(name, version);
      } catch {
        damaged.push(row);
      }
    }
    const mark = await readStoreMark(this.#folder, this.#kek, this.#storeId).catch(() => 0);
    const generation = Math.max(mark, ...found.values());
    // Versions stay those of the records, so the buckets are made by hand and written as a new generation.
    const changed = changeIndex(
      { ...emptyIndex(), generation },
      [...found.keys()].map((name) => ({ name, present: true })),
      this.#seal(),
    );
    const buckets = changed.next.buckets.map(
      (bucket) => new Map([...bucket.keys()].map((name) => [name, found.get(name) ?? 0])),
    );
    const next = { ...changed.next, buckets };
    await writeRows(this.#level, indexRows(next, this.#seal()), damaged);
    await writeStoreMark(this.#folder, this.#kek, this.#storeId, next.generation);
    log.warn('key-database-rebuilt', { records: found.size, damaged: damaged.length });
    return next;
  }

  async read(name: string, version: number): Promise<Buffer> {
    const record = await this.#level.get(RECORD_PREFIX + name).catch((error: unknown) => {
      if (errorCode(error) === 'LEVEL_CORRUPTION') return undefined;
      throw asStorageError(error, 'the key database cannot be read');
    });
    if (record === undefined) throw unreadable(name, 'is gone');
    if (recordVersion(record) !== version) throw unreadable(name, 'is from another time');
    try {
      return this.#open(name, version, record);
    } catch {
      throw unreadable(name, 'is damaged');
    }
  }

  async write(index: KeyIndex, operations: readonly KeyOperation[]): Promise<KeyIndex> {
    const changes = operations.map(({ name, kind }) => ({ name, present: kind === 'put' }));
    const { next, rows } = changeIndex(index, changes, this.#seal());
    const records = operations.flatMap((operation) =>
      operation.kind === 'put'
        ? [
            {
              row: RECORD_PREFIX + operation.name,
              value: this.#record(operation.name, next.generation, operation.value),
            },
          ]
        : [],
    );
    const kept = new Set(
      operations.filter(({ name }) => versionOf(next, name) !== undefined).map(({ name }) => name),
    );
    const gone = operations.filter(({ name }) => !kept.has(name)).map(({ name }) => RECORD_PREFIX + name);
    await writeRows(this.#level, [...records, ...rows], gone);
    await writeStoreMark(this.#folder, this.#kek, this.#storeId, next.generation);
    return next;
  }

  /** SECURITY: old values leave LevelDB's files only by compaction (test: a deleted record's bytes are gone). */
  async forget(names: readonly string[]): Promise<void> {
    for (const name of names)
      await this.#level.compactRange(RECORD_PREFIX + name, `${RECORD_PREFIX}${name}\u0000`);
  }

  close(): Promise<void> {
    return this.#level.close();
  }

  #record(name: string, version: number, value: Uint8Array): Buffer {
    const dek = makeKey();
    const head = Buffer.alloc(VERSION_BYTES);
    head.writeBigUInt64BE(BigInt(version));
    const wrapped = sealRecord(this.#kek, dek.reveal(), this.#place('dek', name, version));
    return Buffer.concat([head, wrapped, sealRecord(dek, value, this.#place('value', name, version))]);
  }

  #open(name: string, version: number, record: Buffer): Buffer {
    const valueAt = VERSION_BYTES + WRAPPED_DEK_BYTES;
    const dek = openRecord(
      this.#kek,
      record.subarray(VERSION_BYTES, valueAt),
      this.#place('dek', name, version),
    );
    return openRecord(new Secret(dek), record.subarray(valueAt), this.#place('value', name, version));
  }

  #place(part: 'dek' | 'value', name: string, version: number): string {
    return `keys|${this.#storeId}|${part}|${version}|${name}`;
  }

  #seal(): { kek: Secret; storeId: string } {
    return { kek: this.#kek, storeId: this.#storeId };
  }
}

/** LevelDB in `folder`. SECURITY: without `createIfMissing` a store that lost CURRENT does not become an empty one. */
export async function openLevel(folder: string, createIfMissing: boolean): Promise<LevelRows> {
  const level = new Level<string, Buffer>(folder, {
    createIfMissing,
    errorIfExists: createIfMissing,
    keyEncoding: 'utf8',
    valueEncoding: 'buffer',
  });
  await level.open();
  return level as LevelRows;
}

/** One atomic, synced write. */
export async function writeRows(
  level: LevelRows,
  rows: readonly { readonly row: string; readonly value: Buffer }[],
  deletedRows: readonly string[] = [],
): Promise<void> {
  const puts = rows.map(({ row, value }) => ({ type: 'put' as const, key: row, value }));
  const deletions = deletedRows.map((key) => ({ type: 'del' as const, key }));
  await level.batch([...puts, ...deletions], { sync: true });
}

function recordVersion(record: Buffer): number {
  return record.length < VERSION_BYTES ? -1 : Number(record.readBigUInt64BE());
}

function unreadable(name: string, what: string): GatewayError {
  return new GatewayError('key-unreadable', `the key record ${name} ${what}`, { detail: { record: name } });
}

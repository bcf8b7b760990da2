// The authenticated index of the key database: which record names exist, at which version. LevelDB verifies nothing, so
// absence and age of a record are believed only from here. Pure data and sealing; the reads and writes are the caller's.
import { createHash } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { openRecord, sealRecord } from './seal.ts';

export const BUCKET_COUNT = 256;
export const ROOT_ROW = 'root';

/** Versions are generations of the store: each write takes the next one. */
type Bucket = ReadonlyMap<string, number>;

export interface KeyIndex {
  readonly generation: number;
  readonly buckets: readonly Bucket[];
  /** Generation in which each bucket was written last; 0 is a bucket that never was. */
  readonly bucketGenerations: readonly number[];
}

/** Place of the index: what its sealed rows are bound to. */
export interface IndexSeal {
  readonly kek: Secret;
  readonly storeId: string;
}

/** A row to write; undefined deletes it. */
export interface IndexRow {
  readonly row: string;
  readonly value: Buffer;
}

export function emptyIndex(): KeyIndex {
  return {
    generation: 0,
    buckets: Array.from({ length: BUCKET_COUNT }, () => new Map<string, number>()),
    bucketGenerations: Array.from({ length: BUCKET_COUNT }, () => 0),
  };
}

export function versionOf(index: KeyIndex, name: string): number | undefined {
  return index.buckets[bucketOf(name)]?.get(name);
}

/** All names that start with `prefix`, sorted by code unit. */
export function namesIn(index: KeyIndex, prefix: string): readonly string[] {
  const names = index.buckets.flatMap((bucket) =>
    [...bucket.keys()].filter((name) => name.startsWith(prefix)),
  );
  return names.sort();
}

/** The index one generation later, and the rows that make it durable. `present` false takes the name out. */
export function changeIndex(
  index: KeyIndex,
  changes: readonly { readonly name: string; readonly present: boolean }[],
  seal: IndexSeal,
): { readonly next: KeyIndex; readonly rows: readonly IndexRow[] } {
  const generation = index.generation + 1;
  const buckets = [...index.buckets];
  const bucketGenerations = [...index.bucketGenerations];
  const touched = new Map<number, Map<string, number>>();
  for (const { name, present } of changes) {
    const number = bucketOf(name);
    const bucket = touched.get(number) ?? new Map(buckets[number]);
    touched.set(number, bucket);
    if (present) bucket.set(name, generation);
    else bucket.delete(name);
  }
  for (const [number, bucket] of touched) {
    buckets[number] = bucket;
    bucketGenerations[number] = generation;
  }
  const next = { generation, buckets, bucketGenerations };
  const rows = [...touched.keys()].map((number) => bucketRow(next, number, seal));
  return { next, rows: [...rows, rootRow(next, seal)] };
}

/** Reads the whole index. Throws GatewayError `store-failed` where any row is missing, damaged or from another time. */
export async function readIndex(
  read: (row: string) => Promise<Buffer | undefined>,
  seal: IndexSeal,
): Promise<KeyIndex> {
  const sealedRoot = await read(ROOT_ROW);
  if (sealedRoot === undefined) throw broken('the root of its index is missing');
  const root = openJson(sealedRoot, seal, 'root') as { generation: number; bucketGenerations: number[] };
  const buckets: Bucket[] = [];
  for (const [number, generation] of root.bucketGenerations.entries()) {
    const row = await read(bucketRowName(number));
    if (generation === 0) {
      buckets.push(new Map());
      continue;
    }
    if (row === undefined) throw broken(`bucket ${number} of its index is missing`);
    // SECURITY: the generation in the additional data refuses an older bucket put back (test: replayed bucket).
    buckets.push(new Map(openJson(row, seal, bucketPlace(number, generation)) as [string, number][]));
  }
  return { generation: root.generation, buckets, bucketGenerations: root.bucketGenerations };
}

/** All rows of an index, for one that is made anew. */
export function indexRows(index: KeyIndex, seal: IndexSeal): readonly IndexRow[] {
  const written = [...index.bucketGenerations.keys()].filter(
    (number) => index.bucketGenerations[number] !== 0,
  );
  return [...written.map((number) => bucketRow(index, number, seal)), rootRow(index, seal)];
}

function rootRow(index: KeyIndex, seal: IndexSeal): IndexRow {
  const content = { generation: index.generation, bucketGenerations: index.bucketGenerations };
  return { row: ROOT_ROW, value: sealJson(content, seal, 'root') };
}

function bucketRow(index: KeyIndex, number: number, seal: IndexSeal): IndexRow {
  const entries = [...(index.buckets[number] ?? [])];
  const place = bucketPlace(number, index.bucketGenerations[number] ?? 0);
  return { row: bucketRowName(number), value: sealJson(entries, seal, place) };
}

function bucketRowName(number: number): string {
  return `index:${number.toString(16).padStart(2, '0')}`;
}

function bucketPlace(number: number, generation: number): string {
  return `bucket|${number}|${generation}`;
}

function bucketOf(name: string): number {
  return createHash('sha256').update(name).digest()[0] ?? 0;
}

function sealJson(content: unknown, seal: IndexSeal, place: string): Buffer {
  return sealRecord(seal.kek, Buffer.from(JSON.stringify(content)), `keys|${seal.storeId}|${place}`);
}

function openJson(sealed: Buffer, seal: IndexSeal, place: string): unknown {
  try {
    return JSON.parse(openRecord(seal.kek, sealed, `keys|${seal.storeId}|${place}`).toString('utf8'));
  } catch {
    throw broken(`${place.replaceAll('|', ' ')} of its index is damaged or from another time`);
  }
}

function broken(reason: string): GatewayError {
  return new GatewayError(
    'store-failed',
    `the key database is not whole: ${reason}; restore it from a backup`,
  );
}

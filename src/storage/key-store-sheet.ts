// Two small files beside the key database: the sheet (its id, and a proof that the KEK is the right one) and the mark
// (the generation that was last acknowledged), which LevelDB cannot lose together with its own log.
import { readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { TEMPORARY_SUFFIX, writeDurableFile } from './durable-file.ts';
import { openRecord, sealRecord } from './seal.ts';
import { asStorageError, errorCode } from './storage-error.ts';

const SHEET_FILE = 'store.json';
const MARK_FILE = 'mark';
const FORMAT = 1;

export async function writeStoreSheet(folder: string, kek: Secret, storeId: string): Promise<void> {
  const check = sealRecord(kek, Buffer.alloc(0), `keys|${storeId}|check`).toString('base64');
  await writeDurableFile(
    join(folder, SHEET_FILE),
    Buffer.from(JSON.stringify({ format: FORMAT, storeId, check })),
  );
}

/** The store's id. Throws GatewayError `store-failed`: no store, another format, or not the KEK it was made with. */
export async function readStoreSheet(folder: string, kek: Secret): Promise<string> {
  const sheet = parseSheet(await readSmallFile(folder, SHEET_FILE));
  try {
    openRecord(kek, Buffer.from(sheet.check, 'base64'), `keys|${sheet.storeId}|check`);
  } catch {
    throw new GatewayError(
      'store-failed',
      `the KEK is not the one that the key database in ${folder} was made with`,
    );
  }
  return sheet.storeId;
}

export async function writeStoreMark(
  folder: string,
  kek: Secret,
  storeId: string,
  generation: number,
): Promise<void> {
  const sealed = sealRecord(kek, Buffer.from(String(generation)), `keys|${storeId}|mark`);
  await writeDurableFile(join(folder, MARK_FILE), sealed);
}

/** The last acknowledged generation. Throws GatewayError `store-failed`. */
export async function readStoreMark(folder: string, kek: Secret, storeId: string): Promise<number> {
  const sealed = await readSmallFile(folder, MARK_FILE);
  return Number(openRecord(kek, sealed, `keys|${storeId}|mark`).toString('latin1'));
}

/** Removes what a crash between writing and renaming left. */
export async function removeTemporaryFiles(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(TEMPORARY_SUFFIX));
  await Promise.all(names.map((name) => unlink(join(folder, name))));
}

async function readSmallFile(folder: string, name: string): Promise<Buffer> {
  try {
    return await readFile(join(folder, name));
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw asStorageError(error, `${join(folder, name)} cannot be read`);
    throw new GatewayError(
      'store-failed',
      `${folder} has no whole key database (${name} is missing): run the set-up, or restore it`,
    );
  }
}

function parseSheet(bytes: Buffer): { readonly storeId: string; readonly check: string } {
  try {
    const sheet = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
    if (
      sheet['format'] === FORMAT &&
      typeof sheet['storeId'] === 'string' &&
      typeof sheet['check'] === 'string'
    ) {
      return { storeId: sheet['storeId'], check: sheet['check'] };
    }
  } catch {
    // Reported below, like any other sheet that cannot be read.
  }
  throw new GatewayError('store-failed', 'the sheet of the key database is damaged or of another format');
}

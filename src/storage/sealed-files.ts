// Small files that are read and replaced as a whole, sealed with the KEK: what could be had again, but must not lie about
// readable, as addresses of people.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { writeDurableFile } from './durable-file.ts';
import { diskFiles, type Files } from './files.ts';
import { prepareMessageFolder } from './message-file.ts';
import { openRecord, sealRecord } from './seal.ts';
import { asStorageError, errorCode } from './storage-error.ts';

const SAFE_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;
const SUFFIX = '.sealed';

export interface SealedFiles {
  /** Undefined where there is none. Throws GatewayError `store-failed` for what is not what was written. */
  read(name: string): Promise<Buffer | undefined>;
  /** Durable when it resolves. Throws GatewayError `store-failed` or `queue-full`. */
  write(name: string, bytes: Uint8Array): Promise<void>;
}

/** Makes the folder where it is missing. `kek` seals each file for its name and this folder's `purpose`. */
export async function openSealedFiles(
  folder: string,
  purpose: string,
  kek: Secret,
  files: Files = diskFiles,
): Promise<SealedFiles> {
  try {
    await prepareMessageFolder(folder, files);
  } catch (error) {
    throw asStorageError(error, `the folder ${folder} cannot be used`);
  }
  const pathOf = (name: string): string => {
    // SECURITY: names are ours, yet a path is never built from anything but a plain name (test: sealed file names).
    if (!SAFE_NAME.test(name)) throw new GatewayError('unplanned', 'the name of a sealed file is not plain');
    return join(folder, name + SUFFIX);
  };
  const placeOf = (name: string): string => `${purpose}|${name}`;
  return {
    read: async (name) => {
      const sealed = await readSealed(pathOf(name));
      return sealed && openRecord(kek, sealed, placeOf(name));
    },
    write: async (name, bytes) => {
      try {
        await writeDurableFile(pathOf(name), sealRecord(kek, bytes, placeOf(name)), files);
      } catch (error) {
        throw asStorageError(error, `the sealed file ${name} cannot be written`);
      }
    },
  };
}

async function readSealed(path: string): Promise<Buffer | undefined> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    return await handle.readFile();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw asStorageError(error, 'a sealed file cannot be read');
  }
}

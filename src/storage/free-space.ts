// Free disk space, asked before mail is accepted: full is an answer, not a crash.
import { statfs } from 'node:fs/promises';
import { GatewayError } from '../core/errors.ts';
import { asStorageError } from './storage-error.ts';

/** Throws GatewayError `queue-full` where the file system of `folder` has less than `reserveBytes` for this process. */
export async function checkFreeSpace(folder: string, reserveBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder).catch((error: unknown) => {
    throw asStorageError(error, `the free space of ${folder} cannot be read`);
  });
  const freeBytes = bavail * bsize;
  if (freeBytes < reserveBytes) {
    throw new GatewayError('queue-full', `${folder} has less free space than the reserve`, {
      detail: { freeBytes, reserveBytes },
    });
  }
}

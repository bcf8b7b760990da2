// Small whole files that must survive a power cut: written beside, synced, renamed, folder synced.
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { diskFiles, type Files } from './files.ts';

/** Temporary files end so; whoever owns a folder removes them at start. */
export const TEMPORARY_SUFFIX = '.tmp';

/** Replaces the file at `path` as a whole: after a crash it has the old bytes or the new ones. Throws Node's errors. */
export async function writeDurableFile(
  path: string,
  bytes: Uint8Array,
  files: Files = diskFiles,
): Promise<void> {
  const temporary = join(
    dirname(path),
    `${basename(path)}.${randomBytes(6).toString('hex')}${TEMPORARY_SUFFIX}`,
  );
  const file = await files.create(temporary);
  try {
    await file.write(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
  await files.syncFolder(dirname(path));
}

// Message bodies as sealed durable files, for what is too large for a database row. A file that was cut, zeroed or
// moved is not mail: its size is known to the row, its segments are authentic, its last segment is marked.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ByteRange, ByteSource, Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { Secret } from '../core/secret.ts';
import { TEMPORARY_SUFFIX } from './durable-file.ts';
import { diskFiles, type Files, handleSource, type NewFile, writeChunks } from './files.ts';
import { makeKey, openRecord, openSealedSource, sealedStreamBytes, sealRecord, sealStream } from './seal.ts';
import { asStorageError, damagedError, errorCode } from './storage-error.ts';

export const MESSAGE_SUFFIX = '.msg';
const MAGIC = Buffer.from('PSM1');
/** A sealed 32-byte DEK. */
const WRAPPED_DEK_BYTES = 73;
const HEADER_BYTES = MAGIC.length + WRAPPED_DEK_BYTES;
const SAFE_ID = /^[a-z0-9][a-z0-9-]{0,63}$/;

/**
 * Writes `source` to `<id>.msg` in `folder`, sealed with a DEK of its own that `key` wraps. Durable when it resolves:
 * written beside, fsync, rename, fsync of the folder. On an error nothing readable or complete stays under that name;
 * throws GatewayError `queue-full` or `store-failed`, an error of the source unchanged. An id is written once.
 */
export async function writeMessageFile(
  folder: string,
  key: Secret,
  id: string,
  source: Pick<ByteSource, 'open'>,
  files: Files = diskFiles,
): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const path = messagePath(folder, id);
  const temporary = path + TEMPORARY_SUFFIX;
  const dek = makeKey();
  const counted = new CountedBytes(source.open());
  const file = await disk(() => files.create(temporary));
  try {
    await writeSealed(file, key, dek, id, counted);
    await disk(() => files.rename(temporary, path));
    await disk(() => files.syncFolder(folder));
  } catch (error) {
    await files.unlink(temporary).catch(() => undefined);
    throw error;
  }
  return { bytes: counted.size, sha256: counted.digest.digest('hex') };
}

/**
 * The body in `<id>.msg` as a source; `size` is in bytes of the message, as `writeMessageFile` reported. Nothing is read
 * until it is opened; then throws GatewayError `store-failed` where the file is missing, of another size or not authentic.
 */
export function openMessageFile(folder: string, key: Secret, id: string, size: number): ByteSource {
  const path = messagePath(folder, id);
  return { size, open: (range) => readMessageFile(path, key, id, size, range) };
}

/** Removes a body: unlink, then fsync of the folder. No error where there is none. */
export async function removeMessageFile(folder: string, id: string, files: Files = diskFiles): Promise<void> {
  try {
    await files.unlink(messagePath(folder, id));
    await files.syncFolder(folder);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw asStorageError(error, 'a message file cannot be removed');
  }
}

/** Makes the folder of message files if it is missing, and removes the temporary files of an earlier process. */
export async function prepareMessageFolder(folder: string, files: Files = diskFiles): Promise<number> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const leftovers = (await files.list(folder)).filter((name) => name.endsWith(TEMPORARY_SUFFIX));
  for (const name of leftovers) await files.unlink(join(folder, name));
  await files.syncFolder(folder);
  return leftovers.length;
}

async function writeSealed(
  file: NewFile,
  key: Secret,
  dek: Secret,
  id: string,
  body: CountedBytes,
): Promise<void> {
  try {
    const header = Buffer.concat([MAGIC, sealRecord(key, dek.reveal(), headerPlace(id))]);
    await disk(() => file.write(header));
    await writeChunks(
      { write: (...pieces) => disk(() => file.write(...pieces)) },
      sealStream(dek, body.read(), id),
    );
    await disk(() => file.sync());
  } finally {
    await file.close();
  }
}

async function* readMessageFile(
  path: string,
  key: Secret,
  id: string,
  size: number,
  range: ByteRange | undefined,
): AsyncGenerator<Uint8Array, void> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const stat = await handle.stat();
    if (stat.size !== HEADER_BYTES + sealedStreamBytes(size)) throw notMail(id, 'has another size');
    const header = Buffer.alloc(HEADER_BYTES);
    await handle.read(header, 0, HEADER_BYTES, 0);
    if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw notMail(id, 'has no header');
    const dek = new Secret(openRecord(key, header.subarray(MAGIC.length), headerPlace(id)));
    const whole = handleSource(handle, stat.size);
    const sealed: ByteSource = {
      size: stat.size - HEADER_BYTES,
      open: (part) =>
        whole.open({
          start: HEADER_BYTES + (part?.start ?? 0),
          end: HEADER_BYTES + (part?.end ?? stat.size),
        }),
    };
    yield* openSealedSource(dek, sealed, size, id).open(range);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw notMail(id, 'is missing');
    throw asStorageError(error, `the message file ${id} cannot be read`);
  }
}

function messagePath(folder: string, id: string): string {
  // SECURITY: ids are ours, yet a path is never built from anything but a plain name (test: message file ids).
  if (!SAFE_ID.test(id)) throw new GatewayError('unplanned', 'a message file id is not a plain name');
  return join(folder, id + MESSAGE_SUFFIX);
}

function headerPlace(id: string): string {
  return `message-file|${id}`;
}

function notMail(id: string, what: string): GatewayError {
  return damagedError(`the message file ${id} ${what}`);
}

async function disk<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw asStorageError(error, 'a message file cannot be written');
  }
}

class CountedBytes {
  readonly digest = createHash('sha256');
  size = 0;
  readonly #chunks: Chunks;

  constructor(chunks: Chunks) {
    this.#chunks = chunks;
  }

  async *read(): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of this.#chunks) {
      this.size += chunk.length;
      this.digest.update(chunk);
      yield chunk;
    }
  }
}

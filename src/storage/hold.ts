// The hold: a message's bytes before 250, replayable. RAM up to a threshold, then a temporary file sealed with a key
// that lives and dies with the process, so that nothing readable rests on disk. Durable storage is the queue's.
import { isAscii } from 'node:buffer';
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type ByteSource, type Chunks, bytesSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Secret } from '../core/secret.ts';
import { handleSource, writeChunks, writeFully } from './files.ts';
import { makeKey, openSealedSource, sealedStreamBytes, sealStream } from './seal.ts';
import { asStorageError } from './storage-error.ts';

/** Held bytes. Dispose it when the message is settled: the file goes, and the bytes cannot be opened any more. */
export interface Hold extends ByteSource, AsyncDisposable {
  /** SHA-256 of the held bytes, lower-case hex. */
  readonly sha256: string;
  /** Whether a byte of it is not ASCII. */
  readonly is8bit: boolean;
}

export interface Holds extends AsyncDisposable {
  /**
   * Holds a stream to its end. On any error nothing stays behind. Throws GatewayError `message-too-large` beyond
   * `limitBytes`, `queue-full` or `store-failed` for the disk; an error of the stream itself passes unchanged.
   */
  write(chunks: Chunks, limitBytes: number): Promise<Hold>;
}

export interface HoldOptions {
  /** A folder for holds alone; made if missing. Only one process may use it: the caller has the owner lock. */
  readonly folder: string;
  /** Bytes of one hold that stay in RAM. */
  readonly memoryBytes: number;
  readonly log: Log;
}

const SUFFIX = '.hold';

/** Opens the holds of this process and removes what an earlier process left. Dispose ends all holds. */
export async function openHolds(options: HoldOptions): Promise<Holds> {
  try {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    await removeLeftovers(options);
  } catch (error) {
    throw asStorageError(error, 'the hold folder cannot be prepared');
  }
  const key = makeKey();
  const live = new Set<Hold>();
  const track = (hold: Hold): Hold => {
    live.add(hold);
    return hold;
  };
  return {
    write: async (chunks, limitBytes) => {
      const digest = createHash('sha256');
      const counted = new CountedStream(chunks, limitBytes, digest);
      const head = await counted.readHead(options.memoryBytes);
      if (head.isAll) return track(memoryHold(head.bytes, counted, live));
      return track(await fileHold(options.folder, key, counted, head.bytes, live));
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...live].map((hold) => hold[Symbol.asyncDispose]()));
    },
  };
}

async function removeLeftovers({ folder, log }: HoldOptions): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(SUFFIX));
  await Promise.all(names.map((name) => unlink(join(folder, name))));
  if (names.length > 0) log.info('hold-leftovers-removed', { files: names.length });
}

function memoryHold(bytes: Buffer, { digest, is8bit }: CountedStream, live: Set<Hold>): Hold {
  let source: ByteSource | undefined = bytesSource(bytes);
  const hold: Hold = {
    size: bytes.length,
    sha256: digest.digest('hex'),
    is8bit,
    open: (range) => (source ?? throwDisposed()).open(range),
    [Symbol.asyncDispose]: async () => {
      source = undefined;
      live.delete(hold);
    },
  };
  return hold;
}

async function fileHold(
  folder: string,
  key: Secret,
  stream: CountedStream,
  head: Buffer,
  live: Set<Hold>,
): Promise<Hold> {
  const name = randomBytes(16).toString('hex') + SUFFIX;
  const path = join(folder, name);
  const handle = await createHoldFile(path);
  let sealed: ByteSource;
  try {
    await writeHold(handle, sealStream(key, stream.rest(head), name));
    const file = handleSource(handle, sealedStreamBytes(stream.size));
    sealed = openSealedSource(key, file, stream.size, name);
  } catch (error) {
    // The first error is the one to tell; what cannot be unlinked now is removed at the next start.
    await removeHoldFile(handle, path).catch(() => undefined);
    throw error;
  }
  let isOpen = true;
  const hold: Hold = {
    size: stream.size,
    sha256: stream.digest.digest('hex'),
    is8bit: stream.is8bit,
    open: (range) => (isOpen ? sealed.open(range) : throwDisposed()),
    [Symbol.asyncDispose]: async () => {
      if (!isOpen) return;
      isOpen = false;
      live.delete(hold);
      await removeHoldFile(handle, path);
    },
  };
  return hold;
}

async function createHoldFile(path: string): Promise<FileHandle> {
  try {
    return await open(
      path,
      constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (error) {
    throw asStorageError(error, 'a hold file cannot be made');
  }
}

/** Errors of the disk become storage errors here; errors of the incoming stream must keep their own code. */
async function writeHold(handle: FileHandle, sealed: Chunks): Promise<void> {
  const write = async (...pieces: readonly Uint8Array[]): Promise<void> => {
    try {
      await writeFully(handle, pieces);
    } catch (error) {
      throw asStorageError(error, 'a hold file cannot be written');
    }
  };
  await writeChunks({ write }, sealed);
}

async function removeHoldFile(handle: FileHandle, path: string): Promise<void> {
  try {
    await unlink(path);
  } finally {
    await handle.close();
  }
}

/** The incoming stream, counted, hashed and looked at on the way. */
class CountedStream {
  readonly digest: ReturnType<typeof createHash>;
  size = 0;
  is8bit = false;
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #limitBytes: number;

  constructor(chunks: Chunks, limitBytes: number, digest: ReturnType<typeof createHash>) {
    this.#iterator = chunks[Symbol.asyncIterator]();
    this.#limitBytes = limitBytes;
    this.digest = digest;
  }

  /** Reads until more than `memoryBytes` are there, or the end. */
  async readHead(memoryBytes: number): Promise<{ readonly bytes: Buffer; readonly isAll: boolean }> {
    const parts: Uint8Array[] = [];
    while (this.size <= memoryBytes) {
      const chunk = await this.#next();
      if (chunk === undefined) return { bytes: Buffer.concat(parts, this.size), isAll: true };
      parts.push(chunk);
    }
    return { bytes: Buffer.concat(parts, this.size), isAll: false };
  }

  async *rest(head: Uint8Array): AsyncGenerator<Uint8Array, void> {
    let isDone = false;
    try {
      yield head;
      for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
      isDone = true;
    } finally {
      if (!isDone) await this.#iterator.return?.();
    }
  }

  async #next(): Promise<Uint8Array | undefined> {
    const next = await this.#iterator.next();
    if (next.done) return undefined;
    this.size += next.value.length;
    if (this.size > this.#limitBytes) {
      await this.#iterator.return?.();
      throw new GatewayError('message-too-large', `more than ${this.#limitBytes} bytes`);
    }
    this.digest.update(next.value);
    this.is8bit ||= !isAscii(next.value);
    return next.value;
  }
}

function throwDisposed(): never {
  throw new GatewayError('unplanned', 'a hold was opened after its end');
}

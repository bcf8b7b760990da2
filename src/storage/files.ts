// The file operations that durability rests on, as one small interface: the crash tests put a model behind it.
import { constants } from 'node:fs';
import { open, readdir, rename, unlink } from 'node:fs/promises';
import { type ByteSource, type Chunks, rechunk } from '../core/bytes.ts';
import { damagedError } from './storage-error.ts';

const LOOK_BYTES = 256 * 1024;
/** Smaller, so that the runtime collects garbage after fewer of those that are kept for a while. */
const KEEP_BYTES = 128 * 1024;
const WRITE_BYTES = 64 * 1024;
/** A busy disk answers late; meanwhile there is something to do, and the next is under way. */
const READS_AHEAD = 4;
const WRITES_AHEAD = 8;

/** A file being written, from its creation to its close. */
export interface NewFile {
  write(bytes: Uint8Array): Promise<void>;
  /** fsync: the bytes are on the disk, the name may not be. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /** Creates a file that must not exist, mode 0600, never through a symbolic link. */
  create(path: string): Promise<NewFile>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** fsync of a folder: the names in it are on the disk. */
  syncFolder(path: string): Promise<void>;
  list(folder: string): Promise<readonly string[]>;
}

/** The real disk. Throws Node's errors. */
export const diskFiles: Files = {
  create: async (path) => {
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
    const handle = await open(path, flags, 0o600);
    return {
      write: async (bytes) => writeFully(handle, bytes),
      sync: () => handle.sync(),
      close: () => handle.close(),
    };
  },
  rename,
  unlink,
  syncFolder: async (path) => {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  list: (folder) => readdir(folder),
};

interface PositionalReader {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
}

/** The bytes of an open file as a source. The handle stays the caller's. A file that became shorter throws. */
export function handleSource(handle: PositionalReader, size: number): ByteSource {
  return {
    size,
    open: (range, use) => {
      const [start, end] = [range?.start ?? 0, Math.min(range?.end ?? size, size)];
      return readRange(handle, start, end, use === 'look' ? fewBlocks(end - start) : newBlocks);
    },
  };
}

/** Memory for the next block, of what is left to read. */
type Allocate = (left: number) => Buffer;

const newBlocks: Allocate = (left) => Buffer.allocUnsafeSlow(Math.min(KEEP_BYTES, left));

/** In turn: one is looked at while the others are read into. */
function fewBlocks(bytes: number): Allocate {
  const blocks: Buffer[] = [];
  let count = 0;
  return (left) => {
    const turn = count % (READS_AHEAD + 1);
    const block = (blocks[turn] ??= Buffer.allocUnsafeSlow(Math.min(LOOK_BYTES, bytes)));
    count += 1;
    return block.subarray(0, left);
  };
}

/** The next blocks are read while one is worked on. */
async function* readRange(
  handle: PositionalReader,
  start: number,
  end: number,
  allocate: Allocate,
): AsyncGenerator<Uint8Array, void> {
  let at = start;
  const ahead: Promise<Uint8Array>[] = [];
  try {
    for (;;) {
      while (ahead.length < READS_AHEAD && at < end) {
        const buffer = allocate(end - at);
        ahead.push(readBlock(handle, buffer, at));
        at += buffer.length;
      }
      const next = ahead.shift();
      if (next === undefined) return;
      yield await next;
    }
  } finally {
    // Nobody may close the handle under a read.
    await Promise.allSettled(ahead);
  }
}

/** A failure is told by whoever awaits the block, however late that is. */
function readBlock(handle: PositionalReader, buffer: Buffer, at: number): Promise<Uint8Array> {
  const block = readFully(handle, buffer, at);
  block.catch(() => undefined);
  return block;
}

/** A short read is continued. */
async function readFully(handle: PositionalReader, buffer: Buffer, at: number): Promise<Buffer> {
  for (let filled = 0; filled < buffer.length;) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, at + filled);
    if (bytesRead === 0) throw damagedError('a stored file is shorter than it was');
    filled += bytesRead;
  }
  return buffer;
}

/** Writes all of `bytes`: a short write is continued, never taken for success. */
export async function writeFully(
  handle: { write(bytes: Uint8Array): Promise<{ bytesWritten: number }> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(at === 0 ? bytes : bytes.subarray(at));
    at += bytesWritten;
  }
}

/**
 * Writes a stream to a new file in large pieces, so that small chunks do not cost a call each; the next pieces are made
 * while one is written. They are written in order, one at a time, and none after a failure. Nothing is being written any
 * more when it resolves or rejects.
 */
export async function writeChunks(file: Pick<NewFile, 'write'>, chunks: Chunks): Promise<void> {
  const pending: Promise<void>[] = [];
  let writing = Promise.resolve();
  try {
    for await (const piece of rechunk(chunks, WRITE_BYTES)) {
      if (pending.length >= WRITES_AHEAD) await pending.shift();
      writing = writing.then(() => file.write(piece));
      // A failure is told by the next wait.
      writing.catch(() => undefined);
      pending.push(writing);
    }
  } catch (error) {
    await writing.catch(() => undefined);
    throw error;
  }
  await writing;
}

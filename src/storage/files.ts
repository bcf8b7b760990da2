// The file operations that durability rests on, as one small interface: the crash tests put a model behind it.
import { constants } from 'node:fs';
import { open, readdir, rename, unlink } from 'node:fs/promises';
import { type ByteSource, type Chunks } from '../core/bytes.ts';
import { damagedError } from './storage-error.ts';

const READ_BYTES = 512 * 1024;
/** What is kept for a while comes in smaller pieces: the runtime collects garbage after so many, not after so much. */
const KEEP_BYTES = 64 * 1024;
const WRITE_BYTES = 512 * 1024;
/** As many as the system takes at once. */
const MAX_PIECES = 1_000;
/** A busy disk answers late; meanwhile there is something to do, and the next is under way. */
const READS_AHEAD = 2;

/** A file being written, from its creation to its close. */
export interface NewFile {
  /** In one call, one piece after the other. */
  write(...pieces: readonly Uint8Array[]): Promise<void>;
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
      write: async (...pieces) => writeFully(handle, pieces),
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
      return use === 'look'
        ? readRange(handle, start, end, fewBlocks(end - start))
        : inPieces(readRange(handle, start, end, newBlocks));
    },
  };
}

/** Memory for the next block, of what is left to read. */
type Allocate = (left: number) => Buffer;

const newBlocks: Allocate = (left) => Buffer.allocUnsafeSlow(Math.min(READ_BYTES, left));

/** In turn: one is looked at while the others are read into. */
function fewBlocks(bytes: number): Allocate {
  const blocks: Buffer[] = [];
  let count = 0;
  return (left) => {
    const turn = count % (READS_AHEAD + 1);
    const block = (blocks[turn] ??= Buffer.allocUnsafeSlow(Math.min(READ_BYTES, bytes)));
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

async function* inPieces(blocks: Chunks): AsyncGenerator<Uint8Array, void> {
  for await (const block of blocks) {
    for (let at = 0; at < block.length; at += KEEP_BYTES) yield block.subarray(at, at + KEEP_BYTES);
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

/** Writes all of the pieces: a short write is continued, never taken for success. */
export async function writeFully(
  handle: { writev(pieces: Uint8Array[]): Promise<{ bytesWritten: number }> },
  pieces: readonly Uint8Array[],
): Promise<void> {
  let left = pieces.filter(({ length }) => length > 0);
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left);
    if (bytesWritten === 0) throw new Error('nothing was written');
    left = withoutFirst(left, bytesWritten);
  }
}

function withoutFirst(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const left = [...pieces];
  let written = bytes;
  for (let first = left[0]; first && written > 0; first = left[0]) {
    if (first.length > written) left[0] = first.subarray(written);
    else left.shift();
    written -= Math.min(written, first.length);
  }
  return left;
}

/**
 * Writes a stream to a new file, many pieces in a call: a call costs more than writing a piece. The next pieces are made
 * while some are written. They are written in order, and none after a failure. Nothing is being written any more when it
 * resolves or rejects.
 */
export async function writeChunks(file: Pick<NewFile, 'write'>, chunks: Chunks): Promise<void> {
  let writing = Promise.resolve();
  let pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of chunks) {
      pieces.push(piece);
      size += piece.length;
      if (size < WRITE_BYTES && pieces.length < MAX_PIECES) continue;
      await writing;
      writing = file.write(...pieces);
      // A failure is told by the next wait.
      writing.catch(() => undefined);
      pieces = [];
      size = 0;
    }
  } catch (error) {
    await writing.catch(() => undefined);
    throw error;
  }
  await writing;
  if (size > 0) await file.write(...pieces);
}

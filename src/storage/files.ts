// The file operations that durability rests on, as one small interface: the crash tests put a model behind it.
import { constants } from 'node:fs';
import { open, readdir, rename, unlink } from 'node:fs/promises';
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { damagedError } from './storage-error.ts';

const READ_BYTES = 128 * 1024;

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
    open: (range) => readRange(handle, range?.start ?? 0, Math.min(range?.end ?? size, size)),
  };
}

async function* readRange(
  handle: PositionalReader,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void> {
  for (let at = start; at < end;) {
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, end - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw damagedError('a stored file is shorter than it was');
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
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

/** Writes a stream to a new file in pieces of at least 64 KiB, so that small chunks do not cost a call each. */
export async function writeChunks(file: Pick<NewFile, 'write'>, chunks: Chunks): Promise<void> {
  let pending: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    pending.push(chunk);
    size += chunk.length;
    if (size < READ_BYTES / 2) continue;
    await file.write(Buffer.concat(pending, size));
    pending = [];
    size = 0;
  }
  if (size > 0) await file.write(Buffer.concat(pending, size));
}

// What commands that work on one message share: its input from a file or standard input, its output to a file (which
// appears whole or not at all) or standard output, and addresses as options.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Address, parseAddress } from '../core/address.ts';
import type { Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type Io, UsageError } from './command.ts';

export interface OpenInput {
  readonly input: Chunks;
  /** For people. */
  readonly name: string;
}

const READ_BYTES = 256 * 1024;

/** The file, or standard input for `-` and for none. Errors of the file come as GatewayError while it is read. */
export function openInput(path: string | undefined, io: Io): OpenInput {
  const { stdin } = io;
  if (path !== undefined && path !== '-') return { input: readFile(path), name: path };
  if (path === undefined && 'isTTY' in stdin && stdin.isTTY === true)
    throw new UsageError('no message: name a file, or - for standard input');
  return { input: readStream(stdin as Readable, io.signal), name: 'standard input' };
}

/**
 * Writes to a temporary file beside `path` and renames it once every byte is on the disk. A new file gets `mode` less the
 * umask. Throws GatewayError `config-invalid`, then nothing is left behind and a file that was there is as it was.
 */
export async function writeFileWhole(path: string, chunks: Chunks, mode: number): Promise<void> {
  const target = await realpath(path).catch(() => path);
  const found = await stat(target).catch(() => undefined);
  // Renaming over a device would put a file in its place.
  if (found && !found.isFile()) throw failed(path, 'it is there and is not a file');
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await using file = await open(temporary, 'wx', found ? found.mode & 0o777 : mode);
    for await (const chunk of chunks) await file.writeFile(chunk);
    await file.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error instanceof GatewayError ? error : failed(path, reasonOf(error));
  }
  await rename(temporary, target).catch(async (error: unknown) => {
    await rm(temporary, { force: true });
    throw failed(path, reasonOf(error));
  });
}

/** Writes to standard output no faster than it is read; a reader that goes away ends it, and is no error. */
export async function writeStdout({ stdout }: Io, chunks: Chunks): Promise<void> {
  try {
    for await (const chunk of chunks) if (!stdout.write(chunk)) await once(stdout, 'drain');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** One address as an option gives it. Throws UsageError. */
export function addressOption(value: string): Address {
  const address = parseAddress(value);
  if (address) return address;
  throw new UsageError(`not a mail address: ${JSON.stringify(value)}`);
}

async function* readFile(path: string): AsyncGenerator<Uint8Array, void> {
  const stream = createReadStream(path, { highWaterMark: READ_BYTES });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw failed(path, reasonOf(error));
  }
}

/** Without the signal, a command that waits for input could not be stopped. */
async function* readStream(stream: Readable, signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const interrupted = new GatewayError('shutting-down', 'interrupted');
  if (signal.aborted) throw interrupted;
  const stop = () => stream.destroy(interrupted);
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw error instanceof GatewayError ? error : failed('standard input', reasonOf(error));
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'no such file or folder';
    case 'EISDIR':
      return 'is a folder';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ENOSPC':
      return 'the disk is full';
    default:
      return code ?? message;
  }
}

function failed(path: string, reason: string): GatewayError {
  return new GatewayError('config-invalid', `${path}: ${reason}`);
}

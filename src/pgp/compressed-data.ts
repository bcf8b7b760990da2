// Compressed data packets (RFC 9580 §5.6) as a stream, with a bound on what comes out.
import { once } from 'node:events';
import { createInflate, createInflateRaw } from 'node:zlib';
import type { Chunks } from '../core/bytes.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import { decompressBzip2 } from './bzip2.ts';
import { PgpFault } from './fault.ts';

/** Output beyond this must not exceed MAX_RATIO times the input. */
const FREE_BYTES = 16 * 1024 * 1024;
const MAX_RATIO = 100;
const READ_BYTES = 65_536;
/** The default of zlib is an event for every 16 KiB, which shows in large messages. */
const INFLATED_BYTES = 32_768;

/**
 * The packets inside. `body` is the content of a compressed data packet and is read to its end. Throws PgpFault
 * `unsupported` for an unknown algorithm, `failed` for a damaged stream and for one that grows too much.
 */
export async function* decompress(body: ByteReader, limitBytes: number): AsyncGenerator<Uint8Array, void> {
  const [algorithm] = await body.take(1);
  let consumed = 0;
  async function* input(): AsyncGenerator<Uint8Array, void> {
    for (let chunk = await body.some(READ_BYTES); chunk; chunk = await body.some(READ_BYTES)) {
      consumed += chunk.length;
      yield chunk;
    }
  }
  const compressed = input();
  let produced = 0;
  for await (const chunk of inflate(algorithm ?? -1, compressed)) {
    produced += chunk.length;
    // SECURITY: kilobytes can become gigabytes (test: pgp-bomb).
    const isBomb = produced > FREE_BYTES && produced > consumed * MAX_RATIO;
    if (produced > limitBytes || isBomb) throw new PgpFault('failed', 'the compressed data grows too much');
    yield chunk;
  }
  // The integrity check is behind all of it.
  for await (const ignored of compressed) void ignored;
}

function inflate(algorithm: number, input: AsyncGenerator<Uint8Array, void>): Chunks {
  switch (algorithm) {
    case 0:
      return input;
    case 1:
      return throughZlib(input, createInflateRaw({ chunkSize: INFLATED_BYTES }));
    case 2:
      return throughZlib(input, createInflate({ chunkSize: INFLATED_BYTES }));
    case 3:
      return decompressBzip2(readBytes(input));
    default:
      throw new PgpFault('unsupported', 'unknown compression');
  }
}

/** QUIRK: Sequoia pads a message behind the end of its deflate stream, which zlib leaves unread (test: pgp-sq, 5 MB). */
async function* throughZlib(
  input: AsyncGenerator<Uint8Array, void>,
  inflater: ReturnType<typeof createInflate>,
): AsyncGenerator<Uint8Array, void> {
  const stop = new AbortController();
  const fed = feed(input, inflater, stop.signal);
  fed.catch((error: Error) => inflater.destroy(error));
  try {
    for await (const chunk of inflater) yield chunk as Buffer;
  } catch (error) {
    const isDamaged = error instanceof Error && 'code' in error && String(error.code).startsWith('Z_');
    throw isDamaged ? new PgpFault('failed', 'the compressed data is damaged') : error;
  } finally {
    stop.abort();
    await fed.catch(() => undefined);
  }
}

/** Not by `pipeline`, which takes an inflater that wants no more for one that failed. Leaves the input open. */
async function feed(
  input: AsyncGenerator<Uint8Array, void>,
  inflater: ReturnType<typeof createInflate>,
  signal: AbortSignal,
): Promise<void> {
  for (let next = await input.next(); !next.done && !signal.aborted; next = await input.next()) {
    if (!inflater.write(next.value)) await once(inflater, 'drain', { signal });
  }
  if (!signal.aborted) inflater.end();
}

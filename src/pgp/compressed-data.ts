// Compressed data packets (RFC 9580 §5.6) as a stream, with a bound on what comes out.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createInflate, createInflateRaw } from 'node:zlib';
import type { Chunks } from '../core/bytes.ts';
import type { ByteReader } from './byte-reader.ts';
import { PgpFault } from './fault.ts';

/** Output beyond this must not exceed MAX_RATIO times the input. */
const FREE_BYTES = 16 * 1024 * 1024;
const MAX_RATIO = 100;

/**
 * The packets inside. `body` is the content of a compressed data packet. Throws PgpFault `unsupported` for an unknown
 * algorithm, `failed` for a damaged stream and for one that grows too much.
 */
export async function* decompress(body: ByteReader, limitBytes: number): AsyncGenerator<Uint8Array, void> {
  const [algorithm] = await body.take(1);
  let consumed = 0;
  async function* input(): AsyncGenerator<Uint8Array, void> {
    for (let chunk = await body.some(65_536); chunk; chunk = await body.some(65_536)) {
      consumed += chunk.length;
      yield chunk;
    }
  }
  let produced = 0;
  for await (const chunk of inflate(algorithm ?? -1, input())) {
    produced += chunk.length;
    // SECURITY: kilobytes can become gigabytes (test: pgp-bomb).
    const isBomb = produced > FREE_BYTES && produced > consumed * MAX_RATIO;
    if (produced > limitBytes || isBomb) throw new PgpFault('failed', 'the compressed data grows too much');
    yield chunk;
  }
}

function inflate(algorithm: number, input: Chunks): Chunks {
  switch (algorithm) {
    case 0:
      return input;
    case 1:
      return throughZlib(input, createInflateRaw());
    case 2:
      return throughZlib(input, createInflate());
    default:
      throw new PgpFault('unsupported', 'unknown compression');
  }
}

async function* throughZlib(
  input: Chunks,
  inflater: ReturnType<typeof createInflate>,
): AsyncGenerator<Uint8Array, void> {
  const fed = pipeline(Readable.from(input, { highWaterMark: 1 }), inflater);
  // The loop sees the same error; without this it would count as unhandled meanwhile.
  fed.catch(() => undefined);
  try {
    for await (const chunk of inflater) yield chunk as Buffer;
    await fed;
  } catch (error) {
    const isDamaged = error instanceof Error && 'code' in error && String(error.code).startsWith('Z_');
    throw isDamaged ? new PgpFault('failed', 'the compressed data is damaged') : error;
  }
}

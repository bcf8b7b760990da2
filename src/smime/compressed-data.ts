// CompressedData (RFC 3274) over streams, for reading only: mail gateways and EDI software compress before they sign or
// encrypt.
import { Readable } from 'node:stream';
import type { Chunks } from '../core/bytes.ts';
import { ID } from './algorithms.ts';
import { BerError, BerReader } from './ber-reader.ts';
import { fieldsOf, oidOf, parseBer, TAG } from './der.ts';

export interface CompressionLimits {
  readonly maxMessageBytes: number;
}

/** The content unpacks to more than a message may have, or grows beyond what text does. */
export class ExpansionError extends Error {
  override readonly name = 'ExpansionError';
}

const ZLIB = '1.2.840.113549.1.9.16.3.8';
/** SECURITY: a few kilobytes can unpack to gigabytes (test: cms-bomb). Long runs in small mail are no bomb. */
const MAX_RATIO = 100;
const FREE_BYTES = 1_048_576;

/**
 * The content of a CompressedData. Throws `BerError` where it is malformed, of another type or not zlib, and
 * `ExpansionError` beyond the bounds.
 */
export async function* openCompressedData(
  cms: Chunks,
  limits: CompressionLimits,
): AsyncGenerator<Uint8Array, void> {
  await using reader = new BerReader(cms);
  await readHead(reader);
  yield* inflate(reader.octets(TAG.octetString), limits);
  for (let level = 0; level < 5; level += 1) await reader.leave();
  await reader.end();
}

async function readHead(reader: BerReader): Promise<void> {
  await reader.enter(TAG.sequence);
  if (oidOf(parseBer(await reader.element())) !== ID.compressedData)
    throw new BerError('not a CompressedData');
  await reader.enter(0xa0);
  await reader.enter(TAG.sequence);
  await reader.element();
  const algorithm = oidOf(fieldsOf(parseBer(await reader.element())).take(TAG.oid));
  await reader.enter(TAG.sequence);
  const contentType = oidOf(parseBer(await reader.element()));
  if (algorithm !== ZLIB || contentType !== ID.data) throw new BerError('compression is not supported');
  await reader.enter(0xa0);
}

async function* inflate(packed: Chunks, limits: CompressionLimits): AsyncGenerator<Uint8Array, void> {
  let read = 0;
  let written = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of packed) {
      read += chunk.length;
      yield chunk;
    }
  };
  const source = Readable.from(counted(), { objectMode: false });
  // Loaded when there is something to unpack: few messages are compressed.
  const { createInflate } = await import('node:zlib');
  const unpacked = createInflate();
  source.on('error', (error) => unpacked.destroy(error));
  try {
    for await (const chunk of source.pipe(unpacked) as AsyncIterable<Buffer>) {
      written += chunk.length;
      if (written > limits.maxMessageBytes || written > FREE_BYTES + read * MAX_RATIO)
        throw new ExpansionError('the content unpacks to too much');
      yield chunk;
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_'))
      throw new BerError('compressed content is damaged');
    throw error;
  } finally {
    source.destroy();
    unpacked.destroy();
  }
}

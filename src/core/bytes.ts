// Byte streams and replayable byte sources: the only currency between stages. Knows nothing of MIME.
import { GatewayError } from './errors.ts';

/** A stream of bytes with backpressure. Chunks may be of any size, also empty; nobody may change a chunk. */
export type Chunks = AsyncIterable<Uint8Array>;

/** Half-open range in bytes: `start` inclusive, `end` exclusive (default: the end of the source). */
export interface ByteRange {
  readonly start: number;
  readonly end?: number;
}

/**
 * What a reader does with chunks. `look`: nothing of a chunk is kept when the next one is asked for, so a source may use
 * its memory again.
 */
export type ChunkUse = 'keep' | 'look';

/** Bytes that may be opened many times, also at once, to keep the chunks unless it is said otherwise. `size` is in bytes. */
export interface ByteSource {
  readonly size: number;
  open(range?: ByteRange, use?: ChunkUse): Chunks;
}

const SLICE_BYTES = 64 * 1024;

/** A source over bytes in memory. Not copied: the caller must not change them afterwards. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    async *open(range) {
      const end = Math.min(range?.end ?? bytes.length, bytes.length);
      for (let at = range?.start ?? 0; at < end; at += SLICE_BYTES) {
        yield bytes.subarray(at, Math.min(at + SLICE_BYTES, end));
      }
    },
  };
}

/** A view of part of another source. */
export function rangeOf(source: ByteSource, range: ByteRange): ByteSource {
  const start = Math.min(range.start, source.size);
  const end = Math.max(start, Math.min(range.end ?? source.size, source.size));
  return {
    size: end - start,
    open: (inner, use) =>
      source.open(
        {
          start: start + (inner?.start ?? 0),
          end: Math.min(end, start + (inner?.end ?? end - start)),
        },
        use,
      ),
  };
}

/** One source after the other, as one. */
export function joinSources(first: ByteSource, second: ByteSource): ByteSource {
  const size = first.size + second.size;
  return {
    size,
    async *open(range, use) {
      const start = range?.start ?? 0;
      const end = Math.min(range?.end ?? size, size);
      if (start < first.size) yield* first.open({ start, end: Math.min(end, first.size) }, use);
      if (end > first.size)
        yield* second.open({ start: Math.max(0, start - first.size), end: end - first.size }, use);
    },
  };
}

/** All bytes of a stream. Throws GatewayError `message-too-large` beyond `limitBytes`: never use it on content. */
export async function collect(chunks: Chunks, limitBytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > limitBytes) throw new GatewayError('message-too-large', `more than ${limitBytes} bytes`);
    parts.push(chunk);
  }
  return Buffer.concat(parts, size);
}

/** The first bytes of a stream, which is closed behind them: `bytes` of them, or all there are. */
export async function headOf(chunks: Chunks, bytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk.subarray(0, bytes - size));
    size += chunk.length;
    if (size >= bytes) break;
  }
  return Buffer.concat(parts);
}

/** One stream after the other. */
export async function* concat(
  ...parts: readonly (Chunks | Uint8Array)[]
): Chunks & AsyncGenerator<Uint8Array, void> {
  for (const part of parts) {
    if (part instanceof Uint8Array) yield part;
    else yield* part;
  }
}

/** Joins small chunks, so that a consumer with a cost per chunk sees at least `minBytes` (the last one: any size). */
export async function* rechunk(chunks: Chunks, minBytes: number): AsyncGenerator<Uint8Array, void> {
  let pending: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    pending.push(chunk);
    size += chunk.length;
    if (size < minBytes) continue;
    yield pending.length === 1 ? chunk : Buffer.concat(pending, size);
    pending = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(pending, size);
}

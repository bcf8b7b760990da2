// Reads a byte stream by counts: the base of the packet and chunk readers. Holds what was asked for and one chunk, no more.
import type { Chunks } from '../core/bytes.ts';

export interface ByteReader {
  /** Exactly `count` bytes, fewer only at the end of the stream. */
  take(count: number): Promise<Buffer>;
  /** The next `count` bytes without consuming them, fewer only at the end of the stream. */
  peek(count: number): Promise<Buffer>;
  /** The next available bytes, 1 to `limit`; undefined at the end of the stream. */
  some(limit: number): Promise<Uint8Array | undefined>;
  /** Ends the source early. */
  close(): Promise<void>;
}

/** The reader takes the stream over; `close` it unless it was read to its end. */
export function readBytes(chunks: Chunks): ByteReader {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  let isDone = false;

  async function fill(count: number): Promise<void> {
    if (held.length >= count || isDone) return;
    const parts = held.length === 0 ? [] : [held];
    let size = held.length;
    while (size < count) {
      const next = await iterator.next();
      if (next.done) {
        isDone = true;
        break;
      }
      parts.push(view(next.value));
      size += next.value.length;
    }
    const [first] = parts;
    held = parts.length === 1 && first ? first : Buffer.concat(parts, size);
  }

  function cut(count: number): Buffer {
    const taken = held.subarray(0, count);
    held = held.subarray(count);
    return taken;
  }

  return {
    async take(count) {
      await fill(count);
      return cut(count);
    },
    async peek(count) {
      await fill(count);
      return held.subarray(0, count);
    },
    async some(limit) {
      while (held.length === 0 && !isDone) {
        const next = await iterator.next();
        if (next.done) isDone = true;
        else held = view(next.value);
      }
      return held.length === 0 ? undefined : cut(limit);
    },
    async close() {
      isDone = true;
      held = Buffer.alloc(0);
      await iterator.return?.();
    },
  };
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

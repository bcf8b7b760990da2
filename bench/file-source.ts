// A file as a source, read in large blocks.
import { createReadStream, statSync } from 'node:fs';
import type { ByteSource } from '../src/core/bytes.ts';

export const BLOCK_BYTES = 1_048_576;

export function fileSource(path: string): ByteSource {
  return {
    size: statSync(path).size,
    open: (range) =>
      createReadStream(path, {
        highWaterMark: BLOCK_BYTES,
        start: range?.start ?? 0,
        ...(range?.end === undefined ? {} : { end: range.end - 1 }),
      }),
  };
}

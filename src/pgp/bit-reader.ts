// Reads bits from bytes, the highest first.
import { PgpFault } from './fault.ts';

export interface BitReader {
  /** The next 1 to 24 bits as a number. Throws PgpFault `failed` beyond the end. */
  readonly read: (count: number) => number;
  /** Bits read so far, with those that were skipped at the start. */
  readonly position: () => number;
}

/** Starts `skip` bits into the bytes, 0 to 7. */
export function openBits(bytes: Uint8Array, skip: number): BitReader {
  let at = 0;
  let held = 0;
  let heldBits = 0;
  function read(count: number): number {
    while (heldBits < count) {
      if (at >= bytes.length) throw new PgpFault('failed', 'the compressed data is cut off');
      // At most 23 bits are held here, and the bits above 32 were read before.
      held = (held << 8) | (bytes[at] as number);
      at += 1;
      heldBits += 8;
    }
    heldBits -= count;
    return (held >>> heldBits) & (0xffffff >>> (24 - count));
  }
  if (skip > 0) read(skip);
  return { read, position: () => at * 8 - heldBits };
}

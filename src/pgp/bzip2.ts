// Decompression of bzip2 as a stream, one block of at most 900 kB at a time. GnuPG writes it where it is asked to. The
// library's decoder collects the whole input first.
import { setImmediate } from 'node:timers/promises';
import { type BitReader, openBits } from './bit-reader.ts';
import { type Block, readBlock } from './bzip2-block.ts';
import type { ByteReader } from './byte-reader.ts';
import { PgpFault } from './fault.ts';

/** A block of 900,000 symbols with 20 bits each, and its tables. */
const MAX_BLOCK_INPUT = 2_300_000;
const BLOCK_UNIT = 100_000;
const PIECE_BYTES = 65_536;
const BLOCK_START = [0x314159, 0x265359] as const;
const STREAM_END = [0x177245, 0x385090] as const;
/** So many equal bytes, then one that says how often more it comes. */
const RUN_BYTES = 4;
const CRC_TABLE = crcTable();

/** Decompresses one stream; what follows it is left unread. Throws PgpFault `failed` for anything but a whole good stream. */
export async function* decompressBzip2(input: ByteReader): AsyncGenerator<Uint8Array, void> {
  const head = (await input.take(4)).toString('latin1');
  if (!/^BZh[1-9]$/.test(head)) throw damaged();
  const room = new Uint32Array(Number(head[3]) * BLOCK_UNIT);
  let usedBits = 0;
  let streamCrc = 0;
  for (;;) {
    const bits = openBits(await input.peek(MAX_BLOCK_INPUT), usedBits);
    const start = [bits.read(24), bits.read(24)];
    const expected = readCrc(bits);
    if (isSame(start, STREAM_END)) {
      if (expected !== streamCrc) throw damaged();
      await input.take((bits.position() + 7) >> 3);
      return;
    }
    if (!isSame(start, BLOCK_START)) throw damaged();
    const block = readBlock(bits, room);
    usedBits = bits.position() & 7;
    await input.take(bits.position() >> 3);
    let crc = 0xffffffff | 0;
    for (const piece of unfold(block)) {
      crc = updateCrc(crc, piece);
      yield piece;
      // Nothing above waits for anything but microtasks, and a block takes some 100 ms.
      await setImmediate();
    }
    if (~crc >>> 0 !== expected) throw damaged();
    streamCrc = (((streamCrc << 1) | (streamCrc >>> 31)) ^ expected) >>> 0;
  }
}

/** The bytes of a block: its permutation followed, its runs made long again. Pieces are bounded, whatever the runs say. */
function* unfold({ links, count, origin }: Block): Generator<Buffer, void> {
  let out = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let size = 0;
  let at = (links[origin] ?? 0) >>> 8;
  let last = -1;
  let run = 0;
  for (let left = count; left > 0; left -= 1) {
    const link = links[at] as number;
    const byte = link & 0xff;
    at = link >>> 8;
    let copies = 1;
    if (run === RUN_BYTES) {
      copies = byte;
      run = 0;
    } else {
      run = byte === last ? run + 1 : 1;
      last = byte;
    }
    for (; copies > 0; copies -= 1) {
      out[size] = last;
      size += 1;
      if (size < PIECE_BYTES) continue;
      yield out;
      out = Buffer.allocUnsafeSlow(PIECE_BYTES);
      size = 0;
    }
    if (run === 0) last = -1;
  }
  if (size > 0) yield out.subarray(0, size);
}

function readCrc(bits: BitReader): number {
  return bits.read(16) * 0x10000 + bits.read(16);
}

function isSame(found: readonly number[], wanted: readonly number[]): boolean {
  return found[0] === wanted[0] && found[1] === wanted[1];
}

/** CRC-32 with the highest bit first, unlike that of zlib. */
function updateCrc(start: number, bytes: Uint8Array): number {
  let crc = start;
  for (const byte of bytes) crc = (crc << 8) ^ (CRC_TABLE[(crc >>> 24) ^ byte] as number);
  return crc;
}

function crcTable(): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    let value = byte << 24;
    for (let bit = 0; bit < 8; bit += 1) value = value < 0 ? (value << 1) ^ 0x04c11db7 : value << 1;
    return value;
  });
}

function damaged(): PgpFault {
  return new PgpFault('failed', 'the compressed data is damaged');
}

// One block of bzip2: Huffman tables, move-to-front and the links of the sorted rotations. Every index that the data names is
// checked, since the sender wrote it.
import type { BitReader } from './bit-reader.ts';
import { PgpFault } from './fault.ts';

export interface Block {
  /** Upper 24 bits: the next link; lower 8: a byte. */
  readonly links: Uint32Array;
  readonly count: number;
  /** Where the block begins. */
  readonly origin: number;
}

interface Table {
  readonly minBits: number;
  /** By code length: the highest code, what to take off a code, and after that the symbols in the order of their codes. */
  readonly limit: Int32Array;
  readonly base: Int32Array;
  readonly symbols: Uint16Array;
}

const MAX_CODE_BITS = 20;
const GROUP_SYMBOLS = 50;

/** Reads a block behind its checksum into `room`, which is as large as a block may be. Throws PgpFault `failed`. */
export function readBlock(bits: BitReader, room: Uint32Array): Block {
  // Randomised blocks are of the time before version 0.9.5.
  if (bits.read(1) !== 0) throw damaged();
  const origin = bits.read(24);
  const alphabet = readAlphabet(bits);
  const groups = bits.read(3);
  const selectorCount = bits.read(15);
  if (groups < 2 || groups > 6 || selectorCount === 0) throw damaged();
  const selectors = readSelectors(bits, groups, selectorCount);
  const tables = Array.from({ length: groups }, () => readTable(bits, alphabet.length + 2));
  const counts = new Uint32Array(256);
  const count = readSymbols(bits, { alphabet, selectors, tables, counts, room });
  if (origin >= count) throw damaged();
  link(room, count, counts);
  return { links: room, count, origin };
}

/** The byte values that the block has, in two layers of bit maps. */
function readAlphabet(bits: BitReader): Uint8Array {
  const ranges = bits.read(16);
  const values: number[] = [];
  for (let range = 0; range < 16; range += 1) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const map = bits.read(16);
    for (let at = 0; at < 16; at += 1) if ((map & (0x8000 >> at)) !== 0) values.push(range * 16 + at);
  }
  if (values.length === 0) throw damaged();
  return Uint8Array.from(values);
}

/** Which table each group of symbols has, as places in a list where the last used one moves to the front. */
function readSelectors(bits: BitReader, groups: number, count: number): Uint8Array {
  const order = Uint8Array.from({ length: groups }, (_, index) => index);
  return Uint8Array.from({ length: count }, () => {
    let place = 0;
    while (bits.read(1) === 1) place += 1;
    if (place >= groups) throw damaged();
    return toFront(order, place);
  });
}

function readTable(bits: BitReader, size: number): Table {
  const lengths = new Uint8Array(size);
  let length = bits.read(5);
  for (let symbol = 0; symbol < size; symbol += 1) {
    while (bits.read(1) === 1) {
      length += bits.read(1) === 0 ? 1 : -1;
      if (length < 1 || length > MAX_CODE_BITS) throw damaged();
    }
    if (length < 1 || length > MAX_CODE_BITS) throw damaged();
    lengths[symbol] = length;
  }
  return makeTable(lengths);
}

/** Canonical codes: short ones first, and by symbol within a length. */
function makeTable(lengths: Uint8Array): Table {
  const limit = new Int32Array(MAX_CODE_BITS + 1).fill(-1);
  const base = new Int32Array(MAX_CODE_BITS + 1);
  const symbols = new Uint16Array(lengths.length);
  let placed = 0;
  let code = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length += 1) {
    base[length] = code - placed;
    for (let symbol = 0; symbol < lengths.length; symbol += 1) {
      if (lengths[symbol] !== length) continue;
      symbols[placed] = symbol;
      placed += 1;
      code += 1;
    }
    limit[length] = code - 1;
    code *= 2;
  }
  return { minBits: Math.min(...lengths), limit, base, symbols };
}

interface Coding {
  readonly alphabet: Uint8Array;
  readonly selectors: Uint8Array;
  readonly tables: readonly Table[];
  /** Filled: how often each byte comes. */
  readonly counts: Uint32Array;
  /** Filled: the bytes of the last column. */
  readonly room: Uint32Array;
}

/** Undoes Huffman, run lengths and move-to-front. Returns the number of bytes. */
function readSymbols(bits: BitReader, { alphabet, selectors, tables, counts, room }: Coding): number {
  const order = Uint8Array.from(alphabet);
  const end = alphabet.length + 1;
  let count = 0;
  let run = 0;
  let weight = 1;
  for (const selector of selectors) {
    const table = tables[selector];
    if (!table) throw damaged();
    for (let left = GROUP_SYMBOLS; left > 0; left -= 1) {
      const symbol = readSymbol(bits, table);
      if (symbol < 2) {
        // Digits of a number without zero, the lowest first: how often the front byte comes.
        run += weight << symbol;
        weight *= 2;
        if (run > room.length) throw damaged();
        continue;
      }
      if (run > 0) {
        count = repeat(order[0] as number, run, count, counts, room);
        run = 0;
        weight = 1;
      }
      if (symbol === end) return count;
      count = repeat(toFront(order, symbol - 1), 1, count, counts, room);
    }
  }
  throw damaged();
}

function repeat(byte: number, times: number, from: number, counts: Uint32Array, room: Uint32Array): number {
  const until = from + times;
  if (until > room.length) throw damaged();
  counts[byte] = (counts[byte] as number) + times;
  if (times === 1) room[from] = byte;
  else room.fill(byte, from, until);
  return until;
}

function readSymbol(bits: BitReader, table: Table): number {
  let length = table.minBits;
  let code = bits.read(length);
  while (code > (table.limit[length] as number)) {
    length += 1;
    if (length > MAX_CODE_BITS) throw damaged();
    code = code * 2 + bits.read(1);
  }
  const symbol = table.symbols[code - (table.base[length] as number)];
  if (symbol === undefined) throw damaged();
  return symbol;
}

/** The value at this place, which moves to the front. */
function toFront(order: Uint8Array, place: number): number {
  const value = order[place] as number;
  for (let at = place; at > 0; at -= 1) order[at] = order[at - 1] as number;
  order[0] = value;
  return value;
}

/** Writes into the upper bits of each place where the byte that follows it stands: sorting the last column gives the first. */
function link(room: Uint32Array, count: number, counts: Uint32Array): void {
  const next = new Uint32Array(256);
  for (let byte = 1; byte < 256; byte += 1) {
    next[byte] = (next[byte - 1] as number) + (counts[byte - 1] as number);
  }
  for (let at = 0; at < count; at += 1) {
    const byte = (room[at] as number) & 0xff;
    const place = next[byte] as number;
    next[byte] = place + 1;
    room[place] = (room[place] as number) | (at << 8);
  }
}

function damaged(): PgpFault {
  return new PgpFault('failed', 'the compressed data is damaged');
}

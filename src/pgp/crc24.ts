// CRC-24, the checksum of ASCII armour (RFC 9580 §6.1.1), in the upper 24 bits of a word. Written for readers that want
// one; it is never a reason to refuse.

export const CRC_START = 0xb704ce00 | 0;

const POLYNOMIAL = 0x864cfb00;
const TABLES = tables(8);
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** The checksum after these bytes. */
export function updateCrc(start: number, bytes: Uint8Array): number {
  const untilAligned = IS_LITTLE_ENDIAN ? (8 - (bytes.byteOffset % 8)) % 8 : bytes.length;
  const head = Math.min(untilAligned, bytes.length);
  const words = (bytes.length - head) >> 3;
  const crc = eachWord(eachByte(start, bytes.subarray(0, head)), bytes, head, words);
  return eachByte(crc, bytes.subarray(head + words * 8));
}

/** The checksum line of an armour, without its line end. */
export function crcLine(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(crc);
  return `=${bytes.toString('base64', 0, 3)}`;
}

function eachByte(start: number, bytes: Uint8Array): number {
  const [table] = TABLES;
  let crc = start;
  for (const byte of bytes) crc = (crc << 8) ^ (table[(crc >>> 24) ^ byte] as number);
  return crc;
}

/** Eight bytes a step, out of two little-endian words: byte by byte costs a third of an encryption's time. */
function eachWord(start: number, bytes: Uint8Array, from: number, steps: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + from, steps * 2);
  let crc = start;
  for (let at = 0; at < words.length; at += 2) {
    const low = words[at] as number;
    const high = words[at + 1] as number;
    crc =
      (t7[(crc >>> 24) ^ (low & 0xff)] as number) ^
      (t6[((crc >>> 16) ^ (low >>> 8)) & 0xff] as number) ^
      (t5[((crc >>> 8) ^ (low >>> 16)) & 0xff] as number) ^
      (t4[low >>> 24] as number) ^
      (t3[high & 0xff] as number) ^
      (t2[(high >>> 8) & 0xff] as number) ^
      (t1[(high >>> 16) & 0xff] as number) ^
      (t0[high >>> 24] as number);
  }
  return crc;
}

type Tables = readonly [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/** Table n holds the effect of a byte that n more bytes follow. */
function tables(count: number): Tables {
  const first = Int32Array.from({ length: 256 }, (_, byte) => {
    let value = byte << 24;
    for (let bit = 0; bit < 8; bit += 1) value = value < 0 ? (value << 1) ^ POLYNOMIAL : value << 1;
    return value;
  });
  const all = [first];
  for (let last = first; all.length < count; all.push(last)) {
    last = last.map((value) => (value << 8) ^ (first[value >>> 24] as number));
  }
  return all as unknown as Tables;
}

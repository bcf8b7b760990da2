// The framing of OpenPGP packets (RFC 9580 §4.2): heads, partial lengths, bodies as streams. Knows no packet contents.
import type { Chunks } from '../core/bytes.ts';
import type { ByteReader } from './byte-reader.ts';
import { PgpFault } from './fault.ts';

/** Packet types (RFC 9580 §5). */
export const packetTag = {
  publicKeySessionKey: 1,
  signature: 2,
  passwordSessionKey: 3,
  onePassSignature: 4,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  compressed: 8,
  unprotected: 9,
  marker: 10,
  literal: 11,
  trust: 12,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
  protected: 18,
  aead: 20,
  padding: 21,
} as const;

export interface PacketHead {
  readonly tag: number;
  /** Bytes of the body, or of its first part. Infinity: to the end of the stream (old format only). */
  readonly length: number;
  readonly isPartial: boolean;
}

/** RFC 9580 §4.2.1.4: the first part has at least 512 bytes, so that a head fits into it. */
const MIN_FIRST_PART = 512;
/** Size of the parts that are written: 2 to the power of this. */
const PART_EXPONENT = 16;
const PART_BYTES = 2 ** PART_EXPONENT;

/** The next packet head; undefined at the end of the stream. Throws PgpFault `malformed`. */
export async function readPacketHead(reader: ByteReader): Promise<PacketHead | undefined> {
  const [first] = await reader.take(1);
  if (first === undefined) return undefined;
  if ((first & 0x80) === 0) throw new PgpFault('malformed', 'a packet head has its first bit clear');
  if ((first & 0x40) === 0) return readOldHead(reader, first);
  const { length, isPartial } = await readLength(reader);
  if (isPartial && length < MIN_FIRST_PART)
    throw new PgpFault('malformed', 'a first partial length is too small');
  return { tag: first & 0x3f, length, isPartial };
}

/** The body of the packet whose head was just read, without framing. Must be read to its end before the next head. */
export async function* readPacketBody(
  reader: ByteReader,
  head: PacketHead,
): AsyncGenerator<Uint8Array, void> {
  let { length, isPartial } = head;
  for (;;) {
    yield* exactly(reader, length);
    if (!isPartial) return;
    ({ length, isPartial } = await readLength(reader));
  }
}

/** A whole small packet body. Throws PgpFault `malformed` for partial lengths and beyond `limitBytes`. */
export async function readSmallBody(
  reader: ByteReader,
  head: PacketHead,
  limitBytes: number,
): Promise<Buffer> {
  // RFC 9580 §4.2.1.4: partial lengths are for data packets only.
  if (head.isPartial || head.length > limitBytes)
    throw new PgpFault('malformed', 'a control packet is too large');
  const body = await reader.take(head.length);
  if (body.length < head.length) throw new PgpFault('malformed', 'a packet is cut off');
  return body;
}

/** A packet in the new format with a five-octet length. */
export function writePacket(tag: number, body: Uint8Array): Buffer {
  const head = Buffer.of(0xc0 | tag, 0xff, 0, 0, 0, 0);
  head.writeUInt32BE(body.length, 2);
  return Buffer.concat([head, body]);
}

/** A data packet of any size in the new format, in partial lengths where it has more than one part. Copies nothing. */
export async function* writeDataPacket(tag: number, body: Chunks): AsyncGenerator<Uint8Array, void> {
  const partHead = Buffer.of(0xe0 | PART_EXPONENT);
  const waiting: Uint8Array[] = [];
  let size = 0;
  yield Buffer.of(0xc0 | tag);
  for await (const chunk of body) {
    waiting.push(chunk);
    size += chunk.length;
    for (; size >= PART_BYTES; size -= PART_BYTES) {
      yield partHead;
      yield* takeFrom(waiting, PART_BYTES);
    }
  }
  const lastHead = Buffer.of(0xff, 0, 0, 0, 0);
  lastHead.writeUInt32BE(size, 1);
  yield lastHead;
  yield* waiting;
}

/** Moves the first `count` bytes out of a list that holds at least as many. */
function* takeFrom(list: Uint8Array[], count: number): Generator<Uint8Array, void> {
  for (let left = count; left > 0;) {
    const first = list.shift() ?? new Uint8Array();
    if (first.length > left) list.unshift(first.subarray(left));
    yield first.subarray(0, left);
    left -= Math.min(left, first.length);
  }
}

async function readOldHead(reader: ByteReader, first: number): Promise<PacketHead> {
  const tag = (first >> 2) & 0x0f;
  const octets = [1, 2, 4, 0][first & 3] ?? 0;
  const raw = await takeAll(reader, octets);
  const length = octets === 0 ? Number.POSITIVE_INFINITY : raw.readUIntBE(0, octets);
  return { tag, length, isPartial: false };
}

async function readLength(reader: ByteReader): Promise<Omit<PacketHead, 'tag'>> {
  const [first = 0] = await takeAll(reader, 1);
  if (first < 192) return { length: first, isPartial: false };
  if (first >= 224 && first < 255) return { length: 2 ** (first & 0x1f), isPartial: true };
  const more = await takeAll(reader, first === 255 ? 4 : 1);
  const length = first === 255 ? more.readUInt32BE(0) : ((first - 192) << 8) + (more[0] ?? 0) + 192;
  return { length, isPartial: false };
}

async function takeAll(reader: ByteReader, count: number): Promise<Buffer> {
  const bytes = await reader.take(count);
  if (bytes.length < count) throw new PgpFault('malformed', 'a packet head is cut off');
  return bytes;
}

async function* exactly(reader: ByteReader, length: number): AsyncGenerator<Uint8Array, void> {
  for (let left = length; left > 0;) {
    const chunk = await reader.some(left);
    if (!chunk) {
      if (length === Number.POSITIVE_INFINITY) return;
      throw new PgpFault('malformed', 'a packet is cut off');
    }
    left -= chunk.length;
    yield chunk;
  }
}

// Stands between decrypted packets and the library: passes the bytes of a signed or plain message through unchanged, and
// stops what the library would take without bounds.
import { type Chunks } from '../core/bytes.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import { decompress } from './compressed-data.ts';
import { PgpFault } from './fault.ts';
import { MAX_CONTROL_PACKET_BYTES } from './options.ts';
import { type PacketHead, packetTag, readPacketBody, readPacketHead, readSmallBody } from './packet.ts';

export interface GuardLimits {
  /** One-pass signatures and signatures, each on their own. */
  readonly maxSignatures: number;
  /** After decompression. */
  readonly maxBytes: number;
}

const SIGNING: ReadonlySet<number> = new Set([packetTag.signature, packetTag.onePassSignature]);
/** RFC 9580 §4.3: types from here on are ignored where they are not known. */
const FIRST_UNCRITICAL = 40;

/**
 * The packets of one OpenPGP message that is not encrypted: [one-pass] signatures and one literal, taken out of its
 * compressed packet if it is in one. SECURITY: each signature costs a hash of the content, and anything but one literal
 * would make shown and signed content two things (test: grammar). Throws PgpFault.
 */
export async function* guardPackets(chunks: Chunks, limits: GuardLimits): AsyncGenerator<Uint8Array, void> {
  const reader = readBytes(chunks);
  try {
    let head = await readPacketHead(reader);
    while (head && isIgnored(head.tag)) {
      await skip(reader, head);
      head = await readPacketHead(reader);
    }
    if (!head) throw new PgpFault('malformed', 'the decrypted data is empty');
    if (head.tag !== packetTag.compressed) {
      yield* guard(readBytesAfter(head.raw, reader), limits);
      return;
    }
    const body = readBytes(readPacketBody(reader, head, 'content'));
    yield* guard(readBytes(decompress(body, limits.maxBytes)), limits);
    await requirePadding(reader);
  } finally {
    await reader.close();
  }
}

async function* guard(reader: ByteReader, limits: GuardLimits): AsyncGenerator<Uint8Array, void> {
  const counts = new Map<number, number>();
  for (let head = await readPacketHead(reader); head; head = await readPacketHead(reader)) {
    const count = (counts.get(head.tag) ?? 0) + 1;
    counts.set(head.tag, count);
    if (SIGNING.has(head.tag)) {
      if (count > limits.maxSignatures) throw new PgpFault('failed', 'too many signatures');
      yield Buffer.concat([head.raw, await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES)]);
    } else if (head.tag === packetTag.literal) {
      if (count > 1) throw new PgpFault('failed', 'more than one literal');
      yield head.raw;
      yield* readPacketBody(reader, head, 'framing');
    } else if (isIgnored(head.tag)) {
      await skip(reader, head);
    } else {
      throw new PgpFault('failed', 'an unexpected packet inside');
    }
  }
  if (!counts.has(packetTag.literal)) throw new PgpFault('failed', 'no literal inside');
}

/** RFC 9580 §10.3: inside version 2 data, padding may follow. */
async function requirePadding(reader: ByteReader): Promise<void> {
  for (let head = await readPacketHead(reader); head; head = await readPacketHead(reader)) {
    if (!isIgnored(head.tag)) throw new PgpFault('failed', 'a packet follows the compressed data');
    await skip(reader, head);
  }
}

function isIgnored(tag: number): boolean {
  return tag === packetTag.marker || tag === packetTag.padding || tag >= FIRST_UNCRITICAL;
}

async function skip(reader: ByteReader, head: PacketHead): Promise<void> {
  for await (const skipped of readPacketBody(reader, head, 'content')) void skipped;
}

function readBytesAfter(head: Buffer, reader: ByteReader): ByteReader {
  async function* all(): AsyncGenerator<Uint8Array, void> {
    yield head;
    for (let chunk = await reader.some(65_536); chunk; chunk = await reader.some(65_536)) yield chunk;
  }
  return readBytes(all());
}

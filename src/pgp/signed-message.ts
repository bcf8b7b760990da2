// The inside of an encrypted message: one literal, with the signatures around it, compressed or not (RFC 9580 §10.3). Gives
// out the content while it comes, and at the end what its signatures are worth.
import type { Chunks } from '../core/bytes.ts';
import type { SignatureResult } from '../core/outcome.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import type { PgpCertificate } from './certificate.ts';
import { decompress } from './compressed-data.ts';
import { PgpFault } from './fault.ts';
import { type OnePassSignature, parseOnePass } from './one-pass.ts';
import { MAX_CONTROL_PACKET_BYTES, type PgpOptions } from './options.ts';
import { type PacketHead, packetTag, readPacketBody, readPacketHead, readSmallBody } from './packet.ts';
import { openVerifier, parseSignature, type SignatureParts, type Verifier } from './signatures.ts';

const SIGNING: ReadonlySet<number> = new Set([packetTag.signature, packetTag.onePassSignature]);
/** RFC 9580 §4.3: types from here on are ignored where they are not known. */
const FIRST_UNCRITICAL = 40;
const READ_BYTES = 65_536;

/**
 * Yields the content and returns its signatures: empty means unsigned. What comes out counts only if the stream comes to its
 * end, which is where `packets` checks itself. SECURITY: anything but one literal would make shown and signed content two
 * things (test: grammar). Throws PgpFault, or what `packets` throws.
 */
export async function* readSignedMessage(
  packets: Chunks,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, readonly SignatureResult[]> {
  const reader = readBytes(packets);
  try {
    const head = await nextPacket(reader);
    if (!head) throw new PgpFault('malformed', 'the decrypted data is empty');
    if (head.tag !== packetTag.compressed) return yield* readInner(reader, head, verification, options);
    const body = readBytes(readPacketBody(reader, head));
    const inner = readBytes(decompress(body, options.limits.maxMessageBytes));
    let results: readonly SignatureResult[];
    try {
      results = yield* readInner(inner, await nextPacket(inner), verification, options);
    } finally {
      await inner.close();
    }
    if (await nextPacket(reader)) throw new PgpFault('failed', 'a packet follows the compressed data');
    return results;
  } finally {
    await reader.close();
  }
}

/** Reads to the end of the stream. */
async function* readInner(
  reader: ByteReader,
  first: PacketHead | undefined,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, readonly SignatureResult[]> {
  const verifier = openVerifier(verification, options);
  const { announced, before, literal } = await readBefore(reader, first, options.limits.maxSigners);
  for (const each of before) verifier.expect(each);
  for (const each of announced) verifier.expect(each);
  yield* readLiteral(reader, literal, verifier);
  const after: SignatureParts[] = [];
  for (let head = await nextPacket(reader); head; head = await nextPacket(reader)) {
    if (head.tag !== packetTag.signature) throw new PgpFault('failed', 'an unexpected packet inside');
    const signature = await parseSignature(await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES));
    // RFC 9580 §10.3: the last announcement has the first signature.
    const expected = announced.pop();
    if (!expected) throw new PgpFault('failed', 'a signature that nothing announced');
    after.push({ ...signature, announcement: expected });
  }
  if (announced.length > 0) throw new PgpFault('failed', 'a signature is missing');
  return verifier.finish([...after, ...before]);
}

interface Before {
  readonly announced: OnePassSignature[];
  /** The old form has the signature in front. */
  readonly before: readonly SignatureParts[];
  readonly literal: PacketHead;
}

/** SECURITY: counted before content is hashed for them (test: signature flood). */
async function readBefore(
  reader: ByteReader,
  first: PacketHead | undefined,
  maxSignatures: number,
): Promise<Before> {
  const announced: OnePassSignature[] = [];
  const before: SignatureParts[] = [];
  let head = first;
  for (; head && SIGNING.has(head.tag); head = await nextPacket(reader)) {
    if (announced.length + before.length >= maxSignatures) {
      throw new PgpFault('failed', 'too many signatures');
    }
    const body = await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES);
    if (head.tag === packetTag.onePassSignature) announced.push(parseOnePass(body));
    else before.push(await parseSignature(body));
  }
  if (head?.tag !== packetTag.literal) throw new PgpFault('failed', 'no literal inside');
  return { announced, before, literal: head };
}

/** Format, file name and date are not signed and not used (RFC 9580 §5.9). */
async function* readLiteral(
  reader: ByteReader,
  head: PacketHead,
  verifier: Verifier,
): AsyncGenerator<Uint8Array, void> {
  const body = readBytes(readPacketBody(reader, head));
  const [, nameBytes = 0] = await body.take(2);
  const rest = await body.take(nameBytes + 4);
  if (rest.length < nameBytes + 4) throw new PgpFault('failed', 'the literal is cut off');
  for (let chunk = await body.some(READ_BYTES); chunk; chunk = await body.some(READ_BYTES)) {
    verifier.update(chunk);
    yield chunk;
  }
}

/** The next packet that counts. */
async function nextPacket(reader: ByteReader): Promise<PacketHead | undefined> {
  for (;;) {
    const head = await readPacketHead(reader);
    if (!head || !isIgnored(head.tag)) return head;
    for await (const skipped of readPacketBody(reader, head)) void skipped;
  }
}

function isIgnored(tag: number): boolean {
  return tag === packetTag.marker || tag === packetTag.padding || tag >= FIRST_UNCRITICAL;
}

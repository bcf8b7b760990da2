// AEAD encrypted data in chunks as a stream: version 2 of the integrity protected packet (RFC 9580 §5.13.2) and GnuPG's
// older packet 20. A chunk is checked before it comes out; that the last one was there is known at the end.
import { hkdfSync, randomBytes } from 'node:crypto';
import { type AeadMode, AEAD_TAG_BYTES, aeadMode, openAead, sealAead } from './aead-mode.ts';
import { bytesSource, type Chunks, concat } from '../core/bytes.ts';
import { type ByteReader, readBytes } from './byte-reader.ts';
import { PgpFault } from './fault.ts';
import { packetTag } from './packet.ts';
import { KEY_BYTES, type SessionKey } from './session-key.ts';

/** What stands before the encrypted chunks. */
export interface AeadHead {
  readonly tag: number;
  readonly algorithm: number;
  readonly mode: AeadMode;
  readonly chunkBytes: number;
  /** Packet type and the octets that name algorithms and chunk size: part of what is authenticated. */
  readonly info: Buffer;
  /** Salt (version 2) or starting nonce (packet 20). */
  readonly start: Buffer;
}

const CIPHER_LABELS: Readonly<Record<number, string>> = { 7: 'AES-128', 8: 'AES-192', 9: 'AES-256' };
const SALT_BYTES = 32;
/** RFC 9580 §5.13.2: a chunk has at most 4 MiB. SECURITY: it is held in memory (test: aead table). */
const MAX_CHUNK_OCTET = 16;
/** Chunks of 64 KiB. */
const WRITTEN_CHUNK_OCTET = 10;

/** The body of a version 2 packet around these packets. `modeId` is of RFC 9580 §9.6. */
export async function* encryptAead(
  packets: Chunks,
  algorithm: number,
  modeId: number,
  sessionKey: Uint8Array,
): AsyncGenerator<Uint8Array, void> {
  const octets = Buffer.of(2, algorithm, modeId, WRITTEN_CHUNK_OCTET);
  const start = randomBytes(SALT_BYTES);
  const body = readBytes(concat(octets, start));
  const head = await readAeadHead(packetTag.protected, body);
  yield Buffer.concat([octets, start]);
  const { key, nonceAt, associatedData } = deriveChunks(head, sessionKey);
  const seal = (plain: Uint8Array, index: number, data: Buffer) =>
    sealAead(head.mode, key, nonceAt(index), data, plain);
  const reader = readBytes(packets);
  let total = 0;
  let index = 0;
  try {
    for (let plain = await reader.take(head.chunkBytes); plain.length > 0; index += 1) {
      yield* seal(plain, index, associatedData(index));
      total += plain.length;
      plain = await reader.take(head.chunkBytes);
    }
  } finally {
    await reader.close();
  }
  yield* seal(Buffer.alloc(0), index, Buffer.concat([associatedData(index), counter(total)]));
}

/** Reads the head of the packet's body. Throws PgpFault `malformed` or `unsupported`. */
export async function readAeadHead(tag: number, body: ByteReader): Promise<AeadHead> {
  const octets = await body.take(4);
  const [version, algorithm, modeId, chunkOctet] = octets;
  if (octets.length < 4) throw new PgpFault('malformed', 'the encrypted data is cut off');
  const mode = aeadMode(modeId ?? 0);
  const isKnown = version === (tag === packetTag.aead ? 1 : 2) && CIPHER_LABELS[algorithm ?? 0] !== undefined;
  if (!isKnown || !mode || algorithm === undefined) {
    throw new PgpFault('unsupported', 'unknown AEAD version, cipher or mode');
  }
  if (chunkOctet === undefined || chunkOctet > MAX_CHUNK_OCTET) {
    throw new PgpFault('unsupported', 'the AEAD chunks are too large');
  }
  const start = await body.take(tag === packetTag.aead ? mode.nonceBytes : SALT_BYTES);
  const info = Buffer.concat([Buffer.of(0xc0 | tag), octets]);
  return { tag, algorithm, mode, chunkBytes: 2 ** (chunkOctet + 6), info, start };
}

/** Whether the first chunk, or the end of an empty message, opens under this key. Consumes nothing. */
export async function opensAead(head: AeadHead, body: ByteReader, key: SessionKey): Promise<boolean> {
  const isNamed = key.algorithm === undefined || key.algorithm === head.algorithm;
  if (!isNamed || key.data.length !== KEY_BYTES[head.algorithm]) return false;
  const first = await body.peek(head.chunkBytes + 2 * AEAD_TAG_BYTES);
  try {
    for await (const chunk of decryptAead(head, readBytes(bytesSource(first).open()), key))
      return chunk.length >= 0;
    return true;
  } catch {
    return false;
  }
}

/** The packets inside. Throws PgpFault `failed` for a changed chunk and where the end is missing. */
export async function* decryptAead(
  head: AeadHead,
  body: ByteReader,
  sessionKey: SessionKey,
): AsyncGenerator<Uint8Array, void> {
  const { key, nonceAt, associatedData } = deriveChunks(head, sessionKey.data);
  const open = (sealed: Uint8Array, index: number, data: Buffer) =>
    openAead(head.mode, key, nonceAt(index), data, sealed);
  const full = head.chunkBytes + AEAD_TAG_BYTES;
  let total = 0;
  for (let index = 0; ; index += 1) {
    const available = (await body.peek(full + AEAD_TAG_BYTES)).length;
    if (available < AEAD_TAG_BYTES) throw new PgpFault('failed', 'the encrypted data is cut off');
    if (available === AEAD_TAG_BYTES) {
      open(await body.take(AEAD_TAG_BYTES), index, Buffer.concat([associatedData(index), counter(total)]));
      return;
    }
    const sealed = await body.take(Math.min(full, available - AEAD_TAG_BYTES));
    const plain = open(sealed, index, associatedData(index));
    total += plain.length;
    yield plain;
  }
}

/** For the outcome: what protected the content. */
export function aeadAlgorithm(head: AeadHead): string {
  return `${CIPHER_LABELS[head.algorithm]}-${head.mode.label}`;
}

interface Derived {
  readonly key: Buffer;
  readonly nonceAt: (index: number) => Buffer;
  readonly associatedData: (index: number) => Buffer;
}

function deriveChunks(head: AeadHead, sessionKey: Uint8Array): Derived {
  if (head.tag === packetTag.aead) {
    return {
      key: Buffer.from(sessionKey),
      nonceAt: (index) => {
        const nonce = Buffer.from(head.start);
        const from = nonce.length - 8;
        for (const [at, byte] of counter(index).entries()) nonce[from + at] = (nonce[from + at] ?? 0) ^ byte;
        return nonce;
      },
      associatedData: (index) => Buffer.concat([head.info, counter(index)]),
    };
  }
  const keyBytes = KEY_BYTES[head.algorithm] ?? 0;
  const prefixBytes = head.mode.nonceBytes - 8;
  const derived = Buffer.from(hkdfSync('sha256', sessionKey, head.start, head.info, keyBytes + prefixBytes));
  return {
    key: derived.subarray(0, keyBytes),
    nonceAt: (index) => Buffer.concat([derived.subarray(keyBytes), counter(index)]),
    associatedData: () => head.info,
  };
}

function counter(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

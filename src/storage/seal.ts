// At-rest AEAD: records in one piece and streams in 64 KiB segments, both AES-256-GCM. Owns the byte formats; who holds
// which key and what the additional data says is the caller's business. Mail encryption is never done here.
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import type { ByteRange, ByteSource, Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { Secret } from '../core/secret.ts';
import { damagedError } from './storage-error.ts';

const SEGMENT_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const RECORD_VERSION = 1;
const RECORD_SALT_BYTES = 24;
const RECORD_HEADER_BYTES = 1 + RECORD_SALT_BYTES;
const STREAM_MAGIC = Buffer.from('PSS1');
const STREAM_SALT_BYTES = 28;
const STREAM_HEADER_BYTES = STREAM_MAGIC.length + STREAM_SALT_BYTES;
const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;

/** A fresh random key: a DEK, or the key of a process. */
export function makeKey(): Secret {
  return new Secret(randomBytes(KEY_BYTES));
}

/**
 * Seals a record. `aad` names its place (store, name, version), so that it opens nowhere else. Each call derives a key
 * of its own from a 192-bit salt: one key may seal any number of records. Adds 41 bytes.
 */
export function sealRecord(key: Secret, plaintext: Uint8Array, aad: string): Buffer {
  const salt = randomBytes(RECORD_SALT_BYTES);
  const derived = derive(key, 'record', salt, aad);
  const cipher = createCipheriv('aes-256-gcm', derived.key, derived.nonce);
  const body = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([Buffer.of(RECORD_VERSION), salt, body, cipher.getAuthTag()]);
}

/** Opens what `sealRecord` made with the same key and `aad`. Throws GatewayError `store-failed` for anything else. */
export function openRecord(key: Secret, sealed: Uint8Array, aad: string): Buffer {
  if (sealed.length < RECORD_HEADER_BYTES + TAG_BYTES || sealed[0] !== RECORD_VERSION) throw damaged();
  const derived = derive(key, 'record', sealed.subarray(1, RECORD_HEADER_BYTES), aad);
  return openPiece(derived.key, derived.nonce, sealed.subarray(RECORD_HEADER_BYTES));
}

/** Size in bytes of the sealed form of a stream of `plainBytes`. */
export function sealedStreamBytes(plainBytes: number): number {
  return STREAM_HEADER_BYTES + plainBytes + TAG_BYTES * segmentCount(plainBytes);
}

/** Seals a stream: a salted header, then segments with a counter and a last-segment flag in the nonce. */
export async function* sealStream(key: Secret, chunks: Chunks, aad = ''): AsyncGenerator<Uint8Array, void> {
  const salt = randomBytes(STREAM_SALT_BYTES);
  const derived = derive(key, 'stream', salt, aad);
  yield Buffer.concat([STREAM_MAGIC, salt]);
  let index = 0;
  for await (const segment of segments(chunks, SEGMENT_BYTES)) {
    const cipher = createCipheriv('aes-256-gcm', derived.key, segmentNonce(index, segment.isLast));
    const body = cipher.update(segment.bytes);
    cipher.final();
    yield body;
    yield cipher.getAuthTag();
    index += 1;
  }
}

/**
 * Opens what `sealStream` made. Each segment is authentic before it is yielded, but only the end of the stream proves
 * that nothing is missing: truncation, trailing data and swapped segments throw GatewayError `store-failed`.
 */
export async function* openStream(key: Secret, chunks: Chunks, aad = ''): AsyncGenerator<Uint8Array, void> {
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    let head: Buffer = Buffer.alloc(0);
    while (head.length < STREAM_HEADER_BYTES) {
      const next = await iterator.next();
      if (next.done) throw damaged();
      head = Buffer.concat([head, next.value]);
    }
    const streamKey = parseStreamHeader(key, head.subarray(0, STREAM_HEADER_BYTES), aad);
    let index = 0;
    for await (const segment of segments(
      startingWith(head.subarray(STREAM_HEADER_BYTES), iterator),
      SEALED_SEGMENT_BYTES,
    )) {
      yield openSegment(streamKey, segment.bytes, index, segment.isLast);
      index += 1;
    }
  } finally {
    await iterator.return?.();
  }
}

/**
 * Random access into a sealed stream by segment. Throws GatewayError `store-failed` at once where the sealed size is
 * not one that `plainBytes` would have, and while reading where a segment is not authentic.
 */
export function openSealedSource(key: Secret, sealed: ByteSource, plainBytes: number, aad = ''): ByteSource {
  if (sealed.size !== sealedStreamBytes(plainBytes)) throw damaged();
  return {
    size: plainBytes,
    open: (range) => openRange(key, sealed, plainBytes, aad, range),
  };
}

async function* openRange(
  key: Secret,
  sealed: ByteSource,
  plainBytes: number,
  aad: string,
  range: ByteRange | undefined,
): AsyncGenerator<Uint8Array, void> {
  const start = Math.min(range?.start ?? 0, plainBytes);
  const end = Math.max(start, Math.min(range?.end ?? plainBytes, plainBytes));
  const header = await readAll(sealed.open({ start: 0, end: STREAM_HEADER_BYTES }));
  const streamKey = parseStreamHeader(key, header, aad);
  const total = segmentCount(plainBytes);
  const first = Math.min(Math.floor(start / SEGMENT_BYTES), total - 1);
  const last = Math.min(Math.floor(Math.max(start, end - 1) / SEGMENT_BYTES), total - 1);
  const sealedRange = {
    start: STREAM_HEADER_BYTES + first * SEALED_SEGMENT_BYTES,
    end: Math.min(sealed.size, STREAM_HEADER_BYTES + (last + 1) * SEALED_SEGMENT_BYTES),
  };
  let index = first;
  for await (const segment of segments(sealed.open(sealedRange, 'look'), SEALED_SEGMENT_BYTES)) {
    const plain = openSegment(streamKey, segment.bytes, index, index === total - 1);
    const base = index * SEGMENT_BYTES;
    const piece = plain.subarray(Math.max(0, start - base), Math.max(0, end - base));
    if (piece.length > 0) yield piece;
    index += 1;
  }
  if (index !== last + 1) throw damaged();
}

function segmentCount(plainBytes: number): number {
  return Math.max(1, Math.ceil(plainBytes / SEGMENT_BYTES));
}

/** Copies; pieces of exactly `pieceBytes`, the last one shorter or equal; an empty stream is one empty last piece. */
async function* segments(
  chunks: Chunks,
  pieceBytes: number,
): AsyncGenerator<{ readonly bytes: Buffer; readonly isLast: boolean }, void> {
  let piece = Buffer.allocUnsafe(pieceBytes);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      if (filled === pieceBytes) {
        yield { bytes: piece, isLast: false };
        piece = Buffer.allocUnsafe(pieceBytes);
        filled = 0;
      }
      const taken = Math.min(pieceBytes - filled, chunk.length - at);
      piece.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
    }
  }
  yield { bytes: piece.subarray(0, filled), isLast: true };
}

async function* startingWith(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
): Chunks & AsyncGenerator<Uint8Array, void> {
  yield head;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
}

function parseStreamHeader(key: Secret, header: Buffer, aad: string): Buffer {
  if (!header.subarray(0, STREAM_MAGIC.length).equals(STREAM_MAGIC)) throw damaged();
  return derive(key, 'stream', header.subarray(STREAM_MAGIC.length), aad).key;
}

function openSegment(streamKey: Buffer, bytes: Uint8Array, index: number, isLast: boolean): Buffer {
  if (bytes.length < TAG_BYTES) throw damaged();
  // An empty last segment is written for an empty stream only; elsewhere it would be a second form of the same bytes.
  if (bytes.length === TAG_BYTES && index > 0) throw damaged();
  return openPiece(streamKey, segmentNonce(index, isLast), bytes);
}

function openPiece(key: Buffer, nonce: Buffer, sealed: Uint8Array): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    throw damaged();
  }
  return plain;
}

function segmentNonce(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUIntBE(index, NONCE_BYTES - 7, 6);
  // SECURITY: the flag makes a stream that was cut at a segment's end fail (test: sealed stream, every truncation).
  nonce[NONCE_BYTES - 1] = isLast ? 1 : 0;
  return nonce;
}

/** A key and a nonce for one record or stream. Label, salt and `aad` are of fixed or prefixed length: no ambiguity. */
function derive(
  key: Secret,
  label: 'record' | 'stream',
  salt: Uint8Array,
  aad: string,
): { key: Buffer; nonce: Buffer } {
  const bytes = key.reveal();
  if (bytes.length !== KEY_BYTES) throw new GatewayError('store-failed', 'a sealing key must have 32 bytes');
  const output = createHmac('sha512', bytes).update(label).update(salt).update(aad).digest();
  return { key: output.subarray(0, KEY_BYTES), nonce: output.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES) };
}

async function readAll(chunks: Chunks): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

function damaged(): GatewayError {
  return damagedError('sealed data is damaged, or was sealed with another key or for another place');
}

// Encryption below signatures (RFC 2634 §1.1, triple wrapping): where it is, by what the bytes are and not by labels.
import { type ByteSource, type Chunks, rangeOf } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import { mimeShape, readParts } from '../mime/shape.ts';
import { readHeader, readMessage } from '../mime/header-section.ts';
import { ID } from './algorithms.ts';
import { ExpansionError, openCompressedData } from './compressed-data.ts';
import { decodedBody, detectSmime } from './detect.ts';
import { isMalformed } from './enveloped-data.ts';
import { isLayerType, readLayerContent } from './layer-content.ts';
import { openSignedData } from './signed-data.ts';

/** SECURITY: each layer above costs one more pass over the message (test: deep signatures). */
const MAX_LAYERS = 5;

/** The entity that is encrypted: the message itself, or what multipart/signed covers. Undefined: neither is. */
export async function encryptedEntity(message: ByteSource, limits: Limits): Promise<ByteSource | undefined> {
  return readable(async () => {
    let entity: ByteSource | undefined = message;
    for (let above = 0; entity !== undefined && above < MAX_LAYERS; above += 1) {
      if (await isEncrypted(entity, limits)) return entity;
      entity = await detachedContent(entity, limits);
    }
    return undefined;
  });
}

/** Whether an encrypted message lies below signatures, detached or opaque. What cannot be read covers none. */
export async function coversEncrypted(message: ByteSource, limits: Limits): Promise<boolean> {
  const found = await readable(async () => {
    let entity: ByteSource | undefined = message;
    for (let above = 0; entity !== undefined && above < MAX_LAYERS; above += 1) {
      if (await isEncrypted(entity, limits)) return true;
      entity = await contentOf(entity, limits);
    }
    return false;
  });
  return found ?? false;
}

/**
 * What multipart/signed covers, if that is a layer with an encrypted message further down: only without the signature
 * around it the steps reach it. Undefined otherwise.
 */
export async function layerAboveEncrypted(
  message: ByteSource,
  limits: Limits,
): Promise<ByteSource | undefined> {
  return readable(async () => {
    const content = await detachedContent(message, limits);
    if (content === undefined || (await isEncrypted(content, limits))) return undefined;
    return (await coversEncrypted(content, limits)) ? content : undefined;
  });
}

async function contentOf(entity: ByteSource, limits: Limits): Promise<ByteSource | undefined> {
  switch (await detectSmime(entity, limits)) {
    case 'signed':
      return unpacked(entity, limits, signedContent);
    case 'compressed':
      return unpacked(entity, limits, compressedContent);
    default:
      return detachedContent(entity, limits);
  }
}

async function detachedContent(message: ByteSource, limits: Limits): Promise<ByteSource | undefined> {
  const header = await readHeader(message, limits);
  if (mimeShape(header).kind !== 'multipart-signed') return undefined;
  const [content] = await readParts(message, limits);
  return content && rangeOf(message, content.entity);
}

/** The content of a CMS layer as an entity. Each time it is opened, the layers above are read again. */
function unpacked(
  entity: ByteSource,
  limits: Limits,
  open: (cms: Chunks, limits: Limits) => Chunks,
): ByteSource {
  const lines = async function* (): AsyncGenerator<Uint8Array, void> {
    const { header, body } = await readMessage(entity.open(), limits);
    yield* open(decodedBody(header, body), limits);
  };
  return {
    // Not known before it is read; it only bounds ranges, which come from the content itself.
    size: Number.MAX_SAFE_INTEGER,
    open: (range) => cut(lines(), range?.start ?? 0, range?.end ?? Number.MAX_SAFE_INTEGER),
  };
}

async function* signedContent(cms: Chunks, limits: Limits): AsyncGenerator<Uint8Array, void> {
  await using reader = await openSignedData(cms, limits);
  if (!reader.hasContent || !isLayerType(reader.contentType)) return;
  yield* (await readLayerContent(reader.content(), reader.contentType)).entity;
}

async function* compressedContent(cms: Chunks, limits: Limits): AsyncGenerator<Uint8Array, void> {
  yield* (await readLayerContent(openCompressedData(cms, limits), ID.data)).entity;
}

async function* cut(chunks: Chunks, start: number, end: number): AsyncGenerator<Uint8Array, void> {
  let at = 0;
  for await (const chunk of chunks) {
    const piece = chunk.subarray(Math.max(0, start - at), Math.max(0, end - at));
    at += chunk.length;
    if (piece.length > 0) yield piece;
    if (at >= end) return;
  }
}

async function isEncrypted(entity: ByteSource, limits: Limits): Promise<boolean> {
  const content = await detectSmime(entity, limits);
  return content === 'enveloped' || content === 'auth-enveloped';
}

/** Undefined where what is looked at cannot be read: then there is no layer to be found. */
async function readable<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (isMalformed(error) || error instanceof GatewayError || error instanceof ExpansionError)
      return undefined;
    throw error;
  }
}

// Encryption below a signature (RFC 2634 §1.1, triple wrapping): where it is, by what the bytes are and not by labels.
import { type ByteSource, rangeOf } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import { canonicalLines } from '../mime/canonical.ts';
import { mimeShape, readParts } from '../mime/shape.ts';
import { readMessage } from '../mime/header-section.ts';
import { decodedBody, detectSmime } from './detect.ts';
import { isMalformed } from './enveloped-data.ts';
import { openSignedData } from './signed-data.ts';

/** The entity that is encrypted: the message itself, or what a multipart/signed covers. Undefined: neither is. */
export async function encryptedEntity(message: ByteSource, limits: Limits): Promise<ByteSource | undefined> {
  if (await isEncrypted(message, limits)) return message;
  const { header, body } = await readMessage(message.open(), limits);
  await body[Symbol.asyncIterator]().return?.();
  if (mimeShape(header).kind !== 'multipart-signed') return undefined;
  try {
    const [content] = await readParts(message, limits);
    if (!content) return undefined;
    const entity = rangeOf(message, content.entity);
    return (await isEncrypted(entity, limits)) ? entity : undefined;
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return undefined;
  }
}

/** Whether a signed message, detached or opaque, covers an encrypted one. What cannot be read covers none. */
export async function coversEncrypted(message: ByteSource, limits: Limits): Promise<boolean> {
  if ((await detectSmime(message, limits)) !== 'signed')
    return (await encryptedEntity(message, limits)) !== undefined;
  const { header, body } = await readMessage(message.open(), limits);
  try {
    await using reader = await openSignedData(decodedBody(header, body), limits);
    if (!reader.hasContent) return false;
    const inner = canonicalLines(reader.content(), 'normalise');
    return await isEncrypted({ size: message.size, open: () => inner }, limits);
  } catch (error) {
    if (!isMalformed(error) && !(error instanceof GatewayError)) throw error;
    return false;
  }
}

async function isEncrypted(entity: ByteSource, limits: Limits): Promise<boolean> {
  const content = await detectSmime(entity, limits);
  return content === 'enveloped' || content === 'auth-enveloped';
}

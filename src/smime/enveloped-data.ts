// EnvelopedData (RFC 5652 §6) and AuthEnvelopedData (RFC 5083, RFC 5084) over streams: the content passes through in
// pieces, in and out. What is inside the content is message.ts' business.
import { createCipheriv, randomBytes } from 'node:crypto';
import { type Chunks, rechunk } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { NotDecryptedReason } from '../core/outcome.ts';
import type { WeakAlgorithm } from '../core/plan.ts';
import { ID } from './algorithms.ts';
import { BerError, BerReader } from './ber-reader.ts';
import {
  algorithmIdentifier,
  element,
  END_OF_CONTENTS,
  indefinite,
  integer,
  octetPieces,
  octetString,
  oid,
  sequence,
} from './ber-writer.ts';
import type { WrittenCipher } from './capabilities.ts';
import { fitsCcm } from './ccm.ts';
import type { Certificate } from './certificate.ts';
import {
  type ContentAlgorithm,
  contentKeyFor,
  type ContentTag,
  deriveContentKey,
  isCcm,
  openDecipher,
  parseContentAlgorithm,
} from './content-cipher.ts';
import { countOf, octetsOf, oidOf, parseBer, TAG } from './der.ts';
import { isLayerType } from './layer-content.ts';
import {
  isWeaklyWrapped,
  parseRecipientInfo,
  type RecipientEntry,
  recoverContentKey,
  selectRecipient,
  type SmimeDecryptionKey,
  writeRecipientInfo,
} from './recipient-info.ts';

/** An envelope that names a key of ours. */
export interface OpenedEnvelope {
  readonly kind: 'opened';
  readonly key: SmimeDecryptionKey;
  /** The content cipher, as OpenSSL names it. */
  readonly algorithm: string;
  /** Whether the cipher protects the content's integrity; CBC does not (EFAIL). */
  readonly isAuthenticated: boolean;
  /** Whether the cipher no longer protects the content at all. */
  readonly isWeak: boolean;
  /** Of the content. */
  readonly contentType: string;
  /** The content. Throws `ContentError` or `BerError` where it cannot be decrypted: then nothing of it may be used. */
  readonly content: AsyncGenerator<Uint8Array, void>;
}

export interface RefusedEnvelope {
  readonly kind: 'refused';
  readonly reason: NotDecryptedReason;
}

/** The content did not decrypt. SECURITY: carries no detail: all failures behind a private key are one. */
export class ContentError extends Error {
  override readonly name = 'ContentError';
}

export interface EnvelopeOptions {
  readonly maxRecipientInfos: number;
  /** Weak ciphers that are read all the same; default: none. */
  readonly weak?: readonly WeakAlgorithm[];
}

const CIPHER_BYTES = 16_384;
const CBC_IV_BYTES = 16;
const GCM_NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CONTENT = 0x80;
const OTHER_RECIPIENT = 0xa4;

/**
 * Encrypts a content to all certificates, as BER of indefinite length: EnvelopedData with AES-256-CBC, or
 * AuthEnvelopedData with AES-256-GCM. With `isKeyDerived` the key is bound to its algorithm by RFC 9709, for recipients that
 * all know it.
 */
export async function* encryptContent(
  content: Chunks,
  certificates: NonEmpty<Certificate>,
  name: WrittenCipher = 'aes-256-cbc',
  isKeyDerived = false,
): AsyncGenerator<Uint8Array, void> {
  const isAuthenticated = name === 'aes-256-gcm';
  const contentKey = randomBytes(32);
  const iv = randomBytes(isAuthenticated ? GCM_NONCE_BYTES : CBC_IV_BYTES);
  const recipients = certificates.map((certificate) => writeRecipientInfo(certificate, contentKey));
  const parameters = isAuthenticated ? sequence(octetString(iv), integer(TAG_BYTES)) : octetString(iv);
  const algorithm = algorithmIdentifier(isAuthenticated ? ID.aes256Gcm : ID.aes256Cbc, parameters);
  yield Buffer.concat([
    indefinite(TAG.sequence),
    oid(isAuthenticated ? ID.authEnvelopedData : ID.envelopedData),
    indefinite(0xa0),
    indefinite(TAG.sequence),
    integer(isAuthenticated ? 0 : versionFor(recipients)),
    element(TAG.set, ...recipients),
    indefinite(TAG.sequence),
    oid(ID.data),
    isKeyDerived ? algorithmIdentifier(ID.cekHkdfSha256, algorithm) : algorithm,
    indefinite(CONTENT | 0x20),
  ]);
  const { cipher, tag } = openCipher(
    name,
    isKeyDerived ? deriveContentKey(contentKey, algorithm) : contentKey,
    iv,
  );
  yield* octetPieces(encipher(content, cipher));
  yield Buffer.concat([ends(2), tag(), ends(3)]);
}

/**
 * Reads the head of an envelope and chooses the key. `open` gives the CMS bytes and may be called twice. Failures that
 * the structure alone shows are a reason here; whatever happens after a private key was used comes out of `content`.
 */
export async function openEnvelope(
  open: () => Chunks,
  keys: readonly SmimeDecryptionKey[],
  options: EnvelopeOptions,
): Promise<OpenedEnvelope | RefusedEnvelope> {
  const reader = new BerReader(open());
  let isHandedOn = false;
  try {
    const head = await readHead(reader, options);
    if (!head) return { kind: 'refused', reason: 'unsupported' };
    const match = selectRecipient(head.recipients, keys);
    if ('reason' in match) return { kind: 'refused', reason: match.reason };
    const tail = head.isAuthenticated ? await readTag(open, head, options) : undefined;
    const { cipher } = head.algorithm;
    const contentKey = contentKeyFor(head.algorithm, recoverContentKey(match, cipher.keyBytes));
    isHandedOn = true;
    return {
      kind: 'opened',
      key: match.key,
      algorithm: cipher.name,
      isAuthenticated: head.isAuthenticated,
      isWeak: (cipher.isWeak ?? false) || isWeaklyWrapped(match),
      contentType: head.contentType,
      content: decipher(reader, head.algorithm, contentKey, tail),
    };
  } catch (error) {
    if (!isMalformed(error)) throw error;
    return { kind: 'refused', reason: 'malformed' };
  } finally {
    if (!isHandedOn) await reader[Symbol.asyncDispose]();
  }
}

/** Whether an error says that a CMS structure is malformed. */
export function isMalformed(error: unknown): boolean {
  return error instanceof BerError || (error instanceof GatewayError && error.code === 'config-invalid');
}

interface EnvelopeHead {
  readonly isAuthenticated: boolean;
  readonly contentType: string;
  readonly recipients: readonly RecipientEntry[];
  readonly algorithm: ContentAlgorithm;
}

/** Reads up to the encrypted content; undefined for content types and ciphers that are not read. */
async function readHead(reader: BerReader, options: EnvelopeOptions): Promise<EnvelopeHead | undefined> {
  await reader.enter(TAG.sequence);
  const contentType = oidOf(parseBer(await reader.element()));
  const isAuthenticated = contentType === ID.authEnvelopedData;
  if (!isAuthenticated && contentType !== ID.envelopedData) return undefined;
  await reader.enter(0xa0);
  await reader.enter(TAG.sequence);
  countOf(parseBer(await reader.element()));
  if (await reader.isNext(0xa0)) await reader.skip();
  const recipients = await readRecipients(reader, options);
  await reader.enter(TAG.sequence);
  const inner = oidOf(parseBer(await reader.element()));
  const algorithmNode = parseBer(await reader.element());
  if (algorithmNode.tag !== TAG.sequence) throw new BerError('content has no algorithm');
  const hasContent = (await reader.isNext(CONTENT)) || (await reader.isNext(CONTENT | 0x20));
  // SECURITY: the tag does not cover the type, so a changed one would change what the content is taken for (test: a flipped
  // bit in an authenticated envelope).
  const isRead = isAuthenticated ? inner === ID.data : isLayerType(inner);
  if (!isRead || !hasContent) return undefined;
  const algorithm = parseContentAlgorithm(algorithmNode, isAuthenticated, options.weak ?? []);
  return algorithm && { isAuthenticated, contentType: inner, recipients, algorithm };
}

async function readRecipients(
  reader: BerReader,
  { maxRecipientInfos, weak }: EnvelopeOptions,
): Promise<readonly RecipientEntry[]> {
  const recipients: RecipientEntry[] = [];
  await reader.enter(TAG.set);
  while (await reader.peek()) {
    recipients.push(...parseRecipientInfo(await reader.element(), weak));
    if (recipients.length > maxRecipientInfos) throw new BerError('too many recipients');
  }
  await reader.leave();
  return recipients;
}

/** The tag stands behind the content, but the attributes before it must be known first: a pass of its own. */
async function readTag(
  open: () => Chunks,
  head: EnvelopeHead,
  options: EnvelopeOptions,
): Promise<ContentTag> {
  await using reader = new BerReader(open());
  await readHead(reader, options);
  const contentBytes = await sizeOf(reader, head.algorithm);
  await reader.leave();
  const attributes = (await reader.isNext(0xa1)) ? await reader.element() : undefined;
  const tag = octetsOf(parseBer(await reader.element()));
  if (tag.length !== head.algorithm.tagBytes)
    throw new BerError('authentication tag has another length than announced');
  // RFC 5083 §2.2: authenticated in their DER form, as a SET.
  const authenticatedAttributes =
    attributes && Buffer.concat([Buffer.from([TAG.set]), attributes.subarray(1)]);
  await finish(reader, 0xa2);
  return { authenticatedAttributes, tag, contentBytes };
}

/** CCM authenticates the content's size before the content (RFC 3610 §2.2). For other ciphers nobody asks. */
async function sizeOf(reader: BerReader, { cipher, iv }: ContentAlgorithm): Promise<number> {
  if (!isCcm(cipher)) {
    await reader.skip();
    return 0;
  }
  let size = 0;
  for await (const chunk of reader.octets(CONTENT)) size += chunk.length;
  if (!fitsCcm(iv.length, size)) throw new BerError('content is too long for its nonce');
  return size;
}

async function* decipher(
  reader: BerReader,
  algorithm: ContentAlgorithm,
  contentKey: Buffer,
  tail: ContentTag | undefined,
): AsyncGenerator<Uint8Array, void> {
  await using owned = reader;
  const cipher = openDecipher(algorithm, contentKey, tail);
  for await (const chunk of rechunk(owned.octets(CONTENT), CIPHER_BYTES)) yield cipher.update(chunk);
  if (!tail) {
    await owned.leave();
    await finish(owned, 0xa1);
  }
  try {
    yield cipher.final();
  } catch {
    throw new ContentError('content does not decrypt');
  }
}

/** Passes over unprotected attributes and closes the three containers around the content. */
async function finish(reader: BerReader, attributes: number): Promise<void> {
  if (await reader.isNext(attributes)) await reader.skip();
  for (let level = 0; level < 3; level += 1) await reader.leave();
  await reader.end();
}

/** RFC 5652 §6.1: 0 for key transport alone, 3 with any other kind of recipient. RFC 5083 §2.1 has 0 for all. */
function versionFor(recipients: readonly Buffer[]): number {
  if (recipients.some((info) => info[0] === OTHER_RECIPIENT)) return 3;
  return recipients.every((info) => info[0] === TAG.sequence) ? 0 : 2;
}

function ends(levels: number): Buffer {
  return Buffer.alloc(levels * END_OF_CONTENTS.length);
}

/** `tag`: what an authenticated cipher adds behind its content, as the element that stands there. */
function openCipher(
  name: WrittenCipher,
  contentKey: Buffer,
  iv: Buffer,
): { cipher: ReturnType<typeof createCipheriv>; tag: () => Buffer } {
  if (name === 'aes-256-cbc')
    return { cipher: createCipheriv(name, contentKey, iv), tag: () => Buffer.alloc(0) };
  const cipher = createCipheriv(name, contentKey, iv);
  return { cipher, tag: () => octetString(cipher.getAuthTag()) };
}

async function* encipher(
  content: Chunks,
  cipher: ReturnType<typeof createCipheriv>,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of rechunk(content, CIPHER_BYTES)) yield cipher.update(chunk);
  yield cipher.final();
}

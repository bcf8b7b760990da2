// S/MIME messages (RFC 8551 §3): the MIME side of encryption and signatures. The CMS side is enveloped-data.ts and
// signed-data.ts.
import type { Hash } from 'node:crypto';
import { type ByteSource, bytesSource, type Chunks, concat } from '../core/bytes.ts';
import { type ErrorCode, GatewayError } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { StageOutcome } from '../core/outcome.ts';
import type { ContentMode, HeaderProtection, WeakAlgorithm } from '../core/plan.ts';
import { entityHeader, unwrapMessage, wrapMessage } from '../mime/entity.ts';
import { divideFields } from '../mime/header-protection.ts';
import {
  type HeaderField,
  type HeaderSection,
  makeField,
  readHeader,
  readMessage,
  writeHeaderSection,
} from '../mime/header-section.ts';
import { makeBoundary, makeContentType, writeMultipart } from '../mime/multipart-writer.ts';
import { prepareEntity } from '../mime/prepare.ts';
import { mimeShape } from '../mime/shape.ts';
import { encodeBase64 } from '../mime/transfer-encoding.ts';
import { ID } from './algorithms.ts';
import type { WrittenCipher } from './capabilities.ts';
import type { Certificate } from './certificate.ts';
import type { TrustContext } from './chain.ts';
import { ExpansionError, openCompressedData } from './compressed-data.ts';
import { openHash } from './content-digest.ts';
import { decodedBody, detectSmime } from './detect.ts';
import {
  ContentError,
  encryptContent,
  isMalformed,
  type OpenedEnvelope,
  openEnvelope,
} from './enveloped-data.ts';
import { readLayerContent } from './layer-content.ts';
import { encryptedEntity, layerAboveEncrypted } from './layers.ts';
import type { SmimeDecryptionKey } from './recipient-info.ts';
import { type SmimeSigner, writeDetachedSignature } from './signed-data.ts';
import { verifyDetached, verifyOpaque } from './signed-message.ts';
import { signingDigest } from './signing.ts';

export type { SmimeDecryptionKey, SmimeSigner };

export interface SmimeOptions {
  readonly limits: Limits;
  /** Now. Signing needs it; verification takes its time from the trust context. */
  readonly at?: Date;
  readonly protection?: HeaderProtection;
  /** Called with the header of what was inside. It counts as little as the content until the outcome is there. */
  readonly onInner?: (header: HeaderSection) => void;
  /** Weak algorithms that are read all the same; default: none. */
  readonly weak?: readonly WeakAlgorithm[];
}

export interface EncryptOptions extends SmimeOptions {
  /** Default: `cbc`, which everybody reads. */
  readonly content?: ContentMode;
  /** Binds the key to the cipher (RFC 9709): for recipients who announce that they read it. */
  readonly isKeyDerived?: boolean;
}

export interface VerifyingOptions extends SmimeOptions {
  /** Takes a detached signature off where it covers a further layer with an encrypted message below. */
  readonly takesOff?: boolean;
}

export interface SigningOptions extends SmimeOptions {
  readonly at: Date;
}

const MALFORMED_MAIL = new Set<ErrorCode>(['header-malformed', 'mime-malformed', 'bare-line-end']);

/**
 * Encrypts a message to all certificates: its Content-* fields move inside, the other fields stay byte for byte. Throws
 * GatewayError `header-malformed`, and `encryption-required` for a certificate that cannot be encrypted to.
 */
export async function* encryptMessage(
  message: Chunks,
  certificates: NonEmpty<Certificate>,
  options: EncryptOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { header, body } = await readMessage(message, options.limits);
  const { outer, content } = divideFields(header, options.protection);
  const entity = concat(entityHeader(content), body);
  const cipher = options.content === 'gcm' ? 'aes-256-gcm' : 'aes-256-cbc';
  const encrypted = encryptContent(entity, certificates, cipher, options.isKeyDerived);
  yield* wrapMessage(outer, envelopedFields(cipher), encodeBase64(encrypted));
  const [first, ...others] = certificates;
  const keyIds = [keyIdOf(first), ...others.map(keyIdOf)] as const;
  return { kind: 'encrypted', format: 'smime', keyIds, algorithm: cipher };
}

/**
 * Signs a message as multipart/signed, over an entity that survives transport (mime/prepare). Throws GatewayError
 * `header-malformed`, `mime-malformed`, and `signing-key-missing` for a key that cannot sign.
 */
export async function* signMessage(
  message: ByteSource,
  signer: SmimeSigner,
  options: SigningOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const digest = signingDigest(signer.key);
  const { outer, entity } = await prepareEntity(message, options.limits, options.protection);
  const boundary = makeBoundary();
  const contentType = makeContentType('multipart/signed', {
    protocol: 'application/pkcs7-signature',
    micalg: digest.micalg,
    boundary,
  });
  const hash = openHash(digest.name);
  const signature = signaturePart(() => writeDetachedSignature(hash.digest(), signer, options.at));
  yield* wrapMessage(
    outer,
    [contentType],
    writeMultipart(boundary, [hashed(entity.open(), hash), signature]),
  );
  return { kind: 'signed', format: 'smime', keyId: keyIdOf(signer.certificate) };
}

/**
 * Decrypts the top-level entity, or what a multipart/signed around it covers, and rebuilds the message around it; of the
 * inner header only Content-* fields come out.
 * SECURITY: what is yielded may be used only after the outcome `decrypted`; once a private key was tried, every failure
 * is `failed`, after the same work (test: one outcome).
 */
export async function* decryptMessage(
  message: ByteSource,
  keys: readonly SmimeDecryptionKey[],
  options: SmimeOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { limits } = options;
  const entity = await encryptedEntity(message, limits);
  if (!entity) return { kind: 'not-decrypted', reason: 'not-encrypted' };
  const envelope = await openEnvelope(() => cmsBytes(entity, limits), keys, {
    maxRecipientInfos: limits.maxRecipientInfos,
    ...(options.weak && { weak: options.weak }),
  });
  if (envelope.kind === 'refused') return { kind: 'not-decrypted', reason: envelope.reason };
  return yield* release(await readHeader(message, limits), envelope, options);
}

/**
 * Verifies a signed message. Detached: yields nothing, unless `takesOff` applies. Opaque: yields the message with the signature taken off, also
 * where the signature is broken; it may be used only after the outcome `verified`. A signature that is broken is a
 * result, never an exception. Compressed: yields the message unpacked, with the outcome `decompressed`.
 */
export async function* verifyMessage(
  message: ByteSource,
  trust: TrustContext,
  options: VerifyingOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { limits } = options;
  const header = await readHeader(message, limits);
  const shape = mimeShape(header);
  try {
    if (shape.kind === 'multipart-signed') {
      const outcome = await verifyDetached(message, shape.protocol, trust, options);
      const below = options.takesOff ? await layerAboveEncrypted(message, limits) : undefined;
      if (below === undefined || outcome.kind !== 'verified') return outcome;
      yield* unwrapMessage(header, below.open(), limits, options.onInner);
      return { ...outcome, isTakenOff: true };
    }
    const content = await detectSmime(message, limits);
    if (content === 'compressed') {
      const unpacked = openCompressedData(cmsBytes(message, limits), limits);
      const { entity } = await readLayerContent(unpacked, ID.data);
      yield* unwrapMessage(header, entity, limits, options.onInner);
      return { kind: 'decompressed', format: 'smime', algorithm: 'zlib' };
    }
    if (content !== 'signed') return { kind: 'not-verified', reason: 'not-signed' };
    return yield* verifyOpaque(header, cmsBytes(message, limits), trust, options);
  } catch (error) {
    if (!isMalformed(error) && !isMalformedMail(error) && !(error instanceof ExpansionError)) throw error;
    return { kind: 'not-verified', reason: 'malformed' };
  }
}

function envelopedFields(cipher: WrittenCipher): readonly HeaderField[] {
  // RFC 8551 §3.2.2: the name of the authenticated form really is spelt like this.
  const type = cipher === 'aes-256-gcm' ? 'authEnveloped-data' : 'enveloped-data';
  return [
    makeField('Content-Type', `application/pkcs7-mime; smime-type=${type};\r\n name="smime.p7m"`),
    makeField('Content-Transfer-Encoding', 'base64'),
    makeField('Content-Disposition', 'attachment; filename="smime.p7m"'),
  ];
}

/** The second part of multipart/signed. `write` is called when the first part has passed. */
async function* signaturePart(write: () => Buffer): AsyncGenerator<Uint8Array, void> {
  const fields = [
    makeField('Content-Type', 'application/pkcs7-signature; name="smime.p7s"'),
    makeField('Content-Transfer-Encoding', 'base64'),
    makeField('Content-Disposition', 'attachment; filename="smime.p7s"'),
  ];
  yield Buffer.concat([writeHeaderSection(fields), Buffer.from('\r\n')]);
  yield* encodeBase64(bytesSource(write()).open());
}

async function* hashed(chunks: Chunks, hash: Hash): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

async function* cmsBytes(message: ByteSource, limits: Limits): AsyncGenerator<Uint8Array, void> {
  const { header, body } = await readMessage(message.open(), limits);
  yield* decodedBody(header, body);
}

async function* release(
  outer: HeaderSection,
  envelope: OpenedEnvelope,
  { limits, onInner }: SmimeOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { content, key, algorithm, isAuthenticated, isWeak, contentType } = envelope;
  let isBareText = false;
  try {
    const inner = await readLayerContent(unclosed(content), contentType);
    isBareText = inner.isBareText;
    yield* unwrapMessage(outer, inner.entity, limits, onInner);
  } catch (error) {
    if (!isContentError(error)) throw error;
    await readToEnd(content);
    return { kind: 'not-decrypted', reason: 'failed' };
  } finally {
    await content.return();
  }
  return {
    kind: 'decrypted',
    format: 'smime',
    keyId: keyIdOf(key.certificate),
    authenticated: isAuthenticated,
    algorithm,
    ...(isWeak && { weak: true }),
    ...(isBareText && { isBareText }),
    signatures: [],
  };
}

/** A view that a reader cannot close, so that the rest can still be read. */
function unclosed(content: AsyncGenerator<Uint8Array, void>): Chunks {
  return { [Symbol.asyncIterator]: () => ({ next: () => content.next() }) };
}

/** SECURITY: a wrong key that shows early costs as much time as one that shows at the end (test: one outcome). */
async function readToEnd(content: AsyncGenerator<Uint8Array, void>): Promise<void> {
  try {
    for await (const chunk of content) void chunk;
  } catch (error) {
    if (!isContentError(error)) throw error;
  }
}

function isContentError(error: unknown): boolean {
  return error instanceof ContentError || isMalformed(error) || isMalformedMail(error);
}

function isMalformedMail(error: unknown): boolean {
  return error instanceof GatewayError && MALFORMED_MAIL.has(error.code);
}

function keyIdOf(certificate: Certificate): string {
  return `smime:${certificate.fingerprint}`;
}

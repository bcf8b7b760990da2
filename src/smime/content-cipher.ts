// The content encryption algorithm of an envelope: which ciphers belong to which content type, their parameters, and the key
// that RFC 9709 derives so that nobody can rename the algorithm.
import { createDecipheriv, hkdfSync } from 'node:crypto';
import type { WeakAlgorithm } from '../core/plan.ts';
import { cbcCiphers, ccmCiphers, type ContentCipher, gcmCiphers, ID } from './algorithms.ts';
import { BerError } from './ber-reader.ts';
import { CcmDecipher } from './ccm.ts';
import { countOf, type DerNode, fieldsOf, octetsOf, oidOf, TAG } from './der.ts';
import { Rc2Decipher } from './rc2.ts';
import { readWeakCipher } from './weak-cipher.ts';

export interface ContentAlgorithm {
  readonly cipher: ContentCipher;
  readonly iv: Buffer;
  /** 0 where the cipher authenticates nothing. */
  readonly tagBytes: number;
  /** The algorithm as it stands, where the key that was sent is not the key of the content (RFC 9709). */
  readonly derivedFor?: Buffer;
}

/** What authenticates the content beside its key. */
export interface ContentTag {
  readonly authenticatedAttributes: Buffer | undefined;
  readonly tag: Buffer;
  readonly contentBytes: number;
}

type Decipher = Pick<ReturnType<typeof createDecipheriv>, 'update' | 'final'> | Rc2Decipher | CcmDecipher;

const CBC_IV_BYTES = 16;
const MIN_TAG_BYTES = 12;
const MAX_TAG_BYTES = 16;
const MAX_NONCE_BYTES = 64;
const CCM_NONCE_BYTES = { min: 7, max: 13 } as const;
/** RFC 9709 §2: the salt of HKDF. */
const SALT = 'The Cryptographic Message Syntax';

/** Undefined for ciphers that are not read. Throws `BerError` or GatewayError `config-invalid` where it is malformed. */
export function parseContentAlgorithm(
  node: DerNode,
  isAuthenticated: boolean,
  weak: readonly WeakAlgorithm[],
): ContentAlgorithm | undefined {
  const fields = fieldsOf(node);
  const id = oidOf(fields.take(TAG.oid));
  if (id === ID.cekHkdfSha256) {
    const inner = fields.take(TAG.sequence);
    fields.end();
    const isNested = oidOf(fieldsOf(inner).take(TAG.oid)) === ID.cekHkdfSha256;
    const algorithm = isNested ? undefined : parseContentAlgorithm(inner, isAuthenticated, weak);
    return algorithm && { ...algorithm, derivedFor: inner.raw };
  }
  const weakCipher = isAuthenticated ? undefined : readWeakCipher(id, fields, weak);
  if (weakCipher) return { tagBytes: 0, ...weakCipher };
  // SECURITY: each content type has its own ciphers, so relabelling one as the other opens nothing (test: structure alone).
  if (!isAuthenticated) {
    const cipher = cbcCiphers.get(id);
    return cipher && { cipher, iv: cbcIv(fields.any()), tagBytes: 0 };
  }
  const ccm = ccmCiphers.get(id);
  const cipher = ccm ?? gcmCiphers.get(id);
  return cipher && { cipher, ...authenticatedParameters(fields.take(TAG.sequence), ccm !== undefined) };
}

/** The key of the content, for the key that was sent. */
export function contentKeyFor({ derivedFor }: ContentAlgorithm, sent: Buffer): Buffer {
  return derivedFor ? deriveContentKey(sent, derivedFor) : sent;
}

/** CMS_CEK_HKDF_SHA256 (RFC 9709 §2). `algorithm`: the ContentEncryptionAlgorithmIdentifier in DER. */
export function deriveContentKey(sent: Uint8Array, algorithm: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', sent, SALT, algorithm, sent.length));
}

export function openDecipher(
  { cipher, iv, tagBytes }: ContentAlgorithm,
  key: Buffer,
  tail: ContentTag | undefined,
): Decipher {
  if (cipher.name === 'rc2-cbc') return new Rc2Decipher(key, key.length * 8, iv);
  if (!tail) return createDecipheriv(cipher.name, key, iv);
  const { tag, contentBytes, authenticatedAttributes } = tail;
  if (isCcm(cipher)) {
    const authenticated = authenticatedAttributes && { authenticated: authenticatedAttributes };
    return new CcmDecipher({ key, nonce: iv, tag, contentBytes, ...authenticated });
  }
  const decipher = createDecipheriv(cipher.name as 'aes-256-gcm', key, iv, { authTagLength: tagBytes });
  if (authenticatedAttributes) decipher.setAAD(authenticatedAttributes);
  decipher.setAuthTag(tag);
  return decipher;
}

export function isCcm({ name }: ContentCipher): boolean {
  return name.endsWith('-ccm');
}

function cbcIv(node: DerNode): Buffer {
  const iv = octetsOf(node);
  if (node.tag !== TAG.octetString || iv.length !== CBC_IV_BYTES) throw malformed();
  return iv;
}

/** GCMParameters and CCMParameters (RFC 5084 §3): nonce, and the length of the tag (default 12). */
function authenticatedParameters(node: DerNode, isCcmNonce: boolean): { iv: Buffer; tagBytes: number } {
  const fields = fieldsOf(node);
  const iv = octetsOf(fields.take(TAG.octetString));
  const length = fields.optional(TAG.integer);
  const tagBytes = length ? countOf(length) : MIN_TAG_BYTES;
  const [minNonce, maxNonce] = isCcmNonce ? [CCM_NONCE_BYTES.min, CCM_NONCE_BYTES.max] : [1, MAX_NONCE_BYTES];
  if (iv.length < minNonce || iv.length > maxNonce) throw malformed();
  // SECURITY: shorter tags would make forgeries cheap.
  if (tagBytes < MIN_TAG_BYTES || tagBytes > MAX_TAG_BYTES || (isCcmNonce && tagBytes % 2 !== 0))
    throw malformed();
  return { iv, tagBytes };
}

function malformed(): BerError {
  return new BerError('cipher parameters are malformed');
}

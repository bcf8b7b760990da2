// RSA key transport (RFC 3370 §4.2.1, RFC 3560): a content key under a public RSA key. Written with PKCS#1 v1.5, which
// every S/MIME agent reads; read with v1.5 and OAEP.
import { constants, createHash, type KeyObject, privateDecrypt, publicEncrypt } from 'node:crypto';
import { type DigestName, ID } from './algorithms.ts';
import { algorithmIdentifier, NULL, octetString } from './ber-writer.ts';
import { type DerNode, fieldsOf, octetsOf, oidOf, parseBer, TAG } from './der.ts';
import { parseRsaHash } from './digest-algorithm.ts';
import { parseMask } from './pss.ts';

/** How a key was transported, checked so far that only the private key can say more. */
export type TransportScheme =
  | { readonly kind: 'v1.5' }
  | {
      readonly kind: 'oaep';
      readonly digest: DigestName;
      readonly maskDigest: DigestName;
      readonly label: Buffer;
    };

/** Algorithm and encrypted key of a KeyTransRecipientInfo. */
export function transportKey(publicKey: KeyObject, contentKey: Uint8Array): readonly Buffer[] {
  const encrypted = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, contentKey);
  return [algorithmIdentifier(ID.rsaEncryption, NULL), octetString(encrypted)];
}

/**
 * The scheme of a key encryption algorithm; undefined if it is unknown or its parameters are malformed. SECURITY: bad
 * OAEP parameters never fall back to v1.5 (test: OAEP parameters).
 */
export function transportScheme(
  algorithm: string,
  parameters: DerNode | undefined,
): TransportScheme | undefined {
  if (algorithm === ID.rsaEncryption) return { kind: 'v1.5' };
  if (algorithm !== ID.rsaOaep) return undefined;
  try {
    return readOaep(parameters);
  } catch {
    return undefined;
  }
}

/**
 * Recovers a transported key. Throws, or gives bytes of any length: the caller must treat both as one failure. With
 * v1.5, OpenSSL answers bad padding with a synthetic key (implicit rejection).
 */
export function recoverTransported(key: KeyObject, scheme: TransportScheme, encrypted: Uint8Array): Buffer {
  if (scheme.kind === 'v1.5') return privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, encrypted);
  if (scheme.digest !== scheme.maskDigest) return recoverMixedOaep(key, scheme, encrypted);
  return privateDecrypt(
    { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: scheme.digest, oaepLabel: scheme.label },
    encrypted,
  );
}

type OaepScheme = Extract<TransportScheme, { kind: 'oaep' }>;

/** RSAES-OAEP-params (RFC 4055 §4.1): each part has a default; absent parameters mean all defaults. */
function readOaep(parameters: DerNode | undefined): OaepScheme | undefined {
  const fields = fieldsOf(parameters ?? parseBer(Buffer.from([TAG.sequence, 0])));
  const hash = fields.optional(0xa0);
  const mask = fields.optional(0xa1);
  const source = fields.optional(0xa2);
  fields.end();
  const digest = hash ? parseRsaHash(only(hash)) : 'sha1';
  const maskDigest = mask ? parseMask(only(mask)) : 'sha1';
  const label = source ? labelOf(only(source)) : Buffer.alloc(0);
  return digest && maskDigest && label && { kind: 'oaep', digest, maskDigest, label };
}

function labelOf(node: DerNode): Buffer | undefined {
  const fields = fieldsOf(node);
  if (oidOf(fields.take(TAG.oid)) !== ID.pSpecified) return undefined;
  const label = octetsOf(fields.take(TAG.octetString));
  fields.end();
  return label;
}

function only(node: DerNode): DerNode {
  const fields = fieldsOf(node, node.tag);
  const inner = fields.any();
  fields.end();
  return inner;
}

/**
 * EME-OAEP decoding (RFC 8017 §7.1.2) where the mask has another hash than the label, which node:crypto cannot do.
 * SECURITY: all checks are gathered before one answer, so that no step's failure shows by itself (Manger's attack).
 */
function recoverMixedOaep(key: KeyObject, scheme: OaepScheme, encrypted: Uint8Array): Buffer {
  const encoded = privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, encrypted);
  const labelHash = createHash(scheme.digest).update(scheme.label).digest();
  const size = labelHash.length;
  if (encoded.length < 2 * size + 2) throw new Error('RSA key is too short for this OAEP hash');
  const maskedSeed = encoded.subarray(1, 1 + size);
  const maskedBlock = encoded.subarray(1 + size);
  const seed = xor(maskedSeed, mask(scheme.maskDigest, maskedBlock, size));
  const block = xor(maskedBlock, mask(scheme.maskDigest, seed, maskedBlock.length));
  let wrong = encoded[0] ?? 1;
  for (let at = 0; at < size; at += 1) wrong |= (block[at] ?? 0) ^ (labelHash[at] ?? 0);
  let start = 0;
  for (let at = size; at < block.length; at += 1) {
    const byte = block[at] ?? 0;
    const isBefore = start === 0 ? 1 : 0;
    start |= isBefore & (byte === 1 ? 1 : 0) ? at + 1 : 0;
    wrong |= isBefore & (byte > 1 ? 1 : 0);
  }
  if (wrong !== 0 || start === 0) throw new Error('OAEP padding is wrong');
  return block.subarray(start);
}

/** MGF1 (RFC 8017 §B.2.1). */
function mask(digest: DigestName, seed: Uint8Array, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let size = 0, counter = 0; size < length; counter += 1) {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const block = createHash(digest).update(seed).update(count).digest();
    blocks.push(block);
    size += block.length;
  }
  return Buffer.concat(blocks, length);
}

function xor(one: Uint8Array, other: Uint8Array): Buffer {
  return Buffer.from(one.map((byte, index) => byte ^ (other[index] ?? 0)));
}

// Key encapsulation (RFC 9629) with ML-KEM (RFC 9936): KEMRecipientInfo, a content key wrapped under a secret that only the
// holder of the private key gets out of a ciphertext.
import { decapsulate, encapsulate, hkdfSync, type KeyObject } from 'node:crypto';
import { type DigestName, ID, type KeyWrap } from './algorithms.ts';
import { algorithmIdentifier, integer, octetString, sequence, tagged } from './ber-writer.ts';
import { countOf, type DerNode, type Fields, fieldsOf, octetsOf, oidOf, TAG } from './der.ts';
import { parseKeyWrap, unwrapKey, wrapKey } from './key-wrap.ts';

/** How a key was encapsulated, checked so far that only the private key can say more. */
export interface EncapsulationScheme {
  /** As node:crypto names it. */
  readonly keyType: string;
  readonly digest: DigestName;
  readonly wrap: KeyWrap;
  /** CMSORIforKEMOtherInfo in DER. */
  readonly otherInfo: Buffer;
}

export interface EncapsulatedKey {
  readonly scheme: EncapsulationScheme | undefined;
  readonly ciphertext: Buffer;
  readonly encryptedKey: Buffer;
}

interface Kem {
  readonly id: string;
  readonly wrapId: string;
  readonly wrap: KeyWrap;
}

const AES_128: KeyWrap = { name: 'aes128-wrap', keyBytes: 16 };
const AES_256: KeyWrap = { name: 'aes256-wrap', keyBytes: 32 };
/** Each with the key wrap that its readers must have (RFC 9936 §2.1). */
const KEMS: ReadonlyMap<string, Kem> = new Map([
  ['ml-kem-512', { id: '2.16.840.1.101.3.4.4.1', wrapId: ID.aes128Wrap, wrap: AES_128 }],
  ['ml-kem-768', { id: '2.16.840.1.101.3.4.4.2', wrapId: ID.aes256Wrap, wrap: AES_256 }],
  ['ml-kem-1024', { id: '2.16.840.1.101.3.4.4.3', wrapId: ID.aes256Wrap, wrap: AES_256 }],
]);
const KEY_TYPES: ReadonlyMap<string, string> = new Map([...KEMS].map(([keyType, { id }]) => [id, keyType]));
const HKDF_SHA256 = '1.2.840.113549.1.9.16.3.28';
/** RFC 8619 §2. */
const KDFS: ReadonlyMap<string, DigestName> = new Map<string, DigestName>([
  [HKDF_SHA256, 'sha256'],
  ['1.2.840.113549.1.9.16.3.29', 'sha384'],
  ['1.2.840.113549.1.9.16.3.30', 'sha512'],
]);

/** What stands behind `rid` in a KEMRecipientInfo for the holder of an ML-KEM key. */
export function encapsulateKey(publicKey: KeyObject, contentKey: Uint8Array): readonly Buffer[] {
  const keyType = publicKey.asymmetricKeyType ?? '';
  const kem = KEMS.get(keyType);
  if (!kem) throw new Error('not an ML-KEM key');
  const { sharedKey, ciphertext } = encapsulate(publicKey);
  const wrapDer = algorithmIdentifier(kem.wrapId);
  const otherInfo = sequence(wrapDer, integer(kem.wrap.keyBytes));
  const key = deriveKey(sharedKey, { keyType, digest: 'sha256', wrap: kem.wrap, otherInfo });
  return [
    algorithmIdentifier(kem.id),
    octetString(ciphertext),
    algorithmIdentifier(HKDF_SHA256),
    integer(kem.wrap.keyBytes),
    wrapDer,
    octetString(wrapKey(kem.wrap, key, contentKey)),
  ];
}

/** Reads what stands behind `rid` in a KEMRecipientInfo. Throws GatewayError `config-invalid` where it is malformed. */
export function readEncapsulated(fields: Fields): EncapsulatedKey {
  const kem = fields.take(TAG.sequence);
  const ciphertext = octetsOf(fields.any());
  const kdf = fields.take(TAG.sequence);
  const kekBytes = countOf(fields.take(TAG.integer));
  const material = fields.optional(0xa0);
  const wrapNode = fields.take(TAG.sequence);
  const encryptedKey = octetsOf(fields.any());
  fields.end();
  const keyType = KEY_TYPES.get(bareOid(kem) ?? '');
  const digest = KDFS.get(bareOid(kdf) ?? '');
  const wrap = parseKeyWrap(wrapNode);
  const userKeyingMaterial = material && octetsOf(fieldsOf(material, 0xa0).any());
  // RFC 9629 §3: the length is that of the wrap's key. No weak wrap here: nothing that has KEMs is that old.
  const isKnown = keyType !== undefined && digest !== undefined && wrap?.keyBytes === kekBytes;
  if (!isKnown) return { scheme: undefined, ciphertext, encryptedKey };
  const otherInfo = sequence(
    wrapNode.raw,
    integer(kekBytes),
    ...(userKeyingMaterial ? [tagged(0, octetString(userKeyingMaterial))] : []),
  );
  return { scheme: { keyType, digest, wrap, otherInfo }, ciphertext, encryptedKey };
}

/**
 * Recovers an encapsulated key. Throws where the ciphertext has another length, or the wrapped key is damaged: the caller
 * treats both as one failure. A changed ciphertext gives another secret, no error (implicit rejection, FIPS 203 §6.3).
 */
export function recoverEncapsulated(
  privateKey: KeyObject,
  scheme: EncapsulationScheme,
  ciphertext: Uint8Array,
  encryptedKey: Uint8Array,
): Buffer {
  return unwrapKey(scheme.wrap, deriveKey(decapsulate(privateKey, ciphertext), scheme), encryptedKey);
}

/** RFC 9629 §5 with HKDF and no salt (RFC 9936 §2.2.1). */
function deriveKey(secret: Uint8Array, { digest, wrap, otherInfo }: EncapsulationScheme): Buffer {
  return Buffer.from(hkdfSync(digest, secret, new Uint8Array(), otherInfo, wrap.keyBytes));
}

/** The algorithm of an AlgorithmIdentifier that must not have parameters (RFC 9936 §2.1, RFC 8619 §2). */
function bareOid(node: DerNode): string | undefined {
  return node.children.length === 1 ? oidOf(fieldsOf(node).take(TAG.oid)) : undefined;
}

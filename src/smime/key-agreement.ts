// ECDH key agreement (RFC 5753, RFC 8418 for X25519 and X448): a content key wrapped under a secret that an ephemeral key
// and the recipient's key agree on, through the X9.63 KDF or HKDF, and AES key wrap.
import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { WeakAlgorithm } from '../core/plan.ts';
import { type DigestName, ecdhKdfs, hkdfSchemes, ID, type KeyWrap } from './algorithms.ts';
import { algorithmIdentifier, element, octetString, sequence, tagged } from './ber-writer.ts';
import { type DerNode, fieldsOf, oidOf, parseDer, TAG } from './der.ts';
import { parseKeyWrap, unwrapKey, wrapKey } from './key-wrap.ts';

/** The agreement's parameters, checked so far that only the private key can say more. */
export interface AgreementScheme {
  readonly kdf: 'x9.63' | 'hkdf';
  readonly digest: DigestName;
  readonly wrap: KeyWrap;
  /** AlgorithmIdentifier of the key wrap as it stands: it is part of the KDF's input. */
  readonly wrapDer: Uint8Array;
  readonly userKeyingMaterial?: Uint8Array;
}

export interface AgreedKey {
  /** The ephemeral public key: OriginatorPublicKey, contents of `[1]`. */
  readonly originator: readonly Buffer[];
  /** keyEncryptionAlgorithm of the KeyAgreeRecipientInfo. */
  readonly algorithm: Buffer;
  readonly encryptedKey: Buffer;
}

const CURVES = new Set([
  'prime256v1',
  'secp384r1',
  'secp521r1',
  'brainpoolP256r1',
  'brainpoolP384r1',
  'brainpoolP512r1',
]);
const SMALL_CURVES = new Set(['prime256v1', 'brainpoolP256r1']);

/** Whether keys of this type and curve can be agreed with. */
export function canAgree(key: KeyObject): boolean {
  if (key.asymmetricKeyType === 'x25519' || key.asymmetricKeyType === 'x448') return true;
  return key.asymmetricKeyType === 'ec' && CURVES.has(key.asymmetricKeyDetails?.namedCurve ?? '');
}

/** Wraps a content key for the holder of `publicKey`, with a fresh ephemeral key of the same curve. */
export function agreeOnKey(publicKey: KeyObject, contentKey: Uint8Array): AgreedKey {
  const ephemeral = ephemeralFor(publicKey);
  const curve = publicKey.asymmetricKeyDetails?.namedCurve;
  const isLarge = curve !== undefined && !SMALL_CURVES.has(curve);
  const wrapDer = algorithmIdentifier(ID.aes256Wrap);
  const scheme: AgreementScheme = {
    kdf: 'x9.63',
    digest: isLarge ? 'sha384' : 'sha256',
    wrap: { name: 'aes256-wrap', keyBytes: 32 },
    wrapDer,
  };
  const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey });
  const { algorithm, point } = readPublicKey(ephemeral.publicKey);
  // The curve is the recipient's, so an EC key's parameters are left out (RFC 5753 §3.1.1).
  const keyType = oidOf(fieldsOf(algorithm).take(TAG.oid));
  return {
    originator: [algorithmIdentifier(keyType), point.raw],
    algorithm: algorithmIdentifier(isLarge ? ID.ecdhSha384Kdf : ID.ecdhSha256Kdf, wrapDer),
    encryptedKey: wrapKey(scheme.wrap, deriveKey(secret, scheme), contentKey),
  };
}

/** The scheme of a keyEncryptionAlgorithm; undefined if it is unknown, malformed, or weak and not among `weak`. */
export function agreementScheme(
  algorithm: string,
  parameters: DerNode | undefined,
  userKeyingMaterial: Uint8Array | undefined,
  weak: readonly WeakAlgorithm[] = [],
): AgreementScheme | undefined {
  const hkdf = hkdfSchemes.get(algorithm);
  const digest = hkdf ?? ecdhKdfs.get(algorithm);
  if (!digest || parameters?.tag !== TAG.sequence) return undefined;
  const wrap = parseKeyWrap(parameters, weak);
  return (
    wrap && {
      kdf: hkdf ? 'hkdf' : 'x9.63',
      digest,
      wrap,
      wrapDer: parameters.raw,
      ...(userKeyingMaterial && { userKeyingMaterial }),
    }
  );
}

/** Recovers an agreed key. Throws if the point, the wrap or the key is wrong: the caller treats all as one failure. */
export function recoverAgreed(
  privateKey: KeyObject,
  scheme: AgreementScheme,
  originatorPoint: Uint8Array,
  encryptedKey: Uint8Array,
): Buffer {
  const own = readPublicKey(createPublicKey(privateKey));
  // SECURITY: the point is read on our key's curve, whatever curve the sender names (invalid-curve attack).
  const publicKey = createPublicKey({
    key: sequence(own.algorithm.raw, element(TAG.bitString, originatorPoint)),
    format: 'der',
    type: 'spki',
  });
  const secret = diffieHellman({ privateKey, publicKey });
  return unwrapKey(scheme.wrap, deriveKey(secret, scheme), encryptedKey);
}

function ephemeralFor(publicKey: KeyObject): { publicKey: KeyObject; privateKey: KeyObject } {
  if (publicKey.asymmetricKeyType === 'x25519') return generateKeyPairSync('x25519');
  if (publicKey.asymmetricKeyType === 'x448') return generateKeyPairSync('x448');
  return generateKeyPairSync('ec', { namedCurve: publicKey.asymmetricKeyDetails?.namedCurve ?? '' });
}

/** X9.63 KDF (SEC 1 §3.6.1) or HKDF over ECC-CMS-SharedInfo (RFC 5753 §7.2). */
function deriveKey(secret: Uint8Array, scheme: AgreementScheme): Buffer {
  const bits = Buffer.alloc(4);
  bits.writeUInt32BE(scheme.wrap.keyBytes * 8);
  const sharedInfo = sequence(
    scheme.wrapDer,
    ...(scheme.userKeyingMaterial ? [tagged(0, octetString(scheme.userKeyingMaterial))] : []),
    tagged(2, octetString(bits)),
  );
  if (scheme.kdf === 'hkdf') {
    // RFC 8418 §2.2: the keying material is the salt as well.
    const salt = scheme.userKeyingMaterial ?? new Uint8Array();
    return Buffer.from(hkdfSync(scheme.digest, secret, salt, sharedInfo, scheme.wrap.keyBytes));
  }
  const blocks: Buffer[] = [];
  for (let size = 0, counter = 1; size < scheme.wrap.keyBytes; counter += 1) {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(counter);
    const block = createHash(scheme.digest).update(secret).update(count).update(sharedInfo).digest();
    blocks.push(block);
    size += block.length;
  }
  return Buffer.concat(blocks, scheme.wrap.keyBytes);
}

function readPublicKey(key: KeyObject): { algorithm: DerNode; point: DerNode } {
  const fields = fieldsOf(parseDer(key.export({ format: 'der', type: 'spki' })));
  return { algorithm: fields.take(TAG.sequence), point: fields.take(TAG.bitString) };
}

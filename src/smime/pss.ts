// RSASSA-PSS (RFC 4055 §3, RFC 4056): its parameters, the keys that are bound to some of them, and what node:crypto has to be
// given so that it checks exactly these.
import { constants, createPublicKey, type KeyObject, type VerifyKeyObjectInput } from 'node:crypto';
import { type DigestName, ID } from './algorithms.ts';
import { algorithmIdentifier, integer, NULL, sequence, tagged } from './ber-writer.ts';
import { countOf, type DerNode, fieldsOf, oidOf, parseDer, TAG } from './der.ts';
import { parseRsaHash } from './digest-algorithm.ts';

export interface PssScheme {
  readonly digest: DigestName;
  /** Of MGF1. */
  readonly maskDigest: DigestName;
  readonly saltBytes: number;
}

const DEFAULT_SALT_BYTES = 20;
const TRAILER = 1;
const WRITTEN: ReadonlyMap<string, { readonly id: string; readonly bytes: number }> = new Map([
  ['sha256', { id: ID.sha256, bytes: 32 }],
  ['sha384', { id: ID.sha384, bytes: 48 }],
  ['sha512', { id: ID.sha512, bytes: 64 }],
]);

/** RSASSA-PSS-params; undefined where they are absent, malformed, or say what is not supported. */
export function parsePss(parameters: DerNode | undefined): PssScheme | undefined {
  if (parameters?.tag !== TAG.sequence) return undefined;
  try {
    return readParameters(parameters);
  } catch {
    return undefined;
  }
}

function readParameters(parameters: DerNode): PssScheme | undefined {
  const fields = fieldsOf(parameters);
  const [hash, mask, salt, trailer] = [0xa0, 0xa1, 0xa2, 0xa3].map((tag) => {
    const wrapped = fields.optional(tag);
    return wrapped && only(wrapped);
  });
  fields.end();
  const digest = hash ? parseRsaHash(hash) : 'sha1';
  const maskDigest = mask ? parseMask(mask) : 'sha1';
  // RFC 4055 §3.1: the trailer field is 0xBC, and nothing else.
  if (!digest || !maskDigest || (trailer && countOf(trailer) !== TRAILER)) return undefined;
  return { digest, maskDigest, saltBytes: salt ? countOf(salt) : DEFAULT_SALT_BYTES };
}

/** MaskGenAlgorithm: the hash of MGF1 (RFC 4055 §2.2). Throws GatewayError `config-invalid`. */
export function parseMask(node: DerNode): DigestName | undefined {
  const fields = fieldsOf(node);
  if (oidOf(fields.take(TAG.oid)) !== ID.mgf1) return undefined;
  const hash = fields.take(TAG.sequence);
  fields.end();
  return parseRsaHash(hash);
}

/** What a private key of type `rsa-pss` signs with; undefined where it is bound to hashes that are not written. */
export function pssOfKey({ asymmetricKeyDetails: details = {} }: KeyObject): PssScheme | undefined {
  const digest = WRITTEN.get(details.hashAlgorithm ?? 'sha256');
  const mask = WRITTEN.get(details.mgf1HashAlgorithm ?? 'sha256');
  if (!digest || !mask) return undefined;
  return {
    digest: (details.hashAlgorithm ?? 'sha256') as DigestName,
    maskDigest: (details.mgf1HashAlgorithm ?? 'sha256') as DigestName,
    saltBytes: Math.max(digest.bytes, details.saltLength ?? 0),
  };
}

/** AlgorithmIdentifier of a scheme that `pssOfKey` gave. */
export function pssAlgorithm({ digest, maskDigest, saltBytes }: PssScheme): Buffer {
  return algorithmIdentifier(
    ID.rsaPss,
    sequence(
      tagged(0, hashAlgorithm(digest)),
      tagged(1, algorithmIdentifier(ID.mgf1, hashAlgorithm(maskDigest))),
      tagged(2, integer(saltBytes)),
    ),
  );
}

function hashAlgorithm(name: DigestName): Buffer {
  return algorithmIdentifier(WRITTEN.get(name)?.id ?? '', NULL);
}

/**
 * A public RSA key as `verify` takes it for this scheme; undefined where the key is bound to another one. `parameters` is
 * the RSASSA-PSS-params that the scheme was read from. Throws where OpenSSL cannot read them.
 */
export function pssVerifyKey(
  key: KeyObject,
  scheme: PssScheme,
  parameters: DerNode,
): VerifyKeyObjectInput | undefined {
  const { hashAlgorithm, mgf1HashAlgorithm, saltLength = 0 } = key.asymmetricKeyDetails ?? {};
  // RFC 4055 §1.2: a key may say which hashes it is for, and how much salt there is at least.
  if (hashAlgorithm !== undefined) {
    const isAllowed = hashAlgorithm === scheme.digest && mgf1HashAlgorithm === scheme.maskDigest;
    if (!isAllowed || scheme.saltBytes < saltLength) return undefined;
  }
  const isBound = hashAlgorithm === undefined && scheme.digest !== scheme.maskDigest;
  const bound = isBound ? boundKey(key, parameters) : key;
  return { key: bound, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: scheme.saltBytes };
}

/** node:crypto takes the hash of the mask from the key alone: the same key, bound to the signature's parameters. */
function boundKey(key: KeyObject, parameters: DerNode): KeyObject {
  const fields = fieldsOf(parseDer(key.export({ format: 'der', type: 'spki' })));
  fields.take(TAG.sequence);
  const spki = sequence(algorithmIdentifier(ID.rsaPss, parameters.raw), fields.take(TAG.bitString).raw);
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

function only(node: DerNode): DerNode {
  const fields = fieldsOf(node, node.tag);
  const inner = fields.any();
  fields.end();
  return inner;
}

// What a private key signs with (RFC 8551 §2.2, RFC 4056, RFC 5753, RFC 8419): one scheme for each type of key.
import { constants, type KeyObject, sign } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { ID } from './algorithms.ts';
import { algorithmIdentifier, integer, NULL } from './ber-writer.ts';
import { pssAlgorithm, pssOfKey } from './pss.ts';

/** A digest of the content, as it goes into signatures. */
export interface SigningDigest {
  readonly name: 'sha256' | 'sha384' | 'sha512' | 'shake256';
  /** As multipart/signed names it (RFC 8551 §3.5.3.2). */
  readonly micalg: string;
  /** AlgorithmIdentifier. */
  readonly algorithm: Buffer;
}

interface CurveDigest extends SigningDigest {
  readonly ecdsaId: string;
}

const SHA256: CurveDigest = {
  name: 'sha256',
  micalg: 'sha-256',
  algorithm: algorithmIdentifier(ID.sha256),
  ecdsaId: ID.ecdsaWithSha256,
};
const SHA384: CurveDigest = {
  name: 'sha384',
  micalg: 'sha-384',
  algorithm: algorithmIdentifier(ID.sha384),
  ecdsaId: ID.ecdsaWithSha384,
};
const SHA512: CurveDigest = {
  name: 'sha512',
  micalg: 'sha-512',
  algorithm: algorithmIdentifier(ID.sha512),
  ecdsaId: ID.ecdsaWithSha512,
};
/** RFC 8419 §3.1. No standard gives it a micalg, which RFC 8551 §3.5.3.2 then calls `unknown`. */
const SHAKE256: SigningDigest = {
  name: 'shake256',
  micalg: 'unknown',
  algorithm: algorithmIdentifier('2.16.840.1.101.3.4.2.18', integer(512)),
};
// QUIRK: gpgsm refuses a digest that is shorter than the curve (test: gpgsm verifies what we sign).
const CURVE_DIGESTS: ReadonlyMap<string, CurveDigest> = new Map([
  ['secp384r1', SHA384],
  ['secp521r1', SHA512],
  ['brainpoolP384r1', SHA384],
  ['brainpoolP512r1', SHA512],
]);
const PSS_DIGESTS: ReadonlyMap<string, SigningDigest> = new Map([
  ['sha256', SHA256],
  ['sha384', SHA384],
  ['sha512', SHA512],
]);

/** The digest for a key. Throws GatewayError `signing-key-missing` for a type of key that does not sign here. */
export function signingDigest(key: KeyObject): SigningDigest {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return SHA256;
    case 'rsa-pss': {
      const digest = PSS_DIGESTS.get(pssOfKey(key)?.digest ?? '');
      if (!digest) throw unusable('the signing key is bound to a hash that is not used for signing');
      return digest;
    }
    case 'ec':
      return curveDigest(key);
    case 'ed25519':
      return SHA512;
    case 'ed448':
      return SHAKE256;
    default:
      throw unusable('type of the signing key is not supported');
  }
}

/** signatureAlgorithm and signature of a SignerInfo over these signed attributes. Errors as `signingDigest`. */
export function signAttributes(
  attributes: Uint8Array,
  key: KeyObject,
): { readonly algorithm: Buffer; readonly signature: Buffer } {
  const { name } = signingDigest(key);
  switch (key.asymmetricKeyType) {
    case 'ec':
      return {
        algorithm: algorithmIdentifier(curveDigest(key).ecdsaId),
        signature: sign(name, attributes, { key, dsaEncoding: 'der' }),
      };
    case 'ed25519':
    case 'ed448':
      return {
        algorithm: algorithmIdentifier(key.asymmetricKeyType === 'ed25519' ? ID.ed25519 : ID.ed448),
        signature: sign(null, attributes, key),
      };
    case 'rsa-pss':
      return signPss(name, attributes, key);
    default:
      return {
        algorithm: algorithmIdentifier(ID.rsaEncryption, NULL),
        signature: sign(name, attributes, { key, padding: constants.RSA_PKCS1_PADDING }),
      };
  }
}

/** RFC 4055 §3.3: such a key makes PSS signatures alone. The mask's hash is the one that the key is bound to. */
function signPss(
  name: string,
  attributes: Uint8Array,
  key: KeyObject,
): { readonly algorithm: Buffer; readonly signature: Buffer } {
  const scheme = pssOfKey(key);
  if (!scheme) throw unusable('the signing key is bound to a hash that is not used for signing');
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return {
    algorithm: pssAlgorithm(scheme),
    signature: sign(name, attributes, { key, padding, saltLength: scheme.saltBytes }),
  };
}

function curveDigest(key: KeyObject): CurveDigest {
  return CURVE_DIGESTS.get(key.asymmetricKeyDetails?.namedCurve ?? '') ?? SHA256;
}

function unusable(reason: string): GatewayError {
  return new GatewayError('signing-key-missing', reason);
}

// RSA over a digest that is already made. The library does this in JavaScript when it signs a stream: slow with large keys,
// and its time depends on the private exponent.
import { constants, createPrivateKey, type KeyObject, privateEncrypt } from 'node:crypto';

/** As the library holds a key: integers, big-endian; `u` is the inverse of p modulo q. */
export interface RsaParameters {
  readonly n: Uint8Array;
  readonly e: Uint8Array;
  readonly d: Uint8Array;
  readonly p: Uint8Array;
  readonly q: Uint8Array;
  readonly u: Uint8Array;
}

/** The start of DigestInfo by hash algorithm id (RFC 8017 §9.2, RFC 9580 §5.2.2). */
const DIGEST_INFO: Readonly<Record<number, string>> = {
  8: '3031300d060960864801650304020105000420',
  9: '3041300d060960864801650304020205000430',
  10: '3051300d060960864801650304020305000440',
  11: '302d300d06096086480165030402040500041c',
  12: '3031300d060960864801650304020805000420',
  14: '3051300d060960864801650304020a05000440',
};

/** A PKCS#1 v1.5 signature. Throws RangeError for a hash that is not used for signing. */
export function signDigest(parameters: RsaParameters, hashId: number, digest: Uint8Array): Buffer {
  const start = DIGEST_INFO[hashId];
  if (start === undefined) throw new RangeError('not a hash for signing');
  const info = Buffer.concat([Buffer.from(start, 'hex'), digest]);
  return privateEncrypt({ key: keyObject(parameters), padding: constants.RSA_PKCS1_PADDING }, info);
}

function keyObject({ n, e, d, p, q, u }: RsaParameters): KeyObject {
  // The names are changed over: PKCS#1 wants the inverse of its q modulo its p.
  const jwk = {
    kty: 'RSA',
    n: encode(n),
    e: encode(e),
    d: encode(d),
    p: encode(q),
    q: encode(p),
    dp: encode(remainder(d, q)),
    dq: encode(remainder(d, p)),
    qi: encode(u),
  };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}

/** d mod (prime - 1). */
function remainder(d: Uint8Array, prime: Uint8Array): Buffer {
  const hex = (toInteger(d) % (toInteger(prime) - 1n)).toString(16);
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
}

function toInteger(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

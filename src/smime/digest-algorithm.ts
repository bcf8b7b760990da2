// Reads the AlgorithmIdentifier of a digest, wherever one stands: signers, RSASSA-PSS, RSAES-OAEP.
import { type DigestName, digests } from './algorithms.ts';
import { countOf, type DerNode, fieldsOf, oidOf, TAG } from './der.ts';

const SHAKE256_LEN = '2.16.840.1.101.3.4.2.18';
const SHAKE256_BITS = 512;

/** Undefined for a digest or parameters that this gateway does not know. Throws GatewayError `config-invalid`. */
export function parseDigestAlgorithm(node: DerNode): DigestName | undefined {
  const fields = fieldsOf(node);
  const id = oidOf(fields.take(TAG.oid));
  // RFC 8419 §3.1: the form for Ed448 says how long its output is.
  if (id === SHAKE256_LEN) {
    const bits = fields.optional(TAG.integer);
    return bits && countOf(bits) === SHAKE256_BITS ? 'shake256' : undefined;
  }
  // RFC 5754 §2: parameters are absent, or NULL.
  const [, parameters, ...more] = node.children;
  const isPlain = (parameters === undefined || parameters.tag === TAG.null) && more.length === 0;
  return isPlain ? digests.get(id) : undefined;
}

/** As `parseDigestAlgorithm`, for a hash inside RSA parameters: SHAKE256 has a length of its own there. */
export function parseRsaHash(node: DerNode): DigestName | undefined {
  const digest = parseDigestAlgorithm(node);
  return digest === 'shake256' ? undefined : digest;
}

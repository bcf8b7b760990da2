// Which signature algorithms a certificate may carry. SHA-1 and older, DSA and unknown ones are weak: a collision there
// makes certificates that nobody issued.
import type { Certificate } from './certificate.ts';
import { fieldsOf, oidOf, TAG } from './der.ts';

const STRONG: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.11', // sha256WithRSAEncryption
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.2.840.10045.4.3.2', // ecdsa-with-SHA256
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.3.101.112', // Ed25519
  '1.3.101.113', // Ed448
  '2.16.840.1.101.3.4.3.17', // ML-DSA (RFC 9881 §2)
  '2.16.840.1.101.3.4.3.18',
  '2.16.840.1.101.3.4.3.19',
]);
const RSA_PSS = '1.2.840.113549.1.1.10';
const STRONG_HASH: ReadonlySet<string> = new Set([
  '2.16.840.1.101.3.4.2.1', // SHA-256
  '2.16.840.1.101.3.4.2.2',
  '2.16.840.1.101.3.4.2.3',
]);

/** Whether the certificate's own signature is made with an algorithm that resists collisions. */
export function isStronglySigned({ signatureAlgorithm }: Certificate): boolean {
  const { oid, parameters } = signatureAlgorithm;
  if (oid !== RSA_PSS) return STRONG.has(oid);
  try {
    // RFC 4055 §3.1: without parameters the hash is SHA-1.
    const hash = parameters && fieldsOf(parameters).optional(0xa0);
    if (!hash) return false;
    return STRONG_HASH.has(oidOf(fieldsOf(fieldsOf(hash, 0xa0).take(TAG.sequence)).take(TAG.oid)));
  } catch {
    return false;
  }
}

// Whether one certificate is signed by the key of another: what a check costs, and the outcome remembered, since one message
// makes many searches ask the same.
import type { Certificate } from './certificate.ts';

/** By key of the issuer. SECURITY: an intermediate of the operator meets keys of many strangers, so it is bounded. */
const remembered = new WeakMap<Certificate, Map<string, boolean>>();
const MAX_REMEMBERED = 100;
/** In checks with P-256, as measured; other kinds cost as much as the worst of these. */
const COST: Readonly<Record<string, number>> = {
  prime256v1: 1,
  brainpoolP256r1: 8,
  secp384r1: 10,
  brainpoolP384r1: 16,
  brainpoolP512r1: 24,
  ed25519: 1,
};
const MAX_COST = 30;

/** What is known of the signature without checking it. */
export function knownSignature(tip: Certificate, issuer: Certificate): boolean | undefined {
  return remembered.get(tip)?.get(issuer.publicKeyHash);
}

/** Total. Checks the signature, and remembers the outcome. */
export function isSignedBy(tip: Certificate, issuer: Certificate): boolean {
  const known = knownSignature(tip, issuer);
  if (known !== undefined) return known;
  const isValid = verify(tip, issuer);
  const outcomes = remembered.get(tip) ?? new Map<string, boolean>();
  if (outcomes.size < MAX_REMEMBERED) remembered.set(tip, outcomes.set(issuer.publicKeyHash, isValid));
  return isValid;
}

/** In checks with P-256, each some 0.2 ms. */
export function costOfCheck({ publicKey, keyType }: Certificate): number {
  const { modulusLength = 0, namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  if (keyType === 'rsa') return modulusLength <= 4_096 ? 3 : 20;
  return COST[namedCurve ?? keyType] ?? MAX_COST;
}

function verify(tip: Certificate, issuer: Certificate): boolean {
  try {
    return tip.x509.verify(issuer.publicKey);
  } catch {
    // OpenSSL throws where the algorithm does not fit the key.
    return false;
  }
}

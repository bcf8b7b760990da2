// The packet that announces a signature (RFC 9580 §5.4), so that content can be hashed while it comes.
import { PgpFault } from './fault.ts';

export interface OnePassSignature {
  readonly type: number;
  readonly hashId: number;
  /** Lower-case hex; empty for a version that is not known. */
  readonly keyId: string;
  /** Version 6. */
  readonly salt?: Buffer;
}

const V3_BYTES = 13;
const FINGERPRINT_BYTES = 32;

/** Reads a packet body. An unknown version announces a signature that cannot be checked. Throws PgpFault `malformed`. */
export function parseOnePass(body: Buffer): OnePassSignature {
  const [version = 0, type = 0, hashId = 0, , saltBytes = 0] = body;
  if (version === 3) {
    if (body.length !== V3_BYTES) throw malformed();
    return { type, hashId, keyId: body.toString('hex', 4, 12) };
  }
  if (version !== 6) return { type, hashId, keyId: '' };
  const fingerprintAt = 5 + saltBytes;
  if (body.length !== fingerprintAt + FINGERPRINT_BYTES + 1) throw malformed();
  const keyId = body.toString('hex', fingerprintAt, fingerprintAt + 8);
  return { type, hashId, keyId, salt: body.subarray(5, fingerprintAt) };
}

/** Writes a packet body; the announcement of the only signature. `fingerprint` counts in version 6. */
export function writeOnePass(
  signature: OnePassSignature,
  keyAlgorithm: number,
  fingerprint: Uint8Array,
): Buffer {
  const { type, hashId, keyId, salt } = signature;
  const last = Buffer.of(1);
  if (!salt)
    return Buffer.concat([Buffer.of(3, type, hashId, keyAlgorithm), Buffer.from(keyId, 'hex'), last]);
  return Buffer.concat([Buffer.of(6, type, hashId, keyAlgorithm, salt.length), salt, fingerprint, last]);
}

function malformed(): PgpFault {
  return new PgpFault('malformed', 'a one-pass signature cannot be read');
}

// Key wrap: the content key under a key that both sides derived (RFC 3565 §2.3 with AES; RFC 3217 with Triple-DES, read only
// where the policy names 3des).
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { WeakAlgorithm } from '../core/plan.ts';
import { type KeyWrap, keyWraps, TRIPLE_DES_WRAP } from './algorithms.ts';
import { type DerNode, fieldsOf, oidOf, TAG } from './der.ts';

const AES_IV = Buffer.alloc(8, 0xa6);

/** The wrap that an AlgorithmIdentifier names; undefined where it is not read. Throws GatewayError `config-invalid`. */
export function parseKeyWrap(node: DerNode, weak: readonly WeakAlgorithm[] = []): KeyWrap | undefined {
  const wrap = keyWraps.get(oidOf(fieldsOf(node).take(TAG.oid)));
  return wrap?.name === TRIPLE_DES_WRAP && !weak.includes('3des') ? undefined : wrap;
}

export function wrapKey(wrap: KeyWrap, key: Uint8Array, contentKey: Uint8Array): Buffer {
  const cipher = createCipheriv(wrap.name, key, ivOf(wrap));
  return Buffer.concat([cipher.update(contentKey), cipher.final()]);
}

/** Throws where the wrapped key is damaged, or the key another one: the caller treats both as one failure. */
export function unwrapKey(wrap: KeyWrap, key: Uint8Array, wrapped: Uint8Array): Buffer {
  const decipher = createDecipheriv(wrap.name, key, ivOf(wrap));
  return Buffer.concat([decipher.update(wrapped), decipher.final()]);
}

/** RFC 3217 §3.1 has its random IV inside. */
function ivOf({ name }: KeyWrap): Buffer | null {
  return name === TRIPLE_DES_WRAP ? null : AES_IV;
}

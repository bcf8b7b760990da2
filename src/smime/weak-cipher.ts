// Content ciphers that no longer protect, for reading older mail where the policy names them: 3DES and RC2 in CBC mode
// (RFC 3370 §5). Nothing is ever written with them.
import type { WeakAlgorithm } from '../core/plan.ts';
import { type ContentCipher, weakCiphers } from './algorithms.ts';
import { BerError } from './ber-reader.ts';
import { countOf, type DerNode, type Fields, fieldsOf, octetsOf, TAG } from './der.ts';

const BLOCK_BYTES = 8;
/** RC2's effective bits, by the version that its parameters name (RFC 2268 §6). */
const RC2_BITS: ReadonlyMap<number, number> = new Map([
  [160, 40],
  [120, 64],
  [58, 128],
]);

/** The cipher and its IV, from an AlgorithmIdentifier whose parameters are next; undefined where the cipher is unknown or not named. Throws `BerError` for bad parameters. */
export function readWeakCipher(
  algorithm: string,
  parameters: Fields,
  weak: readonly WeakAlgorithm[],
): { readonly cipher: ContentCipher; readonly iv: Buffer } | undefined {
  const name = weakCiphers.get(algorithm);
  if (name === undefined || !weak.includes(name)) return undefined;
  if (name === '3des')
    return { cipher: { name: 'des-ede3-cbc', keyBytes: 24, isWeak: true }, iv: initial(parameters.any()) };
  const fields = fieldsOf(parameters.take(TAG.sequence));
  const bits = RC2_BITS.get(countOf(fields.take(TAG.integer)));
  const iv = initial(fields.take(TAG.octetString));
  return bits === undefined
    ? undefined
    : { cipher: { name: 'rc2-cbc', keyBytes: bits / 8, isWeak: true }, iv };
}

function initial(node: DerNode): Buffer {
  if (node.tag !== TAG.octetString || octetsOf(node).length !== BLOCK_BYTES)
    throw new BerError('cipher parameters are malformed');
  return octetsOf(node);
}

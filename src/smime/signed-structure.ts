// The outer form that CRLs and OCSP responses share with certificates: a body, an algorithm and a signature over the body.
import { constants, type KeyObject, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { brokenDigests, type DigestName, signatureAlgorithms } from './algorithms.ts';
import { type DerNode, fieldsOf, oidOf, TAG } from './der.ts';
import { parsePss, type PssScheme, pssVerifyKey } from './pss.ts';

export interface SignedStructure {
  /** The signed bytes, header included. */
  readonly body: Buffer;
  readonly algorithm: DerNode;
  readonly signature: Buffer;
}

interface Scheme {
  readonly digest: DigestName | undefined;
  /** As node:crypto names the type of the key. */
  readonly type: string;
  readonly pss?: { readonly scheme: PssScheme; readonly parameters: DerNode };
}

const DSA_WITH_SHA1 = '1.2.840.10040.4.3';

const verifyInPool = promisify(
  (
    digest: string | undefined,
    body: Buffer,
    key: Parameters<typeof verify>[2],
    signature: Buffer,
    done: (error: Error | null, result: boolean) => void,
  ) => verify(digest, body, key, signature, done),
);

/**
 * Whether the signature is by that key, with an algorithm that resists collisions (with `isLegacyAllowed`, SHA-1 too).
 * The work is done beside the event loop: a body may have 20 MB.
 */
export async function isSignedWith(
  { body, algorithm, signature }: SignedStructure,
  key: KeyObject,
  isLegacyAllowed = false,
): Promise<boolean> {
  const scheme = schemeOf(algorithm);
  if (!scheme || (scheme.digest && brokenDigests.has(scheme.digest) && !isLegacyAllowed)) return false;
  const type = key.asymmetricKeyType ?? '';
  if (type.replace('-pss', '') !== scheme.type) return false;
  try {
    const input = keyInput(key, scheme);
    return input !== undefined && (await verifyInPool(scheme.digest, body, input, signature));
  } catch {
    return false;
  }
}

/** Undefined where the key is bound to another scheme. */
function keyInput(key: KeyObject, { type, pss }: Scheme): Parameters<typeof verify>[2] | undefined {
  if (type === 'ec') return { key, dsaEncoding: 'der' };
  if (type !== 'rsa') return key;
  if (pss) return pssVerifyKey(key, pss.scheme, pss.parameters);
  return { key, padding: constants.RSA_PKCS1_PADDING };
}

/** Undefined for what is not supported, or would leave the digest open. */
function schemeOf(node: DerNode): Scheme | undefined {
  const id = oidOf(fieldsOf(node).take(TAG.oid));
  // With SHA-1 only, so that it is never taken but for old test suites.
  if (id === DSA_WITH_SHA1) return { digest: 'sha1', type: 'dsa' };
  const found = signatureAlgorithms.get(id);
  switch (found?.scheme) {
    case 'rsa':
      return found.digest && { digest: found.digest, type: 'rsa' };
    case 'ecdsa':
      return found.digest && { digest: found.digest, type: 'ec' };
    case 'pure':
      return found.keyType === undefined ? undefined : { digest: undefined, type: found.keyType };
    case 'rsa-pss':
      return pssOf(node.children[1]);
    case undefined:
      return undefined;
  }
}

function pssOf(parameters: DerNode | undefined): Scheme | undefined {
  const scheme = parsePss(parameters);
  return parameters && scheme && { digest: scheme.digest, type: 'rsa', pss: { scheme, parameters } };
}

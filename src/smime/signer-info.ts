// One signer of a SignedData: parsing, and the judgement of its signature by RFC 5652 §5.4 and §5.6. Integrity and
// trust are two answers.
import { constants, verify } from 'node:crypto';
import type { SignatureResult } from '../core/outcome.ts';
import type { WeakAlgorithm } from '../core/plan.ts';
import { brokenDigests, type DigestName, signatureAlgorithms, type SignatureScheme } from './algorithms.ts';
import type { Certificate } from './certificate.ts';
import type { TrustContext } from './chain.ts';
import type { ContentDigests } from './content-digest.ts';
import type { ContentVariant } from './content-variants.ts';
import { countOf, type DerNode, fieldsOf, octetsOf, oidOf, parseBer, TAG } from './der.ts';
import { parseDigestAlgorithm } from './digest-algorithm.ts';
import { parsePss, type PssScheme, pssVerifyKey } from './pss.ts';
import { isNamedBy, parseRecipientId, type RecipientId } from './recipient-info.ts';
import { hasMisplacedAttribute, readSignedAttributes, type SignedAttributes } from './signed-attributes.ts';
import { establishTrust, type TrustResult } from './trust.ts';

export interface SignerInfo {
  readonly id: RecipientId;
  /** Undefined: a digest that this gateway does not know. */
  readonly digest: DigestName | undefined;
  /** The `[0]` as it stands. */
  readonly signedAttributes: Buffer | undefined;
  /** An attribute that has to be signed stands among those that are not. */
  readonly hasMisplacedAttribute: boolean;
  readonly algorithm: SignerAlgorithm | undefined;
  readonly signature: Buffer;
}

/** The content that a signature claims to cover. */
export interface SignedContent {
  readonly contentType: string;
  readonly digests: ContentDigests;
  /** Content came inside the structure although it stands beside it. */
  readonly hasSurplusContent: boolean;
  /** Other forms of the content, which may tell why a signature does not fit. */
  readonly variants?: readonly ContentVariant[];
}

/** The reason for a signature over other content than this. */
export const CHANGED_CONTENT = 'the content was changed after signing';

interface SignerAlgorithm {
  readonly scheme: SignatureScheme;
  readonly digest: DigestName | undefined;
  readonly pss?: { readonly scheme: PssScheme; readonly parameters: DerNode };
  readonly keyType?: string | undefined;
}

const MIN_RSA_BITS = 1_024;

/** Parses one SignerInfo. Throws GatewayError `config-invalid`. */
export function parseSignerInfo(bytes: Uint8Array): SignerInfo {
  const fields = fieldsOf(parseBer(bytes));
  countOf(fields.take(TAG.integer));
  const id = parseRecipientId(fields.any());
  const digest = parseDigestAlgorithm(fields.take(TAG.sequence));
  const attributes = fields.optional(0xa0);
  const algorithm = fields.take(TAG.sequence);
  const signature = octetsOf(fields.any());
  const unsigned = fields.optional(0xa1);
  fields.end();
  return {
    id,
    digest,
    signedAttributes: attributes?.raw,
    hasMisplacedAttribute: unsigned !== undefined && hasMisplacedAttribute(unsigned),
    algorithm: readAlgorithm(algorithm, digest),
    signature,
  };
}

/** Judges one signer. `certificates` came with the message; they help to find the signer and a path, never to trust. */
export async function judgeSigner(
  signer: SignerInfo,
  content: SignedContent,
  certificates: readonly Certificate[],
  trust: TrustContext,
  weak: readonly WeakAlgorithm[] = [],
): Promise<SignatureResult> {
  const attributes = signer.signedAttributes && readSignedAttributes(signer.signedAttributes);
  const read = typeof attributes === 'object' ? attributes : undefined;
  const weakness = strengthProblem(signer);
  const isTaken = weakness === FORGEABLE.sha1 && weak.includes('sha1');
  const problem = contentProblem(signer, content, attributes) ?? (isTaken ? undefined : weakness);
  const candidates = [...certificates, ...trust.intermediates, ...trust.anchors].filter((one) =>
    isNamed(one, signer),
  );
  const certificate = candidates.find((one) => read && isSignedBy(one, signer, read)) ?? candidates[0];
  const signedAt = read?.signingTime && { signedAt: read.signingTime };
  if (!certificate) {
    const reason = problem ?? 'the certificate of the signer is not known';
    const integrity = problem === undefined ? 'unchecked' : 'broken';
    return { format: 'smime', integrity, trust: 'unknown-key', signer: [], reason, ...signedAt };
  }
  const broken = problem ?? (read && signatureProblem(certificate, signer, read));
  // SECURITY: nobody is asked for the sake of a signature that is broken (test: broken asks nobody).
  const { online: _, ...offline } = trust;
  const asked = broken === undefined ? trust : offline;
  const chain = await establishTrust(certificate, certificates, asked, 'sign');
  const integrity =
    signer.algorithm && broken === undefined ? 'intact' : broken === undefined ? 'unchecked' : 'broken';
  const unchecked = integrity === 'unchecked' ? UNKNOWN_ALGORITHM : undefined;
  const reason = broken ?? unchecked ?? (chain.trusted ? (weakness ?? doubtOf(chain)) : chain.reason);
  return {
    format: 'smime',
    integrity,
    trust: chain.trusted ? 'trusted' : 'untrusted',
    signer: trust.countsSubjectAddresses
      ? [...new Set([...certificate.addresses, ...certificate.subjectAddresses])]
      : certificate.addresses,
    keyId: `smime:${certificate.fingerprint}`,
    ...(chain.revocation && { revocation: chain.revocation.state }),
    ...(reason !== undefined && { reason }),
    ...signedAt,
    ...(integrity === 'intact' && read && announcedBy(read, certificates)),
    ...(isTaken && { weak: true }),
  };
}

/** What its software reads, and which certificate of those in the message it wants to be encrypted to. */
function announcedBy(
  { capabilities, encryptionKey: id }: SignedAttributes,
  certificates: readonly Certificate[],
): Pick<SignatureResult, 'capabilities' | 'encryptionKeyId'> {
  const preferred = id && certificates.find((one) => isNamed(one, { id }));
  return {
    ...(capabilities && { capabilities }),
    ...(preferred && { encryptionKeyId: `smime:${preferred.fingerprint}` }),
  };
}

/** A trusted path of which the revocation could not be checked says so. */
function doubtOf({ revocation }: TrustResult): string | undefined {
  return revocation?.state === 'unknown' ? revocation.reason : undefined;
}

const FORGEABLE = {
  md5: 'the signature uses MD5, which can be forged',
  sha1: 'the signature uses SHA-1, which can be forged',
} as const;
const UNKNOWN_ALGORITHM = 'the signature algorithm is not supported';

/** Why the signature cannot stand for this content, whoever made it. */
function contentProblem(
  signer: SignerInfo,
  content: SignedContent,
  attributes: SignedAttributes | string | undefined,
): string | undefined {
  // SECURITY: an embedded content beside the displayed one means that two texts claim one signature (test: econtent).
  if (content.hasSurplusContent) return 'the signature brings a content of its own';
  // SECURITY: without attributes the signature covers the content's bytes, and the signed attributes of any other mail
  // are such bytes (test: sigattrs).
  if (attributes === undefined) return 'the signature has no signed attributes';
  if (typeof attributes === 'string') return attributes;
  // SECURITY: other software may show such a time or digest as what was signed (test: misplaced attributes).
  if (signer.hasMisplacedAttribute) return 'an attribute that has to be signed is not';
  if (content.digests.isAttributeSet) return 'the content is a set of attributes';
  if (attributes.contentType !== content.contentType) return 'the signature is for another type of content';
  if (!signer.digest) return undefined;
  const digest = content.digests.values.get(signer.digest);
  if (!digest) return 'the digest algorithm is not announced';
  if (digest.equals(attributes.messageDigest)) return undefined;
  // SECURITY: a variant explains and never excuses: other programs show what is there (test: variants).
  const { digest: name } = signer;
  const fitting = content.variants?.find(({ digests: { values } }) =>
    values.get(name)?.equals(attributes.messageDigest),
  );
  return fitting?.reason ?? CHANGED_CONTENT;
}

function strengthProblem({ digest, algorithm }: SignerInfo): string | undefined {
  const weak = [digest, algorithm?.digest].filter((name) => name && brokenDigests.has(name));
  if (weak.length === 0) return undefined;
  return FORGEABLE[weak.includes('md5') ? 'md5' : 'sha1'];
}

function signatureProblem(
  certificate: Certificate,
  signer: SignerInfo,
  attributes: SignedAttributes,
): string | undefined {
  if (!signer.digest || !signer.algorithm) return undefined;
  const { modulusLength } = certificate.publicKey.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined && modulusLength < MIN_RSA_BITS)
    return 'the key of the signer is too short';
  return isSignedBy(certificate, signer, attributes)
    ? undefined
    : 'the signature does not match the key of the signer';
}

function isNamed(certificate: Certificate, { id }: Pick<SignerInfo, 'id'>): boolean {
  try {
    return isNamedBy(certificate, id);
  } catch {
    return false;
  }
}

function isSignedBy({ publicKey }: Certificate, signer: SignerInfo, { signed }: SignedAttributes): boolean {
  const { algorithm, signature } = signer;
  const type = publicKey.asymmetricKeyType;
  if (!algorithm) return false;
  try {
    switch (algorithm.scheme) {
      case 'rsa':
        if (type !== 'rsa') return false;
        return verify(
          algorithm.digest,
          signed,
          { key: publicKey, padding: constants.RSA_PKCS1_PADDING },
          signature,
        );
      case 'rsa-pss': {
        if (type !== 'rsa' && type !== 'rsa-pss') return false;
        const { pss } = algorithm;
        const key = pss && pssVerifyKey(publicKey, pss.scheme, pss.parameters);
        return key !== undefined && verify(algorithm.digest, signed, key, signature);
      }
      case 'ecdsa':
        return (
          type === 'ec' && verify(algorithm.digest, signed, { key: publicKey, dsaEncoding: 'der' }, signature)
        );
      case 'pure':
        return type === algorithm.keyType && verify(null, signed, publicKey, signature);
    }
  } catch {
    return false;
  }
}

/** Undefined for an algorithm, or parameters, that are not supported. */
function readAlgorithm(node: DerNode, signerDigest: DigestName | undefined): SignerAlgorithm | undefined {
  const known = signatureAlgorithms.get(oidOf(fieldsOf(node).take(TAG.oid)));
  if (!known || signerDigest === undefined) return undefined;
  if (known.scheme === 'rsa-pss') return readPss(node.children[1]);
  if (known.scheme === 'pure') return { scheme: 'pure', digest: undefined, keyType: known.keyType };
  return { scheme: known.scheme, digest: known.digest ?? signerDigest };
}

function readPss(parameters: DerNode | undefined): SignerAlgorithm | undefined {
  const scheme = parsePss(parameters);
  return parameters && scheme && { scheme: 'rsa-pss', digest: scheme.digest, pss: { scheme, parameters } };
}

// Signing content while it streams past. The library chooses the hash and writes the packet; the digest over the content is
// made here.
import { createMessage, sign, type Signature, SignaturePacket } from 'openpgp';
import { GatewayError } from '../core/errors.ts';
import { requireUse, type PgpPrivateKey } from './certificate.ts';
import { BINARY_SIGNATURE, hashAlgorithm, openContentHash } from './content-hash.ts';
import { writeOnePass } from './one-pass.ts';
import { type PgpOptions, strictConfig } from './options.ts';
import { packetTag, writePacket } from './packet.ts';
import { type RsaParameters, signDigest } from './rsa-signature.ts';

export interface ContentSigner {
  /** As `micalg` names it (RFC 3156 §5): `pgp-sha256`. */
  readonly micalg: string;
  /** The packet that announces the signature (RFC 9580 §5.4), for a message that holds its signature. */
  readonly onePass: Buffer;
  readonly update: (chunk: Uint8Array) => void;
  /** The signature packet over all that was given to `update`. */
  readonly finish: () => Promise<Buffer>;
}

type SecretPacket = Parameters<SignaturePacket['sign']>[0];

/** What the library's types leave out. */
interface Draft extends SignaturePacket {
  salt: Uint8Array | null;
  params: unknown;
}

const RSA: ReadonlySet<number> = new Set([1, 3]);

/** Prepares a signature over binary content. Throws GatewayError `signing-key-missing` for a key that cannot sign now. */
export async function openContentSigner(signer: PgpPrivateKey, options: PgpOptions): Promise<ContentSigner> {
  await requireUse(signer.certificate, 'sign', options.at);
  const draft = await draftSignature(signer, options);
  const { keyPacket } = await signer.key.getSigningKey(undefined, options.at, undefined, strictConfig);
  const hashId = draft.hashAlgorithm ?? 0;
  const content = openContentHash(BINARY_SIGNATURE, hashId, draft.salt ?? undefined);
  const { signatureData } = draft;
  if (!content || !signatureData) throw new GatewayError('unplanned', 'the signature has an unknown form');
  return {
    micalg: `pgp-${hashAlgorithm(hashId)?.label}`,
    onePass: onePassPacket(draft),
    update: content.update,
    async finish() {
      const digest = content.digest(draft.version, signatureData);
      draft.signedHashValue = digest.subarray(0, 2);
      draft.params = await signatureParameters(keyPacket as SecretPacket, draft, digest, options.at);
      return writePacket(packetTag.signature, draft.write());
    },
  };
}

/** A signature over nothing: its hashed part is that of every signature by this key at this time. */
async function draftSignature(signer: PgpPrivateKey, options: PgpOptions): Promise<Draft> {
  const signature = (await sign({
    message: await createMessage({ binary: new Uint8Array() }),
    signingKeys: signer.key,
    detached: true,
    date: options.at,
    config: strictConfig,
    format: 'object',
  })) as unknown as Signature;
  return signature.packets[0] as unknown as Draft;
}

async function signatureParameters(
  key: SecretPacket,
  draft: Draft,
  digest: Buffer,
  at: Date,
): Promise<unknown> {
  const { publicParams, privateParams } = key as unknown as Record<'publicParams' | 'privateParams', object>;
  if (RSA.has(draft.publicKeyAlgorithm ?? 0)) {
    const parameters = { ...publicParams, ...privateParams } as RsaParameters;
    return { s: signDigest(parameters, draft.hashAlgorithm ?? 0, digest) };
  }
  // The library signs no digest of somebody else: its own is replaced.
  const packet = Object.assign(new SignaturePacket(), {
    signatureType: BINARY_SIGNATURE,
    publicKeyAlgorithm: draft.publicKeyAlgorithm,
    hashAlgorithm: draft.hashAlgorithm,
    toHash: () => undefined,
    hash: () => Promise.resolve(digest),
  }) as unknown as Draft;
  await (packet.sign as (...all: unknown[]) => Promise<void>)(key, undefined, at, true, strictConfig);
  return packet.params;
}

function onePassPacket(draft: Draft): Buffer {
  const { signatureType, hashAlgorithm, publicKeyAlgorithm, issuerKeyID, issuerFingerprint, salt } = draft;
  const announced = {
    type: signatureType ?? 0,
    hashId: hashAlgorithm ?? 0,
    keyId: issuerKeyID.toHex(),
    ...(salt ? { salt: Buffer.from(salt) } : {}),
  };
  const body = writeOnePass(announced, publicKeyAlgorithm ?? 0, issuerFingerprint ?? new Uint8Array());
  return writePacket(packetTag.onePassSignature, body);
}

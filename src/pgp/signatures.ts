// Judging signatures: which of our keys made them, whether the content is what was signed, and whether the key could sign
// then. Who signed is what our certificate says, never what the message says (test: wrong-key).
import { createMessage, PacketList, readSignature, Signature, SignaturePacket, verify } from 'openpgp';
import { bytesSource, type Chunks } from '../core/bytes.ts';
import type { SignatureResult } from '../core/outcome.ts';
import { readBytes } from './byte-reader.ts';
import { certificateUse, type PgpCertificate, pgpKeyId } from './certificate.ts';
import { type ContentHash, openContentHash } from './content-hash.ts';
import { PgpFault } from './fault.ts';
import type { OnePassSignature } from './one-pass.ts';
import {
  CLOCK_SKEW_MS,
  MAX_CONTROL_PACKET_BYTES,
  MAX_DETACHED_SIGNATURES,
  type PgpOptions,
  strictConfig,
} from './options.ts';
import { packetTag, readPacketHead, readSmallBody, writePacket } from './packet.ts';

/** A signature packet, and what it says about itself in the words of its announcement. */
export interface SignatureParts extends OnePassSignature {
  /** Undefined: of a version that is not known. */
  readonly packet?: SignaturePacket;
  /** Where there was one. */
  readonly announcement?: OnePassSignature;
}

/** Hashes content once for all signatures over it. */
export interface Verifier {
  /** Before the first content. A signature by a key that is not known here costs nothing. */
  readonly expect: (signature: OnePassSignature) => void;
  readonly update: (chunk: Uint8Array) => void;
  /** After the last content: one result for each of these, which must have been expected. */
  readonly finish: (signatures: readonly SignatureParts[]) => Promise<readonly SignatureResult[]>;
}

export function openVerifier(verification: readonly PgpCertificate[], options: PgpOptions): Verifier {
  const hashes = new Map<string, ContentHash>();
  return {
    expect(signature) {
      const name = hashName(signature);
      if (hashes.has(name) || !certificateOf(signature.keyId, verification)) return;
      const opened = openContentHash(signature.type, signature.hashId, signature.salt);
      if (opened) hashes.set(name, opened);
    },
    update(chunk) {
      for (const hash of hashes.values()) hash.update(chunk);
    },
    finish: (signatures) =>
      Promise.all(signatures.map((each) => judge(each, hashes.get(hashName(each)), verification, options))),
  };
}

/**
 * Checks detached signatures over the exact bytes of `content`. Throws PgpFault `malformed` where there is no signature, or
 * too many; what `content` throws.
 */
export async function verifyDetached(
  content: Chunks,
  binarySignature: Uint8Array,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): Promise<readonly SignatureResult[]> {
  const all = await parseSignatures(binarySignature);
  const known = all
    .filter(({ keyId }) => certificateOf(keyId, verification) !== undefined)
    .slice(0, options.limits.maxSigners);
  const verifier = openVerifier(verification, options);
  for (const signature of known) verifier.expect(signature);
  if (known.length > 0) for await (const chunk of content) verifier.update(chunk);
  const rest = all.filter((signature) => !known.includes(signature));
  return [
    ...(await verifier.finish(known)),
    ...rest.map(({ keyId }) => uncheckedResult(keyId, verification)),
  ];
}

/** Reads a signature packet's body. Throws PgpFault `malformed`. */
export async function parseSignature(body: Uint8Array): Promise<SignatureParts> {
  let packet: unknown;
  try {
    const binarySignature = writePacket(packetTag.signature, body);
    [packet] = (await readSignature({ binarySignature, config: strictConfig })).packets;
  } catch {
    throw new PgpFault('malformed', 'the signature cannot be read');
  }
  if (!(packet instanceof SignaturePacket)) return { type: -1, hashId: 0, keyId: '' };
  const { salt } = packet as unknown as { salt: Uint8Array | null };
  return {
    packet,
    type: packet.signatureType ?? -1,
    hashId: packet.hashAlgorithm ?? 0,
    keyId: packet.issuerKeyID.toHex(),
    ...(salt ? { salt: Buffer.from(salt) } : {}),
  };
}

async function parseSignatures(binary: Uint8Array): Promise<readonly SignatureParts[]> {
  const reader = readBytes(bytesSource(binary).open());
  const found: SignatureParts[] = [];
  for (let head = await readPacketHead(reader); head; head = await readPacketHead(reader)) {
    const body = await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES);
    if (head.tag === packetTag.marker) continue;
    if (head.tag !== packetTag.signature) throw new PgpFault('malformed', 'not a signature');
    // SECURITY: counted before anything is hashed (test: sig-flood).
    if (found.length >= MAX_DETACHED_SIGNATURES) throw new PgpFault('malformed', 'too many signatures');
    found.push(await parseSignature(body));
  }
  if (found.length === 0) throw new PgpFault('malformed', 'no signature');
  return found;
}

async function judge(
  signature: SignatureParts,
  hash: ContentHash | undefined,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): Promise<SignatureResult> {
  const { packet, announcement } = signature;
  const certificate = certificateOf(signature.keyId, verification);
  if (!packet || !certificate) return uncheckedResult(signature.keyId, verification);
  const known = {
    format: 'pgp',
    signer: certificate.addresses,
    keyId: pgpKeyId(certificate),
    ...(packet.created ? { signedAt: packet.created } : {}),
  } as const;
  const isAnnounced = !announcement || isSame(announcement, signature);
  if (!hash || !isAnnounced || !packet.signatureData) {
    const reason = isAnnounced ? 'its type or hash is not known' : 'it is not the one that was announced';
    return { ...known, integrity: 'unchecked', trust: 'untrusted', reason };
  }
  const digest = hash.digest(packet.version, packet.signatureData);
  const problem = await checkDigest(packet, digest, certificate, options);
  if (problem !== undefined) {
    const reason = reasonOf(problem);
    return reason === undefined
      ? { ...known, integrity: 'broken', trust: 'untrusted', reason: 'the content is not what was signed' }
      : { ...known, integrity: 'intact', trust: 'untrusted', reason };
  }
  const use = await certificateUse(certificate, 'sign', options.at);
  // A key that expired since does not undo what it signed before (test: expired-key).
  const later = use.usable ? {} : { reason: `valid when it was made; since then: ${use.reason}` };
  return { ...known, integrity: 'intact', trust: 'trusted', ...later };
}

/** The library's verdict on the signature, the key and the time: undefined is good, else its message. */
async function checkDigest(
  packet: SignaturePacket,
  digest: Buffer,
  certificate: PgpCertificate,
  options: PgpOptions,
): Promise<string | undefined> {
  // The library's own place for a digest that is made while content streams. Were it not read any more, the digest of the
  // empty message below would be, and every signature be broken.
  Object.assign(packet, { hashed: Promise.resolve(digest) });
  const packets = new PacketList<SignaturePacket>();
  packets.push(packet);
  const { signatures } = await verify({
    message: await createMessage({ binary: new Uint8Array() }),
    signature: new Signature(packets),
    verificationKeys: certificate.key,
    format: 'binary',
    date: new Date(options.at.getTime() + CLOCK_SKEW_MS),
    config: strictConfig,
  });
  try {
    await signatures[0]?.verified;
    return signatures[0] ? undefined : '';
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
}

function isSame(left: OnePassSignature, right: OnePassSignature): boolean {
  return left.keyId === right.keyId && hashName(left) === hashName(right);
}

/** Signatures with the same name are over the same digest, but for their own parts. */
function hashName({ type, hashId, salt }: OnePassSignature): string {
  return `${type} ${hashId} ${salt?.toString('hex') ?? ''}`;
}

/** What was wrong with a signature whose digest was right; undefined where the digest itself was wrong. */
function reasonOf(text: string): string | undefined {
  if (text.includes('in the future')) return 'it was made in the future';
  if (text.includes('Signature is expired')) return 'the signature has expired';
  if (text.includes('hash algorithm')) return 'it uses a broken hash';
  if (text.includes('newer than the signature')) return 'the key is younger than the signature';
  if (text.includes('critical')) return 'it demands something unknown';
  if (text.includes('revoked')) return 'the key is revoked';
  if (text.includes('expired')) return 'the key had expired when it signed';
  if (text.includes('valid signing key')) return 'the key was not meant for signing';
  if (text.includes('valid self-signature')) return 'the key was not valid when it signed';
  if (text.includes('too weak')) return 'the key is too weak';
  return undefined;
}

function uncheckedResult(keyId: string, verification: readonly PgpCertificate[]): SignatureResult {
  const isKnown = certificateOf(keyId, verification) !== undefined;
  return {
    format: 'pgp',
    integrity: 'unchecked',
    trust: isKnown ? 'untrusted' : 'unknown-key',
    signer: [],
    keyId,
    reason: isKnown ? 'more signatures than are checked' : 'the key is not known here',
  };
}

function certificateOf(keyId: string, verification: readonly PgpCertificate[]): PgpCertificate | undefined {
  return verification.find((certificate) => certificate.keyIds.includes(keyId));
}

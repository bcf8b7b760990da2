// Judging signatures: which of our keys made them, whether the content is what was signed, and whether the key could sign
// then. Who signed is what our certificate says, never what the message says (test: wrong-key).
import {
  createMessage,
  readMessage,
  readSignature,
  Signature,
  type SignaturePacket,
  verify,
  type VerifyMessageResult,
} from 'openpgp';
import { bytesSource, type Chunks } from '../core/bytes.ts';
import type { SignatureResult } from '../core/outcome.ts';
import { certificateUse, type PgpCertificate, pgpKeyId } from './certificate.ts';
import { readBytes } from './byte-reader.ts';
import { PgpFault } from './fault.ts';
import {
  CLOCK_SKEW_MS,
  MAX_CONTROL_PACKET_BYTES,
  MAX_DETACHED_SIGNATURES,
  type PgpOptions,
  strictConfig,
} from './options.ts';
import { readPacketHead, readSmallBody } from './packet.ts';
import { openWebStream, readWebStream } from './web-stream.ts';

type Verification = VerifyMessageResult<Uint8Array>['signatures'][number];

/**
 * Reads a signed or plain OpenPGP message, yields its content, and returns its signatures: empty means unsigned. The
 * packets must have passed the guard. Throws PgpFault, or what `packets` throws, also after the last byte.
 */
export async function* readSigned(
  packets: Chunks,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, readonly SignatureResult[]> {
  const source = openWebStream(packets);
  try {
    const message = await readMessage({ binaryMessage: source.stream, config: strictConfig });
    const result = await verify({
      message,
      verificationKeys: verification.map((certificate) => certificate.key),
      format: 'binary',
      date: new Date(options.at.getTime() + CLOCK_SKEW_MS),
      config: strictConfig,
    });
    for await (const chunk of readWebStream(result.data)) yield chunk;
    source.check();
    // SECURITY: the integrity check is the last thing that the source does; it must have come to it (test: mdc).
    if (!source.isRead()) throw new PgpFault('failed', 'the message was not read to its end');
    return await Promise.all(result.signatures.map((each) => judge(each, verification, options)));
  } catch (error) {
    source.check();
    throw error instanceof PgpFault ? error : new PgpFault('failed', 'the message cannot be read');
  }
}

/**
 * Checks detached signatures over the exact bytes of `content`. Signatures by keys that are not in `verification` cost
 * nothing. Throws PgpFault `malformed` where there is no signature, or too many; what `content` throws.
 */
export async function verifyDetached(
  content: Chunks,
  binarySignature: Uint8Array,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): Promise<readonly SignatureResult[]> {
  const packets = await parseSignatures(binarySignature);
  const known = packets
    .filter((packet) => certificateOf(keyIdOf(packet), verification) !== undefined)
    .slice(0, options.limits.maxSigners);
  const checked = known.length === 0 ? [] : await verifyContent(content, known, verification, options);
  const rest = packets.filter((packet) => !known.includes(packet));
  return [...checked, ...rest.map((packet) => uncheckedResult(keyIdOf(packet), verification))];
}

async function verifyContent(
  content: Chunks,
  packets: readonly SignaturePacket[],
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): Promise<readonly SignatureResult[]> {
  const source = openWebStream(content);
  try {
    const result = await verify({
      message: await createMessage({ binary: source.stream, format: 'binary' }),
      signature: new Signature(packets as unknown as ConstructorParameters<typeof Signature>[0]),
      verificationKeys: verification.map((certificate) => certificate.key),
      format: 'binary',
      date: new Date(options.at.getTime() + CLOCK_SKEW_MS),
      config: strictConfig,
    });
    for await (const chunk of readWebStream(result.data)) void chunk;
    source.check();
    return await Promise.all(result.signatures.map((each) => judge(each, verification, options)));
  } catch (error) {
    source.check();
    throw error;
  }
}

async function parseSignatures(binarySignature: Uint8Array): Promise<readonly SignaturePacket[]> {
  // SECURITY: counted before the library reads them or anything is hashed (test: sig-flood).
  await countSignatures(binarySignature);
  let packets: readonly SignaturePacket[];
  try {
    ({ packets } = await readSignature({ binarySignature, config: strictConfig }));
  } catch {
    throw new PgpFault('malformed', 'the signature cannot be read');
  }
  if (packets.length === 0) throw new PgpFault('malformed', 'no signature');
  return packets;
}

async function countSignatures(binarySignature: Uint8Array): Promise<void> {
  const reader = readBytes(bytesSource(binarySignature).open());
  let count = 0;
  for (let head = await readPacketHead(reader); head; head = await readPacketHead(reader)) {
    await readSmallBody(reader, head, MAX_CONTROL_PACKET_BYTES);
    count += 1;
    if (count > MAX_DETACHED_SIGNATURES) throw new PgpFault('malformed', 'too many signatures');
  }
}

async function judge(
  signature: Verification,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): Promise<SignatureResult> {
  const keyId = signature.keyID.toHex();
  const certificate = certificateOf(keyId, verification);
  if (!certificate) return uncheckedResult(keyId, verification);
  const signedAt = (await signature.signature).packets[0]?.created ?? undefined;
  const known = {
    format: 'pgp',
    signer: certificate.addresses,
    keyId: pgpKeyId(certificate),
    ...(signedAt ? { signedAt } : {}),
  } as const;
  try {
    await signature.verified;
  } catch (error) {
    const reason = reasonOf(error instanceof Error ? error.message : '');
    return reason === undefined
      ? { ...known, integrity: 'broken', trust: 'untrusted', reason: 'the content is not what was signed' }
      : { ...known, integrity: 'intact', trust: 'untrusted', reason };
  }
  const use = await certificateUse(certificate, 'sign', options.at);
  // A key that expired since does not undo what it signed before (test: expired-key).
  const later = use.usable ? {} : { reason: `valid when it was made; since then: ${use.reason}` };
  return { ...known, integrity: 'intact', trust: 'trusted', ...later };
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

/** Packets of an unknown version stay in the library's list without an issuer. */
function keyIdOf(packet: SignaturePacket): string {
  return (packet.issuerKeyID as { toHex(): string } | undefined)?.toHex() ?? '';
}

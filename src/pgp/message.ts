// PGP/MIME messages (RFC 3156): encrypt, sign, both in one, decrypt, verify. The MIME side is here; what happens inside
// an OpenPGP object is in encrypt.ts, decrypt.ts and signatures.ts.
import { type ByteSource, type Chunks, collect, concat, rangeOf } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import type { StageOutcome } from '../core/outcome.ts';
import { entityHeader, wrapMessage } from '../mime/entity.ts';
import { divideFields } from '../mime/header-protection.ts';
import { type HeaderField, readMessage, readHeader } from '../mime/header-section.ts';
import { makeBoundary, makeContentType, writeMultipart } from '../mime/multipart-writer.ts';
import { prepareEntity } from '../mime/prepare.ts';
import type { PartRange } from '../mime/shape.ts';
import { readMaybeArmor, writeArmor } from './armor.ts';
import { type PgpCertificate, pgpKeyId, type PgpPrivateKey } from './certificate.ts';
import { decryptContent } from './decrypt.ts';
import { openContentSigner } from './content-signer.ts';
import { encryptContent } from './encrypt.ts';
import { PgpFault } from './fault.ts';
import { findEncrypted, findSigned, openDecoded } from './mime-parts.ts';
import { MAX_SIGNATURE_BYTES, type PgpOptions } from './options.ts';
import { verifyDetached } from './signatures.ts';

const VERSION_PART = Buffer.from(
  [
    'Content-Type: application/pgp-encrypted',
    'Content-Description: PGP/MIME version identification',
    '',
    'Version: 1',
    '',
  ].join('\r\n'),
);
const ENCRYPTED_HEADER = Buffer.from(
  [
    'Content-Type: application/octet-stream; name="encrypted.asc"',
    'Content-Description: OpenPGP encrypted message',
    'Content-Disposition: inline; filename="encrypted.asc"',
    '',
    '',
  ].join('\r\n'),
);
const SIGNATURE_HEADER = Buffer.from(
  [
    'Content-Type: application/pgp-signature; name="signature.asc"',
    'Content-Description: OpenPGP digital signature',
    'Content-Disposition: attachment; filename="signature.asc"',
    '',
    '',
  ].join('\r\n'),
);

/**
 * Encrypts a message to all keys: its Content-* fields move inside, the other fields stay byte for byte. Throws
 * GatewayError `header-malformed`, and `encryption-required` for a key that cannot be used at `options.at`.
 */
export async function* encryptMessage(
  message: Chunks,
  keys: NonEmpty<PgpCertificate>,
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { header, body } = await readMessage(message, options.limits);
  const { outer, content } = divideFields(header, options.protection);
  const entity = concat(entityHeader(content), body);
  yield* wrapEncrypted(outer, encryptContent(entity, keys, undefined, options));
  return { kind: 'encrypted', format: 'pgp', keyIds: keyIdsOf(keys) };
}

/**
 * Signs and encrypts in one OpenPGP message (RFC 3156 §6.2), over an entity that survives transport. Throws as
 * `encryptMessage` and `signMessage`.
 */
export async function* signAndEncryptMessage(
  message: ByteSource,
  keys: NonEmpty<PgpCertificate>,
  signer: PgpPrivateKey,
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { outer, entity } = await prepareEntity(message, options.limits, options.protection);
  yield* wrapEncrypted(outer, encryptContent(entity.open(), keys, signer, options));
  return { kind: 'encrypted', format: 'pgp', keyIds: keyIdsOf(keys), signed: true };
}

/**
 * Signs a message as multipart/signed, over an entity that survives transport (mime/prepare). Throws GatewayError
 * `header-malformed`, `mime-malformed`, and `signing-key-missing` for a key that cannot sign at `options.at`.
 */
export async function* signMessage(
  message: ByteSource,
  signer: PgpPrivateKey,
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const { outer, entity } = await prepareEntity(message, options.limits, options.protection);
  const signature = await openContentSigner(signer, options);
  const boundary = makeBoundary();
  const contentType = makeContentType('multipart/signed', {
    micalg: signature.micalg,
    protocol: 'application/pgp-signature',
    boundary,
  });
  async function* content(): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of entity.open()) {
      signature.update(chunk);
      yield chunk;
    }
  }
  const armored = writeArmor('SIGNATURE', onlyOf(signature.finish), true);
  const body = writeMultipart(boundary, [content(), concat(SIGNATURE_HEADER, armored)]);
  yield* wrapMessage(outer, [contentType], body);
  return { kind: 'signed', format: 'pgp', keyId: pgpKeyId(signer.certificate) };
}

/**
 * Decrypts the top-level entity with these keys and rebuilds the message around it; of the inner header only Content-*
 * fields come out. Signatures inside are judged against `verification`. SECURITY: what is yielded may be used only after
 * the outcome `decrypted`; once a private key was tried, every failure is `failed` (test: one outcome). Throws
 * GatewayError `header-malformed` for the outer header, and what the source throws.
 */
export async function* decryptMessage(
  message: ByteSource,
  keys: readonly PgpPrivateKey[],
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const header = await readHeader(message, options.limits);
  const found = await orMalformed(() => findEncrypted(message, header, options.limits));
  if (found.kind !== 'found') return { kind: 'not-decrypted', reason: found.kind };
  return yield* decryptContent(header, openDecoded(message, found.part), keys, verification, options);
}

/**
 * Verifies multipart/signed over the exact bytes of its first part; yields nothing. A broken signature is a result, never
 * an exception. Throws GatewayError `header-malformed` for the message's header, and what the source throws.
 */
// oxlint-disable-next-line require-yield -- the form of the other four; a detached signature leaves the message as it is
export async function* verifyMessage(
  message: ByteSource,
  verification: readonly PgpCertificate[],
  options: PgpOptions,
): AsyncGenerator<Uint8Array, StageOutcome> {
  const header = await readHeader(message, options.limits);
  const found = await orMalformed(() => findSigned(message, header, options.limits));
  if (found.kind !== 'found') return { kind: 'not-verified', reason: found.kind };
  try {
    const binary = await readSignaturePart(message, found.signature);
    const content = rangeOf(message, found.entity).open();
    const signatures = await verifyDetached(content, binary, verification, options);
    if (isNonEmpty(signatures)) return { kind: 'verified', format: 'pgp', form: 'detached', signatures };
  } catch (error) {
    if (!(error instanceof PgpFault)) throw error;
  }
  return { kind: 'not-verified', reason: 'malformed' };
}

function wrapEncrypted(outer: readonly HeaderField[], armored: Chunks): AsyncGenerator<Uint8Array, void> {
  const boundary = makeBoundary();
  const contentType = makeContentType('multipart/encrypted', {
    protocol: 'application/pgp-encrypted',
    boundary,
  });
  const body = writeMultipart(boundary, [VERSION_PART, concat(ENCRYPTED_HEADER, armored)]);
  return wrapMessage(outer, [contentType], body);
}

async function readSignaturePart(message: ByteSource, part: PartRange): Promise<Buffer> {
  // SECURITY: held in memory, so it is bounded before it is read (test: sig-flood).
  if (part.body.end - part.body.start > MAX_SIGNATURE_BYTES) {
    throw new PgpFault('malformed', 'the signature is too large');
  }
  // QUIRK: the example in RFC 3156 §5 labels its signature as a message, and some writers follow it (test: armor table).
  const binary = readMaybeArmor(openDecoded(message, part), ['SIGNATURE', 'MESSAGE']);
  return collect(binary, MAX_SIGNATURE_BYTES);
}

/** A structure with two readings is an outcome; the other limits and the source's own errors are not. */
async function orMalformed<T>(find: () => Promise<T>): Promise<T | { readonly kind: 'malformed' }> {
  try {
    return await find();
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'mime-malformed') return { kind: 'malformed' };
    throw error;
  }
}

async function* onlyOf(read: () => Promise<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  yield await read();
}

function keyIdsOf([first, ...others]: NonEmpty<PgpCertificate>): NonEmpty<string> {
  return [pgpKeyId(first), ...others.map(pgpKeyId)];
}

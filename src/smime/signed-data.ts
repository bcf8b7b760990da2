// SignedData (RFC 5652 §5) over streams: writes detached signatures, reads detached and opaque ones. Judging a signer is
// signer-info.ts' business.
import type { KeyObject } from 'node:crypto';
import type { Chunks } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import { type DigestName, ID } from './algorithms.ts';
import { BerError, BerReader } from './ber-reader.ts';
import { integer, octetString, oid, sequence, setOf, tagged } from './ber-writer.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { oidOf, parseBer, TAG } from './der.ts';
import { parseDigestAlgorithm } from './digest-algorithm.ts';
import { issuerAndSerial } from './recipient-info.ts';
import { writeSignedAttributes } from './signed-attributes.ts';
import { parseSignerInfo, type SignerInfo } from './signer-info.ts';
import { signAttributes, signingDigest } from './signing.ts';

/** A private signing key, its certificate, and what leads from there to a root. */
export interface SmimeSigner {
  readonly certificate: Certificate;
  readonly chain: readonly Certificate[];
  readonly key: KeyObject;
}

/** What stands behind the content. */
export interface SignedDataTail {
  readonly certificates: readonly Certificate[];
  readonly signers: readonly SignerInfo[];
}

/** A SignedData that is being read. Dispose it. */
export interface SignedDataReader extends AsyncDisposable {
  readonly contentType: string;
  /** Announced digests that this gateway knows. */
  readonly digests: ReadonlySet<DigestName>;
  readonly hasContent: boolean;
  /** The embedded content. Read it to its end before `tail`. */
  content(): AsyncGenerator<Uint8Array, void>;
  /** Certificates and signers, to the end of the structure. */
  tail(): Promise<SignedDataTail>;
}

const MAX_CERTIFICATES = 100;
const MAX_DIGESTS = 16;

/**
 * A detached signature over a content with this digest, which must be the signer's `signingDigest`: DER, with the chain
 * but without its root.
 */
export function writeDetachedSignature(messageDigest: Uint8Array, signer: SmimeSigner, at: Date): Buffer {
  const attributes = writeSignedAttributes(messageDigest, at);
  const digestAlgorithm = signingDigest(signer.key).algorithm;
  const { algorithm, signature } = signAttributes(attributes, signer.key);
  const signerInfo = sequence(
    integer(1),
    issuerAndSerial(signer.certificate),
    digestAlgorithm,
    tagged(0, attributes.subarray(headerBytes(attributes))),
    algorithm,
    octetString(signature),
  );
  const others = signer.chain.filter(
    (one) => !one.isSelfIssued && one.fingerprint !== signer.certificate.fingerprint,
  );
  const certificates = [signer.certificate, ...others].map((certificate) => certificate.der);
  return sequence(
    oid(ID.signedData),
    tagged(
      0,
      sequence(
        integer(1),
        setOf(digestAlgorithm),
        sequence(oid(ID.data)),
        tagged(0, ...certificates),
        setOf(signerInfo),
      ),
    ),
  );
}

/** Reads a SignedData up to its content. Throws `BerError` or GatewayError `config-invalid` where it is malformed. */
export async function openSignedData(
  cms: Chunks,
  limits: { readonly maxSigners: number },
): Promise<SignedDataReader> {
  const reader = new BerReader(cms);
  try {
    const head = await readHead(reader);
    return {
      ...head,
      content: () => readContent(reader),
      tail: () => readTail(reader, limits.maxSigners, head.hasContent),
      [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
    };
  } catch (error) {
    await reader[Symbol.asyncDispose]();
    throw error;
  }
}

async function readHead(
  reader: BerReader,
): Promise<{ contentType: string; digests: ReadonlySet<DigestName>; hasContent: boolean }> {
  await reader.enter(TAG.sequence);
  if (oidOf(parseBer(await reader.element())) !== ID.signedData) throw new BerError('not a SignedData');
  await reader.enter(0xa0);
  await reader.enter(TAG.sequence);
  await reader.element();
  const announced = new Set<DigestName>();
  await reader.enter(TAG.set);
  for (let count = 0; await reader.peek(); count += 1) {
    if (count >= MAX_DIGESTS) throw new BerError('too many digest algorithms');
    const digest = parseDigestAlgorithm(parseBer(await reader.element()));
    if (digest) announced.add(digest);
  }
  await reader.leave();
  await reader.enter(TAG.sequence);
  const contentType = oidOf(parseBer(await reader.element()));
  return { contentType, digests: announced, hasContent: await reader.isNext(0xa0) };
}

async function* readContent(reader: BerReader): AsyncGenerator<Uint8Array, void> {
  await reader.enter(0xa0);
  yield* reader.octets(TAG.octetString);
  await reader.leave();
}

async function readTail(reader: BerReader, maxSigners: number, hasContent: boolean): Promise<SignedDataTail> {
  // A detached reader that finds a content passes over it: it is judged as surplus.
  if (hasContent && (await reader.isNext(0xa0))) await reader.skip();
  await reader.leave();
  const certificates = (await reader.isNext(0xa0)) ? await readCertificates(reader) : [];
  if (await reader.isNext(0xa1)) await reader.skip();
  const signers: SignerInfo[] = [];
  await reader.enter(TAG.set);
  while (await reader.peek()) {
    if (signers.length >= maxSigners) throw new BerError('too many signers');
    signers.push(parseSignerInfo(await reader.element()));
  }
  for (let level = 0; level < 4; level += 1) await reader.leave();
  await reader.end();
  return { certificates, signers };
}

/** Certificates that cannot be read are passed over: without them a signer is unknown, which is an answer too. */
async function readCertificates(reader: BerReader): Promise<readonly Certificate[]> {
  const certificates: Certificate[] = [];
  await reader.enter(0xa0);
  for (let count = 0; await reader.peek(); count += 1) {
    if (count >= MAX_CERTIFICATES) throw new BerError('too many certificates');
    if (!(await reader.isNext(TAG.sequence))) {
      await reader.skip();
      continue;
    }
    const der = await reader.element();
    try {
      certificates.push(parseCertificate(der));
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
    }
  }
  await reader.leave();
  return certificates;
}

function headerBytes(der: Buffer): number {
  const first = der[1] ?? 0;
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

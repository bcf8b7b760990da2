// Shared by the S/MIME tests: test identities, streams cut at chosen places, and generators run to their end.
import assert from 'node:assert/strict';
import { type ByteSource, type Chunks, collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import {
  createTestCa,
  type TestCa,
  type TestCertificateRequest,
  type TestIdentity,
} from '../../src/lab/ca.ts';
import { BerError } from '../../src/smime/ber-reader.ts';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';
import type { TrustContext } from '../../src/smime/chain.ts';
import { ContentError } from '../../src/smime/enveloped-data.ts';
import type { SmimeDecryptionKey, SmimeSigner } from '../../src/smime/message.ts';

export const limits = defaultLimits;

/** One person with a certificate, in the forms that the functions under test take. */
export interface TestPerson extends TestIdentity {
  readonly certificate: Certificate;
  readonly decryption: SmimeDecryptionKey;
  readonly signer: SmimeSigner;
}

export interface TestWorld {
  readonly ca: TestCa;
  readonly trust: TrustContext;
  person(name: string, request?: Partial<TestCertificateRequest>): Promise<TestPerson>;
}

/** A root that is trusted, and people below it. */
export async function createWorld(name: string): Promise<TestWorld> {
  const ca = await createTestCa(name);
  const root = parseCertificate(ca.der);
  return {
    ca,
    trust: { anchors: [root], intermediates: [], at: new Date() },
    person: async (commonName, request = {}) =>
      asPerson(await ca.issue({ commonName, emails: [`${commonName}@contoso.example`], ...request }), [root]),
  };
}

export function asPerson(identity: TestIdentity, chain: readonly Certificate[]): TestPerson {
  const certificate = parseCertificate(identity.der);
  return {
    ...identity,
    certificate,
    decryption: { certificate, key: identity.key },
    signer: { certificate, chain, key: identity.key },
  };
}

/** The bytes in chunks of `size`. */
export async function* inChunks(bytes: Uint8Array, size: number): Chunks & AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A source whose chunks all have `size` bytes. */
export function chunkedSource(bytes: Uint8Array, size: number): ByteSource {
  return {
    size: bytes.length,
    open: (range) => inChunks(bytes.subarray(range?.start ?? 0, range?.end ?? bytes.length), size),
  };
}

/** Runs a stage to its end. */
export async function runStage(
  stage: AsyncGenerator<Uint8Array, StageOutcome>,
): Promise<{ bytes: Buffer; outcome: StageOutcome }> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const next = await stage.next();
    if (next.done) return { bytes: Buffer.concat(parts), outcome: next.value };
    parts.push(next.value);
  }
}

export function mail(...lines: readonly string[]): Buffer {
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

/** A mail from rsa@contoso.example that holds a CMS structure. */
export function cmsMail(cms: Uint8Array): Buffer {
  return mail(
    'From: rsa@contoso.example',
    'MIME-Version: 1.0',
    'Content-Type: application/pkcs7-mime; name="smime.p7m"',
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from(cms).toString('base64').replace(/.{76}/g, '$&\r\n'),
    '',
  );
}

/** An entity as a MIME agent writes it: CRLF, a multipart, longer than the pieces of any peer. */
export const SAMPLE_ENTITY = mail(
  'Content-Type: multipart/mixed; boundary=x',
  '',
  '--x',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: quoted-printable',
  '',
  'gr=C3=BC=C3=9Fe',
  '--x',
  'Content-Type: application/octet-stream',
  'Content-Transfer-Encoding: base64',
  '',
  Buffer.alloc(150_000, 'postern').toString('base64').replace(/.{76}/g, '$&\r\n'),
  '--x--',
  '',
);

/** The entity as a whole mail. */
export const SAMPLE_MESSAGE = Buffer.concat([
  mail('From: rsa@contoso.example', 'Subject: interop', 'MIME-Version: 1.0', ''),
  SAMPLE_ENTITY,
]);

/** What comes out of a CMS structure with the sample entity that stands in `cmsMail`. */
export const SAMPLE_UNWRAPPED = Buffer.concat([
  mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''),
  SAMPLE_ENTITY,
]);

/** A multipart/signed mail from rsa@contoso.example over the entity. */
export function signedMail(entity: Uint8Array, signature: Uint8Array): Buffer {
  return Buffer.concat([
    mail(
      'From: rsa@contoso.example',
      'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=sig',
      '',
      '--sig',
      '',
    ),
    entity,
    mail(
      '',
      '--sig',
      'Content-Type: application/pkcs7-signature',
      'Content-Transfer-Encoding: base64',
      '',
      Buffer.from(signature).toString('base64'),
      '--sig--',
      '',
    ),
  ]);
}

/**
 * That a content does not come out. Wrong keys of AES-CBC show by their padding, but for one in 256: then it is other bytes.
 */
export async function assertUnreadable(content: Chunks, original: Uint8Array): Promise<void> {
  const read = await collect(content, 1_000_000).catch((error: unknown) => error);
  if (read instanceof Uint8Array) assert.notDeepEqual(Buffer.from(read), Buffer.from(original));
  else assert.ok(read instanceof ContentError || read instanceof BerError, String(read));
}

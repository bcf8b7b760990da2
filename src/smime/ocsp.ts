// OCSP (RFC 6960): writes the question about one certificate, and judges the answer. Answers are taken from the issuer or
// from a responder that the issuer itself certified for it.
import { createHash } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { algorithmIdentifier, element, NULL, octetString, oid, sequence, tagged } from './ber-writer.ts';
import { type Certificate, parseCertificate, strengthProblem, validityProblem } from './certificate.ts';
import { bitsOf, type DerNode, fieldsOf, listOf, octetsOf, oidOf, parseDer, TAG, timeOf } from './der.ts';
import { isSameName, parseName } from './distinguished-name.ts';
import { freshnessProblem, type RevocationStatus, unknown } from './revocation-status.ts';
import { isStronglySigned } from './signature-algorithm.ts';
import { isSignedWith } from './signed-structure.ts';

export interface OcspQuestion {
  readonly certificate: Certificate;
  /** Its issuer, whose path was validated. */
  readonly issuer: Certificate;
  /** 16 to 32 random bytes (RFC 9654). A responder may leave it out of its answer. */
  readonly nonce: Buffer;
}

export const OCSP_REQUEST_TYPE = 'application/ocsp-request';
export const MAX_OCSP_BYTES = 128 * 1024;

const ID = {
  sha1: '1.3.14.3.2.26',
  basicResponse: '1.3.6.1.5.5.7.48.1.1',
  nonce: '1.3.6.1.5.5.7.48.1.2',
  noCheck: '1.3.6.1.5.5.7.48.1.5',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
} as const;
const HASHES: ReadonlyMap<string, 'sha1' | 'sha256'> = new Map([
  [ID.sha1, 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
]);
const FAILURES: Readonly<Record<number, string>> = {
  1: 'the OCSP responder calls the request malformed',
  2: 'the OCSP responder has an internal error',
  3: 'the OCSP responder asks to try later',
  5: 'the OCSP responder wants signed requests',
  6: 'the OCSP responder does not answer us',
};
const REVOCATION_REASONS = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
];
const MAX_RESPONSES = 100;
const MAX_CERTIFICATES = 10;
/** Without nextUpdate newer information is always there (RFC 6960 §4.2.2.1): what is older than this may be a replay. */
const MAX_AGE_MS = 60 * 60_000;

/** OCSPRequest, not signed. CertID with SHA-1 is what every responder knows (RFC 5019 §2.1.1); it guards nothing. */
export function writeOcspRequest({ certificate, issuer, nonce }: OcspQuestion): Buffer {
  const id = sequence(
    algorithmIdentifier(ID.sha1, NULL),
    octetString(createHash('sha1').update(certificate.issuerDer).digest()),
    octetString(createHash('sha1').update(keyBits(issuer)).digest()),
    element(TAG.integer, certificate.serial),
  );
  const extension = sequence(oid(ID.nonce), octetString(octetString(nonce)));
  return sequence(sequence(sequence(sequence(id)), tagged(2, sequence(extension))));
}

/** What the answer says about the certificate. Total over hostile input. */
export async function judgeOcspAnswer(
  bytes: Buffer,
  question: OcspQuestion,
  at: Date,
): Promise<RevocationStatus> {
  try {
    if (bytes.length > MAX_OCSP_BYTES) return unknown('the OCSP answer is too large');
    return await judge(parseDer(bytes), question, at);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return unknown('the OCSP answer is malformed');
  }
}

async function judge(node: DerNode, question: OcspQuestion, at: Date): Promise<RevocationStatus> {
  const fields = fieldsOf(node);
  const status = fields.take(0x0a).content[0] ?? 0xff;
  if (status !== 0) return unknown(FAILURES[status] ?? 'the OCSP responder answers with an unknown status');
  const response = fieldsOf(fieldsOf(fields.take(0xa0), 0xa0).take(TAG.sequence));
  if (oidOf(response.take(TAG.oid)) !== ID.basicResponse)
    return unknown('the OCSP answer has an unknown form');
  const basic = fieldsOf(parseDer(octetsOf(response.take(TAG.octetString))));
  const data = basic.take(TAG.sequence);
  const structure = {
    body: data.raw,
    algorithm: basic.take(TAG.sequence),
    signature: bitsOf(basic.take(TAG.bitString)),
  };
  const certificates = basic.optional(0xa0);
  const answer = readData(data);
  const signer = responderOf(answer.responder, certificates, question.issuer, at);
  if (typeof signer === 'string') return unknown(signer);
  if (!(await isSignedWith(structure, signer.publicKey)))
    return unknown('the signature of the OCSP answer is not valid');
  if (answer.nonce && !answer.nonce.equals(question.nonce))
    return unknown('the OCSP answer is for another request');
  const single = answer.singles.find((one) => isAbout(one.id, question));
  return single ? statusOf(single, at) : unknown('the OCSP answer is about another certificate');
}

interface Single {
  readonly id: DerNode;
  readonly status: DerNode;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
}

/** ResponseData. */
function readData(node: DerNode) {
  const fields = fieldsOf(node);
  fields.optional(0xa0);
  const responder = fields.any();
  fields.take(TAG.generalizedTime);
  const responses = listOf(fields.take(TAG.sequence));
  if (responses.length > MAX_RESPONSES) throw new GatewayError('config-invalid', 'too many OCSP responses');
  const extensions = fields.optional(0xa1);
  return {
    responder,
    singles: responses.map(readSingle),
    nonce: extensions && nonceOf(fieldsOf(extensions, 0xa1).any()),
  };
}

function readSingle(node: DerNode): Single {
  const fields = fieldsOf(node);
  const id = fields.take(TAG.sequence);
  const status = fields.any();
  const thisUpdate = timeOf(fields.take(TAG.generalizedTime));
  const next = fields.optional(0xa0);
  return {
    id,
    status,
    thisUpdate,
    ...(next && { nextUpdate: timeOf(fieldsOf(next, 0xa0).take(TAG.generalizedTime)) }),
  };
}

/** QUIRK: the octets of the nonce stand in an OCTET STRING of their own, or bare where a responder is old. */
function nonceOf(extensions: DerNode): Buffer | undefined {
  for (const item of listOf(extensions)) {
    const fields = fieldsOf(item);
    if (oidOf(fields.take(TAG.oid)) !== ID.nonce) continue;
    fields.optional(TAG.boolean);
    const value = octetsOf(fields.take(TAG.octetString));
    return value[0] === TAG.octetString && value[1] === value.length - 2 ? value.subarray(2) : value;
  }
  return undefined;
}

/** SECURITY: who may answer (RFC 6960 §4.2.2.2); the text says why nobody may (test: OCSP responders). */
function responderOf(
  responder: DerNode,
  certificates: DerNode | undefined,
  issuer: Certificate,
  at: Date,
): Certificate | string {
  if (isNamedBy(responder, issuer)) return issuer;
  const list = certificates ? listOf(fieldsOf(certificates, 0xa0).any()) : [];
  for (const node of list.slice(0, MAX_CERTIFICATES)) {
    const certificate = tryParse(node);
    if (!certificate || !isNamedBy(responder, certificate)) continue;
    return delegateProblem(certificate, issuer, at) ?? certificate;
  }
  return 'the OCSP responder is not known';
}

function delegateProblem(certificate: Certificate, issuer: Certificate, at: Date): string | undefined {
  if (!isSameName(certificate.issuerName, issuer.subjectName) || !isIssuedBy(certificate, issuer))
    return 'the OCSP responder is not certified by the issuer';
  if (!certificate.extendedKeyUsage?.includes(ID.ocspSigning))
    return 'the OCSP responder is not certified for OCSP';
  if (certificate.unknownCritical.some((id) => id !== ID.noCheck))
    return 'the certificate of the OCSP responder has an unknown critical extension';
  if (!isStronglySigned(certificate) || strengthProblem(certificate) !== undefined)
    return 'the certificate of the OCSP responder is too weak';
  return validityProblem(certificate, at) && 'the certificate of the OCSP responder is not valid now';
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  try {
    return certificate.x509.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** ResponderID: a name, or the SHA-1 of the key. */
function isNamedBy(responder: DerNode, certificate: Certificate): boolean {
  const inner = responder.children[0];
  if (!inner) return false;
  if (responder.tag === 0xa1) return isSameName(parseName(inner), certificate.subjectName);
  return (
    responder.tag === 0xa2 && octetsOf(inner).equals(createHash('sha1').update(keyBits(certificate)).digest())
  );
}

/** CertID: hash algorithm, issuer's name and key, serial number; all have to match. */
function isAbout(id: DerNode, { certificate, issuer }: OcspQuestion): boolean {
  const fields = fieldsOf(id);
  const hash = HASHES.get(oidOf(fieldsOf(fields.take(TAG.sequence)).take(TAG.oid)));
  const name = octetsOf(fields.take(TAG.octetString));
  const key = octetsOf(fields.take(TAG.octetString));
  const serial = fields.take(TAG.integer).content;
  return (
    hash !== undefined &&
    name.equals(createHash(hash).update(certificate.issuerDer).digest()) &&
    key.equals(createHash(hash).update(keyBits(issuer)).digest()) &&
    serial.equals(certificate.serial)
  );
}

function statusOf({ status, thisUpdate, nextUpdate }: Single, at: Date): RevocationStatus {
  const until = nextUpdate ?? new Date(thisUpdate.getTime() + MAX_AGE_MS);
  const problem = freshnessProblem('the OCSP answer', thisUpdate, until, at);
  if (problem !== undefined) return unknown(problem);
  switch (status.tag) {
    case 0x80:
      return { state: 'good', until };
    case 0xa1: {
      const fields = fieldsOf(status, 0xa1);
      const since = timeOf(fields.take(TAG.generalizedTime));
      const wrapped = fields.optional(0xa0);
      const code = wrapped && fieldsOf(wrapped, 0xa0).take(0x0a).content[0];
      return { state: 'revoked', since, reason: REVOCATION_REASONS[code ?? 0] ?? 'another reason', until };
    }
    case 0x82:
      return unknown('the OCSP responder does not know the certificate');
    default:
      return unknown('the OCSP answer is malformed');
  }
}

/** The bits of subjectPublicKey. */
function keyBits({ publicKey }: Certificate): Buffer {
  const fields = fieldsOf(parseDer(publicKey.export({ type: 'spki', format: 'der' })));
  fields.take(TAG.sequence);
  return bitsOf(fields.take(TAG.bitString));
}

function tryParse({ raw }: DerNode): Certificate | undefined {
  try {
    return parseCertificate(raw);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return undefined;
  }
}

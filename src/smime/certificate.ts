// X.509 certificates (RFC 5280, RFC 8550): parsing, the addresses they hold, and what they may be used for. Trust is
// chain.ts' business.
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { parseAddress } from '../core/address.ts';
import { GatewayError } from '../core/errors.ts';
import { type CertificateExtensions, type KeyUsage, parseExtensions } from './certificate-extensions.ts';
import { countOf, type DerNode, fieldsOf, oidOf, parseDer, TAG, timeOf } from './der.ts';
import { type DistinguishedName, EMAIL_ADDRESS, isSameName, parseName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';

const KEY_TYPES = [
  'rsa',
  'rsa-pss',
  'ec',
  'ed25519',
  'ed448',
  'x25519',
  'x448',
  'ml-kem-512',
  'ml-kem-768',
  'ml-kem-1024',
] as const;
export type CertificateKeyType = (typeof KEY_TYPES)[number] | 'other';
export type CertificatePurpose = 'encrypt' | 'sign';

/** A parsed certificate. Parsing says nothing about trust or validity. */
export interface Certificate extends CertificateExtensions {
  readonly version: number;
  readonly der: Buffer;
  readonly pem: string;
  /** SHA-256 over the DER, lower-case hex. */
  readonly fingerprint: string;
  /** For people; never compare it. */
  readonly subject: string;
  readonly issuer: string;
  readonly subjectName: DistinguishedName;
  readonly issuerName: DistinguishedName;
  readonly issuerDer: Buffer;
  /** Content octets of the serial number, as they stand. */
  readonly serial: Buffer;
  /** `Address.key` values of subjectAltName: rfc822Name and SmtpUTF8Mailbox. */
  readonly addresses: readonly string[];
  /** Those of emailAddress in the subject, the form of before (RFC 8550 §3); never the common name. */
  readonly subjectAddresses: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly publicKey: KeyObject;
  /** SHA-256 over SubjectPublicKeyInfo as it stands, lower-case hex: certificates of one key share it. */
  readonly publicKeyHash: string;
  readonly keyType: CertificateKeyType;
  readonly isSelfIssued: boolean;
  /** The algorithm of the certificate's own signature, as an OID and its parameters. */
  readonly signatureAlgorithm: { readonly oid: string; readonly parameters?: DerNode };
  /** OpenSSL's view, for the signature check alone. */
  readonly x509: X509Certificate;
}

export interface StrengthOptions {
  /** Takes RSA from 1,024 bits and DSA. For old test suites only. */
  readonly isLegacyAllowed?: boolean;
}

export type CertificateUse = { readonly usable: true } | { readonly usable: false; readonly reason: string };

/** What each type of key needs in its certificate to be encrypted to (RFC 8550 §4.4.2, RFC 9935 §5). */
const ENCRYPTING: ReadonlyMap<CertificateKeyType, KeyUsage> = new Map<CertificateKeyType, KeyUsage>([
  ['rsa', 'keyEncipherment'],
  ['ec', 'keyAgreement'],
  ['x25519', 'keyAgreement'],
  ['x448', 'keyAgreement'],
  ['ml-kem-512', 'keyEncipherment'],
  ['ml-kem-768', 'keyEncipherment'],
  ['ml-kem-1024', 'keyEncipherment'],
]);
const MAX_DER_BYTES = 256 * 1024;
const MAX_PEM_CHARACTERS = 4 * 1024 * 1024;
const MAX_PEM_CERTIFICATES = 1_000;
const MAX_ADDRESSES = 100;
const EMAIL_PROTECTION = '1.3.6.1.5.5.7.3.4';
const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const MIN_RSA_BITS = 2_048;
const MIN_LEGACY_RSA_BITS = 1_024;
// SECURITY: one signature by a larger key or exponent takes milliseconds (test: oversized keys).
const MAX_RSA_BITS = 8_192;
const MAX_RSA_EXPONENT = 2n ** 33n;
const CURVES: ReadonlySet<string> = new Set([
  'prime256v1',
  'secp384r1',
  'secp521r1',
  'brainpoolP256r1',
  'brainpoolP384r1',
  'brainpoolP512r1',
]);
const PEM_BLOCK =
  /-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----/g;

/**
 * Parses one DER certificate; total over hostile input. Throws GatewayError `config-invalid` with the reason. Certificates
 * whose public key this OpenSSL cannot read are refused, since nothing could be done with them.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_DER_BYTES) throw invalid('certificate is too large');
  // A copy: the caller's chunk may be part of a large buffer that should not be kept alive.
  const bytes = Buffer.from(der);
  const parsed = readStructure(bytes);
  const { x509, publicKey } = readWithOpenSsl(bytes);
  return {
    ...parsed,
    der: bytes,
    pem: `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    fingerprint: createHash('sha256').update(bytes).digest('hex'),
    publicKey,
    keyType: keyTypeOf(publicKey),
    x509,
  };
}

/** All certificates of a PEM text, in its order; other blocks are passed over. Throws GatewayError `config-invalid`. */
export function parsePemCertificates(pem: string): readonly Certificate[] {
  if (pem.length > MAX_PEM_CHARACTERS) throw invalid('PEM file is too large');
  const blocks = [...pem.matchAll(PEM_BLOCK)];
  if (blocks.length === 0) throw invalid('no certificate in the PEM text');
  if (blocks.length > MAX_PEM_CERTIFICATES) throw invalid('too many certificates in the PEM text');
  return blocks.map((block) => parseCertificate(Buffer.from(block[1] ?? '', 'base64')));
}

/**
 * Whether a certificate may be used now for encrypting to it, or for signatures made with it: validity, key usage and
 * extended key usage (RFC 8550 §4.4.2, §4.4.4), key type and strength. The reason is for people.
 */
export function certificateUse(
  certificate: Certificate,
  purpose: CertificatePurpose,
  at: Date,
  options: StrengthOptions = {},
): CertificateUse {
  const reason =
    validityProblem(certificate, at) ??
    purposeProblem(certificate, purpose) ??
    strengthProblem(certificate, options);
  return reason === undefined ? { usable: true } : { usable: false, reason };
}

/** Whether keys of this type encapsulate by ML-KEM (RFC 9935). */
export function isMlKem(keyType: CertificateKeyType): boolean {
  return keyType.startsWith('ml-kem-');
}

/** Whether the certificate's extended key usage allows mail: absent, any, or emailProtection. */
export function isForMail(certificate: Certificate): boolean {
  const purposes = certificate.extendedKeyUsage;
  return (
    purposes === undefined || purposes.includes(EMAIL_PROTECTION) || purposes.includes(ANY_EXTENDED_KEY_USAGE)
  );
}

/** Why the key is too weak, or of a kind that no mail software should be asked to use; undefined for a good one. */
export function strengthProblem(
  { publicKey, keyType }: Certificate,
  options: StrengthOptions = {},
): string | undefined {
  const {
    modulusLength: bits,
    namedCurve: curve,
    publicExponent = 0n,
  } = publicKey.asymmetricKeyDetails ?? {};
  const minRsaBits = options.isLegacyAllowed ? MIN_LEGACY_RSA_BITS : MIN_RSA_BITS;
  const isRsa = keyType === 'rsa' || publicKey.asymmetricKeyType === 'rsa-pss';
  if (isRsa && bits !== undefined && bits < minRsaBits)
    return `RSA key has ${bits} bits, fewer than ${minRsaBits}`;
  if (isRsa && bits !== undefined && bits > MAX_RSA_BITS)
    return `RSA key has ${bits} bits, more than ${MAX_RSA_BITS}`;
  if (publicExponent > MAX_RSA_EXPONENT) return 'RSA key has too large an exponent';
  // SECURITY: a curve given by unknown parameters has no name here and may be a broken one (test: weak keys).
  if (keyType === 'ec' && !CURVES.has(curve ?? '')) return 'elliptic curve of the key is not supported';
  if (publicKey.asymmetricKeyType === 'dsa' && !options.isLegacyAllowed) return 'DSA keys are not supported';
  return undefined;
}

/** Why the certificate is not valid at that time, or undefined. */
export function validityProblem(certificate: Certificate, at: Date): string | undefined {
  if (at < certificate.notBefore)
    return `certificate is not valid before ${certificate.notBefore.toISOString()}`;
  // notAfter includes its whole last second (RFC 5280 §4.1.2.5).
  if (at.getTime() >= certificate.notAfter.getTime() + 1_000)
    return `certificate expired on ${certificate.notAfter.toISOString()}`;
  return undefined;
}

function purposeProblem(certificate: Certificate, purpose: CertificatePurpose): string | undefined {
  if (!isForMail(certificate))
    return 'extended key usage of the certificate does not include e-mail protection';
  return purpose === 'encrypt' ? encryptProblem(certificate) : signProblem(certificate);
}

function encryptProblem({ keyType, keyUsage }: Certificate): string | undefined {
  const wanted = ENCRYPTING.get(keyType);
  if (wanted === undefined) return 'key type of the certificate cannot encrypt';
  if (keyUsage && !keyUsage.has(wanted))
    return `key usage of the certificate does not allow encryption (no ${wanted})`;
  return undefined;
}

function signProblem({ keyType, keyUsage }: Certificate): string | undefined {
  if (keyType === 'x25519' || keyType === 'x448' || isMlKem(keyType))
    return 'key type of the certificate cannot sign';
  if (keyUsage && !keyUsage.has('digitalSignature') && !keyUsage.has('nonRepudiation'))
    return 'key usage of the certificate does not allow signatures';
  return undefined;
}

type Structure = Omit<Certificate, 'der' | 'pem' | 'fingerprint' | 'publicKey' | 'keyType' | 'x509'>;

/** Certificate and TBSCertificate of RFC 5280 §4.1. */
function readStructure(bytes: Buffer): Structure {
  const certificate = fieldsOf(parseDer(bytes));
  const body = fieldsOf(certificate.take(TAG.sequence));
  const outerAlgorithm = certificate.take(TAG.sequence);
  certificate.take(TAG.bitString);
  certificate.end();
  const versionNode = body.optional(0xa0);
  const version = versionNode ? countOf(fieldsOf(versionNode, 0xa0).take(TAG.integer)) + 1 : 1;
  const serial = body.take(TAG.integer).content;
  const algorithm = body.take(TAG.sequence);
  // SECURITY: the signed algorithm and the outer one must be the same (RFC 5280 §4.1.1.2).
  if (!algorithm.raw.equals(outerAlgorithm.raw))
    throw invalid('signature algorithms of the certificate differ');
  const issuerName = parseName(body.take(TAG.sequence));
  const validity = fieldsOf(body.take(TAG.sequence));
  const notBefore = timeOf(validity.any());
  const notAfter = timeOf(validity.any());
  const subjectName = parseName(body.take(TAG.sequence));
  const keyInfo = body.take(TAG.sequence);
  if (hasUnnamedCurve(keyInfo))
    throw invalid('elliptic curve of the key is given by parameters, not by name');
  body.optional(0x81);
  body.optional(0x82);
  const wrapped = body.optional(0xa3);
  body.end();
  const extensions = parseExtensions(wrapped && fieldsOf(wrapped, 0xa3).take(TAG.sequence));
  return {
    ...extensions,
    version,
    subject: subjectName.text,
    issuer: issuerName.text,
    subjectName,
    issuerName,
    issuerDer: issuerName.der,
    serial,
    addresses: addressesOf(extensions.names),
    subjectAddresses: subjectAddressesOf(subjectName),
    notBefore,
    notAfter,
    publicKeyHash: createHash('sha256').update(keyInfo.raw).digest('hex'),
    isSelfIssued: isSameName(subjectName, issuerName),
    signatureAlgorithm: readAlgorithm(algorithm),
  };
}

/** RFC 5480 §2.1.1. SECURITY: parameters that are nearly those of a known curve make forged keys (test: unnamed curve). */
function hasUnnamedCurve(keyInfo: DerNode): boolean {
  const { oid, parameters } = readAlgorithm(fieldsOf(keyInfo).take(TAG.sequence));
  return oid === EC_PUBLIC_KEY && parameters?.tag !== TAG.oid;
}

function readAlgorithm(node: DerNode): { oid: string; parameters?: DerNode } {
  const fields = fieldsOf(node);
  const oid = oidOf(fields.take(TAG.oid));
  const parameters = node.children[1];
  return { oid, ...(parameters && { parameters }) };
}

/** SECURITY: only what is one plain address counts; blanks, NUL and look-alikes do not (tests: certificate addresses). */
function addressesOf(names: readonly GeneralName[]): readonly string[] {
  return keysOf(
    names.flatMap((name) =>
      (name.kind === 'email' && /^[\x21-\x7e]+$/.test(name.value)) || name.kind === 'smtp-utf8'
        ? [name.value]
        : [],
    ),
  );
}

function subjectAddressesOf({ attributes }: DistinguishedName): readonly string[] {
  return keysOf(attributes.flatMap(({ type, value }) => (type === EMAIL_ADDRESS ? [value] : [])));
}

function keysOf(written: readonly string[]): readonly string[] {
  const keys = written.map((text) => parseAddress(text)?.key).filter((key) => key !== undefined);
  return [...new Set(keys)].slice(0, MAX_ADDRESSES);
}

function readWithOpenSsl(bytes: Buffer): { x509: X509Certificate; publicKey: KeyObject } {
  try {
    const x509 = new X509Certificate(bytes);
    return { x509, publicKey: x509.publicKey };
  } catch {
    throw invalid('certificate or its public key cannot be read');
  }
}

function keyTypeOf(key: KeyObject): CertificateKeyType {
  return KEY_TYPES.find((type) => type === key.asymmetricKeyType) ?? 'other';
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

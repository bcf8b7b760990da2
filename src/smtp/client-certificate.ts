// Evidence about the client's certificate, from one handshake. OpenSSL's verdict stands, except that the purpose check can
// be left out: public CAs have stopped issuing clientAuth certificates, and Exchange Online's may follow.
import { X509Certificate } from 'node:crypto';
import { rootCertificates, type TLSSocket } from 'node:tls';
import * as pkijs from 'pkijs';
import type { PeerCertificate, TlsEvidence } from '../core/peer.ts';

export interface ClientTrust {
  /** Parsed CA certificates that end a chain. */
  readonly anchors: readonly X509Certificate[];
  /** Whether extendedKeyUsage must allow clientAuth. */
  readonly isPurposeChecked: boolean;
}

const SUBJECT_ALT_NAME = '2.5.29.17';
const BASIC_CONSTRAINTS = '2.5.29.19';
const NAME_CONSTRAINTS = '2.5.29.30';
const COMMON_NAME = '2.5.4.3';
const DNS_NAME = 2;
const MAX_CHAIN = 8;
/** basicConstraints, keyUsage, extKeyUsage, subjectAltName, certificatePolicies: what OpenSSL or the walk below checks. */
const KNOWN_CRITICAL = new Set([BASIC_CONSTRAINTS, '2.5.29.15', '2.5.29.37', SUBJECT_ALT_NAME, '2.5.29.32']);
/** serverAuth, clientAuth, anyExtendedKeyUsage. */
const TLS_PURPOSES = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2', '2.5.29.37.0'];

/** CA certificates from PEM texts. The word `system` stands for the public roots that come with Node. */
export function readAnchors(ca: readonly string[]): readonly X509Certificate[] {
  return ca
    .flatMap((text) => (text === 'system' ? [...rootCertificates] : splitPem(text)))
    .map((pem) => new X509Certificate(pem));
}

/** What the TLS connection shows. A client without a certificate, or with one that fails, is evidence too, no error. */
export function readTlsEvidence(socket: TLSSocket, trust: ClientTrust, at: Date): TlsEvidence {
  const certificate = readPeerCertificate(socket, trust, at);
  return {
    protocol: socket.getProtocol() === 'TLSv1.3' ? 'TLSv1.3' : 'TLSv1.2',
    cipher: socket.getCipher().name,
    ...(certificate ? { certificate } : {}),
  };
}

function readPeerCertificate(socket: TLSSocket, trust: ClientTrust, at: Date): PeerCertificate | undefined {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return undefined;
  const verifyError = verifyPeer(socket, leaf, trust, at);
  const names = readNames(leaf);
  return {
    isVerified: verifyError === undefined,
    ...(verifyError === undefined ? {} : { verifyError }),
    dnsNames: names.dnsNames,
    ...(names.commonName === undefined ? {} : { commonName: names.commonName }),
    fingerprint256: leaf.fingerprint256,
    validFrom: leaf.validFromDate,
    validTo: leaf.validToDate,
  };
}

/**
 * SECURITY: `authorized === true` alone is proof, and only for a full handshake: a resumed session without certificate
 * also counts as authorised in OpenSSL (test: mtls-matrix).
 */
function verifyPeer(
  socket: TLSSocket,
  leaf: X509Certificate,
  trust: ClientTrust,
  at: Date,
): string | undefined {
  if (socket.isSessionReused()) return 'the TLS session was resumed';
  if (socket.authorized) return undefined;
  const verdict = String(socket.authorizationError ?? 'not verified');
  if (trust.isPurposeChecked || verdict !== 'INVALID_PURPOSE') return verdict;
  return walkChain(leaf, presentedIssuers(socket), trust.anchors, at);
}

/**
 * OpenSSL reports its last finding only, so INVALID_PURPOSE says: signatures, dates and name constraints are good, and
 * may hide what is checked before it: an untrusted issuer, a certificate that is no CA, a path that is too long, an
 * unknown critical extension. Those are looked for here. Returns why the chain is not good, or undefined.
 */
export function walkChain(
  leaf: X509Certificate,
  issuers: readonly X509Certificate[],
  anchors: readonly X509Certificate[],
  at: Date,
): string | undefined {
  let current = leaf;
  for (let depth = 0; depth < MAX_CHAIN; depth += 1) {
    const problem = checkCertificate(current, depth, at);
    if (problem !== undefined) return problem;
    if (anchors.some((anchor) => anchor.fingerprint256 === current.fingerprint256 && depth > 0)) {
      return undefined;
    }
    const subject = current;
    const isIssuer = (issuer: X509Certificate) =>
      subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
    const next = anchors.find(isIssuer) ?? issuers.find(isIssuer);
    if (next === undefined) return 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY';
    current = next;
  }
  return 'CERT_CHAIN_TOO_LONG';
}

/** `depth` counts the certificates below: 0 is the client's own. */
function checkCertificate(certificate: X509Certificate, depth: number, at: Date): string | undefined {
  if (at < certificate.validFromDate) return 'CERT_NOT_YET_VALID';
  if (at > certificate.validToDate) return 'CERT_HAS_EXPIRED';
  // Node names the list of extended key usages `keyUsage`; undefined means that any is allowed.
  const purposes: readonly string[] | undefined = certificate.keyUsage;
  if (purposes && !purposes.some((purpose) => TLS_PURPOSES.includes(purpose))) return 'INVALID_PURPOSE';
  const extensions = parse(certificate)?.extensions ?? [];
  const unknown = extensions.find(({ critical, extnID }) => critical && !KNOWN_CRITICAL.has(extnID));
  if (unknown) {
    return unknown.extnID === NAME_CONSTRAINTS ? 'name constraints' : 'UNHANDLED_CRITICAL_EXTENSION';
  }
  if (depth === 0) return undefined;
  if (!certificate.ca) return 'INVALID_CA';
  const constraints = extensions.find(({ extnID }) => extnID === BASIC_CONSTRAINTS)?.parsedValue as
    pkijs.BasicConstraints | undefined;
  const allowed = constraints?.pathLenConstraint;
  return typeof allowed === 'number' && depth - 1 > allowed ? 'PATH_LENGTH_EXCEEDED' : undefined;
}

function presentedIssuers(socket: TLSSocket): readonly X509Certificate[] {
  const issuers: X509Certificate[] = [];
  let current = socket.getPeerCertificate(true);
  for (let depth = 0; depth < MAX_CHAIN; depth += 1) {
    const next = current.issuerCertificate;
    if (next?.raw === undefined || next === current) break;
    issuers.push(new X509Certificate(next.raw));
    current = next;
  }
  return issuers;
}

/** Names from the DER: Node's text form of subjectAltName quotes and joins them. */
export function readNames(certificate: X509Certificate): {
  dnsNames: readonly string[];
  commonName?: string;
} {
  const parsed = parse(certificate);
  const names = parsed?.extensions?.find(({ extnID }) => extnID === SUBJECT_ALT_NAME)?.parsedValue as
    pkijs.AltName | undefined;
  const dnsNames = (names?.altNames ?? [])
    .filter(({ type }) => type === DNS_NAME)
    .map(({ value }) => String(value));
  const commonNames = (parsed?.subject.typesAndValues ?? []).filter(({ type }) => type === COMMON_NAME);
  const [only] = commonNames;
  return only && commonNames.length === 1
    ? { dnsNames, commonName: only.value.valueBlock.value }
    : { dnsNames };
}

/** undefined for what the parser's limits refuse: such a certificate has no names. */
function parse(certificate: X509Certificate): pkijs.Certificate | undefined {
  try {
    return pkijs.Certificate.fromBER(certificate.raw);
  } catch {
    return undefined;
  }
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

// What one side of a lab connection saw of the TLS handshake and of the other side's certificate.
import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls';

export interface TlsFacts {
  readonly protocol: string;
  readonly cipher: string;
  /** SNI as the client sent it. */
  readonly servername: string | undefined;
  /** Names in the other side's certificate, SAN first, then CN, whether it verified or not. Empty: none presented. */
  readonly presentedNames: readonly string[];
  /** Whether that certificate verified in this handshake: chain, dates and purpose. */
  readonly isVerified: boolean;
  readonly verifyError: string | undefined;
  /** Whether the session was resumed: then the names are those of an earlier handshake. */
  readonly isResumed: boolean;
}

export function tlsFactsOf(socket: TLSSocket): TlsFacts {
  const certificate = socket.getPeerCertificate(false);
  const presentedNames = namesOf(certificate);
  const hasCertificate = Object.keys(certificate).length > 0;
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().name,
    servername: typeof socket.servername === 'string' ? socket.servername : undefined,
    presentedNames,
    isVerified: hasCertificate && socket.authorized,
    verifyError: hasCertificate && !socket.authorized ? String(socket.authorizationError) : undefined,
    isResumed: socket.isSessionReused(),
  };
}

function namesOf(certificate: PeerCertificate | DetailedPeerCertificate): readonly string[] {
  const alternatives = (certificate.subjectaltname ?? '')
    .split(', ')
    .filter((entry) => entry.startsWith('DNS:'))
    .map((entry) => entry.slice('DNS:'.length).toLowerCase());
  const common = certificate.subject?.CN;
  return [...new Set([...alternatives, ...[common ?? []].flat().map((name) => name.toLowerCase())])];
}

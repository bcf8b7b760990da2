// What was observed about the SMTP client of one connection: evidence, not a verdict.

/** The client's certificate as this handshake showed it. */
export interface PeerCertificate {
  /** Chain, dates and purpose verified against the configured CAs in *this* handshake. */
  readonly isVerified: boolean;
  readonly verifyError?: string;
  /** SAN dNSName entries as written. */
  readonly dnsNames: readonly string[];
  readonly commonName?: string;
  readonly fingerprint256: string;
  readonly validFrom: Date;
  readonly validTo: Date;
}

export interface TlsEvidence {
  readonly protocol: 'TLSv1.2' | 'TLSv1.3';
  readonly cipher: string;
  readonly certificate?: PeerCertificate;
}

export interface Peer {
  readonly address: string;
  readonly port: number;
  readonly helo: string;
  readonly tls?: TlsEvidence;
  /** Who logged in (RFC 4954). */
  readonly user?: string;
}

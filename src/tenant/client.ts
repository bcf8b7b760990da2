// Who connects: conditions C1 to C3, all that is known of a transaction at RCPT. Exchange Online shares its addresses and its
// certificate among all tenants, so none of this says whose mail it is.
import type { ProofFailure } from '../core/origin.ts';
import type { Peer } from '../core/peer.ts';
import { failure, type ProofSettings } from './settings.ts';

/** C1 to C3, all that is known at RCPT: whether this client may name a recipient that is not local. */
export function canRelay(peer: Peer, settings: ProofSettings): ProofFailure | undefined {
  return (
    checkClient(peer, settings) ??
    (settings.addresses?.mode === 'require' ? checkAddress(peer, settings) : undefined)
  );
}

/** Whether the client is Exchange Online by one of its two marks; some tenant's mail, whoever's. */
export function isExchange(peer: Peer, settings: ProofSettings): boolean {
  return checkClient(peer, settings) === undefined || settings.addresses?.ranges.has(peer.address) === true;
}

/** C1 and C2. */
function checkClient(peer: Peer, settings: ProofSettings): ProofFailure | undefined {
  if (!peer.tls) return failure('C1', 'tls-required', 'no TLS');
  const { certificate } = peer.tls;
  if (!certificate) return failure('C2', 'client-not-verified', 'no client certificate in this handshake');
  // SECURITY: before the names, since anybody can write these names into a certificate of his own (test: T16).
  if (!certificate.isVerified)
    return failure(
      'C2',
      'client-not-verified',
      certificate.verifyError ?? 'client certificate does not verify',
    );
  const { dnsNames, commonName } = certificate;
  // RFC 6125 §6.4.4: the common name counts only where the SAN has no name.
  const names = dnsNames.length > 0 ? dnsNames : commonName === undefined ? [] : [commonName];
  const accepted = new Set(settings.certificateNames.map((name) => name.toLowerCase()));
  if (!names.some((name) => accepted.has(name.toLowerCase())))
    return failure('C2', 'client-not-verified', 'client certificate has none of the accepted names');
  return undefined;
}

/** C3: the client connects from where Exchange Online does. */
export function checkAddress({ address }: Peer, { addresses }: ProofSettings): ProofFailure | undefined {
  return addresses?.ranges.has(address) === false
    ? failure('C3', 'client-not-verified', `${address} is outside the ranges of Exchange Online`)
    : undefined;
}

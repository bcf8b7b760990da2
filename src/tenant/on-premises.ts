// Mail servers of a tenant in its own network. The connection alone proves whose mail it is: where it comes from, and a
// pinned client certificate or a login. What Exchange writes into the header is content here and widens nothing.
import type { Peer } from '../core/peer.ts';
import type { Secret } from '../core/secret.ts';
import type { AddressRanges } from './address-ranges.ts';
import type { Tenant, TenantRegistry } from './registry.ts';

export interface OnPremises {
  readonly networks: AddressRanges;
  /** SHA-256 of the client certificates, as node:crypto writes it. */
  readonly fingerprints: readonly string[];
  readonly login?: { readonly user: string; readonly password: Secret };
}

/** The tenant whose server the peer is. SECURITY: every condition on this one connection, TLS included (test: on-premises). */
export function onPremisesTenant(tenants: TenantRegistry, { tls, address, user }: Peer): Tenant | undefined {
  if (!tls) return undefined;
  return tenants.tenants.find(({ onPremises }) => {
    if (!onPremises?.networks.has(address)) return false;
    const { fingerprints, login } = onPremises;
    const isPinned = tls.certificate !== undefined && fingerprints.includes(tls.certificate.fingerprint256);
    return isPinned || (login !== undefined && user === login.user);
  });
}

/** Whether a client at this address may log in at all. */
export function mayLogIn(tenants: TenantRegistry, address: string): boolean {
  return tenants.tenants.some(({ onPremises }) => onPremises?.login && onPremises.networks.has(address));
}

/** Whether user and password are those of a server at this address. Every one is compared, whichever matches. */
export function isLogin(tenants: TenantRegistry, address: string, user: string, password: Secret): boolean {
  const matches = tenants.tenants.map(({ onPremises }) => {
    const isRight = onPremises?.login?.password.equals(password) === true;
    return isRight && onPremises?.login?.user === user && onPremises.networks.has(address);
  });
  return matches.includes(true);
}

// What the client needs to know about where a shipment goes: how to connect, and how TLS is used there. Made by legs.ts,
// so that the TLS identity hangs on the leg and on nothing else.
import type { Secret } from '../core/secret.ts';
import type { NoRoute, OpenSocket } from './mx.ts';

/**
 * `verified`: TLS with a certificate of a trusted CA and the right name, or no delivery. `opportunistic`: TLS if it works, any
 * certificate, else clear text (RFC 7435).
 */
export type TlsMode = 'verified' | 'opportunistic';

/** A client certificate: PEM, the chain with its intermediates, leaf first. */
export interface TlsIdentity {
  readonly key: string;
  readonly cert: string;
}

export interface NextHop {
  /** Connects to the best host that is not in `skip`, by address. */
  readonly open: (skip: readonly string[], signal: AbortSignal) => Promise<OpenSocket | NoRoute>;
  readonly tls: TlsMode;
  /** Name for SNI and check; default: the name of the host. */
  readonly serverName?: string;
  /** CAs for the server's certificate, PEM; default: the roots that come with Node. */
  readonly ca?: readonly string[];
  readonly identity?: TlsIdentity;
  /** SMTP AUTH; only ever sent over TLS. */
  readonly auth?: { readonly user: string; readonly password: Secret };
}

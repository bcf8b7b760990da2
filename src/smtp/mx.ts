// From a domain or a fixed host to a TCP connection: MX, A and AAAA look-ups with mx-connect, over a resolver that can be
// chosen, and never to an address inside unless that is allowed. TLS and SMTP are the client's business.
import { Resolver } from 'node:dns/promises';
import type { Socket } from 'node:net';
import mxConnect, { type MxConnectOptions } from 'mx-connect';
import { GatewayError } from '../core/errors.ts';
import type { Reply } from '../core/reply.ts';

/** A connected socket and whom it leads to. */
export interface OpenSocket {
  readonly socket: Socket;
  /** Name of the host, for SNI, name check and records. */
  readonly host: string;
  readonly address: string;
}

/** Why there is no connection: `failed` will not get better by waiting. */
export type NoRoute = { readonly status: 'deferred' | 'failed'; readonly reply: Reply };

export interface RouteOptions {
  readonly port: number;
  /** Resolvers as `address` or `address:port`; empty: those of the system. */
  readonly resolvers: readonly string[];
  /** SECURITY: false keeps a published MX from leading to loopback, private and reserved addresses (test: mx-local). */
  readonly allowPrivateAddresses: boolean;
  readonly connectTimeoutMs: number;
}

/** Makes connections. `skip` holds addresses that were tried already. */
export interface Route {
  /** The mail exchangers of a domain (RFC 5321 §5.1), best first. */
  toDomain(domain: string, skip: readonly string[], signal: AbortSignal): Promise<OpenSocket | NoRoute>;
  /** One host by name or address, without MX look-up. What goes wrong is `deferred`: the operator can put it right. */
  toHost(host: string, skip: readonly string[], signal: AbortSignal): Promise<OpenSocket | NoRoute>;
}

/** What mx-connect throws. */
interface RouteError {
  readonly code?: string;
  readonly category?: string;
  readonly temporary?: boolean;
}

const DNS_TIMEOUT_MS = 5_000;
const DNS_TRIES = 2;

/** Prepares routing. Throws GatewayError `config-invalid` for a resolver that is no address. */
export function openRoute(options: RouteOptions): Route {
  openResolver(options.resolvers);
  return {
    toDomain: (domain, skip, signal) =>
      open({ ...connection(options, skip), target: domain }, options.resolvers, signal, explainDomain),
    toHost: (host, skip, signal) =>
      open(
        { ...connection(options, skip), target: host, mx: [host] },
        options.resolvers,
        signal,
        explainHost,
      ),
  };
}

/** Whether a result of `Route` is a connection. */
export function isOpenSocket(result: OpenSocket | NoRoute): result is OpenSocket {
  return 'socket' in result;
}

function connection(
  { port, connectTimeoutMs, allowPrivateAddresses }: RouteOptions,
  skip: readonly string[],
) {
  return {
    port,
    maxConnectTime: connectTimeoutMs,
    ignoreMXHosts: skip,
    dnsOptions: {
      blockLocalAddresses: !allowPrivateAddresses,
      blockReservedNetworks: !allowPrivateAddresses,
    },
  };
}

/** mx-connect knows no signal: look-ups are cancelled here, and a connection that comes too late is closed. */
async function open(
  options: MxConnectOptions,
  resolvers: readonly string[],
  signal: AbortSignal,
  explain: (error: RouteError) => NoRoute,
): Promise<OpenSocket | NoRoute> {
  if (signal.aborted) return unreachable('delivery was stopped');
  const resolver = openResolver(resolvers);
  const aborted = Promise.withResolvers<never>();
  const abort = () => {
    aborted.reject(new Error('aborted'));
    resolver.cancel();
  };
  signal.addEventListener('abort', abort, { once: true });
  const resolveRecords = async (domain: string, type: string) => {
    signal.throwIfAborted();
    return resolver.resolve(domain, type);
  };
  const connecting = mxConnect({ ...options, dnsOptions: { ...options.dnsOptions, resolveRecords } });
  try {
    const { socket, hostname, host } = await Promise.race([connecting, aborted.promise]);
    return { socket, host: hostname, address: host };
  } catch (error) {
    connecting.then(
      ({ socket }) => socket.destroy(),
      () => undefined,
    );
    return signal.aborted ? unreachable('delivery was stopped') : explain(error as RouteError);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * A resolver over these servers, or the system's. One for each connection, so that stopping one cancels the look-ups of no
 * other. Throws GatewayError `config-invalid`.
 */
export function openResolver(servers: readonly string[]): Resolver {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  try {
    if (servers.length > 0) resolver.setServers(servers);
    return resolver;
  } catch (cause) {
    throw new GatewayError('config-invalid', 'a resolver is not written as address or address:port', {
      cause,
    });
  }
}

function explainDomain(error: RouteError): NoRoute {
  const { code, category, temporary } = error;
  if (code === 'ENULLMX') return failed(556, '5.1.10', 'Recipient domain does not take mail (null MX)');
  if (code === 'InvalidIpAddress' && temporary !== true) {
    return failed(550, '5.4.4', 'The mail exchangers of the domain have no public address');
  }
  if (category === 'dns' && temporary !== true)
    return failed(550, '5.1.2', 'Recipient domain does not exist or has no mail exchanger');
  return category === 'dns' ? unresolved('Name look-up of the recipient domain failed') : unconnected(error);
}

function explainHost(error: RouteError): NoRoute {
  if (error.category !== 'dns') return unconnected(error);
  return unresolved(
    error.temporary === true
      ? 'Name look-up of the next hop failed'
      : 'The name of the next hop has no usable address',
  );
}

function unresolved(text: string): NoRoute {
  return { status: 'deferred', reply: { code: 451, enhanced: '4.4.3', text } };
}

function unconnected({ code }: RouteError): NoRoute {
  return unreachable(code === undefined ? 'no connection' : `no connection (${code})`);
}

function unreachable(why: string): NoRoute {
  return {
    status: 'deferred',
    reply: { code: 451, enhanced: '4.4.1', text: `Mail exchanger is not reachable: ${why}` },
  };
}

function failed(code: number, enhanced: string, text: string): NoRoute {
  return { status: 'failed', reply: { code, enhanced, text } };
}

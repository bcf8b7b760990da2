// The rest of the world: an MX that takes mail for any domain and keeps what it saw, and a client that sends from outside.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { type Fault, planFaults } from './faults.ts';
import { type ReceivedMessage, serveInternetSession } from './internet-session.ts';
import { waitUntil, type Waiters } from './waiting.ts';

export interface InternetOptions {
  /** Loopback address and port; port 0 takes a free one. */
  readonly address?: string;
  readonly port?: number;
  readonly hostname?: string;
  /** Key and certificate chain, PEM. Without it STARTTLS is not offered. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: readonly string[] };
  /** EHLO keywords besides STARTTLS. Default: PIPELINING, 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES, SIZE. */
  readonly extensions?: readonly string[];
  /** Domains to take mail for. Default: all. */
  readonly domains?: readonly string[];
  /** False: only hash and counts are kept, for large runs. Default true. */
  readonly keepsBytes?: boolean;
  readonly faults?: readonly Fault[];
  /** Called for every message before it is acknowledged; what it throws becomes a 451. */
  onMessage?(message: ReceivedMessage): Promise<void> | void;
}

export interface Internet extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly hostname: string;
  messages(): readonly ReceivedMessage[];
  /** Resolves with all messages once there are `count`. Rejects after `timeoutMs`. */
  waitForMessage(count?: number, timeoutMs?: number): Promise<readonly ReceivedMessage[]>;
  /** Connections accepted so far. */
  connections(): number;
  fail(fault: Fault): void;
  /** Forgets messages and faults. */
  clear(): void;
}

export const DEFAULT_EXTENSIONS: readonly string[] = [
  'PIPELINING',
  'SIZE 209715200',
  '8BITMIME',
  'SMTPUTF8',
  'DSN',
  'ENHANCEDSTATUSCODES',
];

/** Opens an Internet MX. The caller disposes it, which cuts all connections. */
export async function openInternet(options: InternetOptions = {}): Promise<Internet> {
  const hostname = options.hostname ?? 'mx.remote.example';
  const faults = planFaults(options.faults);
  const messages: ReceivedMessage[] = [];
  const waiters: Waiters = new Set();
  const sockets = new Set<Socket>();
  const tlsServer = options.tls && openTlsServer(options.tls);
  let connections = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveInternetSession(socket, connections, {
      hostname,
      tlsServer,
      extensions: options.extensions ?? DEFAULT_EXTENSIONS,
      domains: options.domains,
      keepsBytes: options.keepsBytes ?? true,
      faults,
      received: async (message) => {
        await options.onMessage?.(message);
        messages.push(message);
        for (const wake of waiters) wake();
      },
    }).catch((error: unknown) => server.emit('error', error));
  });
  server.listen(options.port ?? 0, options.address ?? '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    hostname,
    messages: () => messages,
    waitForMessage: async (count = 1, timeoutMs = 10_000) => {
      await waitUntil(
        waiters,
        () => messages.length >= count,
        timeoutMs,
        () => {
          return `${messages.length} of ${count} messages at ${hostname}`;
        },
      );
      return messages;
    },
    connections: () => connections,
    fail: (fault) => faults.add(fault),
    clear: () => {
      messages.length = 0;
      faults.clear();
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Asks for a client certificate, to see whether one is offered where none may be, and checks none. */
function openTlsServer(tls: NonNullable<InternetOptions['tls']>): TlsServer {
  const server = createTlsServer({
    key: tls.key,
    cert: tls.cert,
    ...(tls.ca ? { ca: [...tls.ca] } : {}),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
  });
  // A failed handshake is the client's decision; its connection ends by itself.
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
}

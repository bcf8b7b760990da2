// The inbound SMTP leg: a listening socket with STARTTLS, limits on connections, and a graceful end. What a session does
// is in session.ts; what happens to a message is the handler's business.
import type { X509Certificate } from 'node:crypto';
import { constants } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { SMTPServer } from 'smtp-server';
import type { Clock } from '../core/clock.ts';
import { GatewayError, replyFor } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { Log } from '../core/log.ts';
import { formatReply, type Reply } from '../core/reply.ts';
import { Secret } from '../core/secret.ts';
import { readAnchors } from './client-certificate.ts';
import { HANDLER_TIMEOUT_MS } from './handler-deadline.ts';
import { Session, type SessionService, type TransactionHandler } from './session.ts';

export interface ListenerTls {
  /** PEM private key and certificate chain, leaf first. There is no default. */
  readonly key: string;
  readonly cert: string;
  /** CAs for client certificates: PEM texts, or the word `system` for the public roots that come with Node. */
  readonly ca: readonly string[];
  /** Whether a client certificate must allow clientAuth. If not, serverAuth will do as well. */
  readonly isPurposeChecked: boolean;
}

export interface ListenerOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Name in greeting and EHLO. */
  readonly hostname: string;
  readonly tls: ListenerTls;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly log: Log;
  readonly handler: TransactionHandler;
  /** How long the handler may take for one recipient or, once the content is there, for one message; default: 9 minutes. */
  readonly handlerTimeoutMs?: number;
}

export interface Listener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Open connections. */
  connections(): number;
  /** Stops accepting; idle sessions get 421 at once, those with a message under way within `graceMs` milliseconds. */
  close(graceMs: number): Promise<void>;
}

const LISTEN_PROBLEMS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process uses this port',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE',
};
const DISPOSE_GRACE_MS = 5_000;
const TOO_MANY_LOGINS: Reply = { code: 421, enhanced: '4.7.0', text: 'Too many failed logins' };
/** smtp-server's stand-ins for sendmail, proxy commands that only a trusted peer may use, and what we do not offer. */
const DISABLED = ['WIZ', 'SHELL', 'KILL', 'HELP', 'VRFY', 'XCLIENT', 'XFORWARD', 'LHLO'];

/** Opens the listener. Throws GatewayError `config-invalid` for a key or certificate that cannot be used or a port in use. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { tls, limits, clock, log } = options;
  const anchors = checkTls(tls);
  let isClosing = false;
  const service: SessionService = {
    hostname: options.hostname,
    limits,
    trust: { anchors, isPurposeChecked: tls.isPurposeChecked },
    clock,
    log,
    handler: options.handler,
    handlerTimeoutMs: options.handlerTimeoutMs ?? HANDLER_TIMEOUT_MS,
    isClosing: () => isClosing,
  };
  const server = new Server(options, service);
  server.on('error', (error: Error) => log.info('smtp-connection-failed', { reason: error.message }));
  const port = await listen(server, options);
  const close = async (graceMs: number): Promise<void> => {
    isClosing = true;
    await closeServer(server, clock, graceMs);
  };
  return {
    address: options.host,
    port,
    connections: () => server.connections.size,
    close,
    [Symbol.asyncDispose]: () => close(DISPOSE_GRACE_MS),
  };
}

class Server extends SMTPServer {
  readonly #service: SessionService;

  constructor({ hostname, tls, limits }: ListenerOptions, service: SessionService) {
    super({
      name: hostname,
      heloResponse: '%s',
      size: limits.maxMessageBytes,
      logger: false,
      disabledCommands: [...DISABLED],
      disableReverseLookup: true,
      hideENHANCEDSTATUSCODES: false,
      hideDSN: false,
      authMethods: ['PLAIN', 'LOGIN'],
      authOptional: true,
      key: tls.key,
      cert: tls.cert,
      // With the public roots alone, OpenSSL's own default is taken: a list would name each of them in every handshake.
      ...(isSystemOnly(tls.ca) ? {} : { ca: readAnchors(tls.ca).map(String) }),
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      // SECURITY: one verdict per connection, from a full handshake: no tickets, no renegotiation (test: mtls-matrix).
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
      // A backstop behind the deadlines of the session, which know what they wait for.
      socketTimeout: 2 * limits.idleTimeoutMs + limits.minRateAfterMs + service.handlerTimeoutMs,
    });
    this.#service = service;
    this.server.maxConnections = 2 * limits.maxConnections;
  }

  override connect(socket: Socket, socketOptions?: object | null): void {
    const refusal = this.#refusal(socket.remoteAddress ?? '');
    if (refusal) return refuse(socket, refusal);
    const session = new Session(this, socket, socketOptions);
    this.connections.add(session);
    session.on('error', (error: Error) => this.emit('error', error));
    session.open(this.#service);
  }

  /** smtp-server knows connections by their sessions only. */
  override onAuth(...[auth, session, callback]: Parameters<SMTPServer['onAuth']>): void {
    const found = this.sessions().find(({ id }) => id === session.id);
    const username = auth.username ?? '';
    if (found?.logIn(username, new Secret(auth.password ?? ''))) return callback(null, { user: username });
    if (found && !found.mayLogInAgain) return found.cut(TOO_MANY_LOGINS);
    callback(null, { responseCode: 535, message: '5.7.8 Authentication credentials invalid' });
  }

  sessions(): readonly Session[] {
    return [...this.connections].filter((connection) => connection instanceof Session);
  }

  #refusal(address: string): Reply | undefined {
    const { limits, log } = this.#service;
    if (this.#service.isClosing()) return replyFor('shutting-down');
    const plain = address.replace(/^::ffff:/i, '');
    const same = this.sessions().filter(({ remoteAddress }) => remoteAddress === plain).length;
    if (this.connections.size < limits.maxConnections && same < limits.maxConnectionsPerAddress)
      return undefined;
    log.warn('smtp-too-many-connections', { address: plain, same, all: this.connections.size });
    return replyFor('too-many-connections');
  }
}

function refuse(socket: Socket, reply: Reply): void {
  socket.on('error', () => undefined);
  socket.end(`${reply.code} ${formatReply(reply)}\r\n`);
  socket.destroySoon();
}

/** SECURITY: without key or certificate smtp-server would take ones published in its source (test: start-without-key). */
function checkTls(tls: ListenerTls): readonly X509Certificate[] {
  if (tls.key.trim() === '' || tls.cert.trim() === '') {
    throw new GatewayError('config-invalid', 'the listener needs a TLS key and a certificate');
  }
  try {
    createSecureContext({ key: tls.key, cert: tls.cert });
    return readAnchors(tls.ca);
  } catch (cause) {
    throw new GatewayError('config-invalid', 'TLS key, certificate or CA of the listener cannot be used', {
      cause,
    });
  }
}

async function closeServer(server: Server, clock: Clock, graceMs: number): Promise<void> {
  const closed = server.server.listening ? once(server.server, 'close') : Promise.resolve();
  server.server.close();
  for (const session of server.sessions()) if (!session.isBusy) session.cut(replyFor('shutting-down'));
  const finished = new AbortController();
  const grace = clock.sleep(graceMs, finished.signal).then(
    () => {
      for (const session of server.sessions()) session.cut(replyFor('shutting-down'));
    },
    () => undefined,
  );
  await closed;
  finished.abort();
  await grace;
}

async function listen(server: Server, { host, port }: ListenerOptions): Promise<number> {
  server.listen(port, host);
  try {
    await once(server.server, 'listening');
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    const reason = LISTEN_PROBLEMS[code] ?? code;
    throw new GatewayError('config-invalid', `cannot listen on ${host}:${port}: ${reason}`, { cause });
  }
  return (server.server.address() as AddressInfo).port;
}

function isSystemOnly(ca: readonly string[]): boolean {
  return ca.length > 0 && ca.every((text) => text === 'system');
}

// One bound LDAP connection: sockets of our own making, so that it can be aborted and what it receives is bounded; TLS
// before the password; pages until the server says that there are no more.
import { connect as connectTcp, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type ConnectionOptions, TLSSocket } from 'node:tls';
import { Client, Control, type BerWriter, type Entry, PagedResultsControl, SearchResponse } from 'ldapts';
import { GatewayError } from '../../core/errors.ts';
import type { LdapLimits, LdapOptions } from './ldap.ts';
import { unavailable } from './source.ts';

/** ldapts keeps its own paging to itself, so ours must not look like it; on the wire it is the same (RFC 2696). */
class PageRequest extends Control {
  readonly #control: PagedResultsControl;

  constructor(size: number, cookie: Buffer) {
    super(PagedResultsControl.type);
    this.#control = new PagedResultsControl({ value: { size, cookie } });
  }

  override write(writer: BerWriter): void {
    this.#control.write(writer);
  }
}

export class LdapConnection {
  /** Why we ended the connection ourselves. */
  failure: string | undefined;
  readonly #options: LdapOptions;
  readonly #limits: LdapLimits;
  readonly #signal: AbortSignal;
  readonly #client: Client;
  readonly #sockets = new Set<Socket>();
  readonly #abort = (): void => this.#destroy();
  readonly #count = (chunk: Buffer): void => {
    this.#receivedBytes += chunk.length;
    if (this.#receivedBytes <= this.#limits.maxPageBytes) return;
    this.failure = `a page has more than ${this.#limits.maxPageBytes} bytes`;
    this.#destroy();
  };
  /** Of the page that is being read. */
  #receivedBytes = 0;
  #lastResponse: SearchResponse | undefined;

  constructor(options: LdapOptions, limits: LdapLimits, signal: AbortSignal) {
    this.#options = options;
    this.#limits = limits;
    this.#signal = signal;
    this.#client = new Client({
      url: options.url,
      connectTimeout: limits.connectTimeoutMs,
      timeout: limits.operationTimeoutMs,
      // With options at hand ldapts begins TLS at once, whatever the URL says.
      ...(options.url.startsWith('ldaps:') ? { tlsOptions: this.#tlsOptions() } : {}),
      createConnection: ((port: number, host: string) =>
        this.#watched(connectTcp(port, host))) as unknown as typeof connectTcp,
      createSecureConnection: ((
        ...given: readonly [number, string, ConnectionOptions] | [ConnectionOptions]
      ) =>
        this.#watched(
          given.length === 1 ? this.#upgraded(given[0]) : connectTls(given[0], given[1], given[2]),
        )) as unknown as typeof connectTls,
    });
    // The cookie of a page is on no other way out of ldapts.
    const parser = this.#client['messageParser'] as NodeJS.EventEmitter;
    parser.on('message', (message: unknown) => {
      if (message instanceof SearchResponse) this.#lastResponse = message;
    });
    signal.addEventListener('abort', this.#abort, { once: true });
  }

  /** TLS, then the bind. SECURITY: no password before TLS is up with a verified name (test: wrong CA). */
  async open(): Promise<void> {
    this.#signal.throwIfAborted();
    const { startTls, bindDn, password } = this.#options;
    if (startTls) await this.#client.startTLS(this.#tlsOptions());
    await this.#client.bind(bindDn, password.reveal().toString('utf8'));
  }

  /**
   * The entries page by page. ldapts would stop at a page without entries, though RFC 2696 §3 lets one be followed by
   * others, and would go on without TLS and bind on a connection that it opened anew.
   */
  async *pages(
    base: string,
    search: NonNullable<Parameters<Client['search']>[1]>,
    pageSize: number,
  ): AsyncGenerator<readonly Entry[], void> {
    let cookie: Buffer = Buffer.alloc(0);
    do {
      this.#receivedBytes = 0;
      this.#lastResponse = undefined;
      this.#checkBound();
      const { searchEntries } = await this.#client.search(base, search, new PageRequest(pageSize, cookie));
      this.#checkBound();
      yield searchEntries;
      cookie = this.#nextCookie();
    } while (cookie.length > 0);
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#abort);
    this.#destroy();
  }

  #nextCookie(): Buffer {
    const controls = this.#lastResponse?.controls ?? [];
    const paging = controls.find((control) => control instanceof PagedResultsControl);
    return paging?.value?.cookie ?? Buffer.alloc(0);
  }

  /** SECURITY: an anonymous search may see only some of the entries (test: connection lost between pages). */
  #checkBound(): void {
    if (!this.#client.isBound) throw unavailable('the connection was lost');
  }

  #tlsOptions(): ConnectionOptions {
    const { url, ca } = this.#options;
    const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
    return {
      host,
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
      ...(ca === undefined ? {} : { ca: [ca] }),
      rejectUnauthorized: true,
      checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
    };
  }

  /** StartTLS: from now on the bytes below belong to TLS alone. */
  #upgraded(options: ConnectionOptions): Socket {
    options.socket?.off('data', this.#count);
    return connectTls(options);
  }

  #watched<T extends Socket>(socket: T): T {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', () =>
      socket.on('data', this.#count),
    );
    return socket;
  }

  /** With an error, since ldapts hears of nothing else while it connects. */
  #destroy(): void {
    for (const socket of this.#sockets) socket.destroy(new Error('ended by us'));
  }
}

const RESULTS: Readonly<Record<number, string>> = {
  3: 'the server ends the search at its time limit',
  4: 'the server ends the search at its size limit; allow bind_dn more, or make page_size smaller',
  8: 'the server demands TLS',
  11: 'the server ends the search at its administrative limit; make page_size smaller',
  13: 'the server demands TLS',
  32: 'there is no entry with the name in base',
  49: 'the server refuses bind_dn or its password',
  50: 'bind_dn may not search there',
};

/** SECURITY: the texts of server and library may hold names, so only codes are told (test: wrong password). */
export function describeLdapFailure(error: unknown): string {
  if (error instanceof GatewayError) return error.message;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'number') return RESULTS[code] ?? `the server answers with LDAP result ${code}`;
  if (typeof code !== 'string' || !/^[A-Z0-9_]+$/.test(code))
    return 'the server ended the connection, or did not answer in time';
  return /CERT|ALTNAME|SIGNATURE|ISSUER|TLS|SSL/.test(code)
    ? `TLS with the server fails: ${code}`
    : `the server cannot be reached: ${code}`;
}

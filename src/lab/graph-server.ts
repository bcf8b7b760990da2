// A simulated Microsoft Graph on loopback: the token service and the delta queries for users, groups and contacts, with
// pages, throttling, and links that expire. It knows one tenant and one application.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type GraphQuery = 'users' | 'groups' | 'contacts';

/** As Graph names them; what is left out is not in the answer either. */
export interface GraphEntry {
  readonly id: string;
  readonly mail?: string | null;
  readonly proxyAddresses?: readonly string[];
  readonly mailEnabled?: boolean;
}

/** What the server does wrong, once for each `times`, before it goes on. */
export interface GraphFault {
  /** Requests it concerns. Default: every page. */
  readonly at?: 'token' | 'page';
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is. Default: an error as Graph writes it. */
  readonly body?: string;
  readonly times?: number;
}

export interface GraphServerOptions {
  readonly tenant: string;
  readonly clientId?: string;
  readonly secret?: string;
  /** Objects of one page. Default 2. */
  readonly pageSize?: number;
  readonly entries?: Readonly<Partial<Record<GraphQuery, readonly GraphEntry[]>>>;
}

export interface GraphServer extends AsyncDisposable {
  /** For `endpoint` and `login`. */
  readonly url: string;
  readonly clientId: string;
  readonly secret: string;
  /** `GET /v1.0/users/delta?...` and so on, in the order of arrival; no header fields. */
  requests(): readonly string[];
  /** Adds an object or changes the properties that are named. */
  put(query: GraphQuery, entry: GraphEntry): void;
  remove(query: GraphQuery, id: string): void;
  fail(fault: GraphFault): void;
  /** From now on, links that were given out answer 410. */
  expireLinks(): void;
  /** Replaces next links by what this makes of them. */
  rewriteLinks(rewrite: (link: string) => string): void;
}

interface Change {
  readonly query: GraphQuery;
  readonly entry: GraphEntry & { readonly '@removed'?: { readonly reason: string } };
}

const QUERIES: readonly GraphQuery[] = ['users', 'groups', 'contacts'];
const TOKEN_SECONDS = 3_599;

/** Opens the server on a free port of 127.0.0.1. The caller disposes it. */
export async function openGraphServer(options: GraphServerOptions): Promise<GraphServer> {
  const lab = new GraphLab(options);
  const server = createServer((request, response) => {
    lab.answer(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  lab.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: lab.url,
    clientId: lab.clientId,
    secret: lab.secret,
    requests: () => lab.requests,
    put: (query, entry) => lab.put(query, entry),
    remove: (query, id) => lab.remove(query, id),
    fail: (fault) => lab.faults.push({ fault, left: fault.times ?? 1 }),
    expireLinks: () => {
      lab.generation += 1;
    },
    rewriteLinks: (rewrite) => {
      lab.rewrite = rewrite;
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

class GraphLab {
  url = '';
  readonly clientId: string;
  readonly secret: string;
  readonly requests: string[] = [];
  readonly tokens = new Set<string>();
  readonly faults: { readonly fault: GraphFault; left: number }[] = [];
  generation = 0;
  rewrite: (link: string) => string = (link) => link;
  readonly #tenant: string;
  readonly #pageSize: number;
  readonly #objects = new Map<GraphQuery, Map<string, GraphEntry>>();
  /** Everything that happened, in order: a delta link holds the number of changes that it has seen. */
  readonly #changes: Change[] = [];

  constructor({ tenant, clientId, secret, pageSize = 2, entries = {} }: GraphServerOptions) {
    this.#tenant = tenant;
    this.clientId = clientId ?? 'lab-application';
    this.secret = secret ?? randomBytes(24).toString('base64url');
    this.#pageSize = pageSize;
    for (const query of QUERIES)
      this.#objects.set(query, new Map((entries[query] ?? []).map((entry) => [entry.id, entry])));
  }

  put(query: GraphQuery, entry: GraphEntry): void {
    const objects = this.#objectsOf(query);
    objects.set(entry.id, { ...objects.get(entry.id), ...entry });
    this.#changes.push({ query, entry });
  }

  remove(query: GraphQuery, id: string): void {
    this.#objectsOf(query).delete(id);
    this.#changes.push({ query, entry: { id, '@removed': { reason: 'deleted' } } });
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    this.requests.push(`${request.method ?? ''} ${url.pathname}${url.search}`);
    const body = await readText(request);
    const isToken = url.pathname === `/${this.#tenant}/oauth2/v2.0/token`;
    const fault = this.#nextFault(isToken ? 'token' : 'page');
    if (fault) {
      response.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers });
      response.end(fault.body ?? errorBody('labFault'));
      return;
    }
    const [status, answer] = isToken ? this.#token(new URLSearchParams(body)) : this.#page(request, url);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  }

  #token(form: URLSearchParams): readonly [number, unknown] {
    const isKnown =
      form.get('grant_type') === 'client_credentials' &&
      form.get('scope') === `${this.url}/.default` &&
      form.get('client_id') === this.clientId &&
      form.get('client_secret') === this.secret;
    if (!isKnown) {
      const text = `AADSTS7000215: Invalid client secret provided for ${form.get('client_id') ?? ''}.`;
      return [401, { error: 'invalid_client', error_description: text }];
    }
    const token = randomBytes(24).toString('base64url');
    this.tokens.add(token);
    return [200, { token_type: 'Bearer', expires_in: TOKEN_SECONDS, access_token: token }];
  }

  #page(request: IncomingMessage, url: URL): readonly [number, unknown] {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined || !this.tokens.has(token)) return [401, errorBody('InvalidAuthenticationToken')];
    const query = QUERIES.find((name) => url.pathname === `/v1.0/${name}/delta`);
    if (!query) return [404, errorBody('Request_ResourceNotFound')];
    const place = url.searchParams.get('$skiptoken') ?? url.searchParams.get('$deltatoken');
    const isLink = place !== null;
    // As the service: what is selected is part of the link from then on.
    if (isLink && url.searchParams.has('$select')) return [400, errorBody('Request_BadRequest')];
    const [generation = this.generation, since = -1, offset = 0, seen = this.#changes.length] =
      place?.split('.').map(Number) ?? [];
    if (generation !== this.generation) return [410, errorBody('syncStateNotFound')];
    return [200, this.#items(query, { since, offset, seen })];
  }

  /** `since` -1: a full load. `seen`: the changes up to the start of this load. */
  #items(query: GraphQuery, at: { since: number; offset: number; seen: number }): unknown {
    const all =
      at.since < 0
        ? [...this.#objectsOf(query).values()]
        : this.#changes
            .slice(at.since, at.seen)
            .filter((change) => change.query === query)
            .map(({ entry }) => entry);
    const value = all.slice(at.offset, at.offset + this.#pageSize);
    const next = at.offset + value.length;
    const link = (kind: string, ...place: readonly number[]) =>
      `${this.url}/v1.0/${query}/delta?$${kind}=${[this.generation, ...place].join('.')}`;
    return next < all.length
      ? { value, '@odata.nextLink': this.rewrite(link('skiptoken', at.since, next, at.seen)) }
      : { value, '@odata.deltaLink': link('deltatoken', at.seen) };
  }

  #objectsOf(query: GraphQuery): Map<string, GraphEntry> {
    return this.#objects.get(query) ?? new Map<string, GraphEntry>();
  }

  #nextFault(at: 'token' | 'page'): GraphFault | undefined {
    const found = this.faults.find(({ fault, left }) => left > 0 && (fault.at ?? 'page') === at);
    if (found) found.left -= 1;
    return found?.fault;
  }
}

async function readText(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}

function errorBody(code: string): string {
  return JSON.stringify({ error: { code, message: 'canary-error-text' } });
}

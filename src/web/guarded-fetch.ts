// Requests over http and https to servers that certificates of strangers name: only to public addresses, within bounds of
// size, time and redirects. The address that was checked is the one that is connected to.
import { type IncomingMessage, request as requestHttp, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { WebFetch, WebRequest } from '../core/web.ts';
import { isPublicAddress } from './public-address.ts';

export interface GuardOptions {
  /** All addresses of a name. Rejects where it has none or cannot be looked up. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** SECURITY: true takes loopback and private addresses and any port. For test networks only (test: fetch-ssrf). */
  readonly allowPrivateAddresses: boolean;
  /** For one request with its redirects. */
  readonly timeoutMs: number;
  /** Roots for https, PEM; default: those of the system. */
  readonly ca?: string;
}

const MAX_URL_CHARACTERS = 2_048;
const MAX_REDIRECTS = 3;
const MAX_ADDRESSES = 8;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What must not be asked, or was not answered; the text is for people. */
class Refusal extends Error {}

type Hop =
  { readonly kind: 'redirect'; readonly url: URL } | { readonly kind: 'bytes'; readonly bytes: Buffer };

export function openGuardedFetch(options: GuardOptions): WebFetch {
  return async (request, signal) => {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    try {
      return { kind: 'answer', bytes: await follow(request, options, AbortSignal.any([signal, timeout])) };
    } catch (error) {
      return { kind: 'failed', reason: reasonOf(error, timeout.aborted, signal.aborted) };
    }
  };
}

/** SECURITY: each hop is checked as the first one was (test: redirect inside). */
async function follow(request: WebRequest, options: GuardOptions, signal: AbortSignal): Promise<Buffer> {
  let url = parseTarget(request.url, options);
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    const addresses = await addressesOf(url, options, signal);
    const hop = await ask(url, addresses, request, options, signal);
    if (hop.kind === 'bytes') return hop.bytes;
    url = parseTarget(hop.url.href, options);
  }
  throw new Refusal('too many redirects');
}

function parseTarget(text: string, { allowPrivateAddresses }: GuardOptions): URL {
  const url = text.length <= MAX_URL_CHARACTERS && URL.canParse(text) ? new URL(text) : undefined;
  if (!url) throw new Refusal('the address is malformed');
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new Refusal('the address is neither http nor https');
  if (url.username !== '' || url.password !== '') throw new Refusal('the address holds a user name');
  // SECURITY: other ports are those of services that are not meant (test: fetch-ssrf).
  if (!allowPrivateAddresses && !['', '80', '443'].includes(url.port))
    throw new Refusal('the address names an unusual port');
  return url;
}

/** SECURITY: a name of which one address lies inside is not followed at all (test: name that leads inside). */
async function addressesOf(
  url: URL,
  { resolve, allowPrivateAddresses }: GuardOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const found = isIP(host) === 0 ? await unlessAborted(resolve(host), signal) : [host];
  const addresses = found.filter((address) => isIP(address) !== 0);
  if (addresses.length === 0) throw new Refusal('the name of the server has no address');
  if (!allowPrivateAddresses && !addresses.every(isPublicAddress))
    throw new Refusal('the server is not in the public Internet');
  return addresses.slice(0, MAX_ADDRESSES);
}

async function unlessAborted(
  looking: Promise<readonly string[]>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(new Refusal('stopped'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    if (signal.aborted) abort();
    return await Promise.race([
      looking.catch(() => {
        throw new Refusal('the name of the server cannot be looked up');
      }),
      aborted.promise,
    ]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function ask(
  url: URL,
  addresses: readonly string[],
  { body, maxBytes }: WebRequest,
  options: GuardOptions,
  signal: AbortSignal,
): Promise<Hop> {
  const isSecure = url.protocol === 'https:';
  const settings: RequestOptions & { readonly ca?: string } = {
    method: body ? 'POST' : 'GET',
    headers: {
      accept: '*/*',
      'accept-encoding': 'identity',
      'user-agent': 'Postern',
      ...(body && { 'content-type': body.type, 'content-length': body.bytes.length }),
    },
    // No connection is kept: each one is to an address that was just checked.
    agent: false,
    lookup: fixedLookup(addresses),
    maxHeaderSize: 16_384,
    signal,
    ...(isSecure && options.ca !== undefined && { ca: options.ca }),
  };
  const sent = (isSecure ? requestHttps : requestHttp)(url, settings);
  const answered = Promise.withResolvers<IncomingMessage>();
  sent.on('response', answered.resolve).on('error', answered.reject).end(body?.bytes);
  try {
    return await readAnswer(url, await answered.promise, maxBytes, options);
  } finally {
    sent.destroy();
  }
}

async function readAnswer(
  url: URL,
  response: IncomingMessage,
  maxBytes: number,
  { allowPrivateAddresses }: GuardOptions,
): Promise<Hop> {
  const { statusCode: status = 0, headers, socket } = response;
  // SECURITY: what was connected to, not what was meant (test: fetch-ssrf).
  if (!allowPrivateAddresses && !isPublicAddress(socket.remoteAddress ?? ''))
    throw new Refusal('the server is not in the public Internet');
  if (REDIRECTS.has(status)) {
    const { location } = headers;
    if (location === undefined || !URL.canParse(location, url)) throw new Refusal('a redirect is malformed');
    return { kind: 'redirect', url: new URL(location, url) };
  }
  if (status !== 200) throw new Refusal(`the server answers with status ${status}`);
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBytes) throw new Refusal(`the answer has more than ${maxBytes} bytes`);
    parts.push(part);
  }
  if (!response.complete) throw new Refusal('the answer is cut off');
  return { kind: 'bytes', bytes: Buffer.concat(parts, size) };
}

/** Answers with the checked addresses, whatever is asked. */
function fixedLookup(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, { all }, callback) => {
    const [first = { address: '', family: 4 }] = found;
    if (all) callback(null, found);
    else callback(null, first.address, first.family);
  };
}

/** SECURITY: messages of the library and of the server stay out. */
function reasonOf(error: unknown, isTimeout: boolean, isStopped: boolean): string {
  if (isStopped) return 'the time for all checks of the message is over';
  if (isTimeout) return 'the server does not answer in time';
  if (error instanceof Refusal) return error.message;
  const { code } = error as { readonly code?: unknown };
  const word = typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? ` (${code})` : '';
  return `the server cannot be reached${word}`;
}

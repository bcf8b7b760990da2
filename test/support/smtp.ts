// Real sockets for the SMTP tests: a listener that records, certificates of every kind, scripted clients and servers.
import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';
import { type Address, parseAddress } from '../../src/core/address.ts';
import { bytesSource, type Chunks } from '../../src/core/bytes.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Shipment } from '../../src/core/delivery.ts';
import type { Envelope, Recipient } from '../../src/core/envelope.ts';
import { defaultLimits, type Limits } from '../../src/core/limits.ts';
import { silentLog } from '../../src/core/log.ts';
import { isNonEmpty } from '../../src/core/non-empty.ts';
import type { Peer } from '../../src/core/peer.ts';
import type { Reply } from '../../src/core/reply.ts';
import { createTestCa, type TestCa, type TestCertificateRequest } from '../../src/lab/ca.ts';
import { type Listener, type ListenerOptions, openListener } from '../../src/smtp/listener.ts';
import type { TlsIdentity } from '../../src/smtp/next-hop.ts';
import type { TransactionHandler } from '../../src/smtp/session.ts';

export interface Received {
  readonly peer: Peer;
  readonly envelope: Envelope;
  readonly body: Buffer;
}

export interface TestListener extends AsyncDisposable {
  readonly listener: Listener;
  /** Messages that were answered 250. */
  readonly messages: Received[];
  /** How each DATA phase ended that was not answered 250. */
  readonly failures: string[];
}

export interface TestListenerOptions {
  readonly limits?: Partial<Limits>;
  readonly clock?: Clock;
  readonly handler?: Partial<TransactionHandler>;
  readonly tls?: Partial<ListenerOptions['tls']>;
}

export const ok: Reply = { code: 250, enhanced: '2.6.0', text: 'queued' };

const DAY_MS = 86_400_000;
const authorities = new Map<string, Promise<TestCa>>();
const identities = new Map<string, Promise<TlsIdentity>>();

/** A test CA by name; the same one for the whole test run. */
export function authority(name = 'lab CA'): Promise<TestCa> {
  const found = authorities.get(name) ?? createTestCa(name);
  authorities.set(name, found);
  return found;
}

/** Certificate and key under a test CA; the same ones for the same arguments. */
export function identity(
  commonName: string,
  request: Partial<TestCertificateRequest> = {},
  ca = 'lab CA',
): Promise<TlsIdentity> {
  const name = JSON.stringify([commonName, request, ca]);
  const found = identities.get(name) ?? issue(commonName, request, ca);
  identities.set(name, found);
  return found;
}

async function issue(
  commonName: string,
  request: Partial<TestCertificateRequest>,
  ca: string,
): Promise<TlsIdentity> {
  const { keyPem, certificatePem } = await (
    await authority(ca)
  ).issue({ commonName, dnsNames: [commonName], keyType: 'p256', ...request });
  return { key: keyPem, cert: certificatePem };
}

/** Client certificates by the names that the dialogs use. */
export async function clientIdentity(name: string): Promise<TlsIdentity> {
  const host = 'mail.protection.outlook.example';
  switch (name) {
    case 'exchange':
      return identity(host, { extendedKeyUsage: ['serverAuth', 'clientAuth'] });
    case 'server-only':
      return identity(host, { extendedKeyUsage: ['serverAuth'] });
    case 'rogue':
      return identity(host, { extendedKeyUsage: ['clientAuth'] }, 'rogue CA');
    case 'expired':
      return identity(host, { notBefore: new Date(0), notAfter: new Date(DAY_MS) });
    default:
      return assert.fail(`no such certificate: ${name}`);
  }
}

/** A listener on loopback whose handler reads the whole body and records it. */
export async function openTestListener(options: TestListenerOptions = {}): Promise<TestListener> {
  const server = await identity('gw.example');
  const messages: Received[] = [];
  const failures: string[] = [];
  const listener = await openListener({
    host: '127.0.0.1',
    port: 0,
    hostname: 'gw.example',
    tls: { ...server, ca: [(await authority()).certificatePem], isPurposeChecked: true, ...options.tls },
    limits: { ...defaultLimits, ...options.limits },
    clock: options.clock ?? systemClock,
    log: silentLog,
    handler: {
      recipient: async () => ok,
      offersLogin: () => false,
      isLogin: () => false,
      message: async (peer, envelope, body) => {
        try {
          messages.push({ peer, envelope, body: await readAll(body) });
        } catch (error) {
          failures.push((error as { code?: string }).code ?? String(error));
          throw error;
        }
        return ok;
      },
      ...options.handler,
    },
  });
  return {
    listener,
    messages,
    failures,
    [Symbol.asyncDispose]: () => listener.close(0),
  };
}

export async function readAll(chunks: Chunks): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** A client that says what it is told and reads whole replies. */
export interface ScriptedClient extends Disposable {
  send(bytes: string | Uint8Array): void;
  /** The next reply, all its lines joined by LF; undefined once the connection has ended. */
  reply(): Promise<string | undefined>;
  /** Says each line with CRLF and waits for its reply. */
  say(...lines: readonly string[]): Promise<readonly (string | undefined)[]>;
  startTls(client?: TlsIdentity, maxVersion?: 'TLSv1.2' | 'TLSv1.3'): Promise<void>;
  end(): void;
  readonly socket: () => Socket;
}

export async function openClient(port: number): Promise<ScriptedClient> {
  let socket: Socket = connect({ host: '127.0.0.1', port });
  let replies = readReplies(socket);
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const send = (bytes: string | Uint8Array) => void socket.write(bytes);
  const reply = () => replies.next();
  return {
    socket: () => socket,
    send,
    reply,
    async say(...lines) {
      const answers: (string | undefined)[] = [];
      for (const line of lines) {
        send(`${line}\r\n`);
        answers.push(await reply());
      }
      return answers;
    },
    async startTls(client, maxVersion) {
      replies.stop();
      const secure = connectTls({
        socket,
        servername: 'gw.example',
        rejectUnauthorized: false,
        ...(maxVersion ? { maxVersion } : {}),
        ...client,
      });
      socket = secure;
      await once(secure, 'secureConnect');
      replies = readReplies(secure);
    },
    end: () => socket.end(),
    [Symbol.dispose]: () => socket.destroy(),
  };
}

function readReplies(socket: Socket): { next(): Promise<string | undefined>; stop(): void } {
  let text = '';
  let isEnded = false;
  let wake = Promise.withResolvers<void>();
  const change = () => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  const onData = (chunk: Buffer) => {
    text += chunk.toString('latin1');
    change();
  };
  const onEnd = () => {
    isEnded = true;
    change();
  };
  socket.on('data', onData).on('error', onEnd).on('close', onEnd).on('end', onEnd);
  return {
    stop: () => void socket.off('data', onData),
    async next() {
      for (;;) {
        const found = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(text)?.[0];
        if (found !== undefined) {
          text = text.slice(found.length);
          return found.trimEnd().replaceAll('\r\n', '\n');
        }
        if (isEnded) return undefined;
        await wake.promise;
      }
    },
  };
}

/** Opens a session up to the answer to EHLO. */
export async function greet(port: number): Promise<ScriptedClient> {
  const client = await openClient(port);
  assert.match((await client.reply()) ?? '', /^220 /);
  assert.match((await client.say('EHLO client.example'))[0] ?? '', /^250-/);
  return client;
}

/** What a handshake showed the server. Kept, since a closed socket forgets it. */
export interface ServerHandshake {
  readonly servername: string | false | null;
  readonly certificate: X509Certificate | undefined;
  readonly isSessionReused: boolean;
}

/** A mail server that follows a script: for each line it reads, the first answer that fits. */
export interface ScriptedServer extends AsyncDisposable {
  readonly port: number;
  /** Every line received, on all connections, without CRLF; content too, as it came. */
  readonly lines: string[];
  /** Connections, in the order in which they came. */
  readonly sockets: Socket[];
  /** Completed TLS handshakes, in the order in which they came. */
  readonly handshakes: ServerHandshake[];
}

export interface ServerScript {
  readonly greeting?: string;
  readonly extensions?: readonly string[];
  /** Answers by the beginning of the line; `null` closes the connection. Default: 250, 354 for DATA. */
  readonly answers?: Readonly<Record<string, string | null>>;
  readonly tls?: TlsIdentity & { readonly ca?: string };
  /** Raw bytes behind the 220 of STARTTLS, still in clear text. */
  readonly injected?: string;
  /** Answers STARTTLS with 220 and then breaks the handshake. */
  readonly isTlsBroken?: boolean;
}

export async function openScriptedServer(script: ServerScript): Promise<ScriptedServer> {
  const scripted = { lines: [] as string[], sockets: [] as Socket[], handshakes: [] as ServerHandshake[] };
  const server = createServer((socket) => {
    scripted.sockets.push(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.write(`${script.greeting ?? '220 mx.example ESMTP'}\r\n`);
    serve(socket, script, scripted);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ...scripted,
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      for (const socket of scripted.sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

type Records = Pick<ScriptedServer, 'lines' | 'handshakes'>;

function serve(socket: Socket, script: ServerScript, records: Records): void {
  let text = '';
  let isData = false;
  const onData = (chunk: Buffer) => {
    text += chunk.toString('latin1');
    for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      records.lines.push(line);
      const isContent = isData && line !== '.';
      if (isContent && script.answers?.[line] !== null) continue;
      const isStartTls = !isData && line === 'STARTTLS' && script.tls !== undefined;
      const answer = answerTo(script, line);
      isData = line === 'DATA' && (answer?.startsWith('354') ?? false);
      if (answer === null) return void socket.destroy();
      socket.write(`${answer}\r\n${isStartTls ? (script.injected ?? '') : ''}`);
      if (isStartTls && answer.startsWith('220')) {
        socket.off('data', onData);
        // Only once the client has begun: what comes with the 220 is discarded by it.
        if (script.isTlsBroken === true)
          return void socket.once('data', () => socket.write('this is no TLS record\r\n'));
        return upgrade(socket, script, records);
      }
    }
  };
  socket.on('data', onData);
}

function upgrade(socket: Socket, script: ServerScript, records: Records): void {
  const { key, cert, ca } = script.tls ?? assert.fail('no TLS in the script');
  const secure = new TLSSocket(socket, {
    isServer: true,
    secureContext: createSecureContext({ key, cert, ...(ca === undefined ? {} : { ca }) }),
    requestCert: true,
    rejectUnauthorized: false,
  });
  secure.on('error', () => undefined);
  secure.on('secure', () => {
    records.handshakes.push({
      servername: secure.servername,
      certificate: secure.getPeerX509Certificate(),
      isSessionReused: secure.isSessionReused(),
    });
  });
  const { injected: _injected, ...rest } = script;
  const extensions = (rest.extensions ?? []).filter((name) => name !== 'STARTTLS');
  serve(secure, { ...rest, extensions }, records);
}

function answerTo(script: ServerScript, line: string): string | null {
  const own = Object.entries(script.answers ?? {}).find(([start]) => line.startsWith(start));
  if (own) return own[1];
  if (line.startsWith('EHLO')) {
    const words = ['mx.example', ...(script.extensions ?? [])];
    return words.map((word, at) => `250${at === words.length - 1 ? ' ' : '-'}${word}`).join('\r\n');
  }
  if (line === 'STARTTLS') return script.tls ? '220 go ahead' : '502 5.5.1 no such command';
  if (line === 'DATA') return '354 go ahead';
  if (line === 'QUIT') return '221 2.0.0 bye';
  return '250 2.0.0 ok';
}

export function address(text: string): Address {
  return parseAddress(text) ?? assert.fail(`no address: ${text}`);
}

/** A shipment of a message in memory; recipients as addresses. */
export function shipment(
  message: string | Uint8Array,
  to: readonly (string | Recipient)[],
  more: Partial<Shipment> = {},
): Shipment {
  const recipients = to.map((entry) => (typeof entry === 'string' ? { address: address(entry) } : entry));
  assert.ok(isNonEmpty(recipients));
  return {
    id: 'q1',
    leg: { kind: 'internet' },
    sender: address('alice@contoso.example'),
    recipients,
    body: bytesSource(Buffer.from(message as Uint8Array)),
    smtpUtf8: false,
    is8bit: false,
    ...more,
  };
}

/** A clock that moves only when it is told to. Sleepers wake in the order of their time. */
export interface TestClock extends Clock {
  advance(ms: number): Promise<void>;
}

export function testClock(start = new Date('2026-07-10T08:00:00Z')): TestClock {
  let now = start.getTime();
  const sleepers = new Map<object, { readonly at: number; readonly wake: () => void }>();
  return {
    now: () => new Date(now),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const key = {};
        sleepers.set(key, { at: now + ms, wake: resolve });
        signal?.addEventListener('abort', () => {
          sleepers.delete(key);
          reject(new DOMException('aborted', 'AbortError'));
        });
      }),
    async advance(ms) {
      const end = now + ms;
      for (;;) {
        const due = [...sleepers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
        const [next] = due;
        if (!next) break;
        sleepers.delete(next[0]);
        now = Math.max(now, next[1].at);
        next[1].wake();
        await new Promise(setImmediate);
      }
      now = end;
      await new Promise(setImmediate);
    },
  };
}

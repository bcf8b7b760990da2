// A small SMTP client of the lab's own: what a tenant, an Internet host or a test says to the gateway. It sends exactly
// what it is told, right or wrong; the callers are the ones who behave like Exchange.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { type TlsFacts, tlsFactsOf } from './tls-facts.ts';
import { Wire } from './wire.ts';

export interface LabReply {
  readonly code: number;
  /** Lines without code and hyphen. */
  readonly lines: readonly string[];
  /** All lines, joined by a blank: enhanced status code and text. */
  readonly text: string;
}

export interface LabTlsOptions {
  /** PEM; presented when the server asks. `cert` holds the chain, leaf first. */
  readonly key?: string;
  readonly cert?: string;
  /** CAs for the server's certificate. Without them any certificate will do. */
  readonly ca?: readonly string[];
  /** SNI, and the name that the server's certificate must carry where `ca` is given. */
  readonly servername?: string;
  /** False: with `ca` the chain is checked, and no name. */
  readonly isNameChecked?: boolean;
  readonly maxVersion?: SecureContextOptions['maxVersion'];
}

export interface LabTarget {
  readonly host: string;
  readonly port: number;
  /** The loopback address to connect from: `127.0.0.40`. */
  readonly localAddress?: string;
  /** Longest silence of the server. Default 20 s. */
  readonly timeoutMs?: number;
}

export interface LabConnection extends AsyncDisposable {
  readonly greeting: LabReply;
  readonly tls: TlsFacts | undefined;
  /** EHLO. The keywords offered, in upper case, with their parameters. */
  hello(name: string): Promise<ReadonlyMap<string, string>>;
  /** STARTTLS and handshake. Throws where the server refuses, or its certificate is not the one asked for. */
  startTls(options: LabTlsOptions): Promise<void>;
  command(line: string): Promise<LabReply>;
  /** Sends the message after a 354, stuffs dots, ends the data. Gives the final reply. */
  data(message: Chunks): Promise<LabReply>;
  /** Sends the message by BDAT, byte by byte as it is (RFC 3030). Gives the final reply. */
  chunks(message: ByteSource): Promise<LabReply>;
  /** Raw bytes, for dialogs that no client would send. */
  write(bytes: Uint8Array | string): Promise<void>;
  reply(): Promise<LabReply>;
}

/** Why there is no session: as Exchange tells them apart in its queue. */
export type LabConnectionTrouble = 'timeout' | 'refused' | 'session' | 'closed';

export class LabConnectionError extends Error {
  override readonly name = 'LabConnectionError';
  readonly trouble: LabConnectionTrouble;

  constructor(message: string, trouble: LabConnectionTrouble = 'session', options?: ErrorOptions) {
    super(message, options);
    this.trouble = trouble;
  }
}

const DEFAULT_TIMEOUT_MS = 20_000;

/** Connects and reads the greeting. The caller disposes the connection, which sends no QUIT. */
export async function openLabConnection(target: LabTarget): Promise<LabConnection> {
  const socket = await connected(
    connectTcp({
      host: target.host,
      port: target.port,
      noDelay: true,
      ...(target.localAddress === undefined ? {} : { localAddress: target.localAddress }),
    }),
    'connect',
  );
  const wire = new Wire(socket);
  setSilenceLimit(wire, target);
  const greeting = await readReply(wire);
  let tls: TlsFacts | undefined;
  const command = async (line: string): Promise<LabReply> => {
    await wire.write(`${line}\r\n`);
    return readReply(wire);
  };
  return {
    greeting,
    get tls() {
      return tls;
    },
    hello: async (name) => keywords(await command(`EHLO ${name}`)),
    startTls: async (options) => {
      const reply = await command('STARTTLS');
      if (reply.code !== 220) throw new LabConnectionError(`STARTTLS: ${reply.code} ${reply.text}`);
      const secure = await upgrade(wire.socket, options);
      wire.replace(secure);
      setSilenceLimit(wire, target);
      tls = tlsFactsOf(secure);
    },
    command,
    data: async (message) => {
      for await (const chunk of stuffDots(message)) await wire.write(chunk);
      return readReply(wire);
    },
    chunks: (message) => sendChunks(wire, message),
    write: (bytes) => wire.write(bytes),
    reply: () => readReply(wire),
    [Symbol.asyncDispose]: async () => wire.destroy(),
  };
}

/** Dot-stuffs a message and ends it (RFC 5321 §4.5.2). Line ends are sent as they are. */
export async function* stuffDots(message: Chunks): AsyncGenerator<Buffer, void> {
  const lineEndDot = Buffer.from('\r\n.');
  // The last octets sent, to see a CRLF that is split between two chunks.
  let tail: Buffer = Buffer.from('\r\n');
  for await (const piece of message) {
    const chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    if (chunk.length === 0) continue;
    const joined = Buffer.concat([tail, chunk]);
    const out: Buffer[] = [];
    let from = tail.length;
    for (let at = joined.indexOf(lineEndDot); at >= 0; at = joined.indexOf(lineEndDot, at + 3)) {
      out.push(joined.subarray(from, at + 2), Buffer.from('.'));
      from = at + 2;
    }
    out.push(joined.subarray(from));
    yield out.length === 1 ? chunk : Buffer.concat(out);
    tail = joined.subarray(-2);
  }
  yield Buffer.from(tail.equals(Buffer.from('\r\n')) ? '.\r\n' : '\r\n.\r\n');
}

async function sendChunks(wire: Wire, message: ByteSource): Promise<LabReply> {
  for await (const chunk of message.open()) {
    await wire.write(`BDAT ${chunk.byteLength}\r\n`);
    await wire.write(chunk);
    const reply = await readReply(wire);
    if (reply.code !== 250) return reply;
  }
  await wire.write('BDAT 0 LAST\r\n');
  return readReply(wire);
}

async function readReply(wire: Wire): Promise<LabReply> {
  const lines: string[] = [];
  for (;;) {
    const line = await wire.readLine();
    if (line === undefined) {
      throw wire.isTimedOut
        ? new LabConnectionError('the server said nothing', 'timeout')
        : new LabConnectionError('connection closed by the server', 'closed');
    }
    const match = /^(\d{3})([ -]?)(.*)$/.exec(line);
    if (!match) throw new LabConnectionError('the server sent a line that is no reply');
    lines.push(match[3] ?? '');
    if (match[2] !== '-') return { code: Number(match[1]), lines, text: lines.join(' ') };
  }
}

function keywords(reply: LabReply): ReadonlyMap<string, string> {
  if (reply.code !== 250) throw new LabConnectionError(`EHLO: ${reply.code} ${reply.text}`);
  return new Map(
    reply.lines.slice(1).map((line) => {
      const [keyword = '', ...parameters] = line.split(' ');
      return [keyword.toUpperCase(), parameters.join(' ')];
    }),
  );
}

async function upgrade(socket: Socket, options: LabTlsOptions): Promise<TLSSocket> {
  const { ca, isNameChecked = true, ...rest } = options;
  const secure = connectTls({
    ...rest,
    ...(isNameChecked ? {} : { checkServerIdentity: () => undefined }),
    socket,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: ca !== undefined,
    ...(ca === undefined ? {} : { ca: [...ca] }),
  });
  return connected(secure, 'secureConnect');
}

function connected<S extends Socket>(socket: S, event: 'connect' | 'secureConnect'): Promise<S> {
  return new Promise((resolve, reject) => {
    const fail = (cause?: unknown): void => {
      socket.destroy();
      const text = cause instanceof Error ? cause.message : 'connection closed';
      reject(new LabConnectionError(text, event === 'connect' ? 'refused' : 'session', { cause }));
    };
    socket.once('error', fail);
    socket.once('close', fail);
    socket.once(event, () => {
      socket.off('error', fail);
      socket.off('close', fail);
      resolve(socket);
    });
  });
}

function setSilenceLimit(wire: Wire, target: LabTarget): void {
  wire.socket.setTimeout(target.timeoutMs ?? DEFAULT_TIMEOUT_MS, () => wire.giveUp());
}

// One SMTP session of the lab's Internet host, command by command (RFC 5321 §3, §4). It accepts what a tolerant host
// accepts and notes what a strict one would refuse.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { bytesSource } from '../core/bytes.ts';
import { DotReader, type WireFacts } from './dot-reader.ts';
import type { Fault, FaultPlan, FaultStage } from './faults.ts';
import { stuffDots } from './smtp-client.ts';
import { type TlsFacts, tlsFactsOf } from './tls-facts.ts';
import { Wire } from './wire.ts';

export interface ReceivedRecipient {
  readonly address: string;
  /** ESMTP parameters as written: `NOTIFY=FAILURE`. */
  readonly parameters: readonly string[];
}

/** One message as it came over the wire. */
export interface ReceivedMessage {
  readonly sender: string;
  readonly mailParameters: readonly string[];
  readonly recipients: readonly ReceivedRecipient[];
  /** The message, dots taken out. Empty where the host keeps no bytes. */
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly wire: WireFacts;
  readonly hello: string;
  readonly tls: TlsFacts | undefined;
  readonly clientAddress: string;
  /** Number of the connection, from 1: two messages with the same number shared one. */
  readonly connection: number;
}

export interface SessionSettings {
  readonly hostname: string;
  /** For STARTTLS; undefined: not offered. */
  readonly tlsServer: TlsServer | undefined;
  /** EHLO keywords besides STARTTLS: `8BITMIME`, `SIZE 1000000`. */
  readonly extensions: readonly string[];
  /** Undefined: mail for every domain is taken. */
  readonly domains: readonly string[] | undefined;
  readonly keepsBytes: boolean;
  readonly faults: FaultPlan;
  received(message: ReceivedMessage): Promise<void> | void;
}

interface Transaction {
  readonly sender: string;
  readonly parameters: readonly string[];
  readonly recipients: ReceivedRecipient[];
  /** What came by BDAT so far. */
  readonly chunks: Buffer[];
}

type Content = Pick<ReceivedMessage, 'bytes' | 'sha256' | 'wire'>;

class SessionOver extends Error {}

/** Serves one connection to its end. Never rejects for what the client does. */
export async function serveInternetSession(
  socket: Socket,
  connection: number,
  settings: SessionSettings,
): Promise<void> {
  const session = new Session(new Wire(socket), connection, settings);
  try {
    await session.run();
  } catch (error) {
    if (!(error instanceof SessionOver)) throw error;
  } finally {
    session.wire.destroy();
  }
}

class Session {
  readonly wire: Wire;
  readonly #connection: number;
  readonly #settings: SessionSettings;
  readonly #clientAddress: string;
  #hello = '';
  #tls: TlsFacts | undefined;
  #transaction: Transaction | undefined;

  constructor(wire: Wire, connection: number, settings: SessionSettings) {
    this.wire = wire;
    this.#connection = connection;
    this.#settings = settings;
    this.#clientAddress = wire.socket.remoteAddress ?? '';
  }

  async run(): Promise<void> {
    if (!(await this.#fails('connect'))) await this.#say(`220 ${this.#settings.hostname} ESMTP lab`);
    for (;;) {
      const line = await this.wire.readLine();
      if (line === undefined) return;
      const [verb, rest] = splitOnce(line, ' ');
      await this.#obey(verb.toUpperCase(), rest);
    }
  }

  async #obey(verb: string, rest: string): Promise<void> {
    switch (verb) {
      case 'EHLO':
      case 'HELO':
        return this.#greet(verb, rest);
      case 'STARTTLS':
        return this.#startTls();
      case 'MAIL':
        return this.#mail(rest);
      case 'RCPT':
        return this.#recipient(rest);
      case 'DATA':
        return this.#data();
      case 'BDAT':
        return this.#chunk(rest);
      case 'RSET':
        this.#transaction = undefined;
        return this.#say('250 2.0.0 Reset');
      case 'NOOP':
        return this.#say('250 2.0.0 OK');
      case 'QUIT':
        await this.#say('221 2.0.0 Bye');
        throw new SessionOver();
      default:
        return this.#say('500 5.5.1 Unknown command');
    }
  }

  async #greet(verb: string, name: string): Promise<void> {
    if (await this.#fails('hello')) return;
    this.#hello = name;
    this.#transaction = undefined;
    const { tlsServer, extensions, hostname } = this.#settings;
    const offers = tlsServer && !this.#tls ? ['STARTTLS', ...extensions] : extensions;
    const lines = verb === 'HELO' ? [hostname] : [hostname, ...offers];
    const text = lines.map((line, index) => `250${index === lines.length - 1 ? ' ' : '-'}${line}`);
    await this.#say(text.join('\r\n'));
  }

  async #startTls(): Promise<void> {
    if (await this.#fails('starttls')) return;
    const { tlsServer } = this.#settings;
    if (!tlsServer || this.#tls) return this.#say('502 5.5.1 Not offered');
    await this.#say('220 2.0.0 Ready');
    // A raw TLSSocket would leave `authorized` unset; the server's own path checks the client certificate.
    const arrival = new AbortController();
    const closed = once(this.wire.socket, 'close', arrival).then(
      () => undefined,
      () => undefined,
    );
    const secured = securedSocket(tlsServer, this.wire.socket, arrival.signal);
    const secure = await Promise.race([secured, closed]);
    arrival.abort();
    if (!secure) throw new SessionOver();
    this.wire.replace(secure);
    this.#tls = tlsFactsOf(secure);
    this.#hello = '';
  }

  async #mail(rest: string): Promise<void> {
    if (await this.#fails('mail')) return;
    const path = parsePath(rest, 'FROM');
    if (!path) return this.#say('501 5.5.4 Syntax: MAIL FROM:<address>');
    if (this.#transaction) return this.#say('503 5.5.1 Sender already given');
    this.#transaction = { sender: path.address, parameters: path.parameters, recipients: [], chunks: [] };
    await this.#say('250 2.1.0 OK');
  }

  async #recipient(rest: string): Promise<void> {
    const path = parsePath(rest, 'TO');
    if (!path) return this.#say('501 5.5.4 Syntax: RCPT TO:<address>');
    if (!this.#transaction) return this.#say('503 5.5.1 Need MAIL first');
    if (await this.#fails('rcpt', [path.address])) return;
    const domain = path.address.slice(path.address.lastIndexOf('@') + 1).toLowerCase();
    const { domains } = this.#settings;
    if (domains && !domains.includes(domain)) return this.#say('550 5.7.1 Relaying denied');
    this.#transaction.recipients.push(path);
    await this.#say('250 2.1.5 OK');
  }

  async #data(): Promise<void> {
    const transaction = this.#transaction;
    const recipients = transaction?.recipients.map(({ address }) => address) ?? [];
    if (!transaction || recipients.length === 0) return this.#say('503 5.5.1 No valid recipients');
    if (await this.#fails('data', recipients)) return;
    await this.#say('354 Go on');
    await this.#finish(transaction, recipients, await this.#readContent(recipients));
  }

  /** RFC 3030 §2. A size that cannot be right leaves no way to find the next command. */
  async #chunk(rest: string): Promise<void> {
    const [size = '', last] = rest.split(' ');
    const bytes = /^\d{1,9}$/.test(size) ? await this.wire.readExactly(Number(size)) : undefined;
    if (!bytes) throw new SessionOver();
    const transaction = this.#transaction;
    const recipients = transaction?.recipients.map(({ address }) => address) ?? [];
    if (!this.#settings.extensions.includes('CHUNKING')) return this.#say('502 5.5.1 Not offered');
    if (!transaction || recipients.length === 0) return this.#say('503 5.5.1 No valid recipients');
    transaction.chunks.push(bytes);
    if (last?.toUpperCase() !== 'LAST') return this.#say(`250 2.0.0 ${size} octets received`);
    await this.#finish(transaction, recipients, await contentOf(Buffer.concat(transaction.chunks)));
  }

  async #finish(transaction: Transaction, recipients: readonly string[], content: Content): Promise<void> {
    this.#transaction = undefined;
    const fault = this.#settings.faults.next('end', recipients);
    if (fault?.reply !== undefined) return this.#strike(fault);
    const isTaken = await this.#hand({
      sender: transaction.sender,
      mailParameters: transaction.parameters,
      recipients: transaction.recipients,
      ...content,
      hello: this.#hello,
      tls: this.#tls,
      clientAddress: this.#clientAddress,
      connection: this.#connection,
    });
    if (fault) return this.#strike(fault);
    await this.#say(isTaken ? '250 2.0.0 Accepted' : '451 4.3.0 Not accepted now');
  }

  async #hand(message: ReceivedMessage): Promise<boolean> {
    try {
      await this.#settings.received(message);
      return true;
    } catch {
      return false;
    }
  }

  async #readContent(recipients: readonly string[]): Promise<Content> {
    const reader = new DotReader();
    const hash = createHash('sha256');
    const kept: Buffer[] = [];
    for (;;) {
      const chunk = await this.wire.readChunk();
      if (!chunk) throw new SessionOver();
      const fault = this.#settings.faults.next('content', recipients);
      if (fault) await this.#strike(fault);
      const { data, rest } = reader.read(chunk);
      for (const part of data) hash.update(part);
      if (this.#settings.keepsBytes) kept.push(...data);
      if (!rest) continue;
      this.wire.unread(rest);
      return { bytes: Buffer.concat(kept), sha256: hash.digest('hex'), wire: reader.facts };
    }
  }

  async #fails(stage: FaultStage, recipients?: readonly string[]): Promise<boolean> {
    const fault = this.#settings.faults.next(stage, recipients);
    if (!fault) return false;
    await this.#strike(fault);
    return true;
  }

  async #strike(fault: Fault): Promise<void> {
    if (fault.hang) await once(this.wire.socket, 'close');
    if (fault.drop || fault.hang) throw new SessionOver();
    await this.#say(fault.reply ?? '451 4.3.0 Fault');
    if (fault.reply?.startsWith('421')) throw new SessionOver();
  }

  #say(line: string): Promise<void> {
    return this.wire.write(`${line}\r\n`);
  }
}

/** What came by BDAT, with the facts that DATA would have given. */
async function contentOf(bytes: Buffer): Promise<Content> {
  const reader = new DotReader();
  for await (const chunk of stuffDots(bytesSource(bytes).open())) reader.read(chunk);
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex'), wire: reader.facts };
}

/** The TLS socket that the server makes of this plain one. Other connections of the server pass by. */
function securedSocket(
  server: TlsServer,
  plain: Socket,
  signal: AbortSignal,
): Promise<TLSSocket | undefined> {
  const { remotePort } = plain;
  return new Promise((resolve) => {
    const check = (secure: TLSSocket): void => {
      if (secure.remotePort === remotePort) resolve(secure);
    };
    server.on('secureConnection', check);
    signal.addEventListener('abort', () => server.off('secureConnection', check));
    server.emit('connection', plain);
  });
}

function parsePath(
  text: string,
  keyword: 'FROM' | 'TO',
): { readonly address: string; readonly parameters: readonly string[] } | undefined {
  const match = new RegExp(`^${keyword}:\\s*<((?:"(?:[^"\\\\]|\\\\.)*"|[^<>"])*)>(.*)$`, 'i').exec(text);
  if (!match) return undefined;
  return { address: match[1] ?? '', parameters: (match[2] ?? '').split(' ').filter((part) => part !== '') };
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

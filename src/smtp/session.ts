// One SMTP session on the listener: what MAIL, RCPT and DATA do, replies, deadlines. smtp-server keeps the connection,
// EHLO, STARTTLS and the order of commands; its own argument parser, which rewrites addresses, is not used.
/* oxlint-disable no-underscore-dangle -- that is how smtp-server names the members that a subclass or caller needs */
import { randomBytes } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import { TLSSocket } from 'node:tls';
import { SMTPConnection } from 'smtp-server/lib/smtp-connection';
import type { Address } from '../core/address.ts';
import type { Chunks } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import type { Envelope, Recipient } from '../core/envelope.ts';
import { asGatewayError, GatewayError, replyFor } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { Log } from '../core/log.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { Secret } from '../core/secret.ts';
import type { Peer, TlsEvidence } from '../core/peer.ts';
import { formatReply, isPositive, type Reply } from '../core/reply.ts';
import { type ClientTrust, readTlsEvidence } from './client-certificate.ts';
import { SessionDeadlines } from './deadlines.ts';
import { HandlerDeadline } from './handler-deadline.ts';
import { type MailCommand, parseMailCommand, parseRecipientCommand } from './envelope-commands.ts';
import { WireParser } from './wire-parser.ts';

/** What is known when a recipient is named. */
export interface TransactionStart {
  readonly peer: Peer;
  readonly sender: Address | null;
  /** Recipients of this transaction that were accepted so far. */
  readonly accepted: readonly Address[];
}

/** The gateway behind the listener. A rejection becomes a reply: its own for a GatewayError, else 451. So does a hang. */
export interface TransactionHandler {
  recipient(start: TransactionStart, recipient: Address): Promise<Reply>;
  /** Whether AUTH is offered to a client at this address. */
  offersLogin(address: string): boolean;
  /** Whether user and password are right for a client at this address. */
  isLogin(address: string, user: string, password: Secret): boolean;
  /**
   * Takes one message. `body` is what DATA held, dots unstuffed, else untouched; it throws where the message is too
   * large or the connection is lost, and never just ends then. `signal` is aborted once no reply of the handler can
   * reach the peer, which then has the message still: nothing may be committed after that.
   */
  message(peer: Peer, envelope: Envelope, body: Chunks, signal: AbortSignal): Promise<Reply>;
}

export interface SessionService {
  readonly hostname: string;
  readonly limits: Limits;
  readonly trust: ClientTrust;
  readonly clock: Clock;
  readonly log: Log;
  readonly handler: TransactionHandler;
  readonly handlerTimeoutMs: number;
  isClosing(): boolean;
}

interface Transaction {
  readonly id: string;
  readonly mail: MailCommand;
  readonly recipients: Recipient[];
}

type Done = () => void;

const CR = 13;
const MAX_BROKEN_COMMANDS = 10;
const MAX_FAILED_LOGINS = 3;
const BROKEN_COMMAND: Reply = { code: 500, enhanced: '5.5.2', text: 'Command is not a line of plain text' };
const OUT_OF_STEP: Reply = { code: 554, enhanced: '5.5.0', text: 'Content was sent before it was asked for' };

export class Session extends SMTPConnection {
  #service!: SessionService;
  #deadlines!: SessionDeadlines;
  #transaction: Transaction | undefined;
  #tls: TlsEvidence | undefined;
  #delivery: AbortController | undefined;
  #user: string | undefined;
  #failedLogins = 0;

  /** Gives the session its service and starts its deadlines. The base class calls parts of it before. */
  open(service: SessionService): void {
    this.#service = service;
    const { clock, limits } = service;
    this.#deadlines = new SessionDeadlines({
      clock,
      limits,
      onExpired: () => this.cut(replyFor('timed-out')),
    });
    this.#deadlines.awaitCommand();
    this.init();
  }

  /** Whether a message is under way: content is arriving or the handler works on it. */
  get isBusy(): boolean {
    return this.#delivery !== undefined;
  }

  /** Ends the session at once with this reply; a message under way is aborted. */
  cut(reply: Reply): void {
    this.#deadlines.stop();
    this.send(reply.code, formatReply(reply), false);
    this.close();
    this.#abort(new GatewayError('timed-out', 'the session was ended'));
  }

  override _createParser(): WireParser {
    const parser = new WireParser();
    parser.oncommand = (line: Buffer, next?: Done) => this.#command(line, next ?? (() => undefined));
    parser.on('error', () => this.cut({ code: 421, enhanced: '5.5.2', text: 'Command line is too long' }));
    return parser;
  }

  override _resetSession(): void {
    super._resetSession();
    this.#transaction = undefined;
  }

  override _onClose(): void {
    super._onClose();
    this.#deadlines.stop();
    this.#abort(new GatewayError('timed-out', 'the client closed the connection'));
  }

  /** SECURITY: AUTH is there for few addresses, and under TLS only (test: auth). */
  override _isSupported(command: string): boolean {
    if (command.toUpperCase() === 'AUTH')
      return this.secure && this.#service.handler.offersLogin(this.remoteAddress);
    return super._isSupported(command);
  }

  /** The answer to a login. After three wrong ones the connection ends. */
  logIn(user: string, password: Secret): boolean {
    const isRight = this.#service.handler.isLogin(this.remoteAddress, user, password);
    if (isRight) this.#user = user;
    else this.#failedLogins += 1;
    this.#service.log[isRight ? 'info' : 'warn']('smtp-login', { address: this.remoteAddress, isRight });
    return isRight;
  }

  get mayLogInAgain(): boolean {
    return this.#failedLogins < MAX_FAILED_LOGINS;
  }

  override handler_MAIL(command: Buffer, callback: Done): void {
    this.#answer(() => this.#mail(command.toString()), callback);
  }

  override handler_RCPT(command: Buffer, callback: Done): void {
    this.#answer(() => this.#recipient(command.toString()), callback);
  }

  override handler_DATA(command: Buffer, callback: Done): void {
    const parser = this._parser;
    const transaction = this.#transaction;
    if (!/^DATA$/i.test(command.toString().trim())) {
      this.#reply({ code: 501, enhanced: '5.5.4', text: 'Syntax: DATA' });
    } else if (transaction === undefined || !isNonEmpty(transaction.recipients)) {
      this.#reply({ code: 503, enhanced: '5.5.1', text: 'Send RCPT first' });
    } else if (parser instanceof WireParser && parser.hasInput && !this.#isVerified()) {
      // SECURITY: RFC 2920 §3.1 has DATA end a group; content behind it is a talker who does not listen (test: pipeline).
      return this.cut(OUT_OF_STEP);
    } else if (parser instanceof WireParser) {
      void this.#data(parser, transaction);
      this.send(354, 'End data with <CR><LF>.<CR><LF>');
    }
    callback();
  }

  #command(line: Buffer, next: Done): void {
    const text = line.at(-2) === CR ? line.subarray(0, -2) : undefined;
    if (this._upgrading) return this._onCommand(line, next);
    this.#deadlines.pause();
    const done = () => {
      if (!this.isBusy) this.#deadlines.awaitCommand();
      next();
    };
    if (this.#service.isClosing()) return this.cut(replyFor('shutting-down'));
    // SECURITY: a command has one reading: CRLF behind it, no control characters in it, UTF-8 (test: bare-lf-command).
    if (text === undefined || !isUtf8(text) || /[\x00-\x1f\x7f]/.test(text.toString('latin1'))) {
      this._unrecognizedCommands += 1;
      if (this._unrecognizedCommands >= MAX_BROKEN_COMMANDS)
        return this.cut({ ...BROKEN_COMMAND, code: 421 });
      this.#reply(BROKEN_COMMAND);
      setImmediate(done);
      return;
    }
    this._onCommand(text, done);
  }

  #mail(line: string): Reply {
    if (this.#transaction) return { code: 503, enhanced: '5.5.1', text: 'A transaction is open already' };
    const parsed = parseMailCommand(line);
    if ('refused' in parsed) return parsed.refused;
    const { size } = parsed.value;
    if (size !== undefined && size > this.#service.limits.maxMessageBytes)
      return replyFor('message-too-large');
    this.#transaction = { id: randomBytes(12).toString('hex'), mail: parsed.value, recipients: [] };
    this.#deadlines.noteMail();
    return { code: 250, enhanced: '2.1.0', text: 'Sender ok' };
  }

  async #recipient(line: string): Promise<Reply> {
    const transaction = this.#transaction;
    if (transaction === undefined) return { code: 503, enhanced: '5.5.1', text: 'Send MAIL first' };
    const { mail, recipients } = transaction;
    const parsed = parseRecipientCommand(line, mail.smtpUtf8, this.#service.hostname);
    if ('refused' in parsed) return parsed.refused;
    const recipient = parsed.value;
    const ok: Reply = { code: 250, enhanced: '2.1.5', text: 'Recipient ok' };
    if (recipients.some(({ address }) => address.text === recipient.address.text)) return ok;
    if (recipients.length >= this.#service.limits.maxRecipients) return replyFor('too-many-recipients');
    const accepted = recipients.map(({ address }) => address);
    const start = { peer: this.#peer(), sender: mail.sender, accepted };
    const { clock, handler, handlerTimeoutMs } = this.#service;
    const deadline = new HandlerDeadline(clock, handlerTimeoutMs);
    deadline.run();
    const reply = await deadline.bound(handler.recipient(start, recipient.address));
    if (isPositive(reply)) recipients.push(recipient);
    return reply;
  }

  /** One DATA phase: from 354 to the reply. Never rejects. */
  async #data(parser: WireParser, transaction: Transaction): Promise<void> {
    const { clock, limits, handlerTimeoutMs } = this.#service;
    const delivery = new AbortController();
    const deadline = new HandlerDeadline(clock, handlerTimeoutMs);
    this.#delivery = delivery;
    const arrival = Promise.withResolvers<void>();
    delivery.signal.addEventListener('abort', () => arrival.resolve(), { once: true });
    let size = 0;
    const stream = parser.openData({
      received: (bytes) => {
        size += bytes;
        this.#deadlines.received(bytes);
        // Refused mail is read on, so that the reply reaches its client, but only as far again as the limit.
        if (size > 2 * limits.maxMessageBytes) this.cut(replyFor('message-too-large'));
      },
      blocked: (isBlocked) => {
        if (isBlocked) this.#deadlines.pause();
        else this.#deadlines.resumeData();
        if (isBlocked) deadline.run();
        else deadline.pause();
      },
      ended: () => {
        this.#deadlines.pause();
        deadline.run();
        arrival.resolve();
      },
    });
    this._dataStream = stream;
    this.#deadlines.awaitData();
    const body = limited(stream, limits.maxMessageBytes);
    const answer = await this.#handOver(transaction, body, delivery.signal, deadline);
    stream.destroy();
    await arrival.promise;
    this.#delivery = undefined;
    this._dataStream = false;
    if (delivery.signal.aborted) return;
    const reply = size > limits.maxMessageBytes ? replyFor('message-too-large') : answer;
    this.#service.log.info('smtp-message', {
      id: transaction.id,
      code: reply.code,
      enhanced: reply.enhanced,
      size,
    });
    this._resetSession();
    this.#reply(reply);
    if (this.#service.isClosing()) return this.cut(replyFor('shutting-down'));
    this.#deadlines.awaitCommand();
    parser.continue();
  }

  async #handOver(
    transaction: Transaction,
    body: Chunks,
    gone: AbortSignal,
    deadline: HandlerDeadline,
  ): Promise<Reply> {
    const { id, mail, recipients } = transaction;
    const signal = AbortSignal.any([gone, deadline.signal]);
    try {
      if (!isNonEmpty(recipients)) throw new GatewayError('unplanned', 'no recipients');
      const { size: _size, ...parameters } = mail;
      const envelope = { id, recipients, ...parameters };
      return await deadline.bound(this.#service.handler.message(this.#peer(), envelope, body, signal));
    } catch (error) {
      return this.#failure(error, id);
    }
  }

  /** Runs a command's work and sends its reply; a failure becomes a reply as well. */
  #answer(work: () => Reply | Promise<Reply>, callback: Done): void {
    const answer = async () => {
      try {
        this.#reply(await work());
      } catch (error) {
        this.#reply(this.#failure(error, this.#transaction?.id));
      }
      callback();
    };
    void answer();
  }

  #failure(error: unknown, id: string | undefined): Reply {
    const failure = asGatewayError(error);
    const fields = { ...failure.detail, id, code: failure.code, reason: failure.message };
    if (failure.code === 'unplanned') this.#service.log.error('smtp-failure', fields);
    else this.#service.log.info('smtp-refused', fields);
    return replyFor(failure.code);
  }

  #reply(reply: Reply): void {
    this.send(reply.code, formatReply(reply), false);
  }

  #abort(reason: GatewayError): void {
    this.#delivery?.abort(reason);
    if (this._dataStream) this._dataStream.destroy(reason);
  }

  #isVerified(): boolean {
    return this.#peer().tls?.certificate?.isVerified ?? false;
  }

  #peer(): Peer {
    const { trust, clock } = this.#service;
    if (this.secure && this._socket instanceof TLSSocket) {
      this.#tls ??= readTlsEvidence(this._socket, trust, clock.now());
    }
    return {
      address: this.remoteAddress,
      port: this.remotePort,
      helo: this.hostNameAppearsAs || '',
      ...(this.#tls ? { tls: this.#tls } : {}),
      ...(this.#user === undefined ? {} : { user: this.#user }),
    };
  }
}

async function* limited(stream: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Uint8Array, void> {
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > maxBytes) throw new GatewayError('message-too-large', `more than ${maxBytes} bytes`);
    yield chunk;
  }
}

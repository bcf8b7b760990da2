// The SMTP side of the simulated Exchange Online: what is answered at each command, and what becomes of a message.
import { createHash } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import { callbackify } from 'node:util';
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server';
import { bytesSource, collect } from '../core/bytes.ts';
import { type Accepted, attribute, type Refused } from './attribution.ts';
import type { Attribution, ExchangeRecord, TenantMessage } from './exchange-record.ts';
import { countReceived, EXCHANGE_HOST, rewriteIncoming } from './exchange-rewrite.ts';
import { domainOf, type LabTenant } from './exchange-tenant.ts';
import type { FaultStage } from './faults.ts';
import type { LabClock } from './lab-clock.ts';
import { type TlsFacts, tlsFactsOf } from './tls-facts.ts';

export interface ExchangeSettings {
  readonly tenants: readonly LabTenant[];
  /** `ca`: the roots that client certificates must lead to. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: readonly string[] };
  readonly keepsBytes: boolean;
  /** Received fields above which mail loops. */
  readonly maxHops: number;
  readonly clock: LabClock;
  /** Told of mail that reached a mailbox. */
  delivered(message: TenantMessage): void;
  /** Told how each recipient was judged. */
  attributed(attribution: Attribution): void;
  /** Takes mail that a tenant's rules send out. */
  route(tenant: LabTenant, message: TenantMessage): void;
}

/** About the time after which Exchange Online cuts a connection, whatever is going on. */
const MAX_SESSION_MS = 20 * 60_000;
const MAX_RECIPIENTS_PER_DOMAIN = 200;
export const LOOP_TEXT = '5.4.14 Hop count exceeded - possible mail loop ATTR34';
const MAX_MESSAGE_BYTES = 157_286_400;
const HEAD_BYTES = 256 * 1024;

class Refusal extends Error {
  readonly responseCode: number;

  constructor(code: number, text: string) {
    super(text);
    this.responseCode = code;
  }
}

/** Builds the server, not yet listening. */
export function createExchangeFront(settings: ExchangeSettings, record: ExchangeRecord): SMTPServer {
  const sessions = new Map<string, OpenSession>();
  const front = new ExchangeFront(settings, record, sessions);
  let connections = 0;
  const server = new SMTPServer({
    name: EXCHANGE_HOST,
    banner: 'Microsoft ESMTP MAIL Service (lab) ready',
    key: settings.tls.key,
    cert: settings.tls.cert,
    ca: [...settings.tls.ca],
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    authOptional: true,
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    // Exchange's enhanced codes are part of the texts below.
    hideENHANCEDSTATUSCODES: true,
    size: MAX_MESSAGE_BYTES,
    closeTimeout: 200,
    logger: false,
    onSecure: (socket, session, done) => {
      const open = sessions.get(session.id);
      if (open && socket instanceof TLSSocket) open.tls = tlsFactsOf(socket);
      done();
    },
    onClose: ({ id }) => {
      sessions.get(id)?.forget();
      sessions.delete(id);
    },
    onConnect: ({ id }, done) => {
      connections += 1;
      const forget = settings.clock.after(MAX_SESSION_MS, () => cut(server, id));
      sessions.set(id, { connection: connections, tls: undefined, forget });
      settle(done, () => front.meet('connect'));
    },
    onMailFrom: (_address, _session, done) => settle(done, () => front.meet('mail')),
    onRcptTo: ({ address }, session, done) => settle(done, () => front.recipient(address, session)),
    onData: (stream, session, done) => callbackify(() => front.message(stream, session))(done),
  });
  // A client that goes away in the middle is no error of the lab.
  server.on('error', () => {});
  return server;
}

interface OpenSession {
  readonly connection: number;
  tls: TlsFacts | undefined;
  /** The session ended by itself. */
  readonly forget: () => void;
}

function cut(server: SMTPServer, id: string): void {
  const connection = [...server.connections].find((open) => open.session.id === id);
  if (!connection) return;
  connection.send(421, '4.3.2 Session time limit exceeded');
  connection.close();
}

function settle(done: (error?: Error | null) => void, act: () => void): void {
  try {
    act();
    done();
  } catch (error) {
    done(error as Error);
  }
}

class ExchangeFront {
  readonly #settings: ExchangeSettings;
  readonly #record: ExchangeRecord;
  readonly #sessions: ReadonlyMap<string, OpenSession>;

  constructor(
    settings: ExchangeSettings,
    record: ExchangeRecord,
    sessions: ReadonlyMap<string, OpenSession>,
  ) {
    this.#settings = settings;
    this.#record = record;
    this.#sessions = sessions;
  }

  /** Fails the stage where a fault was ordered. */
  meet(stage: FaultStage, recipients?: readonly string[]): void {
    const fault = this.#record.faults.next(stage, recipients);
    if (!fault) return;
    const match = /^(\d{3}) (.*)$/.exec(fault.reply ?? '');
    throw new Refusal(Number(match?.[1] ?? 421), match?.[2] ?? '4.3.2 Service not active');
  }

  recipient(address: string, session: SMTPServerSession): void {
    this.meet('rcpt', [address]);
    const domain = domainOf(address);
    const already = session.envelope.rcptTo.filter((recipient) => domainOf(recipient.address) === domain);
    if (already.length >= MAX_RECIPIENTS_PER_DOMAIN) throw new Refusal(452, '4.5.3 Too many recipients');
    const verdict = this.#attribute(address, session);
    this.#note(address, session, verdict);
    if (verdict.kind === 'refused') throw new Refusal(verdict.code, verdict.text);
  }

  /** Takes the message for all tenants it was attributed to; gives the text of the 250. */
  async message(stream: SMTPServerDataStream, session: SMTPServerSession): Promise<string> {
    const content = await readContent(stream, this.#settings.keepsBytes);
    const recipients = session.envelope.rcptTo.map(({ address }) => address);
    this.meet('end', recipients);
    if ((await countReceived(bytesSource(content.bytes))) > this.#settings.maxHops) {
      this.#record.loops += 1;
      this.#wake();
      throw new Refusal(554, LOOP_TEXT);
    }
    for (const { verdict, addresses } of this.#groups(recipients, session)) {
      const message = await this.#take(verdict, addresses, content, session);
      if (verdict.isLocal) {
        this.#record.delivered.push(message);
        this.#settings.delivered(message);
      } else this.#settings.route(verdict.tenant, message);
    }
    this.#wake();
    return '2.6.0 Queued mail for delivery';
  }

  #groups(
    recipients: readonly string[],
    session: SMTPServerSession,
  ): readonly { readonly verdict: Accepted; readonly addresses: readonly string[] }[] {
    const judged = recipients
      .map((address) => ({ address, verdict: this.#attribute(address, session) }))
      .filter((entry): entry is { address: string; verdict: Accepted } => entry.verdict.kind === 'accepted');
    const groups = Map.groupBy(
      judged,
      ({ verdict }) => `${verdict.tenant.id} ${verdict.direction} ${verdict.isLocal}`,
    );
    return [...groups.values()].flatMap((entries) =>
      entries[0] ? [{ verdict: entries[0].verdict, addresses: entries.map(({ address }) => address) }] : [],
    );
  }

  async #take(
    verdict: Accepted,
    recipients: readonly string[],
    content: Content,
    session: SMTPServerSession,
  ): Promise<TenantMessage> {
    const { message, isInternal } = await rewriteIncoming(bytesSource(content.bytes), verdict, {
      address: session.remoteAddress,
      hello: session.hostNameAppearsAs,
      at: this.#settings.clock.now(),
    });
    return {
      tenant: verdict.tenant.name,
      direction: verdict.direction,
      sender: senderOf(session),
      recipients,
      received: content.bytes,
      delivered: await collect(message.open(), message.size),
      sha256: content.sha256,
      size: content.size,
      isInternal,
      tls: this.#sessions.get(session.id)?.tls,
    };
  }

  #attribute(recipient: string, session: SMTPServerSession): Accepted | Refused {
    const tls = this.#sessions.get(session.id)?.tls;
    return attribute(this.#settings.tenants, {
      sender: senderOf(session),
      recipient,
      clientAddress: session.remoteAddress,
      isTls: session.secure,
      certificateNames: tls?.isVerified ? tls.presentedNames : [],
    });
  }

  #note(recipient: string, session: SMTPServerSession, verdict: Accepted | Refused): void {
    const tls = this.#sessions.get(session.id)?.tls;
    const attribution: Attribution = {
      sender: senderOf(session),
      recipient,
      attributedTenant: verdict.tenant?.name,
      direction: verdict.kind === 'accepted' ? verdict.direction : undefined,
      connector: verdict.connector?.name,
      certNames: tls?.isVerified ? tls.presentedNames : [],
      tlsVersion: tls?.protocol,
      tls,
      skipListedIp: verdict.connector?.efSkipLastIp ? session.remoteAddress : undefined,
      connection: this.#sessions.get(session.id)?.connection ?? 0,
      reply: verdict.kind === 'accepted' ? '250' : `${verdict.code} ${verdict.text}`,
    };
    this.#record.attributions.push(attribution);
    this.#settings.attributed(attribution);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#record.waiters) wake();
  }
}

interface Content {
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly size: number;
}

async function readContent(stream: SMTPServerDataStream, keepsBytes: boolean): Promise<Content> {
  const hash = createHash('sha256');
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    if (keepsBytes || size < HEAD_BYTES) parts.push(chunk);
    size += chunk.length;
  }
  if (stream.sizeExceeded) throw new Refusal(552, '5.3.4 Message size exceeds fixed maximum message size');
  return { bytes: Buffer.concat(parts), sha256: hash.digest('hex'), size };
}

function senderOf(session: SMTPServerSession): string {
  return session.envelope.mailFrom ? session.envelope.mailFrom.address : '';
}

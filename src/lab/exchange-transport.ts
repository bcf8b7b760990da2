// Exchange Online as the whole service that sends a tenant's mail: forks, rules, connectors, the queue with its retries, and
// the NDRs that end it. Time is the lab's: `LabClock.advance` makes the retries happen.
import { createHash } from 'node:crypto';
import { collect } from '../core/bytes.ts';
import {
  addressOf,
  EXCHANGE_HELLO,
  prepareMail,
  type PreparedMail,
  type TenantMail,
} from './exchange-client.ts';
import { composeNdr, type FailedRecipient } from './exchange-ndr.ts';
import type { ExchangeRecord, TenantMessage } from './exchange-record.ts';
import { connectorForDomain, type OutboundConnector } from './exchange-rules.ts';
import { domainOf, isAcceptedDomain, type LabTenant } from './exchange-tenant.ts';
import type { LabClock } from './lab-clock.ts';
import type { LabTarget, LabTlsOptions } from './smtp-client.ts';
import {
  type RecipientResult,
  submit,
  type SubmissionRecipient,
  type SubmissionResult,
} from './submission.ts';

export interface TransportSettings {
  readonly record: ExchangeRecord;
  readonly clock: LabClock;
  /** Undefined: its name does not resolve. */
  gateway(): LabTarget | undefined;
  /** Without a connector TLS is opportunistic. */
  tlsFor(connector: OutboundConnector | undefined): LabTlsOptions;
  /** Whether the MX of the domain is the gateway. */
  isGatewayDomain(domain: string): boolean;
  /** Told of mail that reached a mailbox. */
  delivered(message: TenantMessage): void;
  /** Told of mail that left for the Internet directly. */
  left(message: TenantMessage): void;
}

/** One copy of a message, for recipients that go the same way. */
export interface TransportCopy {
  readonly tenant: string;
  /** `direct`: to the Internet, past the gateway. `held`: a rule defers it. */
  readonly way: 'mailbox' | 'gateway' | 'direct' | 'held';
  readonly connector: string | undefined;
  /** The rules that acted on it. */
  readonly rules: readonly string[];
  readonly recipients: readonly string[];
  readonly attempts: readonly { readonly at: Date; readonly result: SubmissionResult }[];
  /** Recipients that wait for the next attempt. */
  readonly pending: readonly string[];
  /** The last word for each recipient. */
  readonly results: readonly RecipientResult[];
}

export interface ExchangeTransport {
  /** Takes a tenant's mail. Resolves after the first attempt of every copy. */
  send(tenant: LabTenant, mail: TenantMail): Promise<readonly TransportCopy[]>;
  /** All copies so far. */
  copies(): readonly TransportCopy[];
}

const RETRY_MS = 15 * 60_000;
const HOUR_MS = 3_600_000;
const DEFAULT_EXPIRATION_HOURS = 24;
const DEFAULT_RECIPIENT_LIMIT = 500;

export function openTransport(settings: TransportSettings): ExchangeTransport {
  const copies: TransportCopy[] = [];
  const send = async (tenant: LabTenant, mail: TenantMail): Promise<readonly TransportCopy[]> => {
    const own: QueuedCopy[] = [];
    for (const part of forked(tenant, mail)) {
      const prepared = await prepareMail(tenant, { ...mail, to: part }, settings.clock.now());
      for (const { way, connector, recipients } of routed(tenant, prepared, settings))
        own.push(new QueuedCopy({ settings, tenant, mail, prepared, way, connector, recipients, send }));
    }
    copies.push(...own);
    for (const copy of own) await copy.start();
    return own;
  };
  return { send, copies: () => copies };
}

/** Internal and external recipients apart, and no copy for more recipients than the limit. */
function* forked(tenant: LabTenant, mail: TenantMail): Generator<TenantMail['to']> {
  const isInside = (to: TenantMail['to'][number]) => isAcceptedDomain(tenant, domainOf(addressOf(to)));
  const limit = tenant.recipientLimit ?? DEFAULT_RECIPIENT_LIMIT;
  for (const part of [mail.to.filter(isInside), mail.to.filter((to) => !isInside(to))])
    for (let at = 0; at < part.length; at += limit) yield part.slice(at, at + limit);
}

interface Routed {
  readonly way: TransportCopy['way'];
  readonly connector: OutboundConnector | undefined;
  readonly recipients: TenantMail['to'];
}

/** Where a rule names no connector: the mailbox, then a connector of the domain, then its MX. */
function routed(tenant: LabTenant, prepared: PreparedMail, settings: TransportSettings): readonly Routed[] {
  const { connector, deferred, submission } = prepared;
  const { recipients } = submission;
  if (deferred !== undefined) return [{ way: 'held', connector: undefined, recipients }];
  if (connector) return [{ way: 'gateway', connector, recipients }];
  const groups = Map.groupBy(
    recipients.map((to): Routed => {
      const domain = domainOf(addressOf(to));
      const found = connectorForDomain(tenant.outboundConnectors ?? [], domain);
      const isInside = isAcceptedDomain(tenant, domain);
      const way = isInside ? 'mailbox' : found || settings.isGatewayDomain(domain) ? 'gateway' : 'direct';
      return { way, connector: found, recipients: [to] };
    }),
    ({ way, connector: found }) => `${way} ${found?.name ?? ''}`,
  );
  return [...groups.values()].flatMap((parts) =>
    parts[0] ? [{ ...parts[0], recipients: parts.flatMap((part) => part.recipients) }] : [],
  );
}

interface CopyOrder extends Routed {
  readonly settings: TransportSettings;
  readonly tenant: LabTenant;
  readonly mail: TenantMail;
  readonly prepared: PreparedMail;
  readonly send: ExchangeTransport['send'];
}

class QueuedCopy implements TransportCopy {
  readonly tenant: string;
  readonly way: TransportCopy['way'];
  readonly connector: string | undefined;
  readonly rules: readonly string[];
  readonly recipients: readonly string[];
  readonly attempts: TransportCopy['attempts'][number][] = [];
  readonly #order: CopyOrder;
  readonly #expiresAt: number;
  readonly #lastWords = new Map<string, RecipientResult>();
  #waiting: readonly (string | SubmissionRecipient)[];

  constructor(order: CopyOrder) {
    this.#order = order;
    this.tenant = order.tenant.name;
    this.way = order.way;
    this.connector = order.connector?.name;
    this.rules = order.prepared.rules;
    this.recipients = order.recipients.map(addressOf);
    this.#waiting = order.recipients;
    const hours = order.tenant.messageExpirationHours ?? DEFAULT_EXPIRATION_HOURS;
    this.#expiresAt = order.settings.clock.now().getTime() + hours * HOUR_MS;
  }

  get pending(): readonly string[] {
    return this.#waiting.map(addressOf);
  }

  get results(): readonly RecipientResult[] {
    return [...this.#lastWords.values()];
  }

  async start(): Promise<void> {
    const { settings } = this.#order;
    const { record } = settings;
    if (this.way === 'gateway' || this.way === 'held') return this.#attempt();
    this.#waiting = [];
    const message = await this.#asStored(this.way === 'mailbox' ? 'internal' : 'originating');
    if (this.way === 'mailbox') {
      record.delivered.push(message);
      settings.delivered(message);
    } else {
      record.directInternet.push(message);
      settings.left(message);
    }
    for (const wake of record.waiters) wake();
  }

  async #attempt(): Promise<void> {
    const { settings, prepared } = this.#order;
    const gateway = settings.gateway();
    const result =
      this.way === 'held'
        ? this.#postponed(prepared.deferred ?? '')
        : gateway
          ? await this.#submitTo(gateway)
          : this.#postponed('4.4.312 DNS query failed');
    this.attempts.push({ at: this.#order.settings.clock.now(), result });
    for (const word of result.recipients) this.#lastWords.set(word.recipient, word);
    const deferred = new Set(
      result.recipients.filter(({ code }) => code < 500 && code >= 400).map(({ recipient }) => recipient),
    );
    this.#waiting = this.#waiting.filter((to) => deferred.has(addressOf(to)));
    await this.#report(result.recipients.filter(({ code }) => code >= 500).map(refused));
    if (this.#waiting.length > 0) this.#schedule();
  }

  #schedule(): void {
    const { clock } = this.#order.settings;
    const left = this.#expiresAt - clock.now().getTime();
    if (left > RETRY_MS) clock.after(RETRY_MS, () => this.#attempt());
    else clock.after(left, () => this.#expire());
  }

  async #expire(): Promise<void> {
    const failures = this.pending.map((recipient) => expired(recipient, this.#lastWords.get(recipient)));
    this.#waiting = [];
    await this.#report(failures);
  }

  #submitTo(gateway: LabTarget): Promise<SubmissionResult> {
    const { settings, prepared, connector } = this.#order;
    const session = {
      hello: EXCHANGE_HELLO,
      tls: settings.tlsFor(connector),
      isOpportunistic: connector?.tlsSettings === undefined,
    };
    return submit(gateway, session, { ...prepared.submission, recipients: this.#waiting });
  }

  #postponed(text: string): SubmissionResult {
    const recipients = this.pending.map((recipient): RecipientResult => ({
      recipient,
      stage: 'connect',
      code: 450,
      text,
      transaction: 1,
    }));
    return { recipients, transactions: 0, extensions: new Map(), tls: undefined };
  }

  /** To the sender, if there is one: nobody is told of an NDR that fails. */
  async #report(failures: readonly FailedRecipient[]): Promise<void> {
    const { tenant, mail, prepared, send, settings } = this.#order;
    const { sender, message } = prepared.submission;
    if (failures.length === 0 || sender === '') return;
    await send(tenant, {
      from: `postmaster@${tenant.initialDomain}`,
      to: [sender],
      message: await composeNdr(tenant, sender, failures, message, settings.clock.now()),
      template: 'ndr',
      ...(mail.dkim ? { dkim: mail.dkim } : {}),
    });
  }

  async #asStored(direction: TenantMessage['direction']): Promise<TenantMessage> {
    const { submission } = this.#order.prepared;
    const bytes = await collect(submission.message.open(), submission.message.size);
    return {
      tenant: this.tenant,
      direction,
      sender: submission.sender,
      recipients: this.recipients,
      received: bytes,
      delivered: bytes,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      size: bytes.length,
      isInternal: direction === 'internal',
      tls: undefined,
    };
  }
}

/** The other side's own words go to the sender. */
function refused({ recipient, code, text }: RecipientResult): FailedRecipient {
  const status = /^\d\.\d{1,3}\.\d{1,3}/.exec(text)?.[0] ?? '5.0.0';
  return { recipient, status, diagnostic: `${code} ${text}` };
}

function expired(recipient: string, last: RecipientResult | undefined): FailedRecipient {
  const words = last ? ` -> ${last.code} ${last.text}` : '';
  return { recipient, status: '4.4.7', diagnostic: `550 5.4.300 Message expired${words}` };
}

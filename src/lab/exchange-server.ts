// Exchange Online as the server that the gateway delivers to: attribution of every recipient by the client certificate
// of this very handshake, the header firewall, and one sink per tenant.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import {
  type Attribution,
  clearRecord,
  type ExchangeRecord,
  openRecord,
  type TenantMessage,
} from './exchange-record.ts';
import { createExchangeFront } from './exchange-session.ts';
import type { LabTenant } from './exchange-tenant.ts';
import type { Fault } from './faults.ts';
import { type LabClock, openLabClock } from './lab-clock.ts';
import { waitUntil } from './waiting.ts';

export interface ExchangeServerOptions {
  readonly tenants: readonly LabTenant[];
  /** Loopback address and port; port 0 takes a free one. */
  readonly address?: string;
  readonly port?: number;
  /** Server key and chain, PEM; `ca`: the roots that client certificates must lead to. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: readonly string[] };
  /** False: bodies are hashed and thrown away, for large runs. Default true. */
  readonly keepsBytes?: boolean;
  /** Received fields above which mail loops. Default 20; Exchange's own number is not known. */
  readonly maxHops?: number;
  /** Default: a clock that stands still. */
  readonly clock?: LabClock;
  /** Shared with the transport that sends the tenants' mail. Default: one of its own. */
  readonly record?: ExchangeRecord;
  /** Called for every message that reached a mailbox. */
  onMessage?(message: TenantMessage): void;
  /** Called for every RCPT that was judged. */
  onAttribution?(attribution: Attribution): void;
  /** Takes mail of a tenant for outside. Where it says false, the mail ends in `directInternet`. */
  route?(tenant: LabTenant, message: TenantMessage): Promise<boolean>;
}

export interface ExchangeServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** One entry for every RCPT, refused ones too. */
  attributions(): readonly Attribution[];
  /** Throws before the first one. */
  lastAttribution(): Attribution;
  /** Mail in the tenant's mailboxes. */
  sinkOf(tenant: string): readonly TenantMessage[];
  /** Mail in the mailbox of one address, NDRs included. */
  mailboxOf(address: string): readonly TenantMessage[];
  /** Mail that left for the Internet without passing the gateway. A right set-up keeps it empty. */
  directInternet(): readonly TenantMessage[];
  /** Transactions refused with 554 5.4.14. */
  loopsDetected(): number;
  /** Resolves with the tenant's mail once there are `count` messages. Rejects after `timeoutMs`. */
  waitForMessage(tenant: string, count?: number, timeoutMs?: number): Promise<readonly TenantMessage[]>;
  /** The mail that left without the gateway, once there are `count` messages. Rejects after `timeoutMs`. */
  waitForDirect(count: number, timeoutMs?: number): Promise<readonly TenantMessage[]>;
  waitForLoop(timeoutMs?: number): Promise<void>;
  /** Resolves with the attributions once there are `count`. Rejects after `timeoutMs`. */
  waitForAttribution(count?: number, timeoutMs?: number): Promise<readonly Attribution[]>;
  fail(fault: Fault): void;
  /** Answers the next transactions with 451 4.7.500. */
  throttle(times: number): void;
  /** Forgets all that was recorded, and the faults. */
  clear(): void;
}

const DEFAULT_MAX_HOPS = 20;
const DEFAULT_TIMEOUT_MS = 10_000;

/** Opens the server. The caller disposes it, which waits for mail that is being routed. */
export async function openExchangeServer(options: ExchangeServerOptions): Promise<ExchangeServer> {
  const record = options.record ?? openRecord();
  const routing = new Set<Promise<void>>();
  const server = createExchangeFront(
    {
      tenants: options.tenants,
      tls: options.tls,
      keepsBytes: options.keepsBytes ?? true,
      maxHops: options.maxHops ?? DEFAULT_MAX_HOPS,
      clock: options.clock ?? openLabClock(),
      delivered: (message) => options.onMessage?.(message),
      attributed: (attribution) => options.onAttribution?.(attribution),
      route: (tenant, message) => {
        const routed = routeOut(options, record, tenant, message).finally(() => routing.delete(routed));
        routing.add(routed);
      },
    },
    record,
  );
  server.listen(options.port ?? 0, options.address ?? '127.0.0.1');
  await once(server.server, 'listening');
  const bound = server.server.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    ...readers(record),
    fail: (fault) => record.faults.add(fault),
    throttle: (times) => record.faults.add({ stage: 'mail', reply: '451 4.7.500 Server busy', times }),
    clear: () => clearRecord(record),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(routing);
      await new Promise<void>((resolve) => server.close(resolve));
    },
  };
}

type Waits = Pick<ExchangeServer, 'waitForAttribution' | 'waitForMessage' | 'waitForDirect' | 'waitForLoop'>;
type Readers = Pick<
  ExchangeServer,
  'attributions' | 'lastAttribution' | 'sinkOf' | 'mailboxOf' | 'directInternet' | 'loopsDetected'
>;

function readers(record: ExchangeRecord): Readers & Waits {
  const sinkOf = (tenant: string): readonly TenantMessage[] =>
    record.delivered.filter((message) => message.tenant === tenant);
  return {
    attributions: () => record.attributions,
    lastAttribution: () => {
      const last = record.attributions.at(-1);
      if (!last) throw new Error('nothing was attributed yet');
      return last;
    },
    sinkOf,
    mailboxOf: (address) =>
      record.delivered.filter(({ recipients }) =>
        recipients.some((recipient) => recipient.toLowerCase() === address.toLowerCase()),
      ),
    directInternet: () => record.directInternet,
    loopsDetected: () => record.loops,
    ...waits(record, sinkOf),
  };
}

function waits(record: ExchangeRecord, sinkOf: ExchangeServer['sinkOf']): Waits {
  const until = async <T>(
    list: () => readonly T[],
    count: number,
    timeoutMs: number,
    what: string,
  ): Promise<readonly T[]> => {
    const isThere = () => list().length >= count;
    await waitUntil(record.waiters, isThere, timeoutMs, () => `${list().length} of ${count} ${what}`);
    return list();
  };
  return {
    waitForAttribution: (count = 1, timeoutMs = DEFAULT_TIMEOUT_MS) =>
      until(() => record.attributions, count, timeoutMs, 'recipients attributed'),
    waitForMessage: (tenant, count = 1, timeoutMs = DEFAULT_TIMEOUT_MS) =>
      until(() => sinkOf(tenant), count, timeoutMs, `messages for ${tenant}`),
    waitForDirect: (count, timeoutMs = DEFAULT_TIMEOUT_MS) =>
      until(() => record.directInternet, count, timeoutMs, 'messages without the gateway'),
    waitForLoop: (timeoutMs = DEFAULT_TIMEOUT_MS) =>
      waitUntil(
        record.waiters,
        () => record.loops > 0,
        timeoutMs,
        () => 'no loop was detected',
      ),
  };
}

/** Mail of a tenant for outside goes its way; without one, to the Internet. */
async function routeOut(
  options: ExchangeServerOptions,
  record: ExchangeRecord,
  tenant: LabTenant,
  message: TenantMessage,
): Promise<void> {
  if (await options.route?.(tenant, message)) return;
  record.directInternet.push(message);
  for (const wake of record.waiters) wake();
}

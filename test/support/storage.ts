// Support for tests of storage and queue: folders that go away, a clock that is set by hand, messages for the queue.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Address, parseAddress } from '../../src/core/address.ts';
import { bytesSource, collect, type Chunks } from '../../src/core/bytes.ts';
import type { Clock } from '../../src/core/clock.ts';
import type { CommittedMessage, FinishedCopy } from '../../src/core/commit.ts';
import type { DeliveryResult } from '../../src/core/delivery.ts';
import type { Recipient } from '../../src/core/envelope.ts';
import { silentLog } from '../../src/core/log.ts';
import { isNonEmpty, type NonEmpty } from '../../src/core/non-empty.ts';
import { parseTenantId, type TenantId } from '../../src/core/origin.ts';
import type { Reply } from '../../src/core/reply.ts';
import { Secret } from '../../src/core/secret.ts';
import type { Delivery } from '../../src/queue/message-types.ts';
import type { Queue, QueueOptions } from '../../src/queue/queue.ts';

export const testKek = new Secret(Buffer.alloc(32, 7));
export const MINUTE_MS = 60_000;

/** A folder of mode 0700 that is removed at the end. */
export async function makeFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'postern-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A clock that moves only by `advance`, which also ends the sleeps that are over. */
export class ManualClock implements Clock {
  #now = Date.parse('2026-03-01T12:00:00Z');
  readonly #sleepers = new Set<{ readonly until: number; readonly wake: () => void }>();

  now(): Date {
    return new Date(this.#now);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { until: this.#now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      const abort = (): void => {
        this.#sleepers.delete(sleeper);
        reject(new DOMException('aborted', 'AbortError'));
      };
      if (signal?.aborted) abort();
      else signal?.addEventListener('abort', abort, { once: true });
    });
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.until > this.#now) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
  }

  sleepers(): number {
    return this.#sleepers.size;
  }
}

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!parsed) throw new Error(`not an address: ${text}`);
  return parsed;
}

export function recipients(...list: readonly (string | Recipient)[]): NonEmpty<Recipient> {
  const made = list.map((each) => (typeof each === 'string' ? { address: address(each) } : each));
  if (!isNonEmpty(made)) throw new Error('no recipients');
  return made;
}

export const testTenant: TenantId = tenantId('11111111-2222-3333-4444-555555555555');

function tenantId(text: string): TenantId {
  const id = parseTenantId(text);
  if (!id) throw new Error(`not a tenant id: ${text}`);
  return id;
}

export function queueOptions(folder: string, clock: Clock, more: Partial<QueueOptions> = {}): QueueOptions {
  return {
    folder,
    kek: testKek,
    clock,
    log: silentLog,
    hostname: 'gateway.contoso.example',
    reserveBytes: 0,
    ...more,
  };
}

/** An outbound message of a proven sender, with whatever is to be different. */
export function committed(
  more: Partial<CommittedMessage> & { readonly sender?: string | null } = {},
): CommittedMessage {
  const { sender = 'alice@contoso.example', ...rest } = more;
  return {
    envelope: {
      id: 'transaction-1',
      sender: sender === null ? null : address(sender),
      recipients: recipients('bob@fabrikam.example'),
      smtpUtf8: false,
      body: '7BIT',
    },
    isProven: true,
    inputSha256: 'ab'.repeat(32),
    returnLeg: { kind: 'tenant', tenant: testTenant },
    copies: [finished()],
    refused: [],
    ...rest,
  };
}

export const messageText = (text = 'hello', size = 0): Buffer =>
  Buffer.from(
    `From: Alice <alice@contoso.example>\r\nTo: bob@fabrikam.example\r\nSubject: canary-subject\r\n` +
      `Message-ID: <m1@contoso.example>\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\n\r\n${text}\r\n${'x'.repeat(size)}`,
  );

export function finished(more: Partial<FinishedCopy> & { readonly text?: Uint8Array } = {}): FinishedCopy {
  const { text = messageText(), ...rest } = more;
  return {
    leg: { kind: 'internet' },
    recipients: recipients('bob@fabrikam.example'),
    tenant: testTenant,
    direction: 'outbound',
    policyVersion: 'policy-1',
    rule: 'default',
    body: bytesSource(text),
    isEncrypted: false,
    is8bit: false,
    ...rest,
  };
}

/** Results of one attempt, the same for all recipients of a delivery. */
export function resultsOf(
  delivery: Pick<Delivery, 'shipment'>,
  status: DeliveryResult['status'],
  more: Partial<DeliveryResult> = {},
): readonly DeliveryResult[] {
  return delivery.shipment.recipients.map((recipient) => ({
    recipient,
    status,
    reply: REPLIES[status],
    remote: 'mx.fabrikam.example',
    ...more,
  }));
}

const REPLIES: Readonly<Record<DeliveryResult['status'], Reply>> = {
  delivered: { code: 250, enhanced: '2.0.0', text: 'OK' },
  deferred: { code: 451, enhanced: '4.7.1', text: 'Try again later' },
  failed: { code: 550, enhanced: '5.1.1', text: 'No such user' },
};

/** Everything that is due, each in flight until it is settled or released. */
export function allDue(queue: Queue, clock: Clock): Delivery[] {
  return queue.due(clock.now(), 1_000);
}

/** The only delivery that is due. */
export function oneDue(queue: Queue, clock: Clock): Delivery {
  const [delivery, ...others] = allDue(queue, clock);
  if (!delivery || others.length > 0)
    throw new Error(`${others.length + (delivery ? 1 : 0)} are due, not one`);
  return delivery;
}

export async function bytesOf(chunks: Chunks): Promise<Buffer> {
  return collect(chunks, 1_000_000_000);
}

/** Whether any file below `folder` holds these bytes. */
export async function isOnDisk(folder: string, bytes: Uint8Array | string): Promise<boolean> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of names) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.parentPath, entry.name));
    if (content.includes(bytes)) return true;
  }
  return false;
}

/** Cuts bytes into chunks of the given sizes in turn. */
export async function* chunked(
  bytes: Uint8Array,
  sizes: readonly number[],
): AsyncGenerator<Uint8Array, void> {
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

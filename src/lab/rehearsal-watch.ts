// What can be seen of one message of a rehearsal, from all sides: the gateway's answer and log, its arrival at a mailbox or
// an MX, or its refusal by Exchange Online.
import type { Attribution } from './exchange-record.ts';
import type { RecipientResult } from './submission.ts';
import { waitUntil, type Waiters } from './waiting.ts';
import type { Arrival } from './world.ts';

export interface Observed {
  readonly answer: RecipientResult | undefined;
  /** The rules that decided; empty where none got to. */
  readonly rules: readonly string[];
  /** What the gateway did to it: `signed`, `encrypted`, and so on. */
  readonly outcomes: readonly string[];
  readonly leg: string | undefined;
  readonly arrival: Arrival | undefined;
  /** How Exchange Online judged it, if it came there. */
  readonly attribution: Attribution | undefined;
  /** It never came to the gateway. */
  readonly isDirect?: boolean;
  /** What the sender reads in the NDR. */
  readonly told?: string;
}

export interface Watch {
  /** Forgets the message before, and looks out for this one. */
  expect(messageId: string, to: string): void;
  readonly arrived: (arrival: Arrival) => void;
  readonly attributed: (attribution: Attribution) => void;
  readonly logged: (line: string) => void;
  /** What there is once it has come to an end. An accepted message that goes nowhere ends with the patience. */
  settled(answer: RecipientResult | undefined): Promise<Observed>;
}

interface LogRecord {
  readonly event: string;
  readonly rules?: readonly string[];
  readonly outcomes?: readonly string[];
  readonly leg?: string;
}

const PATIENCE_MS = 15_000;

export function openWatch(patienceMs = PATIENCE_MS): Watch {
  const waiters: Waiters = new Set();
  let wanted = { messageId: '', to: '' };
  let seen: { arrival?: Arrival; attribution?: Attribution; decided?: LogRecord; finished?: LogRecord } = {};
  const wake = (): void => {
    for (const waiter of waiters) waiter();
  };
  return {
    expect: (messageId, to) => {
      wanted = { messageId, to: to.toLowerCase() };
      seen = {};
    },
    arrived: (arrival) => {
      if (headerOf(arrival).includes(wanted.messageId)) seen.arrival = arrival;
      wake();
    },
    attributed: (attribution) => {
      if (attribution.recipient.toLowerCase() === wanted.to) seen.attribution = attribution;
      wake();
    },
    logged: (line) => {
      const record = JSON.parse(line) as LogRecord;
      if (record.event === 'message-decided') seen.decided = record;
      if (record.event === 'copy-finished') seen.finished = record;
    },
    settled: async (answer) => {
      const isOver = (): boolean => seen.arrival !== undefined || isRefusal(seen.attribution);
      if (answer?.code === 250)
        await waitUntil(waiters, isOver, patienceMs, () => 'nothing arrived').catch(() => undefined);
      const { arrival, attribution, decided, finished } = seen;
      return {
        answer,
        rules: decided?.rules ?? [],
        outcomes: finished?.outcomes ?? [],
        leg: finished?.leg,
        arrival,
        attribution,
      };
    },
  };
}

export function isRefusal(attribution: Attribution | undefined): boolean {
  return attribution !== undefined && attribution.reply !== '250';
}

/** The header section alone: a report holds the header of another message. */
function headerOf({ message }: Arrival): string {
  const bytes = 'received' in message ? message.received : message.bytes;
  return bytes.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
}

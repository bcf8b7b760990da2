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
  /** The gateway's id of the message, which its answer names. */
  readonly message?: string;
  readonly rules?: readonly string[];
  readonly outcomes?: readonly string[];
  readonly leg?: string;
}

/** `Queued as <id>`, or `(<id>)` behind a refusal. */
const ID_IN_ANSWER = /(?:Queued as |\()([0-9a-f]+)\)?$/;
const PATIENCE_MS = 15_000;

export function openWatch(patienceMs = PATIENCE_MS): Watch {
  const waiters: Waiters = new Set();
  let wanted = { messageId: '', to: '' };
  let seen: { arrival?: Arrival; attribution?: Attribution } = {};
  let records: LogRecord[] = [];
  const wake = (): void => {
    for (const waiter of waiters) waiter();
  };
  return {
    expect: (messageId, to) => {
      wanted = { messageId, to: to.toLowerCase() };
      seen = {};
      records = [];
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
      records.push(JSON.parse(line) as LogRecord);
    },
    settled: async (answer) => {
      const isOver = (): boolean => seen.arrival !== undefined || isRefusal(seen.attribution);
      if (answer?.code === 250)
        await waitUntil(waiters, isOver, patienceMs, () => 'nothing arrived').catch(() => undefined);
      const { arrival, attribution } = seen;
      // Other mail may pass meanwhile, such as a report about this one.
      const id = ID_IN_ANSWER.exec(answer?.text ?? '')?.[1];
      const find = (event: string) =>
        records.find((record) => record.event === event && record.message === id);
      const decided = find('message-decided');
      const finished = find('copy-finished');
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

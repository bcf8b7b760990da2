// Faults on order: what an Internet host does wrong, at which stage and how often. Data, so that a test or a rehearsal
// can say it in one line.

export type FaultStage = 'connect' | 'hello' | 'starttls' | 'mail' | 'rcpt' | 'data' | 'content' | 'end';

/** One of `reply`, `drop` and `hang`. */
export interface Fault {
  /**
   * Where it happens. `data` is the command, `content` after the first bytes of the message, `end` after the last dot.
   * A `drop` or `hang` at `end` comes after the message was taken: the client cannot know, and will send it again.
   */
  readonly stage: FaultStage;
  /** Only for this recipient (stage `rcpt`) or for messages with this recipient (`data`, `content`, `end`). */
  readonly recipient?: string;
  /** The line to answer: `451 4.7.1 Greylisted`. Code 421 also closes the connection. */
  readonly reply?: string;
  /** Closes the connection without a word. */
  readonly drop?: boolean;
  /** Answers nothing and keeps the connection open. */
  readonly hang?: boolean;
  /** How often it happens. Default: always. */
  readonly times?: number;
}

export interface FaultPlan {
  add(fault: Fault): void;
  clear(): void;
  /** The fault that strikes now, counted as used. */
  next(stage: FaultStage, recipients?: readonly string[]): Fault | undefined;
}

export function planFaults(initial: readonly Fault[] = []): FaultPlan {
  let pending = initial.map(armed);
  return {
    add: (fault) => pending.push(armed(fault)),
    clear: () => {
      pending = [];
    },
    next: (stage, recipients = []) => {
      const found = pending.find(({ fault, left }) => left > 0 && strikes(fault, stage, recipients));
      if (found) found.left -= 1;
      return found?.fault;
    },
  };
}

function armed(fault: Fault): { fault: Fault; left: number } {
  return { fault, left: fault.times ?? Number.POSITIVE_INFINITY };
}

function strikes(fault: Fault, stage: FaultStage, recipients: readonly string[]): boolean {
  if (fault.stage !== stage) return false;
  const wanted = fault.recipient?.toLowerCase();
  return wanted === undefined || recipients.some((recipient) => recipient.toLowerCase() === wanted);
}

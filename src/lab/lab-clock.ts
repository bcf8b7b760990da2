// The time of the lab: what Exchange Online does after minutes and hours happens when a test or a rehearsal lets that time
// pass. Nothing in the lab waits for it.

export interface LabClock {
  now(): Date;
  /** Runs the action once the time has come. The function it gives takes the action back. */
  after(ms: number, action: () => Promise<void> | void): () => void;
  /** Lets time pass. What falls due happens in order, each at its own time, and is finished when this resolves. */
  advance(ms: number): Promise<void>;
}

interface Entry {
  readonly due: number;
  readonly action: () => Promise<void> | void;
}

/** Starts now, or at `start`; moves by `advance` alone. */
export function openLabClock(start: Date = new Date()): LabClock {
  let now = start.getTime();
  const entries = new Set<Entry>();
  const nextUntil = (limit: number): Entry | undefined =>
    [...entries].filter(({ due }) => due <= limit).toSorted((one, other) => one.due - other.due)[0];
  return {
    now: () => new Date(now),
    after: (ms, action) => {
      const entry = { due: now + ms, action };
      entries.add(entry);
      return () => void entries.delete(entry);
    },
    advance: async (ms) => {
      const until = now + ms;
      for (let entry = nextUntil(until); entry; entry = nextUntil(until)) {
        entries.delete(entry);
        now = Math.max(now, entry.due);
        await entry.action();
      }
      now = until;
    },
  };
}

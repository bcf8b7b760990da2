// How often the proof held, and which observed conditions did not, by tenant and day: what an operator reads before a
// condition is required. Kept over restarts; a few minutes of it may be lost in a crash.
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { ProofFailure, ProvenOrigin, TenantId } from '../core/origin.ts';

type Condition = ProofFailure['condition'];

export interface ProofCounts {
  readonly proven: number;
  /** Messages that `require` would have refused, by condition. */
  readonly observed: Readonly<Partial<Record<Condition, number>>>;
}

export interface StatisticsStore {
  read(): Promise<Buffer | undefined>;
  write(bytes: Uint8Array): Promise<void>;
}

export interface ProofStatistics extends AsyncDisposable {
  note(origin: ProvenOrigin): void;
  /** Sums over the last `days` days (UTC), today included. */
  sum(tenant: TenantId, days: number): ProofCounts;
}

const DAY_MS = 86_400_000;
const KEPT_DAYS = 31;
const WRITE_EVERY_MS = 60_000;
const NONE: ProofCounts = { proven: 0, observed: {} };

/** `tenant day` -> counts, day as 2026-07-10. */
type Table = Map<string, ProofCounts>;

/** Opens the statistics; what cannot be read is begun anew, since counting must not stop the mail. */
export async function openStatistics(
  store: StatisticsStore,
  clock: Clock,
  log: Log,
): Promise<ProofStatistics> {
  const table = await readTable(store, log);
  const stopped = new AbortController();
  let isChanged = false;
  const save = async (): Promise<void> => {
    if (!isChanged) return;
    isChanged = false;
    prune(table, clock.now());
    try {
      await store.write(Buffer.from(JSON.stringify([...table])));
    } catch (error) {
      isChanged = true;
      log.warn('statistics-not-written', { reason: error instanceof Error ? error.message : String(error) });
    }
  };
  const saving = saveRegularly(clock, stopped.signal, save);
  return {
    note: (origin) => {
      const key = keyOf(origin.tenant, clock.now());
      table.set(key, add(table.get(key) ?? NONE, origin));
      isChanged = true;
    },
    sum: (tenant, days) => {
      const now = clock.now().getTime();
      const counts = Array.from({ length: days }, (_, back) =>
        table.get(keyOf(tenant, new Date(now - back * DAY_MS))),
      );
      return counts.reduce<ProofCounts>((total, each) => (each ? merge(total, each) : total), NONE);
    },
    [Symbol.asyncDispose]: async () => {
      stopped.abort();
      await saving;
      await save();
    },
  };
}

async function saveRegularly(clock: Clock, signal: AbortSignal, save: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(WRITE_EVERY_MS, signal).catch(() => undefined);
    if (!signal.aborted) await save();
  }
}

async function readTable(store: StatisticsStore, log: Log): Promise<Table> {
  try {
    const bytes = await store.read();
    return new Map(bytes ? (JSON.parse(bytes.toString('utf8')) as [string, ProofCounts][]) : []);
  } catch (error) {
    log.warn('statistics-not-read', { reason: error instanceof Error ? error.message : String(error) });
    return new Map();
  }
}

function prune(table: Table, now: Date): void {
  const oldest = dayOf(new Date(now.getTime() - KEPT_DAYS * DAY_MS));
  for (const key of table.keys()) if ((key.split(' ')[1] ?? '') < oldest) table.delete(key);
}

function add(counts: ProofCounts, { observed }: ProvenOrigin): ProofCounts {
  // One message counts once for a condition, whatever it has against it.
  const conditions = new Set(observed.map(({ condition }) => condition));
  const more = Object.fromEntries([...conditions].map((condition) => [condition, 1]));
  return merge(counts, { proven: 1, observed: more });
}

function merge(one: ProofCounts, other: ProofCounts): ProofCounts {
  const observed: Partial<Record<Condition, number>> = { ...one.observed };
  for (const [name, count] of Object.entries(other.observed)) {
    const condition = name as Condition;
    observed[condition] = (observed[condition] ?? 0) + count;
  }
  return { proven: one.proven + other.proven, observed };
}

function keyOf(tenant: TenantId, at: Date): string {
  return `${tenant} ${dayOf(at)}`;
}

function dayOf(at: Date): string {
  return at.toISOString().slice(0, 10);
}

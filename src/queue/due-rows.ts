// Which copies are due, by leg. Reads the plain columns only; opening a copy is the queue's business.
import type { Row, Sql } from '../storage/queue-database.ts';

/** Legs that have something queued, by a loose index scan: one look-up per leg, however many copies wait. */
export function queuedLegs(sql: Sql): readonly string[] {
  const rows = sql.all(
    `WITH RECURSIVE legs (leg) AS (
       SELECT min(leg) FROM copies WHERE state = 'queued' UNION ALL
       SELECT (SELECT min(leg) FROM copies WHERE state = 'queued' AND leg > legs.leg) FROM legs WHERE leg IS NOT NULL)
     SELECT leg FROM legs WHERE leg IS NOT NULL`,
  );
  return rows.map((row) => String(row['leg']));
}

/** Copies on a leg that are due at `at` and not in flight, the longest due first. */
export function dueRows(
  sql: Sql,
  leg: string,
  at: Date,
  limit: number,
  inFlight: ReadonlySet<string>,
): readonly Row[] {
  const rows = sql.all(
    `SELECT id, dek, record, is_file, attempts, first_at FROM copies
     WHERE state = 'queued' AND leg = ? AND next_at <= ? ORDER BY next_at LIMIT ?`,
    leg,
    at.getTime(),
    limit + inFlight.size,
  );
  return rows.filter((row) => !inFlight.has(String(row['id'])));
}

/** When the next copy that is not in flight is due, on any leg. */
export function nextDueTime(sql: Sql, inFlight: ReadonlySet<string>): Date | undefined {
  const times = queuedLegs(sql).flatMap((leg) => {
    const rows = sql.all(
      `SELECT id, next_at FROM copies WHERE state = 'queued' AND leg = ? ORDER BY next_at LIMIT ?`,
      leg,
      inFlight.size + 1,
    );
    const next = rows.find((row) => !inFlight.has(String(row['id'])));
    return next ? [Number(next['next_at'])] : [];
  });
  return times.length === 0 ? undefined : new Date(Math.min(...times));
}

/** Positions of a copy's recipients that are still open. */
export function openPositions(sql: Sql, copyId: string): ReadonlySet<number> {
  const rows = sql.all(`SELECT position FROM recipients WHERE copy_id = ? AND state = 'queued'`, copyId);
  return new Set(rows.map((row) => Number(row['position'])));
}

// What a bench reports, and the table that people read. Writing results to a file is run.ts' business.

/** One case, measured on both sides in the same run. */
export interface BenchRow {
  readonly case: string;
  /** Median of our runs, in `unit`. */
  readonly ours: number;
  /** Median of the peer's runs, in `unit`. */
  readonly peer: number;
  /** ours / peer: below 1, Postern takes less. */
  readonly ratio: number;
  /** Highest resident memory of our process over all runs. */
  readonly peakRssMiB: number;
  readonly unit: string;
  /** Highest resident memory for a mail of 1 MB, where growth is of interest. */
  readonly leastRssMiB?: number;
  readonly messagesPerSecondAndCore?: number;
}

const COLUMNS = ['case', 'ours', 'peer', 'ratio', 'peak RSS', 'RSS at 1 MB', 'messages/s'] as const;

/** Prints the rows to standard output, aligned. */
export function printTable(rows: readonly BenchRow[]): void {
  const lines = [COLUMNS, ...rows.map(cells)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines) {
    const padded = line.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    console.log(padded.join('  '));
  }
}

/** The middle value; of an even count the lower one of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

function cells(row: BenchRow): readonly string[] {
  return [
    row.case,
    `${row.ours.toFixed(2)} ${row.unit}`,
    `${row.peer.toFixed(2)} ${row.unit}`,
    row.ratio.toFixed(2),
    `${row.peakRssMiB.toFixed(0)} MiB`,
    row.leastRssMiB === undefined ? '' : `${row.leastRssMiB.toFixed(0)} MiB`,
    row.messagesPerSecondAndCore === undefined ? '' : String(row.messagesPerSecondAndCore),
  ];
}

// A line on standard error that says how far a long command is. Only on a terminal, and only after a while.
import { systemClock } from '../core/clock.ts';
import type { Io } from './command.ts';

export interface Progress {
  /** Adds bytes that passed. */
  readonly add: (bytes: number) => void;
  /** Takes the line away: nothing else may be written before. */
  readonly close: () => void;
}

const FIRST_MS = 1_000;
const EVERY_MS = 200;
const MEBIBYTE = 1_048_576;

export function openProgress({ stderr }: Io, clock: Pick<typeof systemClock, 'now'> = systemClock): Progress {
  const isTerminal = 'isTTY' in stderr && stderr.isTTY === true;
  let total = 0;
  let nextAt = clock.now().getTime() + FIRST_MS;
  let isShown = false;
  return {
    add: (bytes) => {
      total += bytes;
      if (!isTerminal || clock.now().getTime() < nextAt) return;
      nextAt = clock.now().getTime() + EVERY_MS;
      isShown = true;
      stderr.write(`\r${(total / MEBIBYTE).toFixed(1)} MiB processed\u001b[K`);
    },
    close: () => {
      if (isShown) stderr.write('\r\u001b[K');
      isShown = false;
    },
  };
}

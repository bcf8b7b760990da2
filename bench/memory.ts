// Peak memory of this process. Not `resourceUsage().maxRSS`: that begins with what the parent had when it forked.
import { readFileSync } from 'node:fs';

/** Highest resident memory in kibibytes; Linux. */
export function peakRssKiB(): number {
  const [, value = 'NaN'] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1')) ?? [];
  return Number(value);
}

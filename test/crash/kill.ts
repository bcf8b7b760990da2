// Runs the child of the crash tests and kills it at a point, or lets it end.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));
/** Compiled modules, from the first child for all others: most of a child's time is its start. */
const CACHE = mkdtempSync(join(tmpdir(), 'postern-test-cache-'));
process.once('exit', () => rmSync(CACHE, { recursive: true, force: true }));
const PRELOAD = new URL('fault-point.ts', import.meta.url).href;

export interface ChildEnd {
  readonly wasKilled: boolean;
  /** What it said, without the last line of a child that ended. */
  readonly said: ReadonlySet<string>;
  /** Names of the counted calls; of a child that ended. */
  readonly calls: readonly string[];
}

/** `killAt` is `17` (before the 17th counted call) or `17+` (right after it). Throws where the child fails by itself. */
export async function runChild(mode: 'queue' | 'hold', folder: string, killAt = ''): Promise<ChildEnd> {
  const child = spawn(process.execPath, ['--import', PRELOAD, CHILD, mode, folder], {
    env: { ...process.env, POSTERN_TEST_KILL: killAt, NODE_COMPILE_CACHE: CACHE },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const [output, { code, signal }] = await Promise.all([text(child.stdout), ended]);
  const lines = output.split('\n').filter((line) => line !== '');
  if (signal === 'SIGKILL') return { wasKilled: true, said: new Set(lines), calls: [] };
  if (code !== 0) throw new Error(`the child ended with ${code ?? signal} at ${killAt}: ${output}`);
  const calls = JSON.parse(lines.pop()?.replace(/^calls /, '') ?? '[]') as string[];
  return { wasKilled: false, said: new Set(lines), calls };
}

/** Before each call, and right after each commit, whose answer then nobody has heard. */
export function killPoints(calls: readonly string[]): readonly string[] {
  return calls.flatMap((name, index) => [`${index + 1}`, ...(name === 'COMMIT' ? [`${index + 1}+`] : [])]);
}

/** Runs `work` for all items, a few at once. */
export async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const worker = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all([worker(), worker(), worker()]);
}

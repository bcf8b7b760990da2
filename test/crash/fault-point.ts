// Preloaded into the child of the crash tests (`--import`): counts the calls that change the disk, and kills this process right
// before or right after the one that the environment names. The code under test knows nothing of it.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync, StatementSync } from 'node:sqlite';

/** `17` or `17+`: before or right after the 17th call. */
const wanted = process.env['POSTERN_TEST_KILL'] ?? '';
const killAt = Number.parseInt(wanted, 10);
const isAfter = wanted.endsWith('+');

/** Statements between these are SQLite's to undo. */
const COUNTED_SQL = /^(BEGIN|COMMIT|CREATE|INSERT INTO messages)/;

/** Names of the calls so far, in their order. */
export const calls: string[] = [];

function enter(name: string): boolean {
  calls.push(name);
  const isHere = calls.length === killAt;
  if (isHere && !isAfter) die();
  return isHere;
}

function die(): void {
  process.kill(process.pid, 'SIGKILL');
}

type Call = (this: unknown, ...values: unknown[]) => unknown;

/** Counts an asynchronous method; the kill after it comes before anybody hears of its end. */
function countAsync(holder: object, name: string): void {
  const original = Reflect.get(holder, name) as Call;
  const counted: Call = async function counted(...values) {
    const isHere = enter(name);
    const result = await Reflect.apply(original, this, values);
    if (isHere) die();
    return result;
  };
  Reflect.set(holder, name, counted);
}

/** Counts a synchronous method of SQLite where its statement is one that is counted. */
function countSql(holder: object, name: string, textOf: (self: unknown, value: unknown) => string): void {
  const original = Reflect.get(holder, name) as Call;
  const counted: Call = function counted(...values) {
    const text = textOf(this, values[0]).trim();
    const isCounted = COUNTED_SQL.test(text);
    const isHere = isCounted && enter(text.split(/\s+/)[0] ?? '');
    const result = Reflect.apply(original, this, values);
    if (isHere) die();
    return result;
  };
  Reflect.set(holder, name, counted);
}

const handle = await fs.promises.open('/dev/null', 'r');
for (const name of ['writev', 'sync']) countAsync(Object.getPrototypeOf(handle) as object, name);
await handle.close();
for (const name of ['open', 'rename', 'unlink']) countAsync(fs.promises, name);
syncBuiltinESMExports();
countSql(DatabaseSync.prototype, 'exec', (_, text) => String(text));
countSql(StatementSync.prototype, 'run', (self) => (self as StatementSync).sourceSQL);

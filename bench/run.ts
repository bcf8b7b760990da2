// `npm run bench -- relay|smime|pgp`: measures one subject against its peer in the same run, prints a table and writes
// bench/results/NAME.json. Times are medians; a ratio below 1 means that Postern is faster.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { printTable, type BenchRow } from './table.ts';

const BENCHES: Readonly<Record<string, () => Promise<{ run(): Promise<readonly BenchRow[]> }>>> = {
  relay: () => import('./relay.ts'),
  smime: () => import('./smime.ts'),
  pgp: () => import('./pgp.ts'),
};

const [name = ''] = process.argv.slice(2);
const load = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (load) {
  const rows = await (await load()).run();
  printTable(rows);
  const folder = join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(rows, undefined, 2)}\n`);
} else {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHES).join('|')}`);
  process.exitCode = 2;
}

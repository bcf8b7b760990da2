// Runs every transcript of this folder.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runScript } from './script.ts';

const folder = import.meta.dirname;

for (const name of readdirSync(folder).filter((file) => file.endsWith('.txt'))) {
  test(`dialog ${name}`, () => runScript(readFileSync(join(folder, name), 'utf8')));
}

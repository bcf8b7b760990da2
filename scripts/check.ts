// `npm run check`: everything that can be said about the tree without running it. Runs all checks, then fails if one did.
import { spawnSync } from 'node:child_process';

const CHECKS: readonly (readonly [name: string, ...command: string[]])[] = [
  ['types', 'tsc'],
  ['lint', 'oxlint', '--type-aware', 'src', 'test', 'bench', 'scripts'],
  ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
  ['dead code', 'knip'],
  ['dependency table', 'node', 'scripts/check-dependencies.ts'],
  ['sizes', 'node', 'scripts/check-sizes.ts'],
  ['generated docs', 'node', 'scripts/generate-docs.ts', '--check'],
];

const failed = CHECKS.filter(([name, command, ...args]) => {
  const run = spawnSync(command ?? '', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  const isGood = run.status === 0;
  console.log(`${isGood ? 'ok    ' : 'FAILED'} ${name}`);
  if (!isGood) console.log(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}`);
  return !isGood;
});
if (failed.length > 0) {
  console.log(`${failed.length} of ${CHECKS.length} checks failed`);
  process.exitCode = 1;
}

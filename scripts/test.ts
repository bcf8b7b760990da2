// `npm test`: installs the real peers where they are missing, then runs every test. Arguments choose files or folders
// under test/ (`npm test -- unit/mime`), options of `node --test` pass through (`npm test -- --test-name-pattern=T7`).
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const options = process.argv.slice(2).filter((argument) => argument.startsWith('-'));

const peers = spawnSync('sh', ['scripts/install-peers.sh'], { stdio: 'inherit' });
if (peers.status !== 0) {
  process.exitCode = peers.status ?? 1;
} else {
  const hasVectors = existsSync('../shared/vectors');
  if (!hasVectors) console.error('No public test suites in ../shared/vectors: test/vectors is left out.');
  const known = globSync('test/**/*.test.ts').filter(
    (file) => hasVectors || !file.startsWith('test/vectors/'),
  );
  const files = known.filter(
    (file) =>
      wanted.length === 0 || wanted.some((part) => file.startsWith(`test/${part.replace(/^test\//, '')}`)),
  );
  if (files.length === 0) {
    console.error(`no test file under test/ matches ${wanted.join(', ')}`);
    process.exitCode = 2;
  } else {
    const run = spawnSync(
      process.execPath,
      [
        '--import',
        './test/support/loopback-only.ts',
        '--test',
        '--test-timeout=300000',
        ...options,
        ...files.toSorted(),
      ],
      { stdio: 'inherit' },
    );
    process.exitCode = run.status ?? 1;
  }
}

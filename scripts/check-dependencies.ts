// Holds the dependency table: which folder of src may import which. Prints each breach with file and line.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** Folder -> folders it may import besides itself. `*` is every folder but those listed after `!`. */
const TABLE: Readonly<Record<string, readonly string[]>> = {
  core: [],
  mime: ['core'],
  storage: ['core'],
  web: ['core'],
  smime: ['core', 'mime'],
  pgp: ['core', 'mime'],
  policy: ['core'],
  keys: [
    'core',
    'storage',
    'policy',
    'smime/capabilities',
    'smime/certificate',
    'smime/chain',
    'smime/pkcs12',
    'smime/private-key',
    'pgp/certificate',
  ],
  authentication: ['core', 'mime'],
  tenant: ['core', 'mime', 'authentication'],
  pipeline: ['core', 'mime', 'smime', 'pgp', 'keys', 'policy', 'tenant', 'authentication', 'storage'],
  queue: ['core', 'mime', 'storage'],
  smtp: ['core'],
  admin: ['core', 'gateway.ts', 'config.ts', 'operations.ts'],
  cli: [
    'core',
    'policy',
    'lab',
    'admin',
    'gateway.ts',
    'config.ts',
    'operations.ts',
    'workbench.ts',
    'workbench-prove.ts',
    'workbench-setup.ts',
    'doctor',
  ],
  doctor: [
    'core',
    'keys',
    'pipeline',
    'policy',
    'queue',
    'smtp',
    'storage',
    'tenant',
    'admin',
    'gateway.ts',
    'config.ts',
    'operations.ts',
  ],
  lab: [
    'core',
    'mime',
    'smime',
    'pgp',
    'keys',
    'policy',
    'tenant',
    'authentication',
    'pipeline',
    'storage',
    'queue',
    'smtp',
    'gateway.ts',
    'config.ts',
  ],
};

/** Names that one file may import, or none. */
const RESERVED = [
  {
    name: 'attest',
    from: 'core/origin',
    only: 'tenant/proof.ts',
    why: 'a proven origin is made by the proof alone',
  },
  { name: '', from: 'mailsplit', only: '', why: 'mailsplit is the peer of our own scanner in the tests' },
];

interface Import {
  readonly line: number;
  readonly specifier: string;
  readonly names: string;
  readonly isTypeOnly: boolean;
}

export function findBreaches(): string[] {
  const breaches: string[] = [];
  for (const file of globSync('src/**/*.ts', { cwd: root })) {
    const inSrc = relative('src', file);
    const folder = inSrc.includes('/') ? (inSrc.split('/')[0] ?? '') : '';
    for (const found of importsOf(readFileSync(join(root, file), 'utf8'))) {
      const target = found.specifier.startsWith('.')
        ? relative(join(root, 'src'), resolve(root, dirname(file), found.specifier))
        : found.specifier;
      const reserved = RESERVED.find(
        (entry) =>
          target.startsWith(entry.from) &&
          (entry.name === '' || new RegExp(`\\b${entry.name}\\b`).test(found.names)),
      );
      if (reserved && inSrc !== reserved.only) breaches.push(`${file}:${found.line} ${reserved.why}`);
      if (!found.specifier.startsWith('.') || folder === '') continue;
      if (!isAllowed(folder, target, found.isTypeOnly))
        breaches.push(`${file}:${found.line} ${folder} may not import ${target}`);
    }
  }
  return breaches;
}

/** The command line and the admin page may name any type; they call nothing but what the table lists. */
function isAllowed(folder: string, target: string, isTypeOnly: boolean): boolean {
  if (target.startsWith(`${folder}/`)) return true;
  if (isTypeOnly && (folder === 'cli' || folder === 'admin')) return true;
  return (TABLE[folder] ?? []).some(
    (allowed) => target === allowed || target === `${allowed}.ts` || target.startsWith(`${allowed}/`),
  );
}

function importsOf(text: string): Import[] {
  const pattern =
    /^(?:import|export)\s+(type\s+)?([\w\s{},*]*?)\s*(?:from\s+)?['"]([^'"]+)['"]|\bimport\(['"]([^'"]+)['"]\)/gm;
  return [...text.matchAll(pattern)].map((match) => ({
    line: text.slice(0, match.index).split('\n').length,
    specifier: match[3] ?? match[4] ?? '',
    names: match[2] ?? '',
    isTypeOnly: match[1] !== undefined,
  }));
}

if (import.meta.main) {
  const breaches = findBreaches();
  for (const breach of breaches) console.error(breach);
  process.exitCode = breaches.length > 0 ? 1 : 0;
}

// Writes the pages that are made from code: docs/errors.md, docs/configuration.md, policies/schema.json. With --check it
// writes nothing and fails where a page is not up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { format } from 'prettier';
import { z } from 'zod';
import { configDocument } from '../src/config.ts';
import { type ErrorEntry, errorTable } from '../src/core/errors.ts';
import { policyJsonSchema } from '../src/policy/document.ts';

interface Schema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

function errorsPage(): string {
  const rows = Object.entries(errorTable).map(
    ([code, { code: basic, enhanced, text, level, meaning }]: [string, ErrorEntry]) =>
      `| \`${code}\` | ${basic} ${enhanced} | ${text} | ${level} | ${meaning} |`,
  );
  return [
    '# Errors',
    '',
    'Generated from src/core/errors.ts by `npm run docs`. The code stands in the log; the reply goes to the SMTP client with',
    'the id of the transaction. A reply to a proven sender may carry a more precise text, which Exchange shows to them.',
    '',
    '| Code | Reply | Public text | Log level | Meaning |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

function configurationPage(): string {
  const schema = z.toJSONSchema(configDocument, { io: 'input' }) as Schema;
  return [
    '# Site configuration',
    '',
    'Generated from src/config.ts by `npm run docs`. One YAML file; relative paths are relative to the file; unknown keys are',
    'errors. `postern.yaml` at the top of the repository is a commented example.',
    '',
    '| Key | Type | Default | Meaning |',
    '|---|---|---|---|',
    ...rowsOf(schema, ''),
    '',
  ].join('\n');
}

function rowsOf(schema: Schema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const key = `${prefix}${name}`;
    if (field.properties) return rowsOf(field, `${key}.`);
    const type = field.enum?.join(', ') ?? field.type ?? '';
    const isRequired = schema.required?.includes(name) ?? false;
    const standard =
      field.default === undefined ? (isRequired ? '(required)' : '') : `\`${JSON.stringify(field.default)}\``;
    return [`| \`${key}\` | ${type} | ${standard} | ${field.description ?? limitMeaning(key)} |`];
  });
}

function limitMeaning(key: string): string {
  return key.startsWith('limits.') ? 'See src/core/limits.ts' : '';
}

const pages: Readonly<Record<string, string>> = {
  'docs/errors.md': errorsPage(),
  'docs/configuration.md': configurationPage(),
  'policies/schema.json': await format(JSON.stringify(policyJsonSchema()), {
    parser: 'json',
    printWidth: 110,
  }),
};
const isCheck = process.argv.includes('--check');
for (const [file, text] of Object.entries(pages)) {
  if (!isCheck) writeFileSync(file, text);
  else if (currentText(file) !== text) {
    console.error(`${file} is not up to date: run npm run docs`);
    process.exitCode = 1;
  }
}

function currentText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

// Turns what zod found into problems for people: where it is, what is wrong, what is allowed, and which key was meant.
import type { z } from 'zod';
import type { Problem } from './schema.ts';
import type { Path, YamlSource } from './yaml-source.ts';

/** Per mapping: each look-up of a position walks the mapping. */
const MAX_UNKNOWN_KEYS = 100;

/** All problems of a list of issues, in no particular order. `schema` is the JSON schema that knows the allowed keys. */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  source: YamlSource,
  schema: z.core.JSONSchema.BaseSchema,
): Problem[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys')
      return issue.keys.slice(0, MAX_UNKNOWN_KEYS).map((key) => ({
        ...source.positionOfKey([...issue.path, key]),
        message: unknownKey(key, allowedKeys(schema as SchemaNode, issue.path)),
      }));
    return [{ ...source.positionOf(issue.path), message: describeIssue(issue, source.data) }];
  });
}

function describeIssue(issue: z.core.$ZodIssue, data: unknown): string {
  const value = valueAt(data, issue.path);
  if (value === undefined && issue.code !== 'custom') {
    const expected = issue.code === 'invalid_value' ? `; allowed: ${issue.values.join(', ')}` : '';
    return `key "${String(issue.path.at(-1))}" is missing${expected}`;
  }
  if (issue.code === 'invalid_value') return notAllowed(value, issue.values.map(String));
  if (issue.code === 'invalid_type')
    return `must be ${kindNames[issue.expected] ?? issue.expected}, but is ${kindOf(value)}${hintFor(issue.expected, value)}`;
  if (issue.code === 'too_small')
    return typeof value === 'number' ? `must be at least ${issue.minimum}` : 'must not be empty';
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}`;
  return issue.message;
}

const kindNames: Readonly<Record<string, string>> = {
  object: 'a mapping (key: value)',
  array: 'a list',
  string: 'a text',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
};

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? 'a text' : typeof value === 'number' ? 'a number' : 'true or false';
}

function hintFor(expected: string, value: unknown): string {
  if (expected === 'string' && Array.isArray(value)) return '; put quotes around a text that begins with "["';
  if (expected === 'array' && typeof value === 'string') return '; put [ ] around a single value';
  if (expected === 'string' && value !== null) return '; put quotes around it';
  return '';
}

function notAllowed(value: unknown, allowed: readonly string[]): string {
  const meant = typeof value === 'string' ? nearest(value, allowed) : undefined;
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `is not allowed here${hint}; allowed: ${allowed.join(', ')}`;
}

function unknownKey(key: string, allowed: readonly string[]): string {
  const meant = nearest(key, allowed);
  const name = JSON.stringify(key.slice(0, 64));
  return meant === undefined
    ? `unknown key ${name}; allowed: ${allowed.join(', ')}`
    : `unknown key ${name}; did you mean "${meant}"?`;
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
}

function allowedKeys(schema: SchemaNode, path: Path): readonly string[] {
  let node: SchemaNode | undefined = schema;
  for (const step of path) node = typeof step === 'number' ? node?.items : node?.properties?.[String(step)];
  return Object.keys(node?.properties ?? {});
}

function valueAt(data: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, step) => (value as Record<PropertyKey, unknown> | undefined)?.[step],
    data,
  );
}

/** The allowed word that is meant most probably: same letters, a part of the other, or a few typing errors away. */
function nearest(word: string, allowed: readonly string[]): string | undefined {
  const wanted = plain(word.slice(0, 64));
  const ranked = allowed
    .map((name) => ({ name, distance: distance(wanted, plain(name)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(wanted.length / 3))
    ? best.name
    : allowed.find(
        (name) => wanted.length >= 4 && (wanted.startsWith(plain(name)) || plain(name).startsWith(wanted)),
      );
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** Levenshtein distance; words are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

// YAML text as plain data with positions. Only the part of YAML that a policy needs: one document, YAML 1.2 core, string
// keys; no aliases, anchors, tags or merge keys, so what is read is what is written.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type ParsedNode,
  type YAMLMap,
} from 'yaml';
import type { Position, Problem } from './schema.ts';

export type Path = readonly PropertyKey[];

export interface YamlSource {
  /** Objects without a prototype, arrays, scalars. */
  readonly data: unknown;
  readonly problems: readonly Problem[];
  /** Position of the value at the path, or of the nearest thing above it that is there. */
  positionOf(path: Path): Position;
  /** Position of the key at the path. */
  positionOfKey(path: Path): Position;
}

const MAX_DEPTH = 12;
/** What follows a syntax error is mostly noise. */
const MAX_SYNTAX_PROBLEMS = 10;

/** Never throws: what is wrong is in `problems`. The caller bounds the size of the text. */
export function parseYaml(text: string, file: string): YamlSource {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    strict: true,
    uniqueKeys: true,
    prettyErrors: false,
    logLevel: 'error',
    lineCounter: lines,
  });
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const problems: Problem[] = syntaxProblems(document, position);
  const isReadable = problems.length === 0;
  const report = (offset: number, message: string) => problems.push({ ...position(offset), message });
  const data = isReadable ? toData(document.contents, report, 0) : undefined;
  return {
    data,
    problems,
    positionOf: (path) => position(locate(document.contents, path).value),
    positionOfKey: (path) => position(locate(document.contents, path).key),
  };
}

function syntaxProblems(document: Document, position: (offset: number) => Position): Problem[] {
  const found = [...document.errors, ...document.warnings];
  // Once the nesting exhausts the parser, whatever follows is noise.
  const exhausted = found.find((error) => error.code === 'RESOURCE_EXHAUSTION');
  if (exhausted) return [{ ...position(exhausted.pos[0]), message: 'is nested too deeply' }];
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2')
    return [{ ...position(0), message: 'only YAML 1.2 is read; remove the %YAML line' }];
  return found.slice(0, MAX_SYNTAX_PROBLEMS).map((error) => ({
    ...position(error.pos[0]),
    message:
      error.code === 'DUPLICATE_KEY'
        ? 'key is there twice'
        : error.code === 'MULTIPLE_DOCS'
          ? 'a policy file holds one document; remove the line ---'
          : `is not YAML: ${syntaxReason(error.message)}`,
  }));
}

/**
 * Without the text that the parser quotes. SECURITY: the file may be another one than was meant, a private key for example
 * (test: syntax-not-echoed).
 */
function syntaxReason(message: string): string {
  return message.replace(/(?:: .*|\n.*)$/s, '').slice(0, 100);
}

type Report = (offset: number, message: string) => void;

function toData(node: unknown, report: Report, depth: number): unknown {
  const at = offsetOf(node);
  if (isAlias(node)) return refuse(report, at, 'aliases (*name) are not read; write the value again');
  if (!isScalar(node) && !isMap(node) && !isSeq(node)) return null;
  if (node.anchor !== undefined) report(at, 'anchors (&name) are not read; remove it');
  if (node.tag !== undefined) return refuse(report, at, 'tags (!name) are not read; remove it');
  if (isScalar(node)) return node.value;
  if (depth >= MAX_DEPTH) return refuse(report, at, 'is nested too deeply');
  if (isSeq(node)) return node.items.map((item) => toData(item, report, depth + 1));
  // SECURITY: no prototype, so `__proto__` and `constructor` are keys like any other (test: proto).
  const result = Object.create(null) as Record<string, unknown>;
  for (const pair of node.items) {
    const key = keyOf(pair);
    if (key === undefined) report(offsetOf(pair.key), 'a key must be plain text');
    else if (key === '__proto__') report(offsetOf(pair.key), 'unknown key "__proto__"');
    else result[key] = toData(pair.value, report, depth + 1);
  }
  return result;
}

function refuse(report: Report, at: number, message: string): undefined {
  report(at, message);
  return undefined;
}

/** Offsets of key and value at the path; where the path ends early, those of what is there. */
function locate(root: unknown, path: Path): { key: number; value: number } {
  let node = root;
  let found = { key: offsetOf(root), value: offsetOf(root) };
  for (const step of path) {
    if (isSeq(node) && typeof step === 'number') {
      node = node.items[step];
      found = { key: offsetOf(node), value: offsetOf(node) };
    } else {
      const pair = isMap(node) ? pairOf(node, step) : undefined;
      if (pair === undefined) return found;
      node = pair.value;
      const key = offsetOf(pair.key);
      // An empty value has no place worth showing, and a nested map is best shown by its key.
      found = { key, value: isScalar(node) && node.value !== null ? offsetOf(node) : key };
    }
  }
  return found;
}

function pairOf(map: YAMLMap, key: PropertyKey): Pair | undefined {
  return map.items.find((pair) => keyOf(pair) === key);
}

function keyOf(pair: Pair): string | undefined {
  return isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : undefined;
}

function offsetOf(node: unknown): number {
  return (node as ParsedNode | null | undefined)?.range?.[0] ?? 0;
}

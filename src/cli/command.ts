// How a command of the CLI is described and run: options, help text, output, exit codes.
import { parseArgs, type ParseArgsConfig } from 'node:util';

/** Exit codes, the same for every command. */
export const EXIT = {
  success: 0,
  /** The input was read and is not good: invalid signature, invalid policy, refused message. */
  invalid: 1,
  /** Wrong use of the command line. */
  usage: 2,
  /** No usable key: not encrypted to us, no certificate for the recipient. */
  noKey: 3,
  /** Everything else: missing files, store or network trouble. */
  error: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface Io {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly multiple?: boolean;
  readonly short?: string;
  /** Shown in the help: `<file>`. */
  readonly value?: string;
  readonly describe: string;
}

export interface Invocation {
  readonly options: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;
  readonly positionals: readonly string[];
  readonly io: Io;
  /** `--json`: print one JSON value instead of text. */
  readonly isJson: boolean;
}

export interface Command {
  /** `keys list`. */
  readonly name: string;
  readonly summary: string;
  /** `<file> [message.eml]`. */
  readonly arguments?: string;
  /** How many positional arguments are right: [least, most]. */
  readonly count: readonly [number, number];
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** More help, after the options. */
  readonly notes?: string;
  run(invocation: Invocation): Promise<ExitCode>;
}

/** A mistake on the command line: printed with a pointer to --help, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const COMMON: Readonly<Record<string, OptionSpec>> = {
  json: { type: 'boolean', describe: 'print JSON for machines' },
  help: { type: 'boolean', short: 'h', describe: 'show this help' },
};

export const configOption: OptionSpec = {
  type: 'string',
  short: 'c',
  value: '<file>',
  describe: 'site configuration (default: postern.yaml, or $POSTERN_CONFIG)',
};

/** The site configuration that the command line or the environment names. */
export function configPath({ options, io }: Invocation): string {
  return text(options['config']) ?? io.env['POSTERN_CONFIG'] ?? 'postern.yaml';
}

export function text(value: Invocation['options'][string]): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function texts(value: Invocation['options'][string]): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** Parses the arguments after the command's name and runs it. Throws UsageError. */
export async function runCommand(command: Command, args: readonly string[], io: Io): Promise<ExitCode> {
  const specs = { ...command.options, ...COMMON };
  const parsed = parse(specs, args);
  if (parsed.values['help'] === true) {
    io.stdout.write(helpOf(command));
    return EXIT.success;
  }
  const [least, most] = command.count;
  const given = parsed.positionals.length;
  if (given < least || given > most) {
    throw new UsageError(
      given < least
        ? `missing argument: ${command.arguments ?? ''}`
        : `too many arguments: ${parsed.positionals.slice(most).join(' ')}`,
    );
  }
  return command.run({
    options: parsed.values,
    positionals: parsed.positionals,
    io,
    isJson: parsed.values['json'] === true,
  });
}

function parse(specs: Readonly<Record<string, OptionSpec>>, args: readonly string[]) {
  const options: NonNullable<ParseArgsConfig['options']> = Object.fromEntries(
    Object.entries(specs).map(([name, { type, multiple, short }]) => [
      name,
      { type, ...(multiple ? { multiple } : {}), ...(short ? { short } : {}) },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/\. To specify.*$/s, ''), { cause: error });
  }
}

export function helpOf(command: Command): string {
  const rows = Object.entries({ ...command.options, ...COMMON }).map(([name, spec]) => {
    const flag = `${spec.short ? `-${spec.short}, ` : '    '}--${name}${spec.value ? ` ${spec.value}` : ''}`;
    return `  ${flag.padEnd(30)} ${spec.describe}${spec.multiple ? ' (may be repeated)' : ''}`;
  });
  return [
    `postern ${command.name}${command.arguments ? ` ${command.arguments}` : ''}`,
    '',
    command.summary,
    '',
    'Options:',
    ...rows,
    ...(command.notes ? ['', command.notes.trim()] : []),
    '',
  ].join('\n');
}

/** Rows as aligned columns; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  '),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

export function print(io: Io, lines: string): void {
  io.stdout.write(lines.endsWith('\n') ? lines : `${lines}\n`);
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** Resolves once SIGINT or SIGTERM came. Keeps the process alive until then. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

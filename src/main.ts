#!/usr/bin/env node
// argv -> command -> exit code. What goes wrong is one readable line, never a stack trace.
import { loadCommands, overview } from './cli/commands.ts';
import { EXIT, type ExitCode, type Io, runCommand, UsageError } from './cli/command.ts';
import { asGatewayError } from './core/errors.ts';

/** Runs the command line; resolves with the exit code. */
async function main(args: readonly string[], io: Io): Promise<ExitCode> {
  const [first = ''] = args;
  const { commands, isGroup } = await loadCommands(first);
  const command = commands.find(({ name }) => name.split(' ').every((word, index) => args[index] === word));
  if (!command) {
    const isHelp = first === '' || args.some((argument) => ['--help', '-h', 'help'].includes(argument));
    (isHelp ? io.stdout : io.stderr).write(overview(commands, isGroup || isHelp ? undefined : first));
    return isHelp ? EXIT.success : EXIT.usage;
  }
  try {
    return await runCommand(command, args.slice(command.name.split(' ').length), io);
  } catch (error) {
    if (error instanceof UsageError) {
      io.stderr.write(`postern ${command.name}: ${error.message}\nSee: postern ${command.name} --help\n`);
      return EXIT.usage;
    }
    const { code, message } = asGatewayError(error);
    if (args.includes('--json')) io.stdout.write(`${JSON.stringify({ error: { code, reason: message } })}\n`);
    else io.stderr.write(`postern ${command.name}: ${message}\n`);
    return EXIT.error;
  }
}

const stop = new AbortController();
let signals = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    signals += 1;
    if (signals > 1) process.exit(130);
    stop.abort();
  });
}
// A reader that went away (`postern … | head`) is no error, and a gateway serves on without one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.exit(EXIT.error);
});

process.exitCode = await main(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: stop.signal,
});

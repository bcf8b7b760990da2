// `postern demo`: the gateway at work, for a reader in a terminal.
import { readFile } from 'node:fs/promises';
import { styleText } from 'node:util';
import { asGatewayError, GatewayError } from '../core/errors.ts';
import { type DemoStep, runDemo } from '../lab/demo.ts';
import { type DemoMessage, demoMessage, readDemoMessage } from '../lab/demo-message.ts';
import { type Command, EXIT, type Io, print, printJson } from './command.ts';

export const demo: Command = {
  name: 'demo',
  summary: 'Show the gateway at work against a simulated Exchange Online and Internet; ends by itself.',
  arguments: '[message.eml]',
  count: [0, 1],
  options: {},
  notes: `Everything runs on loopback, with fresh stores and test keys in a temporary folder that is removed at the end. A message
of your own (at most 10 MiB, neither signed nor encrypted) keeps its subject, text and attachments; its addresses are replaced
by those of the demo. openssl and gpg check the result where they are installed. Exit code 0: every step went as it should.`,
  async run({ positionals: [path], io, isJson }) {
    // The terminal was closed: at exit the temporary folders go.
    process.once('SIGHUP', () => process.exit(EXIT.error));
    const message = path === undefined ? await demoMessage() : await readFileMessage(path);
    const steps: DemoStep[] = [];
    for await (const step of runDemo(message)) {
      // Ctrl-C reaches openssl and gpg too: what they say then tells nothing.
      if (io.signal.aborted) break;
      steps.push(step);
      if (!isJson) print(io, describe(step, steps.length, io));
    }
    if (io.signal.aborted) throw new GatewayError('unplanned', 'stopped before the end');
    const isGood = steps.every((step) => step.isGood);
    if (isJson) printJson(io, { isGood, steps });
    else print(io, conclusion(isGood, io));
    return isGood ? EXIT.success : EXIT.error;
  },
};

async function readFileMessage(path: string): Promise<DemoMessage> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    const reasons: Readonly<Record<string, string>> = { ENOENT: 'no such file', EISDIR: 'is a folder' };
    throw new GatewayError('config-invalid', `${path}: ${reasons[error.code ?? ''] ?? error.message}`);
  });
  try {
    return await readDemoMessage(bytes);
  } catch (error) {
    throw new GatewayError(
      'config-invalid',
      `${path} is not a message for the demo: ${asGatewayError(error).message}`,
    );
  }
}

function describe(step: DemoStep, number: number, io: Io): string {
  const heading = style(io, 'bold', `${number}. ${step.title}`);
  const facts = step.facts.map((fact) => `   ${style(io, step.isGood ? 'green' : 'red', '-')} ${fact}`);
  return [
    heading,
    ...facts,
    ...quoted('before', step.before, io),
    ...quoted('after', step.after, io),
    ...(step.isGood ? [] : [style(io, 'red', '   THIS STEP WENT WRONG')]),
    '',
    '',
  ].join('\n');
}

function quoted(label: string, text: string | undefined, io: Io): readonly string[] {
  if (text === undefined) return [];
  return [`   ${label}:`, ...text.split('\n').map((line) => style(io, 'dim', `     | ${line}`))];
}

function conclusion(isGood: boolean, io: Io): string {
  return isGood
    ? style(io, 'green', 'All steps went as they should.')
    : style(io, 'red', 'Something went wrong: see above.');
}

/** Colour on a terminal only, and not where NO_COLOR is set. */
function style(io: Io, format: 'bold' | 'dim' | 'green' | 'red', text: string): string {
  return io.stdout.isTTY === true && !io.env['NO_COLOR']
    ? styleText(format, text, { validateStream: false })
    : text;
}

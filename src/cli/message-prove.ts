// `postern message prove`: whether a message, delivered in a given session, is proven to come from a tenant, and why not.
import { systemClock } from '../core/clock.ts';
import { errorTable } from '../core/errors.ts';
import type { ProofFailure } from '../core/origin.ts';
import { type Proven, proveMessage } from '../workbench-prove.ts';
import {
  type Command,
  configOption,
  configPath,
  EXIT,
  type ExitCode,
  type Invocation,
  print,
  printJson,
  text,
  UsageError,
} from './command.ts';
import { openInput } from './message-files.ts';
import { openProgress } from './progress.ts';

const NOTES = `The session is a JSON file:
  { "address": "40.107.22.1", "sender": "user@contoso.example",
    "tls": { "certificate": { "verified": true, "dns_names": ["mail.protection.outlook.com"] } } }
Without "tls" the client stayed in clear text, without "certificate" it showed none; "sender" is MAIL FROM, "<>" for the null
sender. Tenants, secrets and address ranges are those of the configuration. Exit code 0: proven, 1: not proven.`;

export const messageProve: Command = {
  name: 'message prove',
  summary: 'Tell whether a message is proven to come from a tenant, and what failed.',
  arguments: '[<file>|-]',
  count: [0, 1],
  options: {
    session: { type: 'string', value: '<file>', describe: 'how the message was delivered, as JSON' },
    config: configOption,
  },
  notes: NOTES,
  run,
};

async function run(invocation: Invocation): Promise<ExitCode> {
  const { options, positionals, io, isJson } = invocation;
  const sessionFile = text(options['session']);
  if (sessionFile === undefined) throw new UsageError('--session is needed: see --help for its form');
  const progress = openProgress(io);
  const result = await proveMessage({
    ...openInput(positionals[0], io),
    configFile: configPath(invocation),
    sessionFile,
    at: systemClock.now(),
    signal: io.signal,
    onProgress: progress.add,
  }).finally(progress.close);
  if (isJson) printJson(io, result);
  else print(io, describe(result));
  return result.origin.kind === 'proven' ? EXIT.success : EXIT.invalid;
}

function describe({ origin, tenant }: Proven): string {
  if (origin.kind === 'proven') {
    const observed = origin.observed.map((failure) => `  observed only: ${line(failure)}`);
    return [`proven: tenant ${tenant} (${origin.tenant}), class ${origin.class}`, ...observed].join('\n');
  }
  const { code, enhanced, text: reply } = errorTable[origin.reasons[0].error];
  const reasons = origin.reasons.map((failure) => `  ${line(failure)}`);
  return [`not proven; a relay recipient gets: ${code} ${enhanced} ${reply}`, ...reasons].join('\n');
}

function line({ condition, reason }: ProofFailure): string {
  return `${condition} ${reason}`;
}

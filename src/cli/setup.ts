// `postern setup exchange`: the PowerShell that sets a tenant up for the gateway, checks it, or takes it out again.
import { parseDomain } from '../core/address.ts';
import { systemClock } from '../core/clock.ts';
import { type ScriptPurpose, type SetupTask, writeTenantScript } from '../workbench-setup.ts';
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

const NOTES = `Prints a script to read, save and run: postern setup exchange policies/contoso.yaml > setup.ps1
It changes nothing here, and nothing in the tenant before it is run. The script asks before each step that takes effect on
mail; run again, it leaves alone what is there and goes on where it stopped. docs/operations.md goes through it.
Exit code 1 where the policy file has a problem.`;

export const setupExchange: Command = {
  name: 'setup exchange',
  summary: "Print the PowerShell that sets a policy's tenant up in Exchange Online.",
  arguments: '<policy>',
  count: [1, 1],
  options: {
    topology: {
      type: 'string',
      value: 'inline|loop-back',
      describe: 'must fit the policy; default: loop-back where it has tenant.loop_back',
    },
    pilot: { type: 'string', value: '<domain>', describe: 'only for mail of and for this accepted domain' },
    verify: { type: 'boolean', describe: 'print a script that compares and changes nothing' },
    rollback: { type: 'boolean', describe: 'print the script that takes the set-up out again' },
    'with-secrets': {
      type: 'boolean',
      describe: 'put secret and tokens into the script, which asks otherwise',
    },
    'arc-sealer': { type: 'string', value: '<domain>', describe: 'd= of our ARC seals (default: hostname)' },
    config: configOption,
  },
  notes: NOTES,
  run,
};

async function run(invocation: Invocation): Promise<ExitCode> {
  const { options, positionals, io, isJson } = invocation;
  const purpose = purposeOf(options);
  const withSecrets = options['with-secrets'] === true;
  if (withSecrets && purpose !== 'set-up')
    throw new UsageError('--with-secrets is for the set-up script only');
  const result = await writeTenantScript({
    configFile: configPath(invocation),
    policyFile: positionals[0] ?? '',
    purpose,
    withSecrets,
    ...topologyOf(options),
    ...domainOf(options, 'pilot', 'pilotDomain'),
    ...domainOf(options, 'arc-sealer', 'arcSealer'),
    at: systemClock.now(),
  });
  if ('problems' in result) {
    if (isJson) printJson(io, result);
    else
      for (const { file, line, column, message } of result.problems)
        io.stderr.write(`${file}:${line}:${column}: ${message}\n`);
    return EXIT.invalid;
  }
  if (isJson) printJson(io, { purpose, ...result });
  else print(io, result.script);
  return EXIT.success;
}

function purposeOf(options: Invocation['options']): ScriptPurpose {
  if (options['verify'] === true && options['rollback'] === true)
    throw new UsageError('--verify and --rollback are two scripts: ask for one at a time');
  if (options['rollback'] === true) return 'roll-back';
  return options['verify'] === true ? 'verify' : 'set-up';
}

function topologyOf(options: Invocation['options']): Pick<SetupTask, 'topology'> {
  const topology = text(options['topology']);
  if (topology === undefined) return {};
  if (topology !== 'inline' && topology !== 'loop-back')
    throw new UsageError(`--topology is inline or loop-back, not ${topology}`);
  return { topology };
}

function domainOf<Name extends 'pilotDomain' | 'arcSealer'>(
  options: Invocation['options'],
  option: string,
  name: Name,
): Partial<Record<Name, string>> {
  const written = text(options[option]);
  if (written === undefined) return {};
  const domain = parseDomain(written);
  if (domain === undefined) throw new UsageError(`--${option}: ${written} is not a domain name`);
  return { [name]: domain } as Partial<Record<Name, string>>;
}

// The doctor: looks at an installed gateway, its certificates, its machine and its DNS, and says what is wrong and what to
// do. It reads, asks and connects; it sends no mail and changes nothing, whether the gateway runs or not.
import { stat } from 'node:fs/promises';
import { type Config, readConfig } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import { asGatewayError, GatewayError } from '../core/errors.ts';
import { formatProblems, type PolicySet, readPolicySet } from '../pipeline/policy-set.ts';
import { certificateChecks } from './certificate-checks.ts';
import { type Check, fail, makeCheck, merge, ok, type PlannedCheck, warn } from './check.ts';
import { domainChecks, gatewayNameChecks, ownDkimChecks, tenantNameChecks } from './dns-checks.ts';
import { checkDisk, checkFolder, checkKek, judgeClock } from './machine.ts';
import type { FetchOptions } from './mta-sts.ts';
import { type Names, openNames } from './names.ts';
import { reachChecks, referenceDate } from './reach-checks.ts';
import { checkKeys, checkQueue, checkRecipients, findRunning, judgeRunning } from './stores.ts';
import { readSurroundings, type Surroundings } from './surroundings.ts';

export interface DoctorOptions {
  readonly clock: Clock;
  /** Of each check. Default 20 s. */
  readonly limitMs?: number;
  /** Where policies of MTA-STS are fetched; for tests. */
  readonly sts?: Pick<FetchOptions, 'port' | 'ca'>;
}

const LIMIT_MS = 20_000;

/** Makes all checks that can be made. Never rejects; what cannot be read is a failed check. */
export async function examine(configFile: string, options: DoctorOptions): Promise<readonly Check[]> {
  const limitMs = options.limitMs ?? LIMIT_MS;
  const config = await readConfig(configFile).catch(asGatewayError);
  if (config instanceof GatewayError) return [{ name: 'configuration', ...notReadable(config) }];
  const at = options.clock.now();
  const read = await readPolicies(config, at);
  const first: Check[] = [
    { name: 'configuration', ...ok(config.file) },
    { name: 'policies', ...read.finding },
  ];
  const names = namesOver(config);
  if (names instanceof GatewayError) return [...first, { name: 'resolvers', ...notReadable(names) }];
  const surroundings = await readSurroundings(config, read.set, names);
  const planned = [
    ...certificateChecks(surroundings, at),
    ...gatewayNameChecks(surroundings),
    ...tenantNameChecks(surroundings),
    ...ownDkimChecks(surroundings),
    ...domainChecks(surroundings, options.sts ?? {}),
    ...(await machineChecks(surroundings, options.clock)),
  ];
  return [...first, ...(await Promise.all(planned.map((check) => makeCheck(check, limitMs))))];
}

function notReadable({ message }: GatewayError) {
  return fail(message.split('\n').join('; '), 'Correct it; docs/configuration.md lists every key.');
}

async function readPolicies(config: Config, at: Date) {
  const result = await readPolicySet(config.policyFolder, at).catch(asGatewayError);
  if (result instanceof GatewayError) return { set: undefined, finding: notReadable(result) };
  if ('problems' in result) {
    const shown = formatProblems(result.problems.slice(0, 5)).split('\n').join('; ');
    return {
      set: undefined,
      finding: fail(shown, '`postern policy check` lists every problem. Nothing about tenants was checked.'),
    };
  }
  const { set } = result;
  const warnings = set.all.flatMap((loaded) =>
    loaded.warnings.map(({ file, line, message }) =>
      warn(`${file}:${line}: ${message}`, 'See `postern policy check`.'),
    ),
  );
  return { set, finding: merge([...warnings, ok(namesOf(set))]) };
}

function namesOver({ internet, file }: Config): Names | GatewayError {
  try {
    return openNames(internet.resolvers);
  } catch {
    return new GatewayError(
      'config-invalid',
      `${file}: internet.resolvers are written as address or address:port`,
    );
  }
}

function namesOf(set: PolicySet): string {
  return set.all.map(({ policy }) => policy.tenant.name).join(', ');
}

async function machineChecks(surroundings: Surroundings, clock: Clock): Promise<readonly PlannedCheck[]> {
  const { config } = surroundings;
  const running = await findRunning(config);
  const isRunning = running.kind === 'running';
  const at = clock.now();
  return [
    ...reachChecks(surroundings, isRunning),
    {
      name: 'clock',
      run: async (signal) => {
        const { mtime } = await stat(import.meta.filename);
        const reference = await referenceDate(surroundings, signal);
        return judgeClock(clock.now(), mtime, reference);
      },
    },
    { name: 'data folder', run: () => checkFolder(config) },
    { name: 'disk space', run: () => checkDisk(config) },
    { name: 'kek', run: () => checkKek(config, isRunning) },
    { name: 'gateway', run: () => judgeRunning(running) },
    { name: 'key store', run: () => checkKeys(config, running, at) },
    { name: 'queue', run: () => checkQueue(config, running, at) },
    { name: 'recipients', run: () => checkRecipients(running) },
  ];
}

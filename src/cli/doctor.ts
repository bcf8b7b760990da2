// `postern doctor`: what is wrong with an installed gateway, and what to do about it.
import { systemClock } from '../core/clock.ts';
import type { Check } from '../doctor/check.ts';
import { examine } from '../doctor/doctor.ts';
import { type Command, configOption, configPath, EXIT, print, printJson } from './command.ts';

const NOTES = `Looks at configuration, policies, certificates, DNS records of the gateway and of every domain, the hosts of the
tenants, clock, disk and stores. It sends no mail and changes nothing. Run it as the gateway's user, while the gateway runs or
not. Exit code 1 where a check failed; a warning does not count.`;

export const doctor: Command = {
  name: 'doctor',
  summary: 'Check the installed gateway, its certificates and its DNS, and tell what to do.',
  count: [0, 0],
  options: { config: configOption },
  notes: NOTES,
  async run(invocation) {
    const { io, isJson } = invocation;
    const checks = await examine(configPath(invocation), { clock: systemClock });
    const failed = checks.filter(({ state }) => state === 'fail').length;
    if (isJson) printJson(io, { failed, checks });
    else print(io, describe(checks));
    return failed > 0 ? EXIT.invalid : EXIT.success;
  },
};

function describe(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, state, found, advice }) => [
    `${state.padEnd(7)}  ${name.padEnd(width)}  ${found}`.trimEnd(),
    ...(advice === '' ? [] : [`${' '.repeat(width + 11)}-> ${advice}`]),
  ]);
  const count = (state: Check['state']) => checks.filter((check) => check.state === state).length;
  return [...lines, '', `${checks.length} checks: ${count('fail')} failed, ${count('warn')} warnings`].join(
    '\n',
  );
}

// Which servers are reached: the host of each tenant, and the gateway's own listener.
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import type { Config } from '../config.ts';
import type { PlannedCheck } from './check.ts';
import {
  judgeListener,
  judgeSmarthost,
  judgeTenantLeg,
  listenerTarget,
  noListener,
  reach,
  readGreetingDate,
  type Target,
} from './reach.ts';
import type { Surroundings, TenantSurroundings } from './surroundings.ts';

export function reachChecks(surroundings: Surroundings, isRunning: boolean): readonly PlannedCheck[] {
  const { config, tenants, configuredCa } = surroundings;
  const listener = isRunning ? listenerTarget(config, [...rootCertificates, ...configuredCa]) : undefined;
  return [
    ...tenants.map((tenant) => {
      const target = targetOf(tenant);
      return {
        name: `leg ${tenant.name}`,
        run: async (signal: AbortSignal) =>
          judgeTenantLeg(target, await reach(target, config, signal), config.limits.maxMessageBytes),
      };
    }),
    ...smarthostChecks(config),
    {
      name: 'listener',
      run: async (signal) =>
        listener ? judgeListener(listener, await reach(listener, config, signal)) : noListener,
    },
  ];
}

/** Without the login: a check a day must not look like somebody who tries passwords. */
function smarthostChecks(config: Config): readonly PlannedCheck[] {
  const { smarthost } = config;
  if (!smarthost) return [];
  return [
    {
      name: 'smarthost',
      run: async (signal) => {
        const { host, port, tls, ca } = smarthost;
        const target: Target = {
          host,
          port,
          serverName: host,
          tls: tls === 'required' ? 'verified' : 'opportunistic',
          ...(ca === undefined ? {} : { ca: [await readFile(ca, 'utf8')] }),
        };
        return judgeSmarthost(target, await reach(target, config, signal));
      },
    },
  ];
}

/** The clock of the first tenant host that tells its time. */
export async function referenceDate(
  { config, tenants }: Surroundings,
  signal: AbortSignal,
): Promise<Date | undefined> {
  for (const tenant of tenants) {
    const date = await readGreetingDate(targetOf(tenant), config, signal);
    if (date) return date;
  }
  return undefined;
}

function targetOf({ loaded }: TenantSurroundings): Target {
  const { host, port, serverName } = loaded.policy.tenant.leg;
  const { key, certificate, ca } = loaded.leg;
  return {
    host,
    port,
    serverName,
    identity: { key, cert: certificate },
    ...(ca === undefined ? {} : { ca: [ca] }),
  };
}

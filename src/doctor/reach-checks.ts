// Which servers are reached: the host of each tenant, and the gateway's own listener.
import { rootCertificates } from 'node:tls';
import type { PlannedCheck } from './check.ts';
import {
  judgeListener,
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
    {
      name: 'listener',
      run: async (signal) =>
        listener ? judgeListener(listener, await reach(listener, config, signal)) : noListener,
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

// What the checks look at: configuration, tenants with their topology, roots, and look-ups that several checks share.
import { readFile } from 'node:fs/promises';
import { type Config } from '../config.ts';
import type { LoadedPolicy, PolicySet } from '../pipeline/policy-set.ts';
import type { Topology } from '../tenant/setup-objects.ts';
import type { Lookup, Names } from './names.ts';

export interface TenantSurroundings {
  readonly loaded: LoadedPolicy;
  readonly name: string;
  readonly topology: Topology;
}

export interface Surroundings {
  readonly config: Config;
  readonly tenants: readonly TenantSurroundings[];
  readonly names: Names;
  /** Of the gateway's host name; looked up once. */
  readonly gatewayAddresses: Promise<Lookup<string>>;
  /** PEM of exchange.ca: roots that are trusted beside those of the system. */
  readonly configuredCa: readonly string[];
}

export async function readSurroundings(
  config: Config,
  set: PolicySet | undefined,
  names: Names,
): Promise<Surroundings> {
  // A CA file that cannot be read stops the gateway at its start; here it only trusts nothing.
  const read = await Promise.all(config.exchange.ca.map((file) => readFile(file, 'utf8').catch(() => '')));
  return {
    config,
    names,
    gatewayAddresses: names.addresses(config.hostname),
    configuredCa: read.filter((text) => text !== ''),
    tenants: (set?.all ?? []).map((loaded) => ({
      loaded,
      name: loaded.policy.tenant.name,
      topology: loaded.policy.tenant.loopBack ? 'loop-back' : 'inline',
    })),
  };
}

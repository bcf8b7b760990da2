// The set-up of a tenant in Exchange Online as a script: what the configuration, the policy file and its certificate say is
// brought together here, the script itself is tenant/setup-script's.
import { X509Certificate } from 'node:crypto';
import { readConfig } from './config.ts';
import { GatewayError } from './core/errors.ts';
import type { NonEmpty } from './core/non-empty.ts';
import type { Secret } from './core/secret.ts';
import { type LoadedPolicy, readPolicy } from './pipeline/policy-set.ts';
import type { Problem } from './policy/schema.ts';
import { readNames } from './smtp/client-certificate.ts';
import type { SetupInput, SetupSecrets, Topology } from './tenant/setup-objects.ts';
import type { ScriptStep } from './tenant/setup-parts.ts';
import { rollbackScript, rollbackSteps } from './tenant/setup-rollback.ts';
import { setupScript, setupSteps } from './tenant/setup-script.ts';
import { verifyScript, verifySteps } from './tenant/setup-verify.ts';

export type ScriptPurpose = 'set-up' | 'roll-back' | 'verify';

export interface SetupTask {
  readonly configFile: string;
  readonly policyFile: string;
  readonly purpose: ScriptPurpose;
  /** Default: loop-back where the policy has that section. */
  readonly topology?: Topology;
  readonly pilotDomain?: string;
  /** Default: the gateway's host name. */
  readonly arcSealer?: string;
  /** SECURITY: only then are secrets printed (test: no secret). */
  readonly withSecrets: boolean;
  readonly at: Date;
}

export interface TenantScript {
  readonly tenant: string;
  readonly topology: Topology;
  readonly steps: readonly ScriptStep[];
  readonly script: string;
}

/** Throws GatewayError `config-invalid` where configuration, certificate and topology do not go together. */
export async function writeTenantScript(
  task: SetupTask,
): Promise<TenantScript | { readonly problems: NonEmpty<Problem> }> {
  const config = await readConfig(task.configFile);
  const read = await readPolicy(task.policyFile, task.at);
  if ('problems' in read) return read;
  const { tenant } = read.loaded.policy;
  const topology = topologyOf(read.loaded, task);
  const { pilotDomain } = task;
  if (pilotDomain !== undefined && !tenant.domains.includes(pilotDomain))
    throw invalid(`${pilotDomain} is not one of tenant.domains in ${task.policyFile}`);
  const input: SetupInput = {
    topology,
    tenant: { id: tenant.id, name: tenant.name, domains: tenant.domains },
    gatewayHost: config.hostname,
    certificateName: certificateName(read.loaded, topology),
    exchangeHost: tenant.leg.host,
    arcSealer: task.arcSealer ?? config.hostname,
    ...(pilotDomain === undefined ? {} : { pilotDomain }),
    ...(task.withSecrets ? { secrets: readSecrets(read.loaded) } : {}),
  };
  return { tenant: tenant.name, topology, ...write(task.purpose, input) };
}

/** The one that the gateway works by: with the other's connectors it would refuse the tenant's mail. */
function topologyOf({ policy }: LoadedPolicy, { topology, policyFile }: SetupTask): Topology {
  const declared = policy.tenant.loopBack ? 'loop-back' : 'inline';
  if (topology === undefined || topology === declared) return declared;
  throw invalid(
    topology === 'inline'
      ? `${policyFile} has tenant.loop_back: take it out for the topology inline`
      : `${policyFile} has no tenant.loop_back, by which the gateway marks what it brings back: add it first`,
  );
}

function write(purpose: ScriptPurpose, input: SetupInput): Pick<TenantScript, 'steps' | 'script'> {
  switch (purpose) {
    case 'set-up':
      return { steps: setupSteps(input), script: setupScript(input) };
    case 'roll-back':
      return { steps: rollbackSteps(input), script: rollbackScript(input) };
    case 'verify':
      return { steps: verifySteps(input), script: verifyScript(input) };
  }
}

/** The name by which the tenant knows the gateway. With the loop-back, Exchange Online attributes the connection by it. */
function certificateName({ policy, leg }: LoadedPolicy, topology: Topology): string {
  const { domains, leg: declared } = policy.tenant;
  const names = readNames(new X509Certificate(leg.certificate)).dnsNames.map((name) => name.toLowerCase());
  const name = names.find((one) => !one.includes('*') && (topology === 'inline' || domains.includes(one)));
  if (name !== undefined) return name;
  const found = names.length === 0 ? 'none' : names.join(', ');
  throw invalid(
    topology === 'inline'
      ? `${declared.certificate} has no DNS name without a wildcard (it has: ${found}); each tenant needs a certificate with a name of its own`
      : `${declared.certificate} has no name that is in tenant.domains (it has: ${found}); with the loop-back, the certificate's name has to be an accepted domain of the tenant`,
  );
}

/** What the rules set and match. A secret that the policy does not name is asked for by the script. */
function readSecrets({ secrets, doneTokens }: LoadedPolicy): SetupSecrets {
  return {
    ...shown('tenantAuth', secrets[0]),
    ...shown('inboundToken', doneTokens?.inbound),
    ...shown('outboundToken', doneTokens?.outbound),
  };
}

function shown(name: keyof SetupSecrets, secret: Secret | undefined): SetupSecrets {
  return secret === undefined ? {} : { [name]: secret.reveal().toString('latin1') };
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

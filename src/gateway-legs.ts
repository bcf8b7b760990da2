// The outbound legs of a policy set, from what the site configuration and the policies name.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from './config.ts';
import type { Clock } from './core/clock.ts';
import type { Deliver } from './core/delivery.ts';
import { GatewayError } from './core/errors.ts';
import type { Log } from './core/log.ts';
import { Secret } from './core/secret.ts';
import type { PolicySet } from './pipeline/policy-set.ts';
import { openLegs } from './smtp/legs.ts';

interface LegServices {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
}

/** The legs of a policy set. One tenant's certificate never gets to another leg: see smtp/legs. */
export async function openDelivery(
  { config, clock, log }: LegServices,
  policies: PolicySet,
): Promise<Deliver> {
  const { internet, smarthost } = config;
  const identity = await readIdentity(internet.certificate, internet.key);
  const { deliver } = openLegs({
    hostname: config.hostname,
    tenants: policies.all.map(({ policy: { tenant }, leg }) => ({
      tenant: tenant.id,
      host: tenant.leg.host,
      port: tenant.leg.port,
      serverName: tenant.leg.serverName,
      identity: { key: leg.key, cert: leg.certificate },
      ...(leg.ca === undefined ? {} : { ca: [leg.ca] }),
    })),
    internet: {
      port: internet.port,
      resolvers: internet.resolvers,
      allowPrivateAddresses: internet.allowPrivateAddresses,
      ...(identity ? { identity } : {}),
    },
    ...(smarthost ? { smarthost: await smarthostLeg(smarthost) } : {}),
    clock,
    log,
  });
  return deliver;
}

async function smarthostLeg({ host, port, tls, ca, user, password }: NonNullable<Config['smarthost']>) {
  return {
    host,
    port,
    tls: tls === 'required' ? ('verified' as const) : ('opportunistic' as const),
    ...(ca === undefined ? {} : { ca: [await readText(ca)] }),
    ...(user === undefined || password === undefined
      ? {}
      : { auth: { user, password: await readReference(password) } }),
  };
}

async function readIdentity(certificate: string | undefined, key: string | undefined) {
  if (certificate === undefined && key === undefined) return undefined;
  if (certificate === undefined || key === undefined) {
    throw new GatewayError(
      'config-invalid',
      'internet.certificate and internet.key go together: set both or none',
    );
  }
  return { cert: await readText(certificate), key: await readText(key) };
}

/** A password by reference. */
async function readReference(reference: string): Promise<Secret> {
  const [, kind, place = ''] = /^(env|file|credential):(.+)$/.exec(reference) ?? [];
  if (kind === 'env') {
    const value = process.env[place];
    if (value) return new Secret(value);
    throw new GatewayError('config-invalid', `the environment variable ${place} is not set`);
  }
  const folder = process.env['CREDENTIALS_DIRECTORY'] ?? '';
  return new Secret((await readText(kind === 'credential' ? join(folder, place) : place)).trim());
}

/** Throws GatewayError `config-invalid` that names the file. */
export async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const reason = error.code === 'ENOENT' ? 'no such file' : (error.code ?? error.message);
    throw new GatewayError('config-invalid', `${path}: ${reason}`);
  });
}

// Which certificates are looked at: that of the listener, those of the legs, and whether the legs' are apart.
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { readAnchors } from '../smtp/client-certificate.ts';
import { type LegIdentities, refuseSharedIdentities } from '../smtp/legs.ts';
import { type Identity, type IdentityRole, judgeIdentity } from './certificates.ts';
import { fail, type Finding, ok, type PlannedCheck, reasonOf } from './check.ts';
import type { Surroundings, TenantSurroundings } from './surroundings.ts';

export function certificateChecks(surroundings: Surroundings, at: Date): readonly PlannedCheck[] {
  const { config, tenants } = surroundings;
  const { certificate, key } = config.internet;
  return [
    {
      name: 'listener certificate',
      run: async () => {
        const identity = await readIdentity(config.listener.certificate, config.listener.key);
        return judge(surroundings, identity, { kind: 'listener', hostname: config.hostname }, at);
      },
    },
    ...tenants.map((tenant) => tenantCheck(surroundings, tenant, at)),
    ...(certificate === undefined || key === undefined
      ? []
      : [
          {
            name: 'internet certificate',
            run: async () =>
              judge(surroundings, await readIdentity(certificate, key), { kind: 'internet' }, at),
          },
        ]),
    { name: 'separate certificates', run: () => checkSeparation(surroundings) },
  ];
}

function tenantCheck(surroundings: Surroundings, tenant: TenantSurroundings, at: Date): PlannedCheck {
  const { loaded, name, topology } = tenant;
  const { leg, domains } = loaded.policy.tenant;
  const file = (path: string) => resolve(dirname(loaded.file), path);
  const role: IdentityRole = { kind: 'tenant', isLoopBack: topology === 'loop-back', domains };
  return {
    name: `leg certificate ${name}`,
    run: async () => {
      const identity: Identity = {
        certificateFile: file(leg.certificate),
        keyFile: file(leg.key),
        chain: chainOf(loaded.leg.certificate),
        key: createPrivateKey(loaded.leg.key),
        keyMode: (await stat(file(leg.key))).mode,
      };
      return judge(surroundings, identity, role, at, loaded.leg.ca);
    },
  };
}

function judge(
  { configuredCa }: Surroundings,
  identity: Identity,
  role: IdentityRole,
  at: Date,
  ca?: string,
): readonly Finding[] {
  const anchors = readAnchors(['system', ...configuredCa, ...(ca === undefined ? [] : [ca])]);
  return judgeIdentity(identity, role, anchors, at);
}

/** Throws where a file cannot be read or is not what it should be; the check then says so. */
async function readIdentity(certificateFile: string, keyFile: string): Promise<Identity> {
  return {
    certificateFile,
    keyFile,
    chain: chainOf(await readFile(certificateFile, 'utf8')),
    key: createPrivateKey(await readFile(keyFile)),
    keyMode: (await stat(keyFile)).mode,
  };
}

/** The listener's chain, for who compares records with it; empty where it cannot be read. */
export async function readListenerChain({ config }: Surroundings): Promise<readonly X509Certificate[]> {
  return readFile(config.listener.certificate, 'utf8').then(chainOf, () => []);
}

function chainOf(pem: string): readonly X509Certificate[] {
  return readAnchors([pem]);
}

async function checkSeparation({ config, tenants }: Surroundings): Promise<Finding> {
  const { certificate, key } = config.internet;
  const internet =
    certificate === undefined || key === undefined
      ? {}
      : { identity: { cert: await readFile(certificate, 'utf8'), key: await readFile(key, 'utf8') } };
  const legs: LegIdentities = {
    tenants: tenants.map(({ loaded }) => ({
      tenant: loaded.policy.tenant.id,
      identity: { cert: loaded.leg.certificate, key: loaded.leg.key },
    })),
    internet,
  };
  try {
    refuseSharedIdentities(legs);
    return ok('no two legs share a name');
  } catch (error) {
    return fail(
      reasonOf(error),
      'Each tenant needs a certificate with a name of its own, and none of them belongs on the Internet leg: Exchange Online tells tenants apart by this name.',
    );
  }
}

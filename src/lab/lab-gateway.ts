// A real gateway in a lab, in a folder of its own: configuration, policies and keys as files, as an operator has them.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type Config, readConfig } from '../config.ts';
import { silentLog } from '../core/log.ts';
import { type Gateway, type GatewayEnvironment, initStores, openGateway } from '../gateway.ts';
import { writePersonFiles } from './gateway-files.ts';
import type { HostedTenantName } from './lab-tenants.ts';
import type { Person } from './people.ts';
import type { Lab } from './world.ts';

export interface LabGatewayOptions {
  readonly own?: readonly Person[];
  readonly partners?: readonly Person[];
  /** The outbound section of contoso's policy, YAML at column 0. */
  readonly outbound?: string;
  /** More sections, YAML at column 0. */
  readonly more?: string;
  /** PEM of CAs that the client certificate of Exchange Online may also lead to. */
  readonly exchangeCa?: string;
  /** More of the site configuration, YAML at column 0. */
  readonly config?: string;
  readonly environment?: GatewayEnvironment;
}

export interface LabGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly config: Config;
  readonly folder: string;
  /** Closes the gateway and opens another one on the same folder. */
  restart(): Promise<void>;
}

const OUTBOUND = 'otherwise: { sign: auto, encrypt: when-possible, fallback: plain }';

/** Writes everything, opens the gateway, and points the lab at it. */
export async function openLabGateway(lab: Lab, options: LabGatewayOptions = {}): Promise<LabGateway> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-lab-'));
  try {
    const config = await writeLabGateway(lab, folder, options);
    await initStores(config);
    const environment = { log: silentLog, ...options.environment };
    let gateway = await openGateway(config, environment);
    const connect = () => lab.useGateway({ host: gateway.address, port: gateway.port });
    connect();
    return {
      get gateway() {
        return gateway;
      },
      config,
      folder,
      restart: async () => {
        await gateway[Symbol.asyncDispose]();
        gateway = await openGateway(config, environment);
        connect();
      },
      [Symbol.asyncDispose]: async () => {
        await gateway[Symbol.asyncDispose]();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Writes the files of a gateway without starting it. */
export async function writeLabGateway(
  lab: Lab,
  folder: string,
  options: LabGatewayOptions = {},
): Promise<Config> {
  const files = await lab.writeGatewayFiles(join(folder, 'keys'));
  const at = (path: string) => relative(join(folder, 'policies'), path);
  const entries = async (people: readonly Person[], role: 'own' | 'partners') => {
    const lines: string[] = [];
    for (const person of people) {
      const { smime, pgpPublic, pgpPrivate } = await writePersonFiles(person, join(folder, 'keys'));
      lines.push(
        `    - for: ${person.address}`,
        role === 'own'
          ? `      smime: { certificate: ${at(smime.cert)}, key: ${at(smime.key)} }`
          : `      smime: { certificate: ${at(smime.cert)} }`,
        `      pgp: { key: ${at(role === 'own' ? pgpPrivate : pgpPublic)} }`,
      );
    }
    return lines.length === 0 ? `  ${role}: []` : [`  ${role}:`, ...lines].join('\n');
  };
  const tenantPolicy = (name: HostedTenantName, keys: string, outbound: string, more: string) => {
    const tenant = lab.tenants[name];
    return `version: 1
tenant:
  id: ${tenant.id}
  name: ${name}
  domains: [${tenant.acceptedDomains.map((domain) => domain.name).join(', ')}]
  leg:
    host: ${lab.exchangeHostOf(name)}
    port: ${lab.mxPort}
    certificate: ${at(files.tenants[name].cert)}
    key: ${at(files.tenants[name].key)}
    ca: ${at(files.publicCa)}
${keys}
trust:
  anchors: [${at(files.mailCa)}]
outbound:
${outbound.replace(/^(?=.)/gm, '  ')}
${more}`;
  };
  const keys = `keys:\n${await entries(options.own ?? [], 'own')}\n${await entries(options.partners ?? [], 'partners')}`;
  await mkdir(join(folder, 'policies'), { recursive: true });
  await writeFile(
    join(folder, 'policies/contoso.yaml'),
    tenantPolicy('contoso', keys, options.outbound ?? OUTBOUND, options.more ?? ''),
  );
  await writeFile(join(folder, 'policies/fabrikam.yaml'), tenantPolicy('fabrikam', '', OUTBOUND, ''));
  const moreCa = join(folder, 'keys/more-ca.crt');
  await writeFile(moreCa, options.exchangeCa ?? (await readFile(files.publicCa)));
  const file = join(folder, 'postern.yaml');
  await writeFile(
    file,
    `hostname: gw.example
data_folder: data
policies: policies
kek: file:data/kek
log_level: silent
listener:
  host: 127.0.0.1
  port: 0
  certificate: ${files.listener.cert}
  key: ${files.listener.key}
exchange:
  ca: [${files.publicCa}, ${moreCa}]
internet:
  port: ${lab.mxPort}
  resolvers: ['${lab.dns.address}:${lab.dns.port}']
  allow_private_addresses: true
queue:
  min_free_bytes: 1
${options.config ?? ''}`,
  );
  return readConfig(file);
}

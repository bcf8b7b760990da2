// A real gateway in a lab, in a folder of its own: configuration, policies and keys as files, as an operator has them.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { type Config, readConfig } from '../config.ts';
import { silentLog } from '../core/log.ts';
import { type Gateway, type GatewayEnvironment, initStores, openGateway } from '../gateway.ts';
import type { TlsIdentity } from './certificates.ts';
import { type GatewayFiles, type KeyFiles, writeIdentity, writePersonFiles } from './gateway-files.ts';
import { HOSTED, type HostedTenantName } from './lab-tenants.ts';
import type { Person } from './people.ts';
import { openTemporaryFolder } from './temporary-folder.ts';
import type { Lab } from './world.ts';

export interface LabGatewayOptions {
  readonly own?: readonly Person[];
  readonly partners?: readonly Person[];
  /** More keys of contoso's tenant section, YAML at column 0. */
  readonly tenant?: string;
  /** More keys of contoso's proof section, YAML at column 0; its secret is there already. */
  readonly proof?: string;
  /** The outbound section of contoso's policy, YAML at column 0. */
  readonly outbound?: string;
  /** More sections, YAML at column 0. */
  readonly more?: string;
  /** PEM of CAs that the client certificate of Exchange Online may also lead to. */
  readonly exchangeCa?: string;
  /** Whether the client certificate of Exchange Online must allow clientAuth. Default true. */
  readonly isPurposeChecked?: boolean;
  /** Addresses that Exchange Online must come from; default: any. */
  readonly addressRanges?: readonly string[];
  /** More of the site configuration, YAML at column 0. */
  readonly config?: string;
  /** Client certificates that the legs show in place of the right ones; the Internet leg has none otherwise. */
  readonly shows?: Readonly<Partial<Record<HostedTenantName | 'internet', TlsIdentity>>>;
  /** Policy files by name, in place of those of contoso and fabrikam. */
  readonly policies?: (files: GatewayFiles) => Readonly<Record<string, string>>;
  /** Of the listener. Default: a free one. */
  readonly port?: number;
  /** Written into the configuration, for who starts the gateway from it. Default `silent`. */
  readonly logLevel?: Config['logLevel'];
  readonly environment?: GatewayEnvironment;
  /** Where its files go. Default: a temporary folder, which is removed at the end; this one is not. */
  readonly folder?: string;
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
  await using stack = new AsyncDisposableStack();
  const folder = options.folder ?? stack.use(await openTemporaryFolder('postern-lab-')).path;
  const config = await writeLabGateway(lab, folder, options);
  await initStores(config);
  const environment = { log: silentLog, ...options.environment };
  let gateway = await openGateway(config, environment);
  stack.defer(() => gateway[Symbol.asyncDispose]());
  const connect = () => lab.useGateway({ host: gateway.address, port: gateway.port });
  connect();
  const open = stack.move();
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
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Writes the files of a gateway without starting it. Key and policy files are named relative to each other. */
export async function writeLabGateway(
  lab: Lab,
  folder: string,
  options: LabGatewayOptions = {},
): Promise<Config> {
  const files = await lab.writeGatewayFiles(join(folder, 'keys'));
  const keys = [
    'keys:',
    await keySection(folder, 'own', options.own ?? []),
    await keySection(folder, 'partners', options.partners ?? []),
  ].join('\n');
  await mkdir(join(folder, 'policies'), { recursive: true });
  for (const name of HOSTED)
    await writeFile(join(folder, `keys/${name}.secret`), lab.secrets[name], { mode: 0o600 });
  const { outbound = OUTBOUND, more = '', proof = '', tenant = '' } = options;
  const contoso = { keys, outbound, more, proof, tenant };
  const fabrikam = { keys: '', outbound: OUTBOUND, more: '', proof: '', tenant: '' };
  const policies = options.policies?.(files) ?? {
    contoso: policyText(lab, folder, files, 'contoso', contoso),
    fabrikam: policyText(lab, folder, files, 'fabrikam', fabrikam),
  };
  for (const [name, text] of Object.entries(policies))
    await writeFile(join(folder, `policies/${name}.yaml`), text, { mode: 0o600 });
  const internet = await writeShown(files, folder, options.shows ?? {});
  const moreCa = join(folder, 'keys/more-ca.crt');
  await writeFile(moreCa, options.exchangeCa ?? (await readFile(files.publicCa)));
  if (options.addressRanges)
    await writeFile(join(folder, 'ranges.txt'), `${options.addressRanges.join('\n')}\n`);
  const file = join(folder, 'postern.yaml');
  await writeFile(file, configText(lab, files, moreCa, internet, options));
  return readConfig(file);
}

/** Puts certificates where the legs look for theirs. Gives the files of the Internet leg, if it has any. */
async function writeShown(
  files: GatewayFiles,
  folder: string,
  shows: NonNullable<LabGatewayOptions['shows']>,
): Promise<KeyFiles | undefined> {
  for (const name of HOSTED) {
    const identity = shows[name];
    if (!identity) continue;
    await writeFile(files.tenants[name].cert, identity.cert);
    await writeFile(files.tenants[name].key, identity.key);
  }
  return shows.internet && writeIdentity(join(folder, 'keys'), 'internet', shows.internet);
}

async function keySection(
  folder: string,
  role: 'own' | 'partners',
  people: readonly Person[],
): Promise<string> {
  if (people.length === 0) return `  ${role}: []`;
  const lines = [`  ${role}:`];
  for (const person of people) {
    const { smime, pgpPublic, pgpPrivate } = await writePersonFiles(person, join(folder, 'keys'));
    const key = role === 'own' ? `, key: ${fromPolicies(folder, smime.key)}` : '';
    lines.push(
      `    - for: ${person.address}`,
      `      smime: { certificate: ${fromPolicies(folder, smime.cert)}${key} }`,
      `      pgp: { key: ${fromPolicies(folder, role === 'own' ? pgpPrivate : pgpPublic)} }`,
    );
  }
  return lines.join('\n');
}

function policyText(
  lab: Lab,
  folder: string,
  files: GatewayFiles,
  name: HostedTenantName,
  sections: {
    readonly keys: string;
    readonly outbound: string;
    readonly more: string;
    readonly proof: string;
    readonly tenant: string;
  },
): string {
  const tenant = lab.tenants[name];
  const at = (path: string) => fromPolicies(folder, path);
  return `version: 1
tenant:
  id: ${tenant.id}
  name: ${name}
  domains: [${tenant.acceptedDomains.map((domain) => domain.name).join(', ')}]
${sections.tenant.replace(/^(?=.)/gm, '  ')}
  proof:
    secrets: ['file:../keys/${name}.secret']
${sections.proof.replace(/^(?=.)/gm, '    ')}
  leg:
    host: ${lab.exchangeHostOf(name)}
    port: ${lab.mxPort}
    certificate: ${at(files.tenants[name].cert)}
    key: ${at(files.tenants[name].key)}
    ca: ${at(files.publicCa)}
${sections.keys}
trust:
  anchors: [${at(files.mailCa)}]
outbound:
${sections.outbound.replace(/^(?=.)/gm, '  ')}
${sections.more}`;
}

function configText(
  lab: Lab,
  files: GatewayFiles,
  moreCa: string,
  internet: KeyFiles | undefined,
  options: LabGatewayOptions,
): string {
  return `hostname: gw.example
data_folder: data
policies: policies
kek: file:data/kek
log_level: ${options.logLevel ?? 'silent'}
listener:
  host: 127.0.0.1
  port: ${options.port ?? 0}
  certificate: ${files.listener.cert}
  key: ${files.listener.key}
exchange:
  ca: [${files.publicCa}, ${moreCa}]
  check_purpose: ${options.isPurposeChecked ?? true}
  address_check: ${options.addressRanges ? 'require' : 'off'}
${options.addressRanges ? `  address_ranges: ranges.txt` : ''}
internet:
  port: ${lab.mxPort}
  resolvers: ['${lab.dns.address}:${lab.dns.port}']
  allow_private_addresses: true
${internet ? `  certificate: ${internet.cert}\n  key: ${internet.key}` : ''}
queue:
  min_free_bytes: 1
${options.config ?? ''}`;
}

function fromPolicies(folder: string, path: string): string {
  return relative(join(folder, 'policies'), path);
}

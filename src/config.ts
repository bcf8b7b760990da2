// The site configuration: one YAML file for what belongs to the machine and not to a tenant. Defaults stand beside each
// field; every error comes with file, line and column. Relative paths are relative to the file.
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { parseDomain } from './core/address.ts';
import { GatewayError } from './core/errors.ts';
import { defaultLimits, type Limits } from './core/limits.ts';
import type { LogLevel } from './core/log.ts';
import type { ProofMode } from './core/origin.ts';
import { describeIssues } from './policy/problems.ts';
import { parseYaml } from './policy/yaml-source.ts';
import type { Problem } from './policy/schema.ts';

export interface Config {
  /** The file it was read from, for messages. */
  readonly file: string;
  /** Name of this gateway in EHLO, Received and the X-Postern fields. */
  readonly hostname: string;
  readonly dataFolder: string;
  readonly policyFolder: string;
  /** `file:…`, `env:…` or `credential:…`; see storage/kek. */
  readonly kek: string;
  readonly controlSocket: string;
  readonly logLevel: LogLevel | 'silent';
  readonly listener: {
    readonly host: string;
    readonly port: number;
    readonly certificate: string;
    readonly key: string;
    readonly bareLineEnds: 'normalise' | 'refuse';
  };
  readonly exchange: {
    readonly certificateNames: readonly string[];
    /** CA files for client certificates; empty: the roots of the system. */
    readonly ca: readonly string[];
    readonly isPurposeChecked: boolean;
    readonly addressCheck: ProofMode;
    /** Undefined: the list that comes with Postern. */
    readonly addressRanges?: string;
  };
  readonly internet: {
    readonly port: number;
    /** `address` or `address:port`; empty: the resolvers of the system. */
    readonly resolvers: readonly string[];
    readonly allowPrivateAddresses: boolean;
    readonly certificate?: string;
    readonly key?: string;
  };
  readonly smarthost?: {
    readonly host: string;
    readonly port: number;
    readonly tls: 'required' | 'opportunistic';
    readonly ca?: string;
    readonly user?: string;
    readonly password?: string;
  };
  readonly queue: {
    readonly concurrency: number;
    readonly expireAfterHours: number;
    readonly maxMessages: number;
    readonly minFreeBytes: number;
  };
  /** Where counters are served; undefined: nowhere. */
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly limits: Limits;
}

const hostname = z
  .string()
  .refine(
    (value) => parseDomain(value) !== undefined,
    'is not a host name; write it like gw.contoso.example',
  );
const file = z.string().min(1);
const port = z.int().min(0).max(65535);
const secretReference = z
  .string()
  .regex(/^(env|file|credential):.+$/, 'write env:NAME, file:path or credential:NAME');
const count = z.int().min(1);

const limitFields = Object.fromEntries(
  Object.entries(defaultLimits).map(([name, value]) => [snakeCase(name), count.default(value)]),
);

/** The file's own names. docs/configuration.md is generated from the descriptions. */
export const configDocument = z.strictObject({
  hostname: hostname.describe('Name of this gateway in EHLO, Received and X-Postern fields'),
  data_folder: file.default('data').describe('Key store, queue, holds; owned by one process'),
  policies: file.default('policies').describe('Folder with one policy file (*.yaml) per tenant'),
  kek: secretReference
    .default('file:data/kek')
    .describe(
      'Key that seals the key store and the queue: a file of mode 0600, an environment variable, or a systemd credential',
    ),
  log_level: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('Least severe log record that is written to standard error'),
  listener: z.strictObject({
    host: z.string().default('0.0.0.0').describe('Address to listen on'),
    port: port.default(25).describe('Port to listen on; 0 takes a free one'),
    certificate: file.describe('Server certificate with its chain, PEM'),
    key: file.describe('Private key of the server certificate, PEM'),
    bare_line_ends: z
      .enum(['normalise', 'refuse'])
      .default('normalise')
      .describe('What to do with a bare CR or LF in a body'),
  }),
  exchange: z
    .strictObject({
      certificate_names: z
        .array(z.string().min(1))
        .min(1)
        .default(['mail.protection.outlook.com'])
        .describe('Names that the client certificate of Exchange Online may have'),
      ca: z
        .array(file)
        .default([])
        .describe('CA files for that certificate; default: the roots of the system'),
      check_purpose: z
        .boolean()
        .default(true)
        .describe('Whether that certificate must be good for client authentication'),
      address_check: z
        .enum(['off', 'observe', 'require'])
        .default('observe')
        .describe('Whether Exchange Online must connect from its address ranges; observe only logs'),
      address_ranges: file
        .optional()
        .describe(
          'List of these ranges, one per line, read again by `keys apply`; default: the worldwide ones, built in',
        ),
    })
    .prefault({}),
  internet: z
    .strictObject({
      port: port.default(25).describe('Port of the mail exchangers'),
      resolvers: z
        .array(z.string().min(1))
        .default([])
        .describe('DNS resolvers as address or address:port; default: those of the system'),
      allow_private_addresses: z
        .boolean()
        .default(false)
        .describe(
          'Whether an MX, or a server that a certificate names, may be a loopback or private address (test networks only)',
        ),
      certificate: file
        .optional()
        .describe("Client certificate towards the Internet: none, or one that is no tenant's"),
      key: file.optional().describe('Private key of that certificate'),
    })
    .prefault({}),
  smarthost: z
    .strictObject({
      host: z.string().min(1).describe('Host that takes outbound mail'),
      port: port.default(587).describe('Its port'),
      tls: z
        .enum(['required', 'opportunistic'])
        .default('required')
        .describe('Whether TLS with a verified name is demanded'),
      ca: file.optional().describe('CA file for its certificate; default: the roots of the system'),
      user: z.string().optional().describe('User name for SMTP AUTH'),
      password: secretReference.optional().describe('Password for SMTP AUTH'),
    })
    .optional(),
  queue: z
    .strictObject({
      concurrency: count.default(20).describe('Deliveries at a time'),
      expire_after_hours: count.default(48).describe('Age at which undelivered mail becomes a DSN'),
      max_messages: count.default(100_000).describe('Queued messages above which new mail gets 452'),
      min_free_bytes: count.default(536_870_912).describe('Free disk space below which new mail gets 452'),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      host: z
        .string()
        .default('127.0.0.1')
        .describe('Address to listen on: whoever reaches it can read them'),
      port: port.describe('Port to listen on'),
    })
    .describe('Counters for Prometheus, at /metrics; without it none are served')
    .optional(),
  limits: z.strictObject(limitFields).prefault({}),
});

/** Reads and checks the configuration. Throws GatewayError `config-invalid` that lists every problem of the file. */
export async function readConfig(path: string): Promise<Config> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const reason =
      error.code === 'ENOENT'
        ? 'no such file; name one with --config or $POSTERN_CONFIG'
        : (error.code ?? error.message);
    throw new GatewayError('config-invalid', `${path}: ${reason}`);
  });
  const source = parseYaml(text, path);
  const parsed = source.problems.length > 0 ? undefined : configDocument.safeParse(source.data);
  if (parsed?.success) return toConfig(parsed.data, path);
  const problems: readonly Problem[] = [
    ...source.problems,
    ...(parsed
      ? describeIssues(parsed.error.issues, source, z.toJSONSchema(configDocument, { io: 'input' }))
      : []),
  ];
  const lines = problems.map(
    ({ file: name, line, column, message }) => `${name}:${line}:${column}: ${message}`,
  );
  throw new GatewayError('config-invalid', lines.join('\n'));
}

function toConfig(document: z.output<typeof configDocument>, path: string): Config {
  const folder = dirname(resolve(path));
  const at = (name: string) => resolve(folder, name);
  const { listener, exchange, internet, smarthost, queue } = document;
  const dataFolder = at(document.data_folder);
  return {
    file: path,
    hostname: parseDomain(document.hostname) ?? document.hostname,
    dataFolder,
    policyFolder: at(document.policies),
    kek: resolveReference(document.kek, at),
    controlSocket: join(dataFolder, 'control.sock'),
    logLevel: document.log_level,
    listener: {
      host: listener.host,
      port: listener.port,
      certificate: at(listener.certificate),
      key: at(listener.key),
      bareLineEnds: listener.bare_line_ends,
    },
    exchange: {
      certificateNames: exchange.certificate_names,
      ca: exchange.ca.map(at),
      isPurposeChecked: exchange.check_purpose,
      addressCheck: exchange.address_check,
      ...(exchange.address_ranges === undefined ? {} : { addressRanges: at(exchange.address_ranges) }),
    },
    internet: {
      port: internet.port,
      resolvers: internet.resolvers,
      allowPrivateAddresses: internet.allow_private_addresses,
      ...(internet.certificate === undefined ? {} : { certificate: at(internet.certificate) }),
      ...(internet.key === undefined ? {} : { key: at(internet.key) }),
    },
    ...(smarthost ? { smarthost: toSmarthost(smarthost, at) } : {}),
    queue: {
      concurrency: queue.concurrency,
      expireAfterHours: queue.expire_after_hours,
      maxMessages: queue.max_messages,
      minFreeBytes: queue.min_free_bytes,
    },
    ...(document.metrics ? { metrics: document.metrics } : {}),
    limits: Object.fromEntries(
      Object.keys(defaultLimits).map((name) => [name, document.limits[snakeCase(name)]]),
    ) as unknown as Limits,
  };
}

function toSmarthost(
  { ca, user, password, ...rest }: NonNullable<z.output<typeof configDocument>['smarthost']>,
  at: (name: string) => string,
): NonNullable<Config['smarthost']> {
  return {
    ...rest,
    ...(ca === undefined ? {} : { ca: at(ca) }),
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password: resolveReference(password, at) }),
  };
}

/** `file:` references are relative to the configuration file, like every other path in it. */
function resolveReference(reference: string, at: (name: string) => string): string {
  return reference.startsWith('file:') ? `file:${at(reference.slice('file:'.length))}` : reference;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

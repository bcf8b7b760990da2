// A real OpenLDAP server for tests: configuration, data and certificates in a folder of its own, on loopback ports, with
// the mail attributes of Active Directory. Ended and removed with the object.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTestCa } from '../../src/lab/ca.ts';

export interface SlapdEntry {
  readonly name: string;
  readonly proxyAddresses?: readonly string[];
  readonly mail?: string;
  readonly isHidden?: boolean;
}

export interface SlapdOptions {
  /** Address in its certificate. Default: its own. */
  readonly certifiedAddress?: string;
  /** More lines of the configuration, of the database. */
  readonly settings?: string;
}

export interface Slapd extends AsyncDisposable {
  readonly ldapUrl: string;
  readonly ldapsUrl: string;
  /** PEM of the CA that its certificate leads to. */
  readonly ca: string;
  readonly base: string;
  readonly bindDn: string;
  readonly password: string;
  /** Ends the server; its ports are closed once this resolves. */
  stop(): Promise<void>;
  start(): Promise<void>;
  add(entry: SlapdEntry): void;
  remove(name: string): void;
}

const PORT = 3890;
const SECURE_PORT = 6360;
const START_TIMEOUT_MS = 15_000;
const BASE = 'dc=contoso,dc=example';
const READER = `cn=reader,${BASE}`;
const PASSWORD = 'canary-bind-password';
const ADMIN = ['-x', '-D', `cn=admin,${BASE}`, '-w', 'admin'];

export async function openSlapd(entries: readonly SlapdEntry[], options: SlapdOptions = {}): Promise<Slapd> {
  const folder = mkdtempSync(join(tmpdir(), 'slapd-'));
  // An address of its own: nobody takes its ports between a stop and a start.
  const host = ['127', ...[0, 0, 0].map(() => String(randomInt(1, 255)))].join('.');
  const ca = await writeFiles(folder, entries, { certifiedAddress: host, ...options });
  const ldapUrl = `ldap://${host}:${PORT}`;
  const ldapsUrl = `ldaps://${host}:${SECURE_PORT}`;
  const tool = (name: string, args: readonly string[], input: string): void => {
    execFileSync(name, [...ADMIN, '-H', ldapUrl, ...args], { input, stdio: ['pipe', 'ignore', 'pipe'] });
  };
  let child: ChildProcess | undefined;
  const slapd: Slapd = {
    ldapUrl,
    ldapsUrl,
    ca,
    base: BASE,
    bindDn: READER,
    password: PASSWORD,
    start: async () => {
      child = await run(folder, host, `${ldapUrl} ${ldapsUrl}`);
    },
    stop: async () => {
      if (!child || child.exitCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
    add: (entry) => tool('ldapadd', [], ldifOf(entry)),
    remove: (name) => tool('ldapdelete', [], `cn=${name},${BASE}\n`),
    [Symbol.asyncDispose]: async () => {
      await slapd.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await slapd.start();
  return slapd;
}

/** Resolves once slapd takes connections on both ports. */
async function run(folder: string, host: string, urls: string): Promise<ChildProcess> {
  const child = spawn('slapd', ['-d', '0', '-f', join(folder, 'slapd.conf'), '-h', urls], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await once(child, 'spawn');
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (const port of [PORT, SECURE_PORT])
    while (!(await isOpen(host, port))) {
      if (child.exitCode !== null) throw new Error(`slapd ended with ${child.exitCode}`);
      if (Date.now() > deadline) throw new Error(`slapd does not answer on port ${port}`);
      await sleep(20);
    }
  return child;
}

async function isOpen(host: string, port: number): Promise<boolean> {
  const socket = connect({ port, host });
  const result = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return result;
}

async function writeFiles(
  folder: string,
  entries: readonly SlapdEntry[],
  { settings = '', certifiedAddress = '' }: SlapdOptions,
): Promise<string> {
  const ca = await createTestCa('slapd');
  const server = await ca.issue({
    commonName: 'slapd',
    ipAddresses: [certifiedAddress],
    extendedKeyUsage: ['serverAuth'],
    keyType: 'p256',
  });
  const write = (name: string, text: string): void =>
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  write('ca.crt', ca.certificatePem);
  write('server.crt', server.certificatePem);
  write('server.key', server.keyPem);
  mkdirSync(join(folder, 'data'));
  write('slapd.conf', configuration(folder, settings));
  write('data.ldif', [DOMAIN, ...entries.map(ldifOf)].join('\n'));
  execFileSync('slapadd', ['-q', '-f', join(folder, 'slapd.conf'), '-l', join(folder, 'data.ldif')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  return ca.certificatePem;
}

function configuration(folder: string, settings: string): string {
  return `${['core', 'cosine', 'inetorgperson'].map((name) => `include /etc/ldap/schema/${name}.schema`).join('\n')}
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch
  SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.2.840.113556.1.2.7000.102.73 NAME 'msExchHideFromAddressLists' EQUALITY booleanMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9999 NAME 'mailRecipient' SUP top STRUCTURAL
  MUST cn MAY ( proxyAddresses $ mail $ msExchHideFromAddressLists ) )
pidfile ${join(folder, 'pid')}
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCACertificateFile ${join(folder, 'ca.crt')}
TLSCertificateFile ${join(folder, 'server.crt')}
TLSCertificateKeyFile ${join(folder, 'server.key')}
database mdb
suffix "${BASE}"
rootdn "cn=admin,${BASE}"
rootpw admin
directory ${join(folder, 'data')}
access to attrs=userPassword by anonymous auth
access to * by dn.exact="${READER}" read by anonymous auth
${settings}
`;
}

const DOMAIN = `dn: ${BASE}
objectClass: dcObject
objectClass: organization
dc: contoso
o: Contoso

dn: ${READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ${PASSWORD}
`;

function ldifOf({ name, proxyAddresses = [], mail, isHidden = false }: SlapdEntry): string {
  return [
    `dn: cn=${name},${BASE}`,
    'objectClass: mailRecipient',
    `cn: ${name}`,
    ...proxyAddresses.map((address) => `proxyAddresses: ${address}`),
    ...(mail === undefined ? [] : [`mail: ${mail}`]),
    ...(isHidden ? ['msExchHideFromAddressLists: TRUE'] : []),
    '',
  ].join('\n');
}

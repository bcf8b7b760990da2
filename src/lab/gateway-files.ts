// Key and certificate files for a gateway that runs against the lab, and for the people whose keys it holds.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsIdentity } from './certificates.ts';
import type { LabIdentities } from './lab-identities.ts';
import type { HostedTenantName } from './lab-tenants.ts';
import type { Person } from './people.ts';

/** Absolute or relative as the folder was given. */
export interface KeyFiles {
  readonly key: string;
  /** Leaf first, then the intermediate. */
  readonly cert: string;
}

export interface GatewayFiles {
  readonly listener: KeyFiles;
  /** Roots that Exchange's and the Internet's certificates lead to. */
  readonly publicCa: string;
  readonly tenants: Readonly<Record<HostedTenantName, KeyFiles>>;
  /** Root of the people's S/MIME certificates. */
  readonly mailCa: string;
}

export interface PersonFiles {
  readonly smime: KeyFiles;
  readonly pgpPublic: string;
  readonly pgpPrivate: string;
}

const PRIVATE = 0o600;

/** Writes the files; the folder is made where it is missing. Keys get mode 0600. */
export async function writeGatewayFiles(
  folder: string,
  identities: LabIdentities,
  publicRootPem: string,
  mailRootPem: string,
): Promise<GatewayFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { gatewayServer, tenantClient } = identities;
  return {
    listener: await writeIdentity(folder, 'gateway', gatewayServer),
    publicCa: await write(folder, 'public-ca.crt', publicRootPem),
    tenants: {
      contoso: await writeIdentity(folder, 'tenant-contoso', tenantClient.contoso),
      fabrikam: await writeIdentity(folder, 'tenant-fabrikam', tenantClient.fabrikam),
    },
    mailCa: await write(folder, 'mail-ca.crt', mailRootPem),
  };
}

/** Writes a person's keys as `<address>.*`. */
export async function writePersonFiles(person: Person, folder: string): Promise<PersonFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { smime, pgp, address } = person;
  return {
    smime: await writeIdentity(folder, address, {
      key: smime.keyPem,
      cert: smime.certificatePem + smime.chainPem,
    }),
    pgpPublic: await write(folder, `${address}.pub.asc`, pgp.publicKey),
    pgpPrivate: await write(folder, `${address}.sec.asc`, pgp.privateKey),
  };
}

/** Writes `<name>.key` and `<name>.crt`. */
export async function writeIdentity(
  folder: string,
  name: string,
  identity: Pick<TlsIdentity, 'key' | 'cert'>,
): Promise<KeyFiles> {
  return {
    key: await write(folder, `${name}.key`, identity.key),
    cert: await write(folder, `${name}.crt`, identity.cert),
  };
}

async function write(folder: string, name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text, { mode: PRIVATE });
  return file;
}

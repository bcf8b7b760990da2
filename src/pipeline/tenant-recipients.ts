// The recipients section of a policy as sources that can be loaded: what it refers to is read and checked here, so that a
// mistake is an error of the policy file and not a warning at night.
import { resolve } from 'node:path';
import { GatewayError } from '../core/errors.ts';
import type { TenantId } from '../core/origin.ts';
import type { Secret } from '../core/secret.ts';
import { readKeyFile, readPassword } from '../keys/key-files.ts';
import type { FileEntry, PolicyGraph, PolicyLdap, PolicyRecipients, Problem } from '../policy/schema.ts';
import { parsePemCertificates } from '../smime/certificate.ts';
import { csvSource, readRecipientsCsv } from '../tenant/recipients/csv.ts';
import type { DirectorySettings } from '../tenant/recipients/directory.ts';
import { graphSource } from '../tenant/recipients/graph.ts';
import { isLdapFilter, ldapSource } from '../tenant/recipients/ldap.ts';
import { listSource, type RecipientSource } from '../tenant/recipients/source.ts';

interface Place {
  readonly tenant: TenantId;
  /** The policy file's folder. */
  readonly folder: string;
}

/** Reads secrets and files of the section. Nothing is asked of a server. SECURITY: no problem shows a secret. */
export async function readTenantRecipients(
  recipients: PolicyRecipients | undefined,
  place: Place,
): Promise<{ readonly directory?: DirectorySettings; readonly problems: readonly Problem[] }> {
  if (!recipients) return { problems: [] };
  const { list, csv, ldap, graph } = recipients;
  const problems: Problem[] = [];
  const sources = [
    list && listSource(list),
    csv && (await readCsv(csv, place, problems)),
    ldap && (await readLdap(ldap, place, problems)),
    graph && (await readGraph(graph, place, problems)),
  ].filter((source) => source !== undefined);
  if (problems.length > 0) return { problems };
  return {
    problems,
    directory: {
      sources,
      catchAll: recipients.catchAll,
      hasPlusAddressing: recipients.hasPlusAddressing,
      refreshMs: recipients.refreshMinutes * 60_000,
      staleMs: recipients.staleAfterHours * 3_600_000,
    },
  };
}

async function readCsv(entry: FileEntry, { folder }: Place, problems: Problem[]): Promise<RecipientSource> {
  const path = resolve(folder, entry.path);
  const result = await attempt('csv', entry, problems, () => readRecipientsCsv(path));
  if (result && 'problems' in result)
    for (const { line, message } of result.problems) problems.push({ file: path, line, column: 1, message });
  return csvSource(path);
}

async function readLdap(
  ldap: PolicyLdap,
  { folder }: Place,
  problems: Problem[],
): Promise<RecipientSource | undefined> {
  const { ca: caEntry, password: passwordEntry, position, ...rest } = ldap;
  if (!isLdapFilter(ldap.filter))
    problems.push({ ...position, message: 'is not an LDAP search filter (RFC 4515)' });
  const password = await readSecret('password', passwordEntry, folder, problems);
  const ca = caEntry && (await attempt('ca', caEntry, problems, () => readCa(folder, caEntry.path)));
  if (!password) return undefined;
  return ldapSource({ ...rest, password, ...(ca === undefined ? {} : { ca }) });
}

async function readGraph(
  { clientId, secret: secretEntry, endpoint, login }: PolicyGraph,
  { tenant, folder }: Place,
  problems: Problem[],
): Promise<RecipientSource | undefined> {
  const secret = await readSecret('secret', secretEntry, folder, problems);
  return secret && graphSource({ tenant, clientId, secret, endpoint, login });
}

/** SECURITY: an LDAP server takes an empty password for an anonymous bind, and says yes (test: empty password). */
async function readSecret(
  what: string,
  entry: FileEntry,
  folder: string,
  problems: Problem[],
): Promise<Secret | undefined> {
  const secret = await attempt(what, entry, problems, () => readPassword(entry.path, folder, process.env));
  if (secret?.reveal().length !== 0) return secret;
  problems.push({ ...entry.position, message: `recipients ${what}: is empty` });
  return undefined;
}

async function readCa(folder: string, path: string): Promise<string> {
  const { bytes } = await readKeyFile(folder, path);
  const text = bytes.toString('utf8');
  parsePemCertificates(text);
  return text;
}

async function attempt<T>(
  what: string,
  { position }: FileEntry,
  problems: Problem[],
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const reason = error instanceof GatewayError ? error.message : 'cannot be read';
    problems.push({
      ...position,
      message: `recipients ${what}: ${reason.replace(' with the password', '')}`,
    });
    return undefined;
  }
}

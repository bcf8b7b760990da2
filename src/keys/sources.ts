// Reads the keys that a policy file declares: files, passwords, and whether each key is what the entry says. Every
// problem is reported with the place of its entry, all at once; nothing is written here.
import { parseAddress } from '../core/address.ts';
import { GatewayError } from '../core/errors.ts';
import type { KeyRecord, KeyRole } from '../core/key.ts';
import type { TenantId } from '../core/origin.ts';
import type { FileEntry, KeyEntry, Problem } from '../policy/schema.ts';
import type { Certificate } from '../smime/certificate.ts';
import { type FoundKey, readKeyFile } from './key-files.ts';
import { readPgpEntry } from './pgp-entry.ts';
import type { DeclaredKey } from './plan.ts';
import { makeKeyId } from './records.ts';
import { parseCertificates, readSmimeEntry } from './smime-entry.ts';

export interface SourceOptions {
  readonly tenant: TenantId;
  /** The policy file's folder: file names are relative to it. */
  readonly folder: string;
  /** For the warnings about keys that are not valid (yet, or any more). */
  readonly at: Date;
  /** Whether emailAddress in the subject of a certificate counts beside subjectAltName. */
  readonly countsSubjectAddresses?: boolean;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface DeclaredKeys {
  readonly declared: readonly DeclaredKey[];
  /** With any problem the declared keys must not be applied. */
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Reads all declared keys. Never throws for what is wrong with an entry; each is a problem of its own. */
export async function readDeclaredKeys(
  keys: { readonly own: readonly KeyEntry[]; readonly partners: readonly KeyEntry[] },
  options: SourceOptions,
): Promise<DeclaredKeys> {
  const declared = new Map<string, DeclaredKey>();
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  const entries = [
    ...keys.own.map((entry) => ({ entry, role: 'own' as const })),
    ...keys.partners.map((entry) => ({ entry, role: 'partner' as const })),
  ];
  for (const { entry, role } of entries) {
    const report = (list: Problem[], message: string): void => {
      list.push({ ...entry.position, message: `${entry.match}: ${message}` });
    };
    for (const result of await readEntry(entry, role, options)) {
      if (typeof result === 'string') {
        report(problems, result);
        continue;
      }
      const problem = addressProblem(entry, result, options);
      const key = toDeclared(entry, role, result, options.tenant);
      const earlier = key && declared.get(key.record.id);
      if (problem !== undefined) report(problems, problem);
      else if (!key) report(problems, 'fingerprint of the key is not supported');
      else if (earlier && earlier.record.role !== role)
        report(problems, 'the same key is declared as an own key and as a partner key');
      else declared.set(key.record.id, merge(earlier, key));
      for (const warning of [
        ...result.warnings,
        ...domainWarnings(entry, result),
        ...validityWarnings(result, options.at),
      ])
        report(warnings, warning);
    }
  }
  return { declared: [...declared.values()], problems, warnings };
}

/** Reads the trusted roots, or intermediates, that a policy file names: PEM (several in a file) or DER. */
export async function readTrustAnchors(
  entries: readonly FileEntry[],
  folder: string,
): Promise<{ readonly anchors: readonly Certificate[]; readonly problems: readonly Problem[] }> {
  const anchors: Certificate[] = [];
  const problems: Problem[] = [];
  for (const { path, position } of entries) {
    try {
      const { bytes } = await readKeyFile(folder, path);
      anchors.push(...parseCertificates(bytes));
    } catch (error) {
      problems.push({ ...position, message: `${path}: ${reasonOf(error)}` });
    }
  }
  return { anchors, problems };
}

/** The keys of an entry, or the text of each problem. */
async function readEntry(
  entry: KeyEntry,
  role: KeyRole,
  options: SourceOptions,
): Promise<readonly (FoundKey | string)[]> {
  const access = { folder: options.folder, environment: options.environment ?? process.env };
  const { smime, pgp } = entry;
  const results: (FoundKey | string)[] = [];
  try {
    if (smime) results.push(...(await readSmimeEntry(smime, role, access)));
  } catch (error) {
    results.push(reasonOf(error));
  }
  try {
    if (pgp) results.push(await readPgpEntry(pgp, role, access));
  } catch (error) {
    results.push(reasonOf(error));
  }
  return results.length > 0 ? results : ['neither smime nor pgp is given'];
}

/** SECURITY: what is not a failure of ours may hold anything, key material too; its text stays out. */
function reasonOf(error: unknown): string {
  return error instanceof GatewayError ? error.message : 'the key cannot be read';
}

/** An entry for an address needs that address in the key; an entry for a domain is the operator's decision. */
function addressProblem(
  { match }: KeyEntry,
  found: FoundKey,
  { countsSubjectAddresses }: SourceOptions,
): string | undefined {
  const address = parseAddress(match);
  if (!address || found.addresses.includes(address.key)) return undefined;
  if (found.subjectAddresses?.includes(address.key)) {
    return countsSubjectAddresses
      ? undefined
      : 'the smime key holds this address in its subject only, which counts with trust.subject_addresses: true';
  }
  const held = found.addresses.length > 0 ? found.addresses.slice(0, 10).join(', ') : 'no address';
  return `the ${found.format} key does not hold this address; it holds ${held}`;
}

/** A key of another organisation for a whole domain is most likely a mix-up, and everybody there would get mail to it. */
function domainWarnings({ match }: KeyEntry, { format, addresses }: FoundKey): readonly string[] {
  if (match.includes('@') || addresses.length === 0) return [];
  if (addresses.some((address) => address.endsWith(`@${match}`))) return [];
  return [`the ${format} key holds no address of this domain; it holds ${addresses.slice(0, 10).join(', ')}`];
}

function validityWarnings({ format, notBefore, notAfter }: FoundKey, at: Date): readonly string[] {
  if (at < notBefore) return [`the ${format} key is not valid before ${notBefore.toISOString()}`];
  if (notAfter && at > notAfter)
    return [`the ${format} key expired on ${notAfter.toISOString()} and serves for decryption only`];
  return [];
}

function toDeclared(
  entry: KeyEntry,
  role: KeyRole,
  found: FoundKey,
  tenant: TenantId,
): DeclaredKey | undefined {
  const id = makeKeyId(found.format, found.fingerprint);
  if (!id) return undefined;
  const record: KeyRecord = {
    id,
    tenant,
    format: found.format,
    role,
    addresses: [parseAddress(entry.match)?.key ?? `@${entry.match}`],
    material: found.material,
    hasPrivateKey: found.privateMaterial !== undefined,
    notBefore: found.notBefore,
    ...(found.notAfter && { notAfter: found.notAfter }),
    source: 'policy',
  };
  return { record, ...(found.privateMaterial && { privateMaterial: found.privateMaterial }) };
}

/** One key may be declared for several addresses, in an entry each. */
function merge(earlier: DeclaredKey | undefined, key: DeclaredKey): DeclaredKey {
  if (!earlier) return key;
  const [first, ...rest] = earlier.record.addresses;
  const added = key.record.addresses.filter((address) => !earlier.record.addresses.includes(address));
  return { ...earlier, record: { ...earlier.record, addresses: [first, ...rest, ...added] } };
}

// The policies in force: every policy file of the folder, with the files it names read and checked. A set is immutable;
// a reload makes a new one, and a set with a problem never replaces a good one.
import { readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { DkimSigner } from '../authentication/dkim-sign.ts';
import { GatewayError } from '../core/errors.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import type { TenantId } from '../core/origin.ts';
import type { Secret } from '../core/secret.ts';
import { type KeyFile, readKeyFile, readPassword } from '../keys/key-files.ts';
import type { DeclaredKey } from '../keys/plan.ts';
import { readDeclaredKeys, readTrustAnchors } from '../keys/sources.ts';
import { parsePolicy, policyVersion, type Problem } from '../policy/parse.ts';
import type { Policy } from '../policy/schema.ts';
import { type Certificate, parsePemCertificates } from '../smime/certificate.ts';
import { isKeyOf, readPrivateKey } from '../smime/private-key.ts';
import type { DoneTokens } from '../tenant/done-marker.ts';
import type { OnPremises } from '../tenant/on-premises.ts';
import { openRegistry, type Tenant, type TenantRegistry } from '../tenant/registry.ts';
import { readDkimSigners } from './dkim-keys.ts';
import { readOnPremises } from './on-premises-servers.ts';
import type { DirectorySettings } from '../tenant/recipients/directory.ts';
import { readTenantRecipients } from './tenant-recipients.ts';
import { readDoneTokens, readTenantSecrets, sharedSecrets } from './tenant-secrets.ts';

/** What the tenant leg shows and trusts, as PEM. */
export interface LegMaterial {
  readonly certificate: string;
  /** PKCS#8, not encrypted. */
  readonly key: string;
  /** Undefined: the CAs of the system. */
  readonly ca?: string;
}

export interface LoadedPolicy {
  readonly file: string;
  readonly policy: Policy;
  /** Names exactly this text of the policy file in queue and log. */
  readonly version: string;
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly leg: LegMaterial;
  /** Values of X-Postern-Tenant-Auth that prove the tenant. */
  readonly secrets: readonly Secret[];
  /** What the rules of a loop-back tenant look for. */
  readonly doneTokens?: DoneTokens;
  readonly onPremises?: OnPremises;
  /** Undefined: every address of the domains exists. */
  readonly recipients?: DirectorySettings;
  readonly dkimSigners: readonly DkimSigner[];
  readonly keys: readonly DeclaredKey[];
  /** Keys that expired, files that others can read: the policy works all the same. */
  readonly warnings: readonly Problem[];
}

export interface PolicySet {
  readonly registry: TenantRegistry;
  readonly all: readonly LoadedPolicy[];
  of(tenant: TenantId): LoadedPolicy | undefined;
}

export type PolicySetResult = { readonly set: PolicySet } | { readonly problems: NonEmpty<Problem> };

/** Reads every `*.yaml` of the folder. All problems of all files come back at once, each with its place. */
export async function readPolicySet(folder: string, at: Date): Promise<PolicySetResult> {
  const files = (await readdir(folder).catch(() => [])).filter((name) => /\.ya?ml$/.test(name)).toSorted();
  if (files.length === 0) return { problems: [problemAt(folder, 'no policy file (*.yaml) in this folder')] };
  const results = await Promise.all(files.map((name) => readPolicy(join(folder, name), at)));
  const problems = results.flatMap((result) => ('problems' in result ? result.problems : []));
  const all = results.flatMap((result) => ('loaded' in result ? [result.loaded] : []));
  problems.push(...sharedSecrets(all));
  const registry = problems.length === 0 ? registryOf(all) : undefined;
  if (registry && 'problem' in registry) problems.push(registry.problem);
  if (isNonEmpty(problems)) return { problems };
  if (!registry || 'problem' in registry)
    throw new GatewayError('unplanned', 'no registry without a problem');
  const byTenant = new Map(all.map((loaded) => [loaded.policy.tenant.id, loaded]));
  return { set: { registry: registry.registry, all, of: (tenant) => byTenant.get(tenant) } };
}

/** Reads one policy file and everything it names. `at`: for the warnings about keys that are not valid then. */
export async function readPolicy(
  file: string,
  at: Date,
): Promise<{ readonly loaded: LoadedPolicy } | { readonly problems: NonEmpty<Problem> }> {
  const folder = dirname(resolve(file));
  const name = basename(file);
  const read = await attempt(() => readKeyFile(folder, name));
  if ('reason' in read) return { problems: [problemAt(file, read.reason.replace(`${name} `, ''))] };
  const text = read.value.bytes.toString('utf8');
  const parsed = parsePolicy(text, file);
  if ('problems' in parsed) return parsed;
  const { policy } = parsed;
  const place = { tenant: policy.tenant.id, folder };
  const { countsSubjectAddresses } = policy.trust;
  const { declared, problems, warnings } = await readDeclaredKeys(policy.keys, {
    ...place,
    at,
    countsSubjectAddresses,
  });
  const trust = await readTrust(policy, folder);
  const leg = await readLeg(policy, folder);
  const tenant = await readTenantFiles(policy, folder);
  const all = [problems, trust.problems, leg.problems, tenant.problems].flat().toSorted(byPlace);
  if (isNonEmpty(all)) return { problems: all };
  if (!leg.material) throw new GatewayError('unplanned', 'no leg without a problem');
  return {
    loaded: {
      file,
      policy,
      version: policyVersion(text),
      anchors: trust.anchors,
      intermediates: trust.intermediates,
      leg: leg.material,
      ...tenant.files,
      keys: declared,
      warnings: [...warnings, ...leg.warnings, ...tenant.warnings],
    },
  };
}

type TenantFiles = Pick<LoadedPolicy, 'secrets' | 'doneTokens' | 'onPremises' | 'recipients' | 'dkimSigners'>;

/** What the sections of the tenant name. With a problem, the files are not all there. */
async function readTenantFiles(
  { tenant, outbound }: Policy,
  folder: string,
): Promise<{
  readonly files: TenantFiles;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}> {
  const { id, loopBack, onPremises } = tenant;
  const dkim = await readDkimSigners(outbound.dkim, folder);
  const secrets = await readTenantSecrets(tenant.proof.secrets, folder);
  const done = loopBack && (await readDoneTokens(loopBack, folder));
  const servers = onPremises && (await readOnPremises(onPremises, folder));
  const recipients = await readTenantRecipients(tenant.recipients, { tenant: id, folder });
  const read = [dkim, secrets, done, servers, recipients];
  return {
    files: {
      secrets: secrets.secrets,
      dkimSigners: dkim.signers,
      ...(done?.tokens && { doneTokens: done.tokens }),
      ...(servers?.onPremises && { onPremises: servers.onPremises }),
      ...(recipients.directory && { recipients: recipients.directory }),
    },
    problems: read.flatMap((each) => each?.problems ?? []),
    warnings: dkim.warnings,
  };
}

async function readTrust({ trust }: Policy, folder: string) {
  const { anchors, problems } = await readTrustAnchors(trust.anchors, folder);
  const found = await readTrustAnchors(trust.intermediates, folder);
  return { anchors, intermediates: found.anchors, problems: [...problems, ...found.problems] };
}

/** The tenant as the proof knows it. */
export function tenantOf({
  policy,
  secrets,
  onPremises,
}: Pick<LoadedPolicy, 'policy' | 'secrets' | 'onPremises'>): Tenant {
  const { onPremises: _, loopBack, proof, ...tenant } = policy.tenant;
  return {
    ...tenant,
    proof: { ...proof, secrets },
    isLoopBack: loopBack !== undefined,
    ...(onPremises && { onPremises }),
  };
}

/** Problems as an operator reads them: one line each. */
export function formatProblems(problems: readonly Problem[]): string {
  return problems
    .map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`)
    .join('\n');
}

/** The client certificate of the tenant leg: full chain, private key that belongs to it, CAs for the server. */
async function readLeg(
  policy: Policy,
  folder: string,
): Promise<{
  material?: LegMaterial;
  problems: readonly Problem[];
  warnings: readonly Problem[];
}> {
  const { leg } = policy.tenant;
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  const report = (list: Problem[], message: string) => list.push({ ...leg.position, message });
  const read = async <T>(
    what: string,
    path: string,
    parse: (file: KeyFile, text: string) => T | Promise<T>,
  ): Promise<T | undefined> => {
    const file = await attempt(() => readKeyFile(folder, path));
    if ('reason' in file) {
      report(problems, `leg ${what}: ${file.reason}`);
      return undefined;
    }
    const parsed = await attempt(async () => parse(file.value, file.value.bytes.toString('utf8')));
    if ('value' in parsed) return parsed.value;
    report(problems, `leg ${what} ${path}: ${parsed.reason}`);
    return undefined;
  };
  const certificate = await read('certificate', leg.certificate, (_, text) => ({
    text,
    leaf: parsePemCertificates(text)[0],
  }));
  const key = await read('key', leg.key, async ({ bytes, isLoose }) => {
    if (isLoose) report(warnings, `leg key ${leg.key}: open to other users, run chmod 600 on it`);
    const { password } = leg;
    return readPrivateKey(
      bytes,
      password === undefined ? undefined : await readPassword(password, folder, process.env),
    );
  });
  const ca =
    leg.ca === undefined
      ? undefined
      : await read('ca', leg.ca, (_, text) => (parsePemCertificates(text), text));
  if (certificate?.leaf && key && !isKeyOf(key, certificate.leaf))
    report(problems, `leg key ${leg.key}: does not belong to the certificate ${leg.certificate}`);
  if (!certificate || !key || problems.length > 0) return { problems, warnings };
  const keyPem = key.export({ type: 'pkcs8', format: 'pem' });
  return {
    material: { certificate: certificate.text, key: keyPem, ...(ca === undefined ? {} : { ca }) },
    problems,
    warnings,
  };
}

/** Overlapping domains, or one id in two files, are problems of the set. */
function registryOf(
  all: readonly LoadedPolicy[],
): { readonly registry: TenantRegistry } | { readonly problem: Problem } {
  try {
    return { registry: openRegistry(all.map(tenantOf)) };
  } catch (error) {
    return { problem: problemAt(all.at(-1)?.file ?? '', (error as Error).message) };
  }
}

/** SECURITY: what is no failure of ours may hold anything, key material too; its text stays out. */
async function attempt<T>(
  action: () => Promise<T>,
): Promise<{ readonly value: T } | { readonly reason: string }> {
  try {
    return { value: await action() };
  } catch (error) {
    return { reason: error instanceof GatewayError ? error.message : 'cannot be read' };
  }
}

function byPlace(one: Problem, other: Problem): number {
  return one.line - other.line || one.column - other.column;
}

function problemAt(file: string, message: string): Problem {
  return { file, line: 1, column: 1, message };
}

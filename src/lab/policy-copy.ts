// An operator's own policy file, made to run in the lab: the same rules, keys and secrets, with a leg that leads to the
// simulated Exchange Online. The file and what it names are only read; the copy is text for the lab's folder.
import { X509Certificate } from 'node:crypto';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { isIP } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import { readKeyFile } from '../keys/key-files.ts';
import { readPolicy } from '../pipeline/policy-set.ts';
import { readDoneTokens, readTenantSecrets } from '../pipeline/tenant-secrets.ts';
import { parsePolicy, policyVersion } from '../policy/parse.ts';
import type { KeyEntry, Policy, Problem } from '../policy/schema.ts';
import type { KeyFiles, PersonFiles } from './gateway-files.ts';
import { exchangeHost, type OwnTenant } from './lab-tenants.ts';

export interface OwnPolicy {
  readonly file: string;
  readonly policy: Policy;
  readonly version: string;
  /** The tenant that the policy is for, as the lab plays it. */
  readonly own: OwnTenant;
  readonly warnings: readonly Problem[];
  /** Own keys whose private files cannot be read here, by their index: lab keys stand in for them. */
  readonly standIns: ReadonlyMap<number, KeyEntry>;
  /** What differs from the operator's site, one sentence each. */
  readonly notes: readonly string[];
  readonly text: string;
}

/** Reads it with the gateway's own parser. Only private keys may be out of reach: on the desk of who wrote the policy. */
export async function readOwnPolicy(
  file: string,
  at: Date,
): Promise<{ readonly own: OwnPolicy } | { readonly problems: NonEmpty<Problem> }> {
  const folder = dirname(resolve(file));
  const result = await readPolicy(file, at);
  const problems = 'problems' in result ? result.problems : [];
  const text = await readKeyFile(folder, basename(file)).then(
    ({ bytes }) => bytes.toString('utf8'),
    () => '',
  );
  const parsed = parsePolicy(text, file);
  if ('problems' in parsed) return { problems: isNonEmpty(problems) ? problems : parsed.problems };
  const { policy } = parsed;
  const unread = await unreadableKeys(policy, folder);
  if (isNonEmpty(problems) && !problems.every((problem) => isExcused(problem, policy, unread)))
    return { problems };
  const { secrets } = await readTenantSecrets(policy.tenant.proof.secrets, folder);
  const certificateNames = await namesIn(resolve(folder, policy.tenant.leg.certificate));
  const own = {
    ...ownTenant(policy, certificateNames, secrets[0]?.reveal().toString('latin1')),
    ...(await doneTokensOf(policy, folder)),
  };
  const warnings = 'loaded' in result ? result.loaded.warnings : [];
  const notes = notesOn(policy, unread, certificateNames);
  const standIns = unread.own;
  return { own: { file, policy, version: policyVersion(text), own, warnings, standIns, notes, text } };
}

const MAX_NAMED = 5;

interface Unreadable {
  readonly own: ReadonlyMap<number, KeyEntry>;
  readonly isLegKey: boolean;
}

async function unreadableKeys({ keys, tenant }: Policy, folder: string): Promise<Unreadable> {
  const isOut = (path: string | undefined): Promise<boolean> =>
    path === undefined
      ? Promise.resolve(false)
      : access(resolve(folder, path), constants.R_OK).then(
          () => false,
          () => true,
        );
  const own = new Map<number, KeyEntry>();
  for (const [index, entry] of keys.own.entries()) {
    const paths = [entry.smime?.key, entry.smime?.pkcs12, entry.pgp?.key];
    if ((await Promise.all(paths.map(isOut))).includes(true)) own.set(index, entry);
  }
  return { own, isLegKey: await isOut(tenant.leg.key) };
}

/** A problem that is there only because a private key is somewhere else. */
function isExcused(problem: Problem, { tenant: { leg } }: Policy, { own, isLegKey }: Unreadable): boolean {
  const isAt = ({ line, column }: { readonly line: number; readonly column: number }) =>
    problem.line === line && problem.column === column;
  if (isLegKey && isAt(leg.position) && problem.message.startsWith('leg key')) return true;
  return [...own.values()].some(({ position }) => isAt(position));
}

async function namesIn(certificate: string): Promise<NonEmpty<string>> {
  const { bytes } = await readKeyFile(dirname(certificate), basename(certificate));
  const leaf = new X509Certificate(bytes);
  const names = (leaf.subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith('DNS:'))
    .map((name) => name.slice('DNS:'.length).toLowerCase());
  if (isNonEmpty(names)) return names;
  return [/^CN=(.*)$/m.exec(leaf.subject)?.[1]?.toLowerCase() ?? 'unnamed.gw.example'];
}

function ownTenant(
  { tenant }: Policy,
  certificateNames: NonEmpty<string>,
  secret: string | undefined,
): OwnTenant {
  const { id, domains, leg } = tenant;
  const asName = (name: string) => (isIP(name) === 0 ? name : exchangeHost(domains[0]));
  return {
    id,
    domains,
    host: asName(leg.host),
    serverName: asName(leg.serverName),
    certificateNames,
    ...(secret === undefined ? {} : { secret }),
  };
}

function notesOn(
  { tenant, keys }: Policy,
  { own, isLegKey }: Unreadable,
  certificateNames: NonEmpty<string>,
): readonly string[] {
  const used = keys.own.filter((_, index) => !own.has(index)).map(({ match }) => match);
  const named = [...used.slice(0, MAX_NAMED), ...(used.length > MAX_NAMED ? ['...'] : [])].join(', ');
  return [
    `the tenant leg shows a lab certificate for ${certificateNames.join(', ')}: the lab does not trust the real one${isLegKey ? ', and its key cannot be read here' : ''}`,
    ...(used.length > 0 ? [`private keys that are read and used, in the lab's folder: ${named}`] : []),
    ...[...own.values()].map(
      ({ match }) => `the private key of ${match} cannot be read here: a lab key stands in for it`,
    ),
    ...(tenant.recipients ? ['the recipients are not looked up: every address of the domains exists'] : []),
    ...(tenant.limits.messagesPerHour === undefined ? [] : ['limits are not in force']),
    ...(tenant.onPremises ? ['there are no on-premises servers in the lab'] : []),
    ...(tenant.domains.some((domain) => /\.onmicrosoft\./.test(domain))
      ? []
      : ['tenant.domains names no initial domain (<tenant>.onmicrosoft.com): mail from there is not proven']),
  ];
}

async function doneTokensOf({ tenant }: Policy, folder: string): Promise<Pick<OwnTenant, 'doneTokens'>> {
  const { tokens } = tenant.loopBack ? await readDoneTokens(tenant.loopBack, folder) : {};
  if (!tokens) return {};
  const textOf = (token: typeof tokens.inbound) => token.reveal().toString('latin1');
  return { doneTokens: { inbound: textOf(tokens.inbound), outbound: textOf(tokens.outbound) } };
}

/** Where the lab is, for the copy. */
export interface LabPlaces {
  readonly port: number;
  readonly leg: KeyFiles;
  readonly ca: string;
  readonly standIns: ReadonlyMap<number, PersonFiles>;
}

/** Sections about systems that the lab does not have, and about load, which a rehearsal is not. */
const LEFT_OUT = ['recipients', 'on_premises', 'limits'];

/** The policy with a leg into the lab, and every file by its whole path. */
export function copyPolicy({ file, policy, own, text }: OwnPolicy, places: LabPlaces): string {
  const folder = dirname(resolve(file));
  const document = parseDocument(text);
  const at = (path: string) => resolve(folder, path);
  const byReference = (reference: string) =>
    reference.startsWith('file:') ? `file:${at(reference.slice('file:'.length))}` : reference;
  const set = (path: readonly (string | number)[], value: unknown): void => document.setIn(path, value);
  set(['tenant', 'leg'], {
    host: own.host,
    server_name: own.serverName,
    port: places.port,
    certificate: places.leg.cert,
    key: places.leg.key,
    ca: places.ca,
  });
  for (const [index, { path }] of policy.tenant.proof.secrets.entries())
    set(['tenant', 'proof', 'secrets', index], byReference(path));
  // SECURITY: no directory of the operator is asked: nothing of a rehearsal leaves loopback (test: no-directory).
  for (const name of LEFT_OUT) document.deleteIn(['tenant', name]);
  const { loopBack } = policy.tenant;
  if (loopBack) {
    set(['tenant', 'loop_back', 'inbound_token'], byReference(loopBack.inboundToken.path));
    set(['tenant', 'loop_back', 'outbound_token'], byReference(loopBack.outboundToken.path));
  }
  for (const [index, { path }] of policy.trust.anchors.entries()) set(['trust', 'anchors', index], at(path));
  for (const role of ['own', 'partners'] as const) {
    for (const [index, entry] of policy.keys[role].entries()) {
      const standIn = role === 'own' ? places.standIns.get(index) : undefined;
      for (const format of ['smime', 'pgp'] as const) {
        if (!entry[format]) continue;
        const path = ['keys', role, index, format];
        set(path, standIn ? standInFor(format, standIn) : placed(entry[format], at, byReference));
      }
    }
  }
  return document.toString();
}

function standInFor(format: 'smime' | 'pgp', { smime, pgpPrivate }: PersonFiles) {
  return format === 'smime' ? { certificate: smime.cert, key: smime.key } : { key: pgpPrivate };
}

function placed(
  entry: Readonly<Record<string, string | undefined>>,
  at: (path: string) => string,
  byReference: (reference: string) => string,
): Readonly<Record<string, string>> {
  const pairs = Object.entries(entry).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, name === 'password' ? byReference(value) : at(value)]],
  );
  return Object.fromEntries(pairs);
}

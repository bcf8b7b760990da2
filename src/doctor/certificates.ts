// Certificates that the gateway shows: pure judgements over what the files hold.
import type { KeyObject, X509Certificate } from 'node:crypto';
import { readNames, walkChain } from '../smtp/client-certificate.ts';
import { fail, type Finding, ok, warn } from './check.ts';

/** What the files of one identity hold. */
export interface Identity {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** As in the file, leaf first. */
  readonly chain: readonly X509Certificate[];
  readonly key: KeyObject;
  /** Permission bits of the key file. */
  readonly keyMode: number;
}

export type IdentityRole =
  | { readonly kind: 'listener'; readonly hostname: string }
  /** `domains`: accepted domains of the tenant, one of which the loop-back needs as a name. */
  | { readonly kind: 'tenant'; readonly isLoopBack: boolean; readonly domains: readonly string[] }
  | { readonly kind: 'internet' };

const DAY_MS = 86_400_000;
const WARN_DAYS = 30;
const MIN_RSA_BITS = 2_048;
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const ANY_PURPOSE = '2.5.29.37.0';
/** The second: a root that is in the file and no anchor is its own issuer, again and again. */
const UNKNOWN_ISSUER = new Set(['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'CERT_CHAIN_TOO_LONG']);
const WEAK_CURVES = new Set(['prime192v1', 'secp192r1', 'secp224r1']);

/** Everything about one identity. `anchors`: roots that the other side may know. */
export function judgeIdentity(
  identity: Identity,
  role: IdentityRole,
  anchors: readonly X509Certificate[],
  at: Date,
): readonly Finding[] {
  const [leaf] = identity.chain;
  if (!leaf)
    return [fail(`${identity.certificateFile} holds no certificate`, 'Put the certificate there, PEM.')];
  return [
    judgeExpiry(leaf, identity.certificateFile, at),
    judgeChain(identity, anchors, at),
    judgeName(leaf, role, identity.certificateFile),
    judgePurpose(leaf, role),
    ...judgeKey(leaf, identity),
  ];
}

function judgeExpiry(leaf: X509Certificate, file: string, at: Date): Finding {
  const until = leaf.validToDate;
  const day = until.toISOString().slice(0, 10);
  if (at < leaf.validFromDate)
    return fail(`not valid before ${leaf.validFromDate.toISOString()}`, 'Look at the clock of this machine.');
  if (at > until)
    return fail(`expired on ${day}`, `Put a new certificate with its chain into ${file}, and restart.`);
  const days = Math.floor((until.getTime() - at.getTime()) / DAY_MS);
  const found = `valid until ${day}`;
  return days < WARN_DAYS
    ? warn(`${found}, ${days} days`, `Renew it, with the same name, and put it into ${file}.`)
    : ok(found);
}

/** Of a certificate that is in date: what replaces another one brings a chain of its own. */
function judgeChain(
  { chain, certificateFile }: Identity,
  anchors: readonly X509Certificate[],
  at: Date,
): Finding {
  const [leaf, ...issuers] = chain;
  if (!leaf || at < leaf.validFromDate || at > leaf.validToDate) return ok('');
  const problem = walkChain(leaf, issuers, anchors, at);
  if (problem === undefined || problem === 'INVALID_PURPOSE') return ok('chain complete');
  if (!UNKNOWN_ISSUER.has(problem))
    return fail(`chain is not valid (${problem})`, `Have the certificate in ${certificateFile} issued anew.`);
  const last = lastOf(leaf, issuers);
  if (last.subject === last.issuer)
    return fail(
      `chain ends at ${nameOf(last.subject)}, which is no public root`,
      'Take a certificate of a public CA: Exchange Online knows no other.',
    );
  return fail(
    `chain is incomplete: the certificate of ${nameOf(last.issuer)} is missing`,
    `Append the intermediate certificates of the CA to ${certificateFile}, after the certificate itself. Without them Exchange Online refuses the connection. If that is the root already, the CA is none that others know: take a public one.`,
  );
}

/** How far the certificates of the file lead. */
function lastOf(leaf: X509Certificate, issuers: readonly X509Certificate[]): X509Certificate {
  let last = leaf;
  for (let steps = 0; steps < issuers.length; steps += 1) {
    const current = last;
    const next = issuers.find((issuer) => current !== issuer && current.checkIssued(issuer));
    if (!next) break;
    last = next;
  }
  return last;
}

function judgeName(leaf: X509Certificate, role: IdentityRole, file: string): Finding {
  const names = readNames(leaf).dnsNames.map((name) => name.toLowerCase());
  const found = names.length === 0 ? 'no DNS name' : `name ${names.join(', ')}`;
  switch (role.kind) {
    case 'listener':
      return leaf.checkHost(role.hostname, { subject: 'never' }) === undefined
        ? fail(
            `${found}, not ${role.hostname}`,
            `Take a certificate for ${role.hostname}, or correct hostname: Exchange Online checks this name.`,
          )
        : ok(found);
    case 'tenant': {
      const fitting = names.filter((name) => !name.includes('*'));
      if (role.isLoopBack && !fitting.some((name) => role.domains.includes(name)))
        return fail(
          `${found}, none of them an accepted domain`,
          `With the loop-back, the name in ${file} has to be an accepted domain of the tenant, and be in tenant.domains.`,
        );
      return fitting.length === 0
        ? fail(found, 'Take a certificate with a name of its own, without a wildcard, for each tenant.')
        : ok(found);
    }
    case 'internet':
      return ok(found);
  }
}

/** What Exchange Online demands of a client certificate is not known, and public CAs no longer issue clientAuth. */
function judgePurpose(leaf: X509Certificate, role: IdentityRole): Finding {
  // Node names the list of extended key usages `keyUsage`; undefined means that any is allowed.
  const purposes: readonly string[] | undefined = leaf.keyUsage;
  const needed = role.kind === 'listener' ? SERVER_AUTH : CLIENT_AUTH;
  if (!purposes || purposes.includes(needed) || purposes.includes(ANY_PURPOSE)) return ok('');
  return role.kind === 'listener'
    ? fail('not good for servers (serverAuth)', 'Take a server certificate: clients refuse this one.')
    : warn(
        'not good for clients (clientAuth)',
        'Many servers take it all the same; if Exchange Online does not accept the connection, take one with clientAuth.',
      );
}

function judgeKey(leaf: X509Certificate, { key, keyFile, keyMode }: Identity): readonly Finding[] {
  return [
    leaf.checkPrivateKey(key)
      ? ok('')
      : fail(`${keyFile} does not belong to the certificate`, 'Put the key of this certificate there.'),
    isStrong(leaf)
      ? ok('')
      : fail('key is too weak', `Take RSA of at least ${MIN_RSA_BITS} bits, or a curve from P-256 on.`),
    (keyMode & 0o077) === 0 ? ok('') : warn(`${keyFile} is open to other users`, `chmod 600 ${keyFile}`),
  ];
}

function isStrong({ publicKey }: X509Certificate): boolean {
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined) return modulusLength >= MIN_RSA_BITS;
  return namedCurve === undefined || !WEAK_CURVES.has(namedCurve);
}

function nameOf(distinguishedName: string): string {
  return /(?:^|\n)CN=([^\n]*)/.exec(distinguishedName)?.[1] ?? distinguishedName.replaceAll('\n', ', ');
}

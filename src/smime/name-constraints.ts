// Name constraints of RFC 5280 §4.2.1.10: whether the names of a certificate lie inside what a CA above it may certify.
import { parseAddress, parseDomain } from '../core/address.ts';
import type { Certificate } from './certificate.ts';
import type { NameConstraints } from './certificate-extensions.ts';
import { type DistinguishedName, EMAIL_ADDRESS, isWithinName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';

// SECURITY: names times constraints grows with the square of hostile input (test: constraint flood).
const MAX_COMPARISONS = 20_000;

/** Why the certificate breaks the constraints of a CA above it, or undefined. */
export function constraintProblem(
  certificate: Certificate,
  constraints: NameConstraints,
): string | undefined {
  const names = namesOf(certificate);
  const { permitted, excluded } = constraints;
  if (names.length * (permitted.length + excluded.length) > MAX_COMPARISONS)
    return 'too many names for the name constraints of the issuer';
  for (const name of names) {
    if (excluded.some((base) => isSameForm(name, base) && isWithin(name, base, true)))
      return 'a name is excluded by the name constraints of an issuer';
    const bases = permitted.filter((base) => isSameForm(name, base));
    if (bases.length > 0 && !bases.some((base) => isWithin(name, base, false)))
      return 'a name is outside the name constraints of an issuer';
  }
  return undefined;
}

/** All names that constraints bind: subject, its emailAddress values, and subjectAltName. */
function namesOf({ subjectName, names }: Certificate): readonly GeneralName[] {
  const subject: GeneralName[] =
    subjectName.keys.length > 0 ? [{ kind: 'directory', name: subjectName }] : [];
  // SECURITY: emailAddress counts as an address of ours even beside subjectAltName, so it is always bound.
  const legacy = emailsOf(subjectName).map((value): GeneralName => ({ kind: 'email', value }));
  return [...subject, ...legacy, ...names];
}

function emailsOf(name: DistinguishedName): readonly string[] {
  return name.attributes.filter(({ type }) => type === EMAIL_ADDRESS).map(({ value }) => value);
}

/**
 * RFC 9598 §6: constraints on rfc822Name bind SmtpUTF8Mailbox too, both being addresses. SECURITY: one that is written as
 * SmtpUTF8Mailbox, for which no meaning is defined, must not go unseen (test: mailbox constraints).
 */
function isSameForm(name: GeneralName, base: GeneralName): boolean {
  if (name.kind === 'unsupported' || base.kind === 'unsupported')
    return name.kind === 'unsupported' && base.kind === 'unsupported' && name.form === base.form;
  return (
    (name.kind === 'smtp-utf8' ? 'email' : name.kind) === (base.kind === 'smtp-utf8' ? 'email' : base.kind)
  );
}

/** `whenUnknown` is the answer for what cannot be compared: it must fail both for excluded and for permitted. */
function isWithin(name: GeneralName, base: GeneralName, whenUnknown: boolean): boolean {
  if (name.kind === 'directory' && base.kind === 'directory') return isWithinName(name.name, base.name);
  if (name.kind === 'ip' && base.kind === 'ip') return isWithinNetwork(name.octets, base.octets, whenUnknown);
  if (!('value' in name) || !('value' in base)) return whenUnknown;
  const constraint = base.value.toLowerCase();
  switch (name.kind) {
    case 'dns':
      return isWithinDomain(name.value.toLowerCase().replace(/\.$/, ''), constraint);
    case 'uri':
      return isWithinUri(name.value, constraint, whenUnknown);
    case 'email':
    case 'smtp-utf8':
      return isWithinMailbox(name.value, constraint, whenUnknown);
    default:
      return whenUnknown;
  }
}

/** A mailbox, all mailboxes of one host, or (leading dot) of all hosts below a domain. */
function isWithinMailbox(value: string, constraint: string, whenUnknown: boolean): boolean {
  const address = parseAddress(value);
  if (!address) return whenUnknown;
  if (constraint.includes('@')) {
    const wanted = parseAddress(constraint);
    return wanted ? wanted.key === address.key : whenUnknown;
  }
  return isHostMatch(address.domain, constraint, whenUnknown);
}

function isWithinUri(value: string, constraint: string, whenUnknown: boolean): boolean {
  const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:@[\]]+)(?::\d+)?(?:[/?#]|$)/i.exec(value)?.[1];
  const domain = host === undefined ? undefined : parseDomain(host);
  return domain === undefined ? whenUnknown : isHostMatch(domain, constraint, whenUnknown);
}

/** For mail and URI: the host itself, or with a leading dot what lies below it. An empty constraint holds everything. */
function isHostMatch(host: string, constraint: string, whenUnknown: boolean): boolean {
  if (constraint === '') return true;
  // SECURITY: `*.contoso.example` or a U-label would exclude nobody (test: mailbox constraints).
  if (!/^\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(constraint)) return whenUnknown;
  return constraint.startsWith('.') ? host.endsWith(constraint) : host === constraint;
}

/** For DNS names: the domain and all below it. */
function isWithinDomain(host: string, constraint: string): boolean {
  if (constraint === '') return true;
  if (constraint.startsWith('.')) return host.endsWith(constraint);
  return host === constraint || host.endsWith(`.${constraint}`);
}

/** Address and mask of one family. */
function isWithinNetwork(octets: Buffer, base: Buffer, whenUnknown: boolean): boolean {
  const { length } = octets;
  if (length !== 4 && length !== 16) return whenUnknown;
  if (base.length !== 2 * length) return base.length === 8 || base.length === 32 ? false : whenUnknown;
  return octets.every(
    (byte, index) =>
      (byte & (base[length + index] ?? 0)) === ((base[index] ?? 0) & (base[length + index] ?? 0)),
  );
}

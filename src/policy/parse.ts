// A policy file, from text to Policy: YAML, schema, checks across the file, canonical form. Pure: files that the policy
// names are read elsewhere, with the positions kept here.
import { createHash } from 'node:crypto';
import { RE2JS } from 're2js';
import { parseAddress } from '../core/address.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import { checkAcross } from './check.ts';
import { type PolicyDocument, policyDocument, policyJsonSchema, type TreatmentDocument } from './document.ts';
import { type Pattern, parsePattern } from './pattern.ts';
import { canonicalDomain, defined } from './canonical.ts';
import { describeIssues } from './problems.ts';
import type {
  Conditions,
  FileEntry,
  HeaderCondition,
  KeyEntry,
  Policy,
  Problem,
  Rule,
  SmimeTreatment,
  Treatment,
} from './schema.ts';
import { toTenant } from './tenant.ts';
import { type Path, parseYaml, type YamlSource } from './yaml-source.ts';

export type { Problem } from './schema.ts';

const MAX_BYTES = 256 * 1024;
const MAX_PROBLEMS = 100;

/**
 * Parses a policy file. `file` is its name for positions only. All problems of the file are reported at once, in order of
 * their place, at most 100. Never throws.
 */
export function parsePolicy(
  text: string,
  file: string,
): { readonly policy: Policy } | { readonly problems: NonEmpty<Problem> } {
  if (Buffer.byteLength(text) > MAX_BYTES)
    return { problems: [{ file, line: 1, column: 1, message: 'a policy file has at most 256 kB' }] };
  const source = parseYaml(text, file);
  if (source.data === undefined && isNonEmpty(source.problems)) return { problems: inOrder(source.problems) };
  const parsed = policyDocument.safeParse(source.data);
  const problems = [
    ...source.problems,
    ...(parsed.success ? [] : describeIssues(parsed.error.issues, source, policyJsonSchema())),
    ...checkAcross(source),
  ];
  if (isNonEmpty(problems)) return { problems: inOrder(problems) };
  if (!parsed.success) return { problems: [{ file, line: 1, column: 1, message: 'is not a policy' }] };
  return { policy: toPolicy(parsed.data, source) };
}

/** Names the text of a policy in logs, the queue and replies: the first 16 hex digits of its SHA-256. */
export function policyVersion(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function inOrder(problems: NonEmpty<Problem>): NonEmpty<Problem> {
  const [first, ...others] = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
  return [first ?? problems[0], ...others.slice(0, MAX_PROBLEMS - 1)];
}

function toPolicy(document: PolicyDocument, source: YamlSource): Policy {
  const { tenant, keys, trust, outbound, inbound } = document;
  return {
    tenant: toTenant(tenant, source),
    keys: {
      own: keys.own.map((entry, index) => toKeyEntry(entry, source, ['keys', 'own', index])),
      partners: keys.partners.map((entry, index) => toKeyEntry(entry, source, ['keys', 'partners', index])),
    },
    trust: {
      anchors: toFiles(trust.anchors, source, ['trust', 'anchors']),
      intermediates: toFiles(trust.intermediates, source, ['trust', 'intermediates']),
      revocation: trust.revocation,
      fetchesIssuers: trust.fetch_issuers,
      countsSubjectAddresses: trust.subject_addresses,
      certificatePolicies: trust.certificate_policies,
    },
    outbound: {
      deliver: outbound.deliver,
      dkim: outbound.dkim.map(({ domain, selector, key }, index) => ({
        domain: canonicalDomain(domain),
        selector,
        key: { path: key, position: source.positionOf(['outbound', 'dkim', index, 'key']) },
      })),
      rules: outbound.rules.map((rule, index) => toRule(rule, source, index)),
      otherwise: toTreatment(outbound.otherwise),
    },
    inbound: {
      decrypt: inbound.decrypt,
      verify: inbound.verify,
      onDecryptFailure: inbound.on_decrypt_failure,
      onInvalidSignature: inbound.on_invalid_signature,
      weakAlgorithms: inbound.weak_algorithms,
      mark: inbound.mark,
      learnsCapabilities: inbound.learn_capabilities,
      readsProtectedHeaders: inbound.protected_headers,
      isTlsRequired: inbound.require_tls,
    },
  };
}

function toFiles(paths: readonly string[], source: YamlSource, at: Path): readonly FileEntry[] {
  return paths.map((path, index) => ({ path, position: source.positionOf([...at, index]) }));
}

type OwnKeyDocument = PolicyDocument['keys']['own'][number];

function toKeyEntry(entry: OwnKeyDocument, source: YamlSource, path: Path): KeyEntry {
  return {
    match: entry.for.includes('@')
      ? (parseAddress(entry.for)?.text ?? entry.for)
      : canonicalDomain(entry.for),
    ...(entry.smime && { smime: defined(entry.smime) }),
    ...(entry.pgp && { pgp: { key: entry.pgp.key, ...defined({ password: entry.pgp.password }) } }),
    position: source.positionOf(path),
  };
}

type RuleDocument = PolicyDocument['outbound']['rules'][number];

function toRule(rule: RuleDocument, source: YamlSource, index: number): Rule {
  return {
    name: rule.name,
    when: toConditions(rule.when),
    treatment: toTreatment(rule),
    position: source.positionOf(['outbound', 'rules', index]),
  };
}

function toConditions(when: RuleDocument['when']): Conditions {
  return defined({
    sender: toPatterns(when.sender),
    recipient: toPatterns(when.recipient),
    subjectTag: when.subject_tag,
    header: when.header && toHeaderCondition(when.header),
    isCalendar: when.calendar,
    hasTnef: when.tnef,
    is8bit: when.eight_bit,
    isAutomatic: when.automatic,
    shape: when.shape as Conditions['shape'] | undefined,
  });
}

function toHeaderCondition(header: NonNullable<RuleDocument['when']['header']>): HeaderCondition {
  const name = header.name.toLowerCase();
  if (header.equals !== undefined) return { name, kind: 'equals', value: header.equals };
  if (header.contains !== undefined) return { name, kind: 'contains', value: header.contains };
  if (header.matches !== undefined)
    return { name, kind: 'matches', expression: RE2JS.compile(header.matches) };
  return { name, kind: 'present', isPresent: header.present === true };
}

function toPatterns(list: readonly string[] | undefined): NonEmpty<Pattern> | undefined {
  const patterns = list?.flatMap((text) => parsePattern(text) ?? []);
  return patterns !== undefined && isNonEmpty(patterns) ? patterns : undefined;
}

function toTreatment(document: TreatmentDocument): Treatment {
  if (document.refuse !== undefined) return { kind: 'refuse', text: document.refuse };
  const sign = document.sign ?? 'none';
  const forced = sign === 'smime' || sign === 'pgp' ? ([sign] as const) : undefined;
  const formats = document.formats ?? [];
  return {
    kind: 'protect',
    sign,
    // SECURITY: the schema demands the field; were it ever absent, the safe reading is the strict one.
    encrypt: document.encrypt ?? 'required',
    formats: isNonEmpty(formats) ? formats : (forced ?? ['smime', 'pgp']),
    alreadyEncrypted: document.already_encrypted ?? 'pass',
    isCalendarExempt: document.calendar === 'exempt',
    protectHeaders: document.protect_headers ?? 'off',
    hasLegacyDisplay: document.legacy_display ?? true,
    smime: toSmime(document.smime),
  };
}

function toSmime(document: TreatmentDocument['smime']): SmimeTreatment {
  const { content = 'auto', group = 'common', ml_kem: mlKem = 'off' } = document ?? {};
  return { content, group, mlKem };
}

// The certificate extensions that mail needs (RFC 5280 §4.2), parsed once. What is not known here and critical makes
// a path invalid (chain.ts).
import { GatewayError } from '../core/errors.ts';
import {
  bitsOf,
  booleanOf,
  countOf,
  type DerNode,
  fieldsOf,
  listOf,
  octetsOf,
  oidOf,
  parseDer,
  TAG,
} from './der.ts';
import { type GeneralName, parseGeneralName, parseGeneralNames } from './general-name.ts';
import { parsePointers, type Pointers } from './pointers.ts';
import {
  hasUnknownQualifier,
  parsePolicyExtensions,
  POLICY_ID,
  type PolicyExtensions,
} from './policy-extensions.ts';

export type KeyUsage =
  | 'digitalSignature'
  | 'nonRepudiation'
  | 'keyEncipherment'
  | 'dataEncipherment'
  | 'keyAgreement'
  | 'keyCertSign'
  | 'cRLSign'
  | 'encipherOnly'
  | 'decipherOnly';

export interface NameConstraints {
  readonly permitted: readonly GeneralName[];
  readonly excluded: readonly GeneralName[];
}

export interface CertificateExtensions {
  readonly subjectKeyId?: Buffer;
  readonly authorityKeyId?: Buffer;
  readonly keyUsage?: ReadonlySet<KeyUsage>;
  readonly extendedKeyUsage?: readonly string[];
  readonly names: readonly GeneralName[];
  readonly isCa: boolean;
  readonly pathLength?: number;
  readonly nameConstraints?: NameConstraints;
  readonly policyExtensions: PolicyExtensions;
  /** Where revocation and issuer can be asked for. */
  readonly pointers: Pointers;
  /** OIDs of critical extensions that the path validation does not process. */
  readonly unknownCritical: readonly string[];
}

const MAX_EXTENSIONS = 100;
const MAX_CONSTRAINTS = 1_000;
const KEY_USAGES: readonly KeyUsage[] = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
];
const ID = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  ...POLICY_ID,
} as const;
const PROCESSED: ReadonlySet<string> = new Set([
  ID.keyUsage,
  ID.subjectAltName,
  ID.basicConstraints,
  ID.nameConstraints,
  ID.extendedKeyUsage,
  ...Object.values(POLICY_ID),
]);

/** Reads the extensions of a certificate (undefined: version 1). Throws GatewayError `config-invalid`. */
export function parseExtensions(node: DerNode | undefined): CertificateExtensions {
  const found = new Map<string, DerNode>();
  const values = new Map<string, Buffer>();
  const unknownCritical: string[] = [];
  const list = node ? listOf(node) : [];
  if (list.length > MAX_EXTENSIONS) throw invalid('certificate has too many extensions');
  for (const item of list) {
    const fields = fieldsOf(item);
    const id = oidOf(fields.take(TAG.oid));
    const critical = fields.optional(TAG.boolean);
    const value = octetsOf(fields.take(TAG.octetString));
    fields.end();
    // RFC 5280 §4.2: one instance of an extension. SECURITY: parsers differ on which one counts.
    if (found.has(id)) throw invalid('certificate has an extension twice');
    const isKnown = Object.values<string>(ID).includes(id);
    const parsed = isKnown ? parseDer(value) : item;
    // RFC 5280 §4.2.1.4: a critical one is understood with its qualifiers, or not at all.
    const isProcessed =
      PROCESSED.has(id) && !(id === ID.certificatePolicies && critical && hasUnknownQualifier(parsed));
    if (critical && booleanOf(critical) && !isProcessed) unknownCritical.push(id);
    found.set(id, parsed);
    values.set(id, value);
  }
  return { ...readKnown(found), pointers: parsePointers(values), unknownCritical };
}

function readKnown(
  found: ReadonlyMap<string, DerNode>,
): Omit<CertificateExtensions, 'pointers' | 'unknownCritical'> {
  const read = <T>(id: string, parse: (node: DerNode) => T): T | undefined => {
    const node = found.get(id);
    return node && parse(node);
  };
  const subjectKeyId = read(ID.subjectKeyIdentifier, octetsOf);
  const authorityKeyId = read(ID.authorityKeyIdentifier, (node) => fieldsOf(node).optional(0x80)?.content);
  const keyUsage = read(ID.keyUsage, parseKeyUsage);
  const extendedKeyUsage = read(ID.extendedKeyUsage, (node) => listOf(node).map(oidOf));
  const nameConstraints = read(ID.nameConstraints, parseNameConstraints);
  return {
    ...(subjectKeyId && { subjectKeyId }),
    ...(authorityKeyId && { authorityKeyId }),
    ...(keyUsage && { keyUsage }),
    ...(extendedKeyUsage && { extendedKeyUsage }),
    ...(nameConstraints && { nameConstraints }),
    policyExtensions: parsePolicyExtensions(found),
    names: read(ID.subjectAltName, parseGeneralNames) ?? [],
    ...(read(ID.basicConstraints, parseBasicConstraints) ?? { isCa: false }),
  };
}

function parseKeyUsage(node: DerNode): ReadonlySet<KeyUsage> {
  const bits = bitsOf(node);
  return new Set(KEY_USAGES.filter((_, index) => ((bits[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0));
}

function parseBasicConstraints(node: DerNode): { isCa: boolean; pathLength?: number } {
  const fields = fieldsOf(node);
  const flag = fields.optional(TAG.boolean);
  const length = fields.optional(TAG.integer);
  fields.end();
  return { isCa: flag ? booleanOf(flag) : false, ...(length && { pathLength: countOf(length) }) };
}

function parseNameConstraints(node: DerNode): NameConstraints {
  const fields = fieldsOf(node);
  const permitted = fields.optional(0xa0);
  const excluded = fields.optional(0xa1);
  fields.end();
  const count = (permitted?.children.length ?? 0) + (excluded?.children.length ?? 0);
  if (count > MAX_CONSTRAINTS) throw invalid('certificate has too many name constraints');
  return {
    permitted: permitted ? listOf(permitted, 0xa0).map(parseSubtree) : [],
    excluded: excluded ? listOf(excluded, 0xa1).map(parseSubtree) : [],
  };
}

/** GeneralSubtree; minimum and maximum are not used in this profile (RFC 5280 §4.2.1.10). */
function parseSubtree(node: DerNode): GeneralName {
  const fields = fieldsOf(node);
  const base = parseGeneralName(fields.any());
  const minimum = fields.optional(0x80);
  if ((minimum && countOf(minimum, 0x80) !== 0) || fields.optional(0x81))
    throw invalid('name constraint with a minimum or maximum');
  fields.end();
  return base;
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

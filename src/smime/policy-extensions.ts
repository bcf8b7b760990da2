// The extensions of a certificate that concern certificate policies (RFC 5280 §4.2.1.4, §4.2.1.5, §4.2.1.11, §4.2.1.14):
// parsing alone. What follows from them for a path is policy-graph's business.
import { GatewayError } from '../core/errors.ts';
import { countOf, type DerNode, fieldsOf, listOf, oidOf, TAG } from './der.ts';

export interface PolicyExtensions {
  /** Policies that the certificate was issued under. Undefined: it names none, and no policy holds below it. */
  readonly policies?: ReadonlySet<string>;
  /** Policies of the issuer, each with those of the subject that are as good. */
  readonly mappings?: ReadonlyMap<string, ReadonlySet<string>>;
  /** Certificates that may follow before a policy, the end of mapping and the end of anyPolicy are demanded. */
  readonly requireExplicitPolicy?: number;
  readonly inhibitPolicyMapping?: number;
  readonly inhibitAnyPolicy?: number;
}

export const POLICY_ID = {
  certificatePolicies: '2.5.29.32',
  policyMappings: '2.5.29.33',
  policyConstraints: '2.5.29.36',
  inhibitAnyPolicy: '2.5.29.54',
} as const;
export const ANY_POLICY = '2.5.29.32.0';
/** CPS pointer and user notice: for people, and so never a reason to refuse. */
const QUALIFIERS: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.2.1', '1.3.6.1.5.5.7.2.2']);
// SECURITY: the work on a path grows with the sum of these (test: policy flood).
const MAX_POLICIES = 500;

/** Reads what stands under the ids of POLICY_ID. Throws GatewayError `config-invalid`. */
export function parsePolicyExtensions(found: ReadonlyMap<string, DerNode>): PolicyExtensions {
  const policies = found.get(POLICY_ID.certificatePolicies);
  const mappings = found.get(POLICY_ID.policyMappings);
  const constraints = found.get(POLICY_ID.policyConstraints);
  const inhibitAny = found.get(POLICY_ID.inhibitAnyPolicy);
  return {
    ...(policies && { policies: new Set(bounded(policies).map(policyOf)) }),
    ...(mappings && { mappings: parseMappings(mappings) }),
    ...(constraints && parseConstraints(constraints)),
    ...(inhibitAny && { inhibitAnyPolicy: countOf(inhibitAny) }),
  };
}

/** Whether certificatePolicies has a qualifier that cannot be interpreted: a critical one is then not processed. */
export function hasUnknownQualifier(node: DerNode): boolean {
  return listOf(node).some((information) => {
    const fields = fieldsOf(information);
    fields.take(TAG.oid);
    const qualifiers = fields.optional(TAG.sequence);
    return (
      qualifiers !== undefined &&
      listOf(qualifiers).some((item) => !QUALIFIERS.has(oidOf(fieldsOf(item).take(TAG.oid))))
    );
  });
}

function policyOf(information: DerNode): string {
  return oidOf(fieldsOf(information).take(TAG.oid));
}

function parseMappings(node: DerNode): ReadonlyMap<string, ReadonlySet<string>> {
  const mappings = new Map<string, Set<string>>();
  for (const item of bounded(node)) {
    const fields = fieldsOf(item);
    const ofIssuer = oidOf(fields.take(TAG.oid));
    const ofSubject = oidOf(fields.take(TAG.oid));
    fields.end();
    mappings.set(ofIssuer, (mappings.get(ofIssuer) ?? new Set()).add(ofSubject));
  }
  return mappings;
}

function parseConstraints(
  node: DerNode,
): Pick<PolicyExtensions, 'requireExplicitPolicy' | 'inhibitPolicyMapping'> {
  const fields = fieldsOf(node);
  const explicit = fields.optional(0x80);
  const mapping = fields.optional(0x81);
  fields.end();
  return {
    ...(explicit && { requireExplicitPolicy: countOf(explicit, 0x80) }),
    ...(mapping && { inhibitPolicyMapping: countOf(mapping, 0x81) }),
  };
}

function bounded(node: DerNode): readonly DerNode[] {
  const list = listOf(node);
  if (list.length > MAX_POLICIES)
    throw new GatewayError('config-invalid', 'certificate has too many certificate policies');
  return list;
}

// Certificate policies along a path (RFC 5280 §6.1, with the graph of RFC 9618 in place of the tree): whether some policy
// that the relying party takes holds from the anchor to the leaf.
import type { Certificate } from './certificate.ts';
import { ANY_POLICY } from './policy-extensions.ts';

/** What the relying party asks for (RFC 5280 §6.1.1 c, e, f, g). Empty: nothing but what the CAs ask for themselves. */
export interface PolicyInputs {
  /** user-initial-policy-set: a path has to hold for one of them. Undefined: any. */
  readonly acceptable?: readonly string[];
  readonly isExplicitRequired?: boolean;
  readonly isMappingInhibited?: boolean;
  readonly isAnyInhibited?: boolean;
}

/** One policy at one depth. SECURITY: one node for each, with many parents: a tree grows exponentially (RFC 9618 §3). */
interface Node {
  readonly policy: string;
  readonly parents: readonly Node[];
  expected: ReadonlySet<string>;
}

/** The nodes of one depth, by policy. Empty: there is no valid policy, which is the NULL of the RFC. */
type Level = Map<string, Node>;

interface State {
  level: Level;
  explicitPolicy: number;
  policyMapping: number;
  inhibitAny: number;
}

const NO_POLICY = 'no certificate policy holds for the whole path';

/**
 * Why the path (leaf first, anchor last) holds for no acceptable policy although one is demanded, or undefined. What the
 * anchor itself says of policies does not count (RFC 5280 §6.1.1 d).
 */
export function policyProblem(
  path: readonly Certificate[],
  { acceptable, isExplicitRequired, isMappingInhibited, isAnyInhibited }: PolicyInputs,
): string | undefined {
  const certificates = path.slice(0, -1).toReversed();
  const never = certificates.length + 1;
  const state: State = {
    level: new Map([[ANY_POLICY, { policy: ANY_POLICY, parents: [], expected: new Set([ANY_POLICY]) }]]),
    explicitPolicy: isExplicitRequired ? 0 : never,
    policyMapping: isMappingInhibited ? 0 : never,
    inhibitAny: isAnyInhibited ? 0 : never,
  };
  for (const [index, certificate] of certificates.entries()) {
    const isLeaf = index === certificates.length - 1;
    state.level = nextLevel(state, certificate, isLeaf);
    // RFC 5280 §6.1.3 f.
    if (state.explicitPolicy === 0 && state.level.size === 0) return NO_POLICY;
    if (isLeaf) break;
    const problem = applyMappings(state, certificate);
    if (problem !== undefined) return problem;
    countDown(state, certificate);
  }
  const leaf = certificates.at(-1);
  if (!leaf || !isExplicitAtEnd(state, leaf)) return undefined;
  if (state.level.size === 0) return NO_POLICY;
  return acceptable === undefined || holdsFor(state.level, new Set(acceptable))
    ? undefined
    : 'the path holds for none of the certificate policies that are asked for';
}

/** RFC 9618 §5.2 (RFC 5280 §6.1.3 d, e). Nodes without a child need no pruning: only parents of nodes are ever looked at. */
function nextLevel({ level, inhibitAny }: State, certificate: Certificate, isLeaf: boolean): Level {
  const next: Level = new Map();
  const { policies } = certificate.policyExtensions;
  if (!policies || level.size === 0) return next;
  const expecting = parentsByExpected(level);
  const anyParent = level.get(ANY_POLICY);
  const add = (policy: string, parents: readonly Node[]): void => {
    next.set(policy, { policy, parents, expected: new Set([policy]) });
  };
  for (const policy of policies) {
    if (policy === ANY_POLICY) continue;
    const parents = expecting.get(policy) ?? (anyParent && [anyParent]);
    if (parents) add(policy, parents);
  }
  const isAnyTaken = inhibitAny > 0 || (!isLeaf && certificate.isSelfIssued);
  if (policies.has(ANY_POLICY) && isAnyTaken) {
    for (const [policy, parents] of expecting) if (!next.has(policy)) add(policy, parents);
  }
  return next;
}

function parentsByExpected(level: Level): ReadonlyMap<string, readonly Node[]> {
  const parents = new Map<string, Node[]>();
  for (const node of level.values()) {
    for (const policy of node.expected) {
      const known = parents.get(policy);
      if (known) known.push(node);
      else parents.set(policy, [node]);
    }
  }
  return parents;
}

/** RFC 9618 §5.3 (RFC 5280 §6.1.4 a, b). */
function applyMappings({ level, policyMapping }: State, certificate: Certificate): string | undefined {
  const { mappings } = certificate.policyExtensions;
  if (!mappings) return undefined;
  const isAnyMapped = mappings.has(ANY_POLICY) || [...mappings.values()].some((set) => set.has(ANY_POLICY));
  if (isAnyMapped) return 'an issuing certificate maps anyPolicy';
  const any = level.get(ANY_POLICY);
  for (const [policy, expected] of mappings) {
    const node = level.get(policy);
    if (policyMapping === 0) level.delete(policy);
    else if (node) node.expected = expected;
    // The new node hangs below the anyPolicy of the depth above, the only parent that a node of anyPolicy has.
    else if (any) level.set(policy, { policy, parents: any.parents, expected });
  }
  return undefined;
}

/** RFC 5280 §6.1.4 h, i, j. */
function countDown(state: State, { policyExtensions, isSelfIssued }: Certificate): void {
  const step = (count: number): number => (isSelfIssued ? count : Math.max(0, count - 1));
  const { requireExplicitPolicy, inhibitPolicyMapping, inhibitAnyPolicy } = policyExtensions;
  state.explicitPolicy = Math.min(step(state.explicitPolicy), requireExplicitPolicy ?? Infinity);
  state.policyMapping = Math.min(step(state.policyMapping), inhibitPolicyMapping ?? Infinity);
  state.inhibitAny = Math.min(step(state.inhibitAny), inhibitAnyPolicy ?? Infinity);
}

/** RFC 5280 §6.1.5 a, b. */
function isExplicitAtEnd({ explicitPolicy }: State, leaf: Certificate): boolean {
  return explicitPolicy <= 1 || leaf.policyExtensions.requireExplicitPolicy === 0;
}

/**
 * RFC 9618 §5.4 (RFC 5280 §6.1.5 g): the policies of the path in the words of the relying party are those that stand
 * right below anyPolicy; anyPolicy at the end is all of them.
 */
function holdsFor(last: Level, acceptable: ReadonlySet<string>): boolean {
  if (acceptable.has(ANY_POLICY)) return true;
  if (last.has(ANY_POLICY)) return acceptable.size > 0;
  const seen = new Set<Node>();
  const open = [...last.values()];
  for (let node = open.pop(); node; node = open.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.policy === ANY_POLICY) continue;
    if (node.parents.some(({ policy }) => policy === ANY_POLICY) && acceptable.has(node.policy)) return true;
    open.push(...node.parents);
  }
  return false;
}

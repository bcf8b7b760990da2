// The policy graph (RFC 9618) against the policy tree of RFC 5280 §6.1, written down here as it stands there: both have to
// agree on any short path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Certificate } from '../../src/smime/certificate.ts';
import { policyProblem, type PolicyInputs } from '../../src/smime/policy-graph.ts';

const ANY = '2.5.29.32.0';
const POLICIES: readonly string[] = ['1.1', '1.2', '1.3'];
type Link = Pick<Certificate, 'policyExtensions' | 'isSelfIssued'>;

interface TreeNode {
  readonly policy: string;
  expected: ReadonlySet<string>;
  readonly children: TreeNode[];
}

interface Tree {
  readonly root: TreeNode;
}

/** Nodes of a depth, with the parent of each. */
function levelOf(tree: Tree, depth: number): { node: TreeNode; parent?: TreeNode }[] {
  let level: { node: TreeNode; parent?: TreeNode }[] = [{ node: tree.root }];
  for (let at = 0; at < depth; at += 1)
    level = level.flatMap(({ node }) => node.children.map((child) => ({ node: child, parent: node })));
  return level;
}

/** Deletes what has no child at `depth`; false: nothing is left. */
function prune(node: TreeNode, depth: number): boolean {
  if (depth === 0) return true;
  const kept = node.children.filter((child) => prune(child, depth - 1));
  node.children.splice(0, Infinity, ...kept);
  return kept.length > 0;
}

const newNode = (policy: string, expected: ReadonlySet<string> = new Set([policy])): TreeNode => ({
  policy,
  expected,
  children: [],
});

/** RFC 5280 §6.1.3 d. */
function addPolicies(tree: Tree, depth: number, policies: ReadonlySet<string>, isAnyTaken: boolean): void {
  const above = levelOf(tree, depth - 1);
  for (const policy of policies) {
    if (policy === ANY) continue;
    const matching = above.filter(({ node }) => node.expected.has(policy));
    const parents = matching.length > 0 ? matching : above.filter(({ node }) => node.policy === ANY);
    for (const { node } of parents) node.children.push(newNode(policy));
  }
  if (!policies.has(ANY) || !isAnyTaken) return;
  for (const { node } of above)
    for (const policy of node.expected)
      if (!node.children.some((child) => child.policy === policy)) node.children.push(newNode(policy));
}

/** RFC 5280 §6.1.4 b. */
function mapPolicies(
  tree: Tree,
  depth: number,
  mappings: ReadonlyMap<string, ReadonlySet<string>>,
  isAllowed: boolean,
): void {
  for (const [policy, expected] of mappings) {
    const level = levelOf(tree, depth);
    const matching = level.filter(({ node }) => node.policy === policy);
    if (!isAllowed) {
      for (const { node, parent } of matching) parent?.children.splice(parent.children.indexOf(node), 1);
    } else if (matching.length > 0) {
      for (const { node } of matching) node.expected = expected;
    } else {
      const any = level.find(({ node }) => node.policy === ANY);
      any?.parent?.children.push(newNode(policy, expected));
    }
  }
}

/** RFC 5280 §6.1.5 g: whether a policy of the set is left. */
function hasAcceptable(tree: Tree, length: number, acceptable: ReadonlySet<string>): boolean {
  const roots = Array.from({ length }, (_, index) => levelOf(tree, index + 1)).flat();
  const reaches = (node: TreeNode, depth: number): boolean =>
    depth === 0 || node.children.some((child) => reaches(child, depth - 1));
  return roots.some(({ node, parent }) => {
    if (parent?.policy !== ANY) return false;
    const depth = Array.from({ length }, (_, index) => index + 1).find((at) =>
      levelOf(tree, at).some((one) => one.node === node),
    );
    if (node.policy === ANY) return depth === length && acceptable.size > 0;
    return acceptable.has(node.policy) && reaches(node, length - (depth ?? 0));
  });
}

/** RFC 5280 §6.1 for policies; `path` from the top, without the anchor. */
function isValidByTree(path: readonly Link[], inputs: PolicyInputs): boolean {
  const never = path.length + 1;
  const counts = {
    explicit: inputs.isExplicitRequired ? 0 : never,
    mapping: inputs.isMappingInhibited ? 0 : never,
    any: inputs.isAnyInhibited ? 0 : never,
  };
  let tree: Tree | undefined = { root: newNode(ANY) };
  for (const [index, { policyExtensions, isSelfIssued }] of path.entries()) {
    const depth = index + 1;
    const isLast = depth === path.length;
    const { policies, mappings } = policyExtensions;
    if (!policies) tree = undefined;
    if (tree && policies) addPolicies(tree, depth, policies, counts.any > 0 || (!isLast && isSelfIssued));
    if (tree && !prune(tree.root, depth)) tree = undefined;
    if (counts.explicit === 0 && !tree) return false;
    if (isLast) break;
    if (tree && mappings) mapPolicies(tree, depth, mappings, counts.mapping > 0);
    if (tree && !prune(tree.root, depth)) tree = undefined;
    for (const key of ['explicit', 'mapping', 'any'] as const)
      if (!isSelfIssued && counts[key] > 0) counts[key] -= 1;
    counts.explicit = Math.min(counts.explicit, policyExtensions.requireExplicitPolicy ?? never);
    counts.mapping = Math.min(counts.mapping, policyExtensions.inhibitPolicyMapping ?? never);
    counts.any = Math.min(counts.any, policyExtensions.inhibitAnyPolicy ?? never);
  }
  const isExplicit = counts.explicit <= 1 || path.at(-1)?.policyExtensions.requireExplicitPolicy === 0;
  if (!isExplicit) return true;
  if (!tree) return false;
  return inputs.acceptable === undefined || hasAcceptable(tree, path.length, new Set(inputs.acceptable));
}

const policy = fc.constantFrom(...POLICIES);
const few = { requiredKeys: [] };
const count = fc.nat(3);
const link: fc.Arbitrary<Link> = fc.record({
  isSelfIssued: fc.boolean(),
  policyExtensions: fc
    .record(
      {
        policies: fc
          .uniqueArray(fc.constantFrom(...POLICIES, ANY), { minLength: 1 })
          .map((list) => new Set<string>(list)),
        pairs: fc.array(fc.tuple(policy, policy), { maxLength: 4 }),
        requireExplicitPolicy: count,
        inhibitPolicyMapping: count,
        inhibitAnyPolicy: count,
      },
      { requiredKeys: ['policies'] },
    )
    .map(({ pairs, ...rest }) => ({ ...rest, ...(pairs && { mappings: mappingsOf(pairs) }) })),
});
const inputs: fc.Arbitrary<PolicyInputs> = fc.record(
  {
    acceptable: fc.uniqueArray(policy, { maxLength: 2 }),
    isExplicitRequired: fc.boolean(),
    isMappingInhibited: fc.boolean(),
    isAnyInhibited: fc.boolean(),
  },
  few,
);

function mappingsOf(pairs: readonly (readonly [string, string])[]): ReadonlyMap<string, ReadonlySet<string>> {
  const mappings = new Map<string, Set<string>>();
  for (const [one, other] of pairs) mappings.set(one, (mappings.get(one) ?? new Set()).add(other));
  return mappings;
}

test('graph and tree agree', () => {
  const seen = new Set<boolean>();
  fc.assert(
    fc.property(fc.array(link, { minLength: 1, maxLength: 5 }), inputs, (path, asked) => {
      const anchor: Link = { isSelfIssued: true, policyExtensions: {} };
      const problem = policyProblem([...path.toReversed(), anchor] as Certificate[], asked);
      const expected = isValidByTree(path, asked);
      seen.add(expected);
      assert.equal(problem === undefined, expected, problem ?? 'valid');
    }),
    { numRuns: 5_000 },
  );
  assert.equal(seen.size, 2);
});

// NIST PKITS: path validation alone, with the policy inputs of each case. Cases that need a CRL are exceptions here: they are
// judged in pkits-revocation.test.ts. A listed case that turns out right fails, as does any other wrong answer.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import type { PolicyInputs } from '../../src/smime/policy-graph.ts';
import { vectorPath } from '../support/vectors.ts';

interface Case {
  readonly id: string;
  readonly name: string;
  readonly cert: string;
  readonly other_certs?: readonly string[];
  readonly params?: {
    readonly user_initial_policy_set?: readonly string[];
    readonly initial_explicit_policy?: boolean;
    readonly initial_policy_mapping_inhibit?: boolean;
    readonly initial_any_policy_inhibit?: boolean;
  };
  readonly error?: unknown;
}

const exceptionsFile = join(import.meta.dirname, 'pkits-exceptions.json');
const at = new Date('2010-06-01T00:00:00Z');

test('PKITS paths', async (t) => {
  const cases = JSON.parse(readFileSync(vectorPath('pkits/pkits.json'), 'utf8')) as readonly Case[];
  const exceptions = new Map(
    Object.entries(
      JSON.parse(readFileSync(exceptionsFile, 'utf8')) as Record<string, readonly string[]>,
    ).flatMap(([reason, names]) => names.map((name) => [name, reason] as const)),
  );
  assert.equal(cases.length, 247);
  const known = new Set(cases.map(({ id, name }) => `${id} ${name}`));
  assert.deepEqual(
    [...exceptions.keys()].filter((id) => !known.has(id)),
    [],
  );
  const anchor = read('TrustAnchorRootCertificate.crt');
  assert(anchor);
  for (const vector of cases) {
    await t.test(`${vector.id} ${vector.name}`, () => {
      const isRight = isAccepted(vector, anchor) === (vector.error === undefined);
      const reason = exceptions.get(`${vector.id} ${vector.name}`);
      if (reason === undefined) assert(isRight, 'wrong answer');
      else assert(!isRight, `right answer, but listed as an exception: ${reason}`);
    });
  }
});

function isAccepted(vector: Case, anchor: Certificate): boolean {
  const leaf = read(vector.cert);
  if (!leaf) return false;
  const intermediates = (vector.other_certs ?? []).map(read).filter((item) => item !== undefined);
  const trust = { anchors: [anchor], intermediates: [], at, policies: policyInputs(vector) };
  return validateChain(leaf, intermediates, trust, 'sign', { isLegacyAllowed: true }).trusted;
}

function policyInputs({ params = {} }: Case): PolicyInputs {
  const { user_initial_policy_set: acceptable } = params;
  return {
    ...(acceptable && { acceptable }),
    isExplicitRequired: params.initial_explicit_policy ?? false,
    isMappingInhibited: params.initial_policy_mapping_inhibit ?? false,
    isAnyInhibited: params.initial_any_policy_inhibit ?? false,
  };
}

/** A certificate that cannot be parsed is not part of any path. */
function read(name: string): Certificate | undefined {
  const der = readFileSync(vectorPath(`pkits/certs/${name}`));
  try {
    return parseCertificate(der);
  } catch {
    return undefined;
  }
}

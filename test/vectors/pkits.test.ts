// NIST PKITS: all cases, each with its policy inputs and its CRLs. Every certificate of a path needs lists that say it is
// good. A case listed as an exception that turns out right fails, as does any other wrong answer.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import { parseRevocationList, type RevocationList } from '../../src/smime/crl.ts';
import { judgeByLists } from '../../src/smime/crl-status.ts';
import type { PolicyInputs } from '../../src/smime/policy-graph.ts';
import { vectorPath } from '../support/vectors.ts';

interface Case {
  readonly id: string;
  readonly name: string;
  readonly cert: string;
  readonly other_certs?: readonly string[];
  readonly crls?: readonly string[];
  readonly params?: {
    readonly user_initial_policy_set?: readonly string[];
    readonly initial_explicit_policy?: boolean;
    readonly initial_policy_mapping_inhibit?: boolean;
    readonly initial_any_policy_inhibit?: boolean;
  };
  readonly error?: unknown;
}

interface Material {
  readonly pool: readonly Certificate[];
  readonly lists: readonly RevocationList[];
}

const exceptionsFile = join(import.meta.dirname, 'pkits-exceptions.json');
const at = new Date('2010-06-01T00:00:00Z');
const isLegacyAllowed = true;

test('PKITS', async (t) => {
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
  const anchor = readCertificate('TrustAnchorRootCertificate.crt');
  assert(anchor);
  for (const vector of cases) {
    await t.test(`${vector.id} ${vector.name}`, async () => {
      const isRight = (await isAccepted(vector, anchor)) === (vector.error === undefined);
      const reason = exceptions.get(`${vector.id} ${vector.name}`);
      if (reason === undefined) assert(isRight, 'wrong answer');
      else assert(!isRight, `right answer, but listed as an exception: ${reason}`);
    });
  }
});

async function isAccepted(vector: Case, anchor: Certificate): Promise<boolean> {
  const leaf = readCertificate(vector.cert);
  const pool = (vector.other_certs ?? []).map(readCertificate).filter((item) => item !== undefined);
  const trust = { anchors: [anchor], intermediates: [], at, policies: policyInputs(vector) };
  const path = leaf && validateChain(leaf, pool, trust, 'sign', { isLegacyAllowed });
  if (!path?.trusted) return false;
  const lists = ['TrustAnchorRootCRL.crl', ...(vector.crls ?? [])]
    .map(readList)
    .filter((item) => item !== undefined);
  return (await stateOf(path.chain, { pool, lists })) === 'good';
}

/** `isSigner`: the path of who signed a list, whose own lists have to be by CAs in that path. */
async function stateOf(
  chain: readonly Certificate[],
  material: Material,
  isSigner = false,
): Promise<'good' | 'revoked' | 'unknown'> {
  const { pool, lists } = material;
  const statusOf = (path: readonly Certificate[]) => stateOf(path, material, true);
  const options = { at, isLegacyAllowed, ...(!isSigner && { others: { pool, statusOf } }) };
  let worst: 'good' | 'unknown' = 'good';
  for (const [index, certificate] of chain.slice(0, -1).entries()) {
    const isOfSigner = isSigner && index === 0;
    const { state } = await judgeByLists(lists, certificate, chain.slice(index + 1), {
      ...options,
      isOfSigner,
    });
    if (state === 'revoked') return state;
    if (state === 'unknown') worst = state;
  }
  return worst;
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

function readCertificate(name: string): Certificate | undefined {
  return tolerant(() => parseCertificate(readFileSync(vectorPath(`pkits/certs/${name}`))));
}

function readList(name: string): RevocationList | undefined {
  return tolerant(() => parseRevocationList(readFileSync(vectorPath(`pkits/crls/${name}`))));
}

/** What cannot be parsed is not part of any path. */
function tolerant<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

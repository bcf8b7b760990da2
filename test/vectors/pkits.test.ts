// NIST PKITS: path validation alone. Cases that need a CRL are judged in pkits-revocation.test.ts, policies are not built:
// both are listed as exceptions with their reason; a listed case that turns out right fails, as does any other wrong answer.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import { vectorPath } from '../support/vectors.ts';

interface Case {
  readonly id: string;
  readonly name: string;
  readonly cert: string;
  readonly other_certs?: readonly string[];
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
  return validateChain(leaf, intermediates, { anchors: [anchor], intermediates: [], at }, 'sign', {
    isLegacyAllowed: true,
  }).trusted;
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

// NIST PKITS, revocation by CRL: each certificate of a valid path needs a list that says it is good. Delta and indirect
// lists and lists for some reasons are not supported; the cases that need them are exceptions with their reason.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import { parseRevocationList, type RevocationList } from '../../src/smime/crl.ts';
import { judgeByList } from '../../src/smime/crl-status.ts';
import { vectorPath } from '../support/vectors.ts';

interface Case {
  readonly id: string;
  readonly name: string;
  readonly cert: string;
  readonly other_certs?: readonly string[];
  readonly crls?: readonly string[];
  readonly error?: unknown;
}

const exceptionsFile = join(import.meta.dirname, 'pkits-revocation-exceptions.json');
const at = new Date('2010-06-01T00:00:00Z');
const isLegacyAllowed = true;
/** Basic revocation, self-issued CAs, key usage of CAs, distribution points, delta CRLs. */
const SECTIONS = /^4(04|05|07|14|15)/;

test('PKITS revocation', async (t) => {
  const all = JSON.parse(readFileSync(vectorPath('pkits/pkits.json'), 'utf8')) as readonly Case[];
  const exceptions = new Map(
    Object.entries(
      JSON.parse(readFileSync(exceptionsFile, 'utf8')) as Record<string, readonly string[]>,
    ).flatMap(([reason, names]) => names.map((name) => [name, reason] as const)),
  );
  const cases = all.filter(({ id }) => SECTIONS.test(id));
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
  const others = (vector.other_certs ?? []).map(readCertificate).filter((item) => item !== undefined);
  const trust = { anchors: [anchor], intermediates: [], at };
  const path = leaf && validateChain(leaf, others, trust, 'sign', { isLegacyAllowed });
  if (!path?.trusted) return false;
  const lists = ['TrustAnchorRootCRL.crl', ...(vector.crls ?? [])]
    .map(readList)
    .filter((item) => item !== undefined);
  for (const [index, certificate] of path.chain.slice(0, -1).entries()) {
    const states = new Set<string>();
    for (const list of lists)
      states.add(
        (await judgeByList(list, certificate, path.chain.slice(index + 1), { at, isLegacyAllowed })).state,
      );
    if (states.has('revoked') || !states.has('good')) return false;
  }
  return true;
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

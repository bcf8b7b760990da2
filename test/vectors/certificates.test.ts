// Public certificate collections: x509-limbo paths, the people of RFC 9216, the PKCS#12 files of GnuPG and NSS. The limbo
// cases are made for web servers: extended key usage is taken out, and what only concerns host names is listed as an
// exception with its reason.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Secret } from '../../src/core/secret.ts';
import { type Certificate, certificateUse, parsePemCertificates } from '../../src/smime/certificate.ts';
import { validateChain } from '../../src/smime/chain.ts';
import { parseRevocationList } from '../../src/smime/crl.ts';
import { judgeByLists } from '../../src/smime/crl-status.ts';
import { readPkcs12, readPkcs12Identities } from '../../src/smime/pkcs12.ts';
import { isKeyOf, readPrivateKey } from '../../src/smime/private-key.ts';
import { vectorPath } from '../support/vectors.ts';

interface LimboCase {
  readonly id: string;
  readonly trusted_certs: readonly string[];
  readonly untrusted_intermediates: readonly string[];
  readonly peer_certificate: string;
  readonly validation_time: string | null;
  readonly crls?: readonly string[];
  readonly expected_result: 'SUCCESS' | 'FAILURE';
}

test('x509-limbo paths', async (t) => {
  const { testcases } = JSON.parse(readFileSync(vectorPath('x509-limbo/limbo.json'), 'utf8')) as {
    testcases: readonly LimboCase[];
  };
  const exceptions = new Map(
    Object.entries(
      JSON.parse(readFileSync(join(import.meta.dirname, 'x509-limbo-exceptions.json'), 'utf8')) as Record<
        string,
        readonly string[]
      >,
    ).flatMap(([reason, ids]) => ids.map((id) => [id, reason] as const)),
  );
  const known = new Set(testcases.map(({ id }) => id));
  assert.deepEqual(
    [...exceptions.keys()].filter((id) => !known.has(id)),
    [],
  );
  for (const vector of testcases) {
    await t.test(vector.id, async () => {
      const started = performance.now();
      const isRight = (await isAccepted(vector)) === (vector.expected_result === 'SUCCESS');
      assert(performance.now() - started < 2_000, 'took too long');
      const reason = exceptions.get(vector.id);
      if (reason === undefined) assert(isRight, 'wrong answer');
      else assert(!isRight, `right answer, but listed as an exception: ${reason}`);
    });
  }
});

/** Where a case has CRLs, the leaf has to be good by them. */
async function isAccepted(vector: LimboCase): Promise<boolean> {
  const [leaf] = read(vector.peer_certificate);
  if (!leaf) return false;
  const trust = {
    anchors: vector.trusted_certs.flatMap(read),
    intermediates: [],
    at: new Date(vector.validation_time ?? '2024-06-01T00:00:00Z'),
  };
  const path = validateChain(leaf, vector.untrusted_intermediates.flatMap(read), trust, 'sign');
  const lists = (vector.crls ?? []).map((pem) => parseRevocationList(Buffer.from(pem)));
  if (!path.trusted || lists.length === 0) return path.trusted;
  return (await judgeByLists(lists, leaf, path.chain.slice(1), { at: trust.at })).state === 'good';
}

function read(pem: string): readonly Certificate[] {
  try {
    return parsePemCertificates(pem).map(withoutExtendedKeyUsage);
  } catch {
    return [];
  }
}

function withoutExtendedKeyUsage(certificate: Certificate): Certificate {
  const { extendedKeyUsage, ...rest } = certificate;
  return extendedKeyUsage ? rest : certificate;
}

test('RFC 9216: chains, uses and keys of the sample people', async (t) => {
  const folder = vectorPath('rfc9216-lamps');
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const certificates = (name: string): readonly Certificate[] => parsePemCertificates(text(name));
  const at = new Date('2026-01-01T00:00:00Z');
  const roots = [...certificates('ca.rsa.crt.pem'), ...certificates('ca.ed25519.crt.pem')];
  for (const person of ['alice', 'bob', 'carlos', 'dana']) {
    await t.test(person, () => {
      const trust = { anchors: roots, intermediates: [], at };
      for (const [kind, purpose, other] of [
        ['sign', 'sign', 'encrypt'],
        ['encrypt', 'encrypt', 'sign'],
      ] as const) {
        const [leaf] = certificates(`${person}.${kind}.crt.pem`);
        assert(leaf);
        assert.deepEqual(leaf.addresses, [`${person}@smime.example`]);
        assert.equal(validateChain(leaf, [], trust, purpose).trusted, true);
        assert.equal(certificateUse(leaf, other, at).usable, false);
        const key = readPrivateKey(text(`${person}.${kind === 'sign' ? 'sign' : 'decrypt'}.key.pem`));
        assert(isKeyOf(key, leaf));
      }
      const identities = readPkcs12Identities(
        readFileSync(join(folder, `${person}.p12`)),
        new Secret(person),
      );
      assert.equal(identities.length, 2);
    });
  }
  await t.test('cross certificates lead to the other root', () => {
    for (const [file, cross, root] of [
      ['bob.sign.crt.pem', 'ca.rsa.cross.crt.pem', 'ca.ed25519.crt.pem'],
      ['dana.sign.crt.pem', 'ca.ed25519.cross.crt.pem', 'ca.rsa.crt.pem'],
    ] as const) {
      const [leaf] = certificates(file);
      assert(leaf);
      const trust = { anchors: certificates(root), intermediates: [], at };
      assert.equal(validateChain(leaf, [], trust, 'sign').trusted, false);
      const result = validateChain(leaf, certificates(cross), trust, 'sign');
      assert(result.trusted);
      assert.equal(result.chain.length, 3);
    }
  });
});

const files: readonly (readonly [string, string])[] = [
  ['gnupg-cms/samplekeys/ov-user.p12', 'start'],
  ['gnupg-cms/samplekeys/ov-server.p12', 'start'],
  ['gnupg-cms/samplekeys/opensc-test.p12', 'password'],
  ['gnupg-cms/samplekeys/t5793-openssl.pfx', 'test'],
  ['gnupg-cms/samplekeys/nistp256-openssl-self-signed.p12', 'abc'],
  ['gnupg-cms/samplekeys/credential_private_encrypted_AES256.p12', 'qeFGds84/Sf0eKkJwcp6'],
  ['gnupg-cms/samplekeys/credential_private_encrypted_3DES.p12', 'qeFGds84/Sf0eKkJwcp6'],
  ['thunderbird-smime/smime/Alice.p12', 'nss'],
  ['thunderbird-smime/smime/Fran-ec.p12', 'nss'],
  ['nss-smime/interop-openssl/Fran.p12', 'nss'],
  ['protected-headers/bob.der.p12', 'bob'],
  ['covert-content-attacks/assets/secret-keys/manager@bigcorporation.pfx', 'test12345678'],
];

test('PKCS#12 files of other software', async (t) => {
  for (const [path, password] of files) {
    await t.test(path, () => {
      const { key, certificate } = readPkcs12(readFileSync(vectorPath(path)), new Secret(password));
      assert(isKeyOf(key, certificate));
    });
  }
});

test('PKCS#12 files of PKITS, every tenth', () => {
  const folder = vectorPath('pkits/pkcs12');
  for (const name of readdirSync(folder)
    .sort()
    .filter((_, index) => index % 10 === 0)) {
    const { key, certificate } = readPkcs12(readFileSync(join(folder, name)), new Secret('password'));
    assert(isKeyOf(key, certificate), name);
  }
});

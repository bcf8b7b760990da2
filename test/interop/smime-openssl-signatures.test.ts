// Every signature that OpenSSL's cms command makes or verifies, both ways. What mail programs write by default is in
// smime-openssl.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { after, test } from 'node:test';
import { fieldsOf, octetsOf, oidOf, parseDer, TAG } from '../../src/smime/der.ts';
import { signMessage, verifyMessage } from '../../src/smime/message.ts';
import { type FilePerson, keyOptions, OpensslPeople } from '../support/openssl-people.ts';
import { chunkedSource, cmsMail, limits, mail, runStage, signedMail } from '../support/smime.ts';

const people = new OpensslPeople();
after(() => people[Symbol.dispose]());
const ENTITY = mail('Content-Type: text/plain', '', 'signed by her', '');
const MESSAGE = Buffer.concat([mail('From: rsa@contoso.example', 'MIME-Version: 1.0', ''), ENTITY]);
people.file('entity', ENTITY);
const curve = (namedCurve: string): FilePerson =>
  people.person(namedCurve, generateKeyPairSync('ec', { namedCurve }));
const rsa = people.person('rsa', generateKeyPairSync('rsa', { modulusLength: 2_048 }));
const pss = people.person('pss', generateKeyPairSync('rsa-pss', { modulusLength: 2_048 }));
const curves = ['P-256', 'P-384', 'P-521', 'brainpoolP256r1', 'brainpoolP384r1', 'brainpoolP512r1'].map(
  curve,
);
type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
const HASHES = ['sha256', 'sha384', 'sha512'] as const;

/** QUIRK: without being told, OpenSSL 3.0 names a PSS signature `rsaEncryption`, which it does not verify itself. */
function paddingOf({ signer: { key } }: FilePerson): readonly string[] {
  return key.asymmetricKeyType === 'rsa-pss' ? ['rsa_padding_mode:pss'] : [];
}

async function integrityOf(
  form: 'detached' | 'opaque',
  person: FilePerson,
  options: readonly string[],
  keyed: readonly string[] = [],
): Promise<string> {
  const fixed = ['-sign', '-binary', '-outform', 'DER', '-in', people.file('entity')];
  const signer = ['-signer', person.crt, '-inkey', person.key, ...keyOptions(keyed)];
  const nodetach = form === 'opaque' ? ['-nodetach'] : [];
  const cms = people.openssl('cms', ...fixed, ...nodetach, ...options, ...signer);
  const message = form === 'opaque' ? cmsMail(cms) : signedMail(ENTITY, cms);
  const { outcome } = await runStage(verifyMessage(chunkedSource(message, 3_001), people.trust, { limits }));
  assert.equal(outcome.kind, 'verified', JSON.stringify(outcome));
  const [result] = outcome.signatures;
  return `${outcome.form} ${result.integrity} ${result.trust}`;
}

test('we verify RSASSA-PSS with each hash, each mask and each length of salt', async (t) => {
  for (const hash of HASHES) {
    for (const mask of ['sha1', ...HASHES]) {
      for (const salt of ['0', '20', 'digest', 'max']) {
        await t.test(`${hash}, ${mask}, salt ${salt}`, async () => {
          const keyed = ['rsa_padding_mode:pss', `rsa_mgf1_md:${mask}`, `rsa_pss_saltlen:${salt}`];
          assert.equal(await integrityOf('detached', rsa, ['-md', hash], keyed), 'detached intact trusted');
        });
      }
    }
  }
});

test('we verify each type of key, both forms, by issuer and by key identifier', async (t) => {
  for (const person of [rsa, pss, ...curves]) {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = person.signer.key;
    for (const hash of HASHES) {
      for (const form of ['detached', 'opaque'] as const) {
        for (const named of [[], ['-keyid']]) {
          const title = [type, details?.namedCurve, hash, form, ...named].filter(Boolean).join(', ');
          await t.test(title, async () => {
            assert.equal(
              await integrityOf(form, person, ['-md', hash, ...named], paddingOf(person)),
              `${form} intact trusted`,
            );
          });
        }
      }
    }
  }
});

test('openssl verifies what we sign with each type of key', async (t) => {
  for (const person of [rsa, pss, ...curves]) {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = person.signer.key;
    const { bytes } = await runStage(
      signMessage(chunkedSource(MESSAGE, 999), person.signer, { limits, at: new Date() }),
    );
    const verify = (message: Buffer): Buffer => {
      const file = people.file('ours.eml', message);
      return people.openssl('cms', '-verify', '-in', file, '-CAfile', people.file('ca.crt'));
    };
    await t.test([type, details?.namedCurve].filter(Boolean).join(', '), () => {
      assert.deepEqual(verify(bytes), ENTITY);
      const changed = Buffer.from(
        bytes.toString('latin1').replace('signed by her', 'signed by him'),
        'latin1',
      );
      assert.throws(() => verify(changed), /verification failure|content verify error/i);
    });
  }
});

test('a PSS key that is bound to hashes signs with these, and openssl agrees', async (t) => {
  const make = generateKeyPairSync as unknown as (type: string, options: object) => Keys;
  for (const [hashAlgorithm, mgf1HashAlgorithm, saltLength] of [
    ['sha256', 'sha256', 32],
    ['sha384', 'sha384', 48],
    ['sha256', 'sha512', 20],
    ['sha512', 'sha256', 100],
  ] as const) {
    await t.test(`${hashAlgorithm}, ${mgf1HashAlgorithm}, ${saltLength}`, async () => {
      const options = { modulusLength: 2_048, hashAlgorithm, mgf1HashAlgorithm, saltLength };
      const person = people.person(`bound ${hashAlgorithm}`, make('rsa-pss', options));
      const { bytes } = await runStage(
        signMessage(chunkedSource(MESSAGE, 999), person.signer, { limits, at: new Date() }),
      );
      const file = people.file('bound.eml', bytes);
      const ca = people.file('ca.crt');
      assert.deepEqual(people.openssl('cms', '-verify', '-in', file, '-CAfile', ca), ENTITY);
      const theirs = await integrityOf('detached', person, ['-md', hashAlgorithm], paddingOf(person));
      assert.equal(theirs, 'detached intact trusted');
    });
  }
});

/** The only SignerInfo of a signed mail: its attributes as they are signed, their digest, and the signature. */
function signerOf(message: Buffer): { attributes: Buffer; digest: Buffer; signature: Buffer } {
  const base64 = message.subarray(message.indexOf('smime.p7s"\r\n\r\n')).toString('latin1');
  const [, body = ''] = /\r\n\r\n([A-Za-z0-9+/=\r\n]+)--/.exec(base64) ?? [];
  const signedData = parseDer(Buffer.from(body, 'base64')).children[1]?.children[0]?.children.at(-1);
  const info = signedData?.children[0];
  assert.ok(info);
  const fields = fieldsOf(info);
  for (const tag of [TAG.integer, TAG.sequence, TAG.sequence]) fields.take(tag);
  const set = fields.take(0xa0);
  fields.take(TAG.sequence);
  const digest = set.children.find(({ children: [type] }) => type && oidOf(type) === '1.2.840.113549.1.9.4');
  return {
    attributes: Buffer.concat([Buffer.of(0x31), set.raw.subarray(1)]),
    digest: digest?.children[1]?.children[0]?.content ?? Buffer.alloc(0),
    signature: octetsOf(fields.take(TAG.octetString)),
  };
}

// OpenSSL 3.0 has the Edwards curves, but not inside its cms command.
test('openssl finds our Edwards signatures right, piece by piece', async (t) => {
  for (const [type, keys, digest] of [
    ['ed25519', generateKeyPairSync('ed25519'), ['-sha512']],
    ['ed448', generateKeyPairSync('ed448'), ['-shake256', '-xoflen', '64']],
  ] as const) {
    await t.test(type, async () => {
      const person = people.person(type, keys);
      const { bytes } = await runStage(
        signMessage(chunkedSource(MESSAGE, 999), person.signer, { limits, at: new Date() }),
      );
      const signer = signerOf(bytes);
      const file = people.file('signed', ENTITY);
      assert.deepEqual(people.openssl('dgst', ...digest, '-binary', file), signer.digest);
      const inputs = [
        '-in',
        people.file('attributes', signer.attributes),
        '-sigfile',
        people.file('signature', signer.signature),
      ];
      const key = ['-certin', '-inkey', person.crt];
      people.openssl('pkeyutl', '-verify', '-rawin', ...key, ...inputs);
    });
  }
});

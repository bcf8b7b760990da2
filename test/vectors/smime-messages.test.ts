// Public S/MIME messages with the keys of their suites: what decrypts to which content, and whose signature is valid.
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { bytesSource } from '../../src/core/bytes.ts';
import { GatewayError } from '../../src/core/errors.ts';
import { Secret } from '../../src/core/secret.ts';
import { normaliseMessage } from '../../src/mime/canonical.ts';
import { type Certificate, parsePemCertificates } from '../../src/smime/certificate.ts';
import type { TrustContext } from '../../src/smime/chain.ts';
import type { SmimeDecryptionKey } from '../../src/smime/message.ts';
import { readPkcs12 } from '../../src/smime/pkcs12.ts';
import { readPrivateKey } from '../../src/smime/private-key.ts';
import { bytesOf, limits } from '../support/mime.ts';
import { readLayers, type Reading } from '../support/smime-reading.ts';
import { openVectorSuites, readMail, readVector, type Vector, vectorFiles } from '../support/vectors.ts';

const suites = openVectorSuites('smime-messages-exceptions.json');

function trustIn(anchors: string, at: string): TrustContext {
  // The suites' certificates have their addresses in the subject alone.
  return {
    anchors: certificates(anchors),
    intermediates: [],
    countsSubjectAddresses: true,
    at: new Date(at),
  };
}

function certificates(name: string): readonly Certificate[] {
  return parsePemCertificates(readVector(name).toString('latin1'));
}

const keyFrom = (name: string, password: string): SmimeDecryptionKey =>
  readPkcs12(readVector(name), new Secret(password));

const broken = (person: string, form = 'detached'): string => `${form}: broken trusted ${person}`;
const intact = (person: string, form = 'detached'): string => `${form}: intact trusted ${person}`;

// --- Thunderbird ---

const ALICE_TEXT = 'This is a test message from Alice to Bob.';
const ALICE = 'alice@example.com';

interface ThunderbirdRow {
  readonly filename: string;
  readonly enc: boolean;
  readonly sig?: boolean;
  readonly sig_good?: boolean;
  readonly check_text?: string;
}

const thunderbird = (): readonly [readonly SmimeDecryptionKey[], TrustContext] => [
  ['Alice', 'Bob', 'Dave', 'Eve', 'Alice-ec', 'Fran', 'Fran-ec'].map((name) =>
    keyFrom(`thunderbird-smime/smime/${name}.p12`, 'nss'),
  ),
  trustIn('thunderbird-smime/smime/TestCA.pem', '2026-06-01'),
];

// What Thunderbird itself expects of its matrix.
suites.suite('thunderbird-smime', 'as Thunderbird shows them', 68, () => {
  const [keys, trust] = thunderbird();
  const rows = JSON.parse(
    readVector('thunderbird-smime/expected-thunderbird.json').toString(),
  ) as readonly ThunderbirdRow[];
  return rows.map((row): Vector => [
    `thunderbird-smime/smime/${row.filename}`.replace('smime/../', ''),
    async () => {
      const name = `thunderbird-smime/smime/${row.filename}`;
      const { layers, isAuthors, content } = await readLayers(readMail(name), keys, trust, ['3des']);
      const opened = layers.lastIndexOf('decrypted');
      // Thunderbird shows no signature around a ciphertext.
      const first = layers[opened + 1] ?? '';
      const found = {
        enc: opened >= 0,
        sig: /^(?:detached|opaque): /.test(first),
        sig_good: isAuthors,
      };
      assert.deepEqual(found, { enc: row.enc, sig: row.sig ?? false, sig_good: row.sig_good ?? false });
      if (row.check_text !== undefined) assert(content.includes(row.check_text), 'another text');
    },
  ]);
});

// Cryptography alone, as OpenSSL peels them; SHA-1 counts as broken, and nothing is taken off a detached signature.
suites.suite('thunderbird-smime', 'layer by layer', 66, () => {
  const [keys, trust] = thunderbird();
  const [, matrix = ''] = readVector('thunderbird-smime/ORACLE-openssl.txt')
    .toString()
    .split(/^## .*$/m);
  const lines = matrix
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((field) => field.trim()));
  return lines.map(([name = '', ...expected]): Vector => [
    `layers of ${name}`,
    async () => {
      const { layers } = await readLayers(readMail(`thunderbird-smime/smime/${name}`), keys, trust);
      const isWeak = name.includes('SHA1');
      const wanted = expected.map((layer) => thunderbirdLayer(layer, isWeak));
      // A detached signature is taken off with the encrypted message that it covers, and only then.
      const opened = wanted.lastIndexOf('decrypted');
      const end = wanted.findIndex((layer, index) => layer.startsWith('detached') && index > opened);
      assert.deepEqual(
        layers.slice(0, -1).map((layer) => layer.replace(/ trusted (?:alice|dave)@example\.com$/, '')),
        wanted.slice(0, end < 0 ? -1 : end + 1),
      );
    },
  ]);
});

function thunderbirdLayer(oracle: string, isWeak: boolean): string {
  if (oracle.startsWith('enveloped, decrypts with: Bob')) return 'decrypted';
  const [, form, result] = /^(clear|opaque)-sig (OK|FAIL)/.exec(oracle) ?? [];
  if (form === undefined) return oracle;
  return `${form === 'clear' ? 'detached' : 'opaque'}: ${result === 'OK' && !isWeak ? 'intact' : 'broken'}`;
}

const stale = 'untrusted alice@example.com';
const thunderbirdOthers: Readonly<Record<string, readonly string[]>> = {
  'browser/alice.dsig.SHA256.multipart.env.eml': ['decrypted', intact(ALICE), 'multipart/signed'],
  // Signed is a part, not the message.
  'browser/alice.dsig.SHA256.multipart.in.mixed.eml': ['multipart/mixed'],
  'browser/alice.dsig.SHA256.multipart.in.mixed.with.header.eml': ['multipart/mixed'],
  'browser/alice.env.eml': ['decrypted', 'text/plain'],
  // Signed under an older root of the same name.
  'browser/alice.html.sig.SHA256.opaque.eml': [`opaque: intact ${stale}`, 'text/html'],
  'browser/alice.html.sig.SHA256.opaque.env.eml': ['decrypted', intact(ALICE, 'opaque'), 'text/html'],
  'browser/alice.sig.SHA256.opaque.eml': [intact(ALICE, 'opaque'), 'text/plain'],
  'browser/alice.sig.SHA256.opaque.env.eml': ['decrypted', intact(ALICE, 'opaque'), 'text/plain'],
  // Bait and prey side by side: neither is decrypted, so nothing of one can carry the other away.
  'browser/multipart-alternative.eml': ['multipart/alternative'],
  'browser/nested-sigs.eml': [
    'detached: broken untrusted kaie@kuix.de kaie@thunderbird.net',
    'multipart/signed',
  ],
  'smime-manual/alice.dsig.SHA256.multipart.env.dsig.eml': [
    broken(ALICE),
    'decrypted',
    intact(ALICE),
    'multipart/signed',
  ],
  'smime-manual/alice.env.mixed.dsig.SHA256.multipart.eml': [`detached: broken ${stale}`, 'multipart/signed'],
  'smime-manual/outer-pgp-sig-inner-smime-enc-sig.eml': [
    'not verified: unsupported',
    'not decrypted: no-recipient',
    'multipart/signed',
  ],
  'smime-manual/outer-pgp-sig-inner-smime-enc.eml': [
    'not verified: unsupported',
    'not decrypted: no-recipient',
    'multipart/signed',
  ],
  'smime-manual/outer-smime-bad-sig-inner-smime-enc-sig.eml': [
    `detached: broken ${stale}`,
    'decrypted',
    intact(ALICE),
    'multipart/signed',
  ],
  'smime-manual/outer-smime-bad-sig-inner-smime-enc.eml': [
    `detached: broken ${stale}`,
    'decrypted',
    'text/plain',
  ],
};

suites.suite('thunderbird-smime', 'other messages', 16, () => {
  const [keys, trust] = thunderbird();
  const files = vectorFiles('thunderbird-smime', '{browser,smime-manual}/*.eml');
  return files.map((name): Vector => [
    `layers of ${name}`,
    async () => {
      const { layers, content } = await readLayers(readMail(name), keys, trust);
      assert.deepEqual(layers, thunderbirdOthers[name.replace('thunderbird-smime/', '')]);
      assert(!content.includes('SECRET-TEXT the attacker wants to steal'), 'the prey came out');
      if (layers[0] === 'decrypted') assert(content.includes(ALICE_TEXT));
    },
  ]);
});

// --- RFC 9216, RFC 9788, protected headers ---

const lamps = (name: string): SmimeDecryptionKey => {
  const [certificate] = certificates(`rfc9216-lamps/${name}.encrypt.crt.pem`);
  assert(certificate);
  return { certificate, key: readPrivateKey(readVector(`rfc9216-lamps/${name}.decrypt.key.pem`)) };
};

suites.suite('rfc9788-sample', 'signed and encrypted', 2, () =>
  ['alice', 'bob'].map((reader): Vector => [
    `rfc9788-sample as ${reader}`,
    async () => {
      const name = 'rfc9788-sample/smime-signed-enc-hp-baseline';
      const trust = trustIn('rfc9216-lamps/ca.rsa.crt.pem', '2026-01-01');
      const { layers, isAuthors, content } = await readLayers(
        readMail(`${name}.eml`),
        [lamps(reader)],
        trust,
      );
      assert.deepEqual(layers, ['decrypted', intact('alice@smime.example', 'opaque'), 'text/plain']);
      assert.equal(isAuthors, true);
      assert.equal(bodyOf(content), bodyOf(readMail(`${name}.payload.expected`)));
    },
  ]),
);

const ALICE_SMIME = 'alice@smime.example';
const protectedHeaders: Readonly<Record<string, readonly string[]>> = {
  'smime-multipart-signed': [intact(ALICE_SMIME), 'multipart/signed'],
  'smime-onepart-signed': [intact(ALICE_SMIME, 'opaque'), 'text/plain'],
  'smime-enc+legacy-disp': ['decrypted', 'multipart/mixed'],
  'smime-sign+enc': ['decrypted', intact(ALICE_SMIME, 'opaque'), 'text/plain'],
  'smime-sign+enc+legacy-disp': ['decrypted', intact(ALICE_SMIME, 'opaque'), 'multipart/mixed'],
};

suites.suite('protected-headers', 'S/MIME messages', 5, () => {
  const keys = [keyFrom('protected-headers/bob.der.p12', 'bob')];
  const trust = trustIn('protected-headers/sample-ca.pem', '2026-06-01');
  return vectorFiles('protected-headers', 'smime-*.eml').map((name): Vector => [
    name,
    async () => {
      const { layers, isAuthors, content } = await readLayers(readMail(name), keys, trust, ['3des']);
      const stem = basename(name, '.eml');
      assert.deepEqual(layers, protectedHeaders[stem]);
      assert.equal(
        isAuthors,
        layers.some((layer) => layer.includes('intact')),
      );
      const innermost = vectorFiles('protected-headers', `${stem}.inner*`).at(-1);
      if (innermost !== undefined) assert.equal(bodyOf(content), bodyOf(readMail(innermost)));
    },
  ]);
});

// OpenPGP mail is none of S/MIME's business, and says so.
suites.suite('protected-headers', 'OpenPGP messages', 7, () => notSmime('protected-headers', '[pu]*.eml'));
suites.suite('memoryhole', 'OpenPGP messages', 8, () => notSmime('memoryhole', '*.eml'));

function notSmime(collection: string, pattern: string): readonly Vector[] {
  return vectorFiles(collection, pattern).map((name): Vector => [
    name,
    async () => {
      const message = readMail(name);
      const { layers, content } = await readLayers(message, [], {
        anchors: [],
        intermediates: [],
        at: new Date(0),
      });
      assert.equal(content, message);
      const isSigned = layers.at(-1) === 'multipart/signed';
      assert.deepEqual(layers.slice(0, -1), isSigned ? ['not verified: unsupported'] : []);
    },
  ]);
}

/** After the header; trailing line ends are the containers' business. */
function bodyOf(message: Buffer): string {
  const text = message.toString('latin1');
  return text.slice(text.indexOf('\r\n\r\n') + 4).trimEnd();
}

// --- Attacks ---

const MANAGER = 'manager@bigcorporation.de';
const EVE = 'eve@bigcorporation.de';
/** [layers, whether the author signed] */
const johnnyOthers: Readonly<Record<string, readonly [readonly string[], boolean]>> = {
  'eContent_confusion.eml': [[broken(MANAGER)], false],
  'eContent_confusion_refinement.eml': [[broken(MANAGER)], false],
  'multiple_signerInfos_append_johnny.eml': [[`${intact(EVE)} and broken trusted ${MANAGER}`], false],
  'multiple_signerInfos_prepend_johnny.eml': [[`${broken(MANAGER)} and intact trusted ${EVE}`], false],
  'no_signerInfos_no_certificates_detached.eml': [[], false],
  'no_signerInfos_detached.eml': [[], false],
  'crash_01.eml': [['not verified: malformed'], false],
  'valid_email_from_manager.eml': [[intact(MANAGER)], true],
  'manager-smime.eml': [[intact(MANAGER)], true],
  'eve-smime.eml': [[intact(EVE)], true],
};
/** From names eve alone there; the display name lies, which only a reader of display names can be told. */
const EVE_IS_AUTHOR = /^(?:i2-from-contains-signer|i2-from-is-sender-signer-[ab])-smime\.eml$/;
const SEVERAL_AUTHORS = /^i3-from-signer-others-sender-smime\.eml$/;

function johnnyExpectation(name: string): readonly [readonly string[], boolean] {
  const file = basename(name);
  const known = johnnyOthers[file];
  if (known) return known;
  if (name.includes('/04-id/') && file.endsWith('-smime.eml'))
    return [[intact(EVE)], EVE_IS_AUTHOR.test(file) || SEVERAL_AUTHORS.test(file)];
  if (file.endsWith('-pgp-mime.eml') && !name.includes('/03-mime/'))
    return [['not verified: unsupported'], false];
  // A signed part, inline OpenPGP, or nothing signed at all: the message is not signed.
  return [[], false];
}

suites.suite('johnny-you-are-fired', 'spoofed signatures', 59, () => {
  const trust = trustIn('johnny-you-are-fired/globalsign-root-r3.pem', '2019-06-01');
  return vectorFiles('johnny-you-are-fired', '**/*.eml').map((name): Vector => [
    name,
    async () => {
      const { layers, isAuthors }: Reading = await readLayers(readMail(name), [], trust);
      const [expected, isByAuthor] = johnnyExpectation(name);
      assert.deepEqual(layers.slice(0, -1), expected);
      assert.equal(isAuthors, isByAuthor);
    },
  ]);
});

suites.suite('johnny-you-are-fired', 'two From fields are refused at the door', 4, () =>
  vectorFiles('johnny-you-are-fired', '04-id/*/i3-from1-*.eml').map((name): Vector => [
    `door of ${basename(name)}`,
    async () => {
      const door = normaliseMessage(bytesSource(readMail(name)).open(), {
        bareLineEnds: 'normalise',
        limits,
      });
      await assert.rejects(bytesOf(door), GatewayError);
    },
  ]),
);

// Only a ciphertext that is the whole message is decrypted; all others stay as they came.
suites.suite('covert-content-attacks', 'only whole messages are decrypted', 35, () => {
  const path = 'covert-content-attacks/assets/secret-keys/manager@bigcorporation.pfx';
  const keys = [keyFrom(path, 'test12345678')];
  return vectorFiles('covert-content-attacks', '**/*.eml').map((name): Vector => [
    name,
    async () => {
      const message = readMail(name);
      const { layers, content } = await readLayers(message, keys, {
        anchors: [],
        intermediates: [],
        at: new Date(0),
      });
      if (name.endsWith('/smime/00-original-mail.eml')) {
        assert.deepEqual(layers, ['decrypted', 'text/plain']);
        assert.match(content.toString('latin1'), /THIS IS A PGP\/MIME ENCRYPTED MESSAGE/);
      } else {
        assert.equal(layers.length, 1);
        assert.equal(content, message);
      }
    },
  ]);
});

suites.end();

// Header protection in public messages: the sample of RFC 9788, the protected-headers drafts, Memory Hole. Each goes the
// whole way of inbound mail, from the decision to the marks.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytesSource, collect } from '../../src/core/bytes.ts';
import type { KeyId } from '../../src/core/key.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { silentLog } from '../../src/core/log.ts';
import { isNonEmpty } from '../../src/core/non-empty.ts';
import { Secret } from '../../src/core/secret.ts';
import { memoryTenantKeys } from '../../src/keys/memory.ts';
import type { DeclaredKey } from '../../src/keys/plan.ts';
import { canonicalLines } from '../../src/mime/canonical.ts';
import { decodeHeaderText } from '../../src/mime/decoded-text.ts';
import { splitFields, wrapMessage } from '../../src/mime/entity.ts';
import { fieldsNamed, fieldValue, readMessage } from '../../src/mime/header-section.ts';
import { encodeBase64 } from '../../src/mime/transfer-encoding.ts';
import { parsePrivateKey, parsePublicKey } from '../../src/pgp/certificate.ts';
import { inspect } from '../../src/pipeline/inspect.ts';
import { runCopy } from '../../src/pipeline/run-copy.ts';
import { decideInbound } from '../../src/policy/decide.ts';
import { parsePemCertificates } from '../../src/smime/certificate.ts';
import { encryptContent } from '../../src/smime/enveloped-data.ts';
import { readPkcs12 } from '../../src/smime/pkcs12.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { address, policyOf, policyText, TENANT_A } from '../support/policy.ts';
import { vectorPath } from '../support/vectors.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-hp-'));
const holds = await openHolds({ folder, memoryBytes: 65_536, log: silentLog });
after(async () => {
  await holds[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
/** Their 3DES is what is not read here; the header inside is what this is about. */
const TRIPLE_DES: ReadonlySet<string> = new Set([
  'protected-headers/smime-enc+legacy-disp.eml',
  'protected-headers/smime-sign+enc+legacy-disp.eml',
  'protected-headers/smime-sign+enc.eml',
]);
const { certificate, key } = readPkcs12(
  readFileSync(vectorPath('protected-headers/bob.der.p12')),
  new Secret('bob'),
);
const keys = await memoryTenantKeys(TENANT_A, [
  smimeKey(
    'bob@smime.example',
    read('rfc9216-lamps/bob.encrypt.crt.pem'),
    read('rfc9216-lamps/bob.decrypt.key.pem'),
  ),
  smimeKey('bob@smime.example', certificate.pem, key.export({ format: 'pem', type: 'pkcs8' })),
  await pgpKey('protected-headers/bob@openpgp.example.sec.asc'),
  await pgpKey('protected-headers/alice@openpgp.example.pub.asc'),
  await pgpKey('memoryhole/OpenPGP/julia.key', '_julia_'),
  await pgpKey('memoryhole/OpenPGP/winston.pgp'),
]);
const anchors = ['rfc9216-lamps/ca.rsa.crt.pem', 'protected-headers/sample-ca.pem'].flatMap((name) =>
  parsePemCertificates(read(name)),
);

function read(name: string): string {
  return readFileSync(vectorPath(name), 'utf8');
}

function smimeKey(owner: string, certificate: string, key: string): DeclaredKey {
  const [parsed] = parsePemCertificates(certificate);
  assert.ok(parsed);
  return {
    record: {
      id: `smime:${parsed.fingerprint}` as KeyId,
      tenant: TENANT_A,
      format: 'smime',
      role: 'own',
      addresses: [owner],
      material: certificate,
      hasPrivateKey: true,
      notBefore: new Date(0),
      source: 'policy',
    },
    privateMaterial: new Secret(key),
  };
}

async function pgpKey(name: string, password?: string): Promise<DeclaredKey> {
  const text = read(name);
  const own = text.includes('PRIVATE KEY')
    ? await parsePrivateKey(text, password === undefined ? undefined : new Secret(password))
    : undefined;
  const certificate = own?.certificate ?? (await parsePublicKey(text));
  assert.ok(isNonEmpty(certificate.addresses));
  return {
    record: {
      id: `pgp:${certificate.fingerprint}` as KeyId,
      tenant: TENANT_A,
      format: 'pgp',
      role: own ? 'own' : 'partner',
      addresses: certificate.addresses,
      material: certificate.armored,
      hasPrivateKey: own !== undefined,
      notBefore: certificate.notBefore,
      source: 'policy',
    },
    ...(own && { privateMaterial: new Secret(own.key.armor()) }),
  };
}

async function canonical(bytes: Uint8Array): Promise<Buffer> {
  return collect(canonicalLines(bytesSource(bytes).open(), 'normalise'), 1_000_000);
}

/** The same message with the content that its authors publish, encrypted anew. */
async function underAes(name: string, original: Buffer): Promise<Buffer> {
  const inner = await canonical(readFileSync(vectorPath(name.replace(/eml$/, 'inner'))));
  const { header } = await readMessage(bytesSource(original).open(), defaultLimits);
  const content = header.fields.filter((field) => field.name.toLowerCase().startsWith('content-'));
  const encrypted = encryptContent(bytesSource(inner).open(), [certificate]);
  return collect(wrapMessage(splitFields(header).outer, content, encodeBase64(encrypted)), 1_000_000);
}

/** The message as its recipient gets it: its Subject, and what the marks say. */
async function receive(name: string, to: string) {
  const raw = readFileSync(vectorPath(name));
  const original = await canonical(raw);
  const message = bytesSource(TRIPLE_DES.has(name) ? await underAes(name, original) : original);
  const recipients = [{ address: address(to) }] as const;
  const envelope = {
    id: 'test',
    sender: address('alice@smime.example'),
    recipients,
    smtpUtf8: false,
    body: '7BIT',
  } as const;
  const { header } = await readMessage(message.open(), defaultLimits);
  const facts = await inspect(message, header, envelope, defaultLimits);
  const [copy] = decideInbound(policyOf(policyText()), facts).copies;
  assert.ok(copy);
  await using result = await runCopy(copy, message, holds, {
    tenant: TENANT_A,
    keys,
    trust: { anchors, intermediates: [] },
    limits: defaultLimits,
    at: new Date('2026-06-01T12:00:00Z'),
    hostname: 'gw.example',
    dkimSigners: [],
  });
  const delivered = await readMessage(result.body.open(), defaultLimits);
  const values = (field: string) =>
    fieldsNamed(delivered.header, field).map((found) => decodeHeaderText(fieldValue(found)));
  return {
    names: delivered.header.fields.map((field) => field.name.toLowerCase()),
    subject: values('Subject').join('|'),
    header: values('X-Postern-Protected-Header').map((value) => value.replace(/^gw\.example; /, '')),
    signature: values('X-Postern-Signature').map((value) => /signature=(\w+)/.exec(value)?.[1]),
    body: (await collect(delivered.body, 1_000_000)).toString('latin1'),
  };
}

const BARCORP = "BarCorp contract signed, let's go!";
const FOOCORP = 'The FooCorp contract';
const DRAFT = 'form=v1; subject=restored';
const JULIA = 'julia@example.org';
const ALTERNATIVE = 'alternative text/html message with embedded header, signed';

interface Expected {
  readonly subject: string;
  readonly header: readonly string[];
  readonly signature: readonly string[];
  readonly to?: string;
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  'rfc9788-sample/smime-signed-enc-hp-baseline.eml': {
    subject: 'smime-signed-enc-hp-baseline',
    header: ['form=hp-cipher; subject=restored'],
    signature: ['intact'],
  },
  'protected-headers/pgpmime-enc+legacy-disp.eml': { subject: BARCORP, header: [DRAFT], signature: [] },
  'protected-headers/pgpmime-layered+legacy-disp.eml': {
    subject: BARCORP,
    header: [DRAFT],
    signature: ['intact'],
  },
  'protected-headers/pgpmime-layered.eml': { subject: BARCORP, header: [DRAFT], signature: ['intact'] },
  'protected-headers/pgpmime-sign+enc+legacy-disp.eml': {
    subject: BARCORP,
    header: [DRAFT],
    signature: ['intact'],
  },
  'protected-headers/pgpmime-sign+enc.eml': { subject: BARCORP, header: [DRAFT], signature: ['intact'] },
  'protected-headers/pgpmime-signed.eml': {
    subject: FOOCORP,
    header: ['form=v1; subject=same'],
    signature: ['intact'],
  },
  'protected-headers/smime-enc+legacy-disp.eml': { subject: BARCORP, header: [DRAFT], signature: [] },
  'protected-headers/smime-multipart-signed.eml': {
    subject: FOOCORP,
    header: ['form=v1; subject=same'],
    signature: ['intact'],
  },
  'protected-headers/smime-onepart-signed.eml': {
    subject: FOOCORP,
    header: ['form=v1; subject=same'],
    signature: ['intact'],
  },
  'protected-headers/smime-sign+enc+legacy-disp.eml': {
    subject: BARCORP,
    header: [DRAFT],
    signature: ['intact'],
  },
  'protected-headers/smime-sign+enc.eml': { subject: BARCORP, header: [DRAFT], signature: ['intact'] },
  'protected-headers/unfortunately-complex.eml': {
    subject: BARCORP,
    header: [DRAFT],
    signature: ['intact'],
  },
  'memoryhole/A.eml': {
    subject: ALTERNATIVE,
    header: ['form=memory-hole; subject=same'],
    signature: ['intact'],
  },
  // Neither signed nor encrypted: its inner header is nothing but text.
  'memoryhole/B.eml': {
    subject: 'alternative text/html message with embedded header, unsigned',
    header: [],
    signature: [],
  },
  'memoryhole/C.eml': {
    subject: 'the subject has been tampered!',
    header: ['form=memory-hole; subject=differs'],
    signature: ['intact'],
  },
  'memoryhole/D.eml': {
    subject: 'alternative text/html message with embedded header, encrypted+unsigned',
    header: ['form=memory-hole; subject=restored'],
    signature: [],
  },
  'memoryhole/E.eml': {
    subject: 'alternative text/html message with embedded header, encrypted+signed',
    header: ['form=memory-hole; subject=restored'],
    signature: ['intact'],
  },
  'memoryhole/F.eml': {
    subject: 'headers in top-level MIME object: signed plaintext email',
    header: ['form=memory-hole; subject=same'],
    signature: ['intact'],
  },
  'memoryhole/G.eml': {
    subject: 'headers in top-level MIME object: signed multipart email',
    header: ['form=memory-hole; subject=same'],
    signature: ['intact'],
  },
  // From was changed as well, so no key of the author is known, and nothing vouches for what is inside.
  'memoryhole/H.eml': {
    subject: 'headers in top-level MIME: tampered subject and from',
    header: [],
    signature: ['unchecked'],
  },
};

test('every message has its expected result', () => {
  const found = ['rfc9788-sample', 'protected-headers', 'memoryhole'].flatMap((name) =>
    readdirSync(vectorPath(name))
      .filter((file) => file.endsWith('.eml'))
      .map((file) => `${name}/${file}`),
  );
  assert.deepEqual(found.toSorted(), Object.keys(EXPECTED).toSorted());
});

for (const [name, { subject, header, signature }] of Object.entries(EXPECTED)) {
  test(name, async () => {
    const to = name.startsWith('memoryhole')
      ? JULIA
      : name.includes('smime')
        ? 'bob@smime.example'
        : 'bob@openpgp.example';
    const got = await receive(name, to);
    assert.deepEqual(
      { subject: got.subject, header: got.header, signature: got.signature },
      { subject, header, signature },
    );
    assert.ok(!got.names.includes('hp-outer'), 'an inner field came out');
    for (const once of ['from', 'to', 'date', 'message-id'])
      assert.equal(got.names.filter((found) => found === once).length, 1, once);
  });
}

test('the content of the RFC 9788 sample is that of its payload', async () => {
  const { body } = await receive('rfc9788-sample/smime-signed-enc-hp-baseline.eml', 'bob@smime.example');
  const payload = read('rfc9788-sample/smime-signed-enc-hp-baseline.payload.expected').replaceAll(
    '\r\n',
    '\n',
  );
  assert.equal(body.replaceAll('\r\n', '\n').trimEnd(), payload.slice(payload.indexOf('\n\n') + 2).trimEnd());
});

// Ciphertext and signatures that were taken from other mail, cut up and put together anew: what comes of them looks no
// better than it is, and nothing of an inside is taken for the message's own header.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { parseBer } from '../../../src/smime/der.ts';
import { writeSignedAttributes } from '../../../src/smime/signed-attributes.ts';
import {
  attribute,
  authEnveloped,
  digestAttribute,
  enveloped,
  signedData,
  signerInfo,
  typeAttribute,
} from '../../support/cms.ts';
import { ANNA, BOB, openPassage, outcomesOf, type PassedCopy } from '../../support/passage.ts';
import { mail } from '../../support/smime.ts';

const passage = await openPassage('attacks');
after(() => passage[Symbol.asyncDispose]());
const { people } = passage;

const SECRET = 'the secret text';
const HEAD = `From: ${BOB}\r\nTo: ${ANNA}\r\nSubject: outside\r\nMIME-Version: 1.0\r\n`;
const PKCS7 =
  'Content-Type: application/pkcs7-mime; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n';
const to = [people.anna.certificate];

function inBase64(bytes: Uint8Array): string {
  return `${Buffer.from(bytes).toString('base64').replace(/.{76}/g, '$&\r\n')}\r\n`;
}
const opaqueMail = (cms: Uint8Array): Buffer => Buffer.from(`${HEAD}${PKCS7}${inBase64(cms)}`);
const receiveCms = (cms: Uint8Array): Promise<PassedCopy> => passage.receiveOne(opaqueMail(cms));
const withoutMarks = (copy: PassedCopy): string =>
  outerHeader(copy).replace(/^X-Postern-.*\r\n(?: .*\r\n)*/gm, '');
const outerHeader = (copy: PassedCopy): string => copy.text.split('\r\n\r\n')[0] ?? '';

const xor = (...blocks: readonly Buffer[]): Buffer =>
  Buffer.from(
    Uint8Array.from({ length: 16 }, (_, at) => blocks.reduce((sum, block) => sum ^ (block[at] ?? 0), 0)),
  );

/** A stolen CBC ciphertext, of which the attacker knows the first block. */
function stolen(content: string) {
  const cms = enveloped(Buffer.from(content), { to });
  const [, wrapped] = parseBer(cms).children;
  const [, recipients, info] = wrapped?.children[0]?.children ?? [];
  const [, algorithm, encrypted] = info?.children ?? [];
  const iv = algorithm?.children[1]?.content;
  assert.ok(recipients && encrypted && iv);
  const known = Buffer.from(content.slice(0, 16));
  const first = encrypted.content.subarray(0, 16);
  const rebuilt = (newIv: Buffer, blocks: readonly Buffer[]): Buffer =>
    enveloped(Buffer.alloc(0), {
      to,
      recipients: recipients.children.map(({ raw }) => raw),
      algorithm: algorithmIdentifier(ID.aes256Cbc, octetString(newIv)),
      encrypted: Buffer.concat(blocks),
    });
  return {
    rebuilt,
    rest: encrypted.content.subarray(16),
    first,
    /** The vector under which the first block decrypts to this text. */
    vector: (wanted: string): Buffer => xor(iv, known, Buffer.from(wanted)),
    /** Two blocks: one decrypts to noise, the next to this text. */
    gadget: (wanted: string): readonly Buffer[] => [xor(iv, known, Buffer.from(wanted)), first],
  };
}

const FIELD = 'X-Mailer: a b c\n';
const injected = [
  'Subject: pwned \n',
  'From: a@b.evil \n',
  'To: all@b.evil \n',
  'Received: fr om\n',
  'X-Postern-A: bc\n',
  'Reply-To: a@b  \n',
  'Bcc: a@b.evil  \n',
];
for (const wanted of injected) {
  test(`malleable ciphertext: a field that was written into it does not come out: ${JSON.stringify(wanted)}`, async () => {
    const { rebuilt, vector, first, rest } = stolen(
      `${FIELD}Content-Type: text/plain; hp="cipher"\n\n${SECRET}\n`,
    );
    const copy = await receiveCms(rebuilt(vector(wanted), [first, rest]));
    assert.equal(outcomesOf(copy)[0], 'decrypted');
    assert.match(
      copy.text,
      /X-Postern-Decryption: gw\.example;\r\n decrypted=smime;\r\n algorithm=aes-256-cbc;\r\n authenticated=no\r\n/,
    );
    assert.equal(withoutMarks(copy), `${HEAD}Content-Type: text/plain; hp="cipher"`);
  });
}

test('malleable ciphertext: gadgets around the secret are decrypted as unauthenticated, or not at all', async () => {
  const seen = new Set<string>();
  for (let attempt = 0; attempt < 60 && !seen.has('decrypted'); attempt += 1) {
    const { rebuilt, gadget, first, rest, vector } = stolen(
      `${FIELD}Content-Type: text/html\n\n<p>${SECRET}</p>\n`,
    );
    const blocks = [first, rest.subarray(0, 32), ...gadget('<img src="//e.x/'), rest.subarray(16)];
    const copy = await receiveCms(rebuilt(vector(FIELD), blocks));
    const [outcome = ''] = outcomesOf(copy);
    seen.add(outcome);
    assert.match(outcome, /^(decrypted|not-decrypted failed)$/);
    assert.doesNotMatch(copy.text, /authenticated=yes|signature=intact/);
    if (outcome === 'decrypted') {
      assert.match(copy.text, /authenticated=no/);
      assert.ok(copy.text.includes('<img src="//e.x/'), 'the gadget works');
    } else assert.ok(!copy.text.includes(SECRET));
    assert.doesNotMatch(outerHeader(copy), /img/);
  }
  assert.ok(seen.has('decrypted'));
});

test('an authenticated ciphertext cannot be changed at all', async () => {
  const content = Buffer.from(`Content-Type: text/plain\r\n\r\n${SECRET}\r\n`);
  const cms = authEnveloped(content, { to });
  assert.match((await receiveCms(cms)).text, /authenticated=yes/);
  for (const at of [1, 16, 19, 40]) {
    const changed = Buffer.from(cms);
    changed[changed.length - at] = (changed[changed.length - at] ?? 0) ^ 1;
    const copy = await receiveCms(changed);
    assert.equal(outcomesOf(copy)[0], 'not-decrypted failed');
    assert.ok(copy.text.endsWith(opaqueMail(changed).toString('latin1')));
  }
});

test('an authenticated ciphertext that is called a plain one opens nothing', async () => {
  const key = Buffer.alloc(32, 9);
  const content = Buffer.from('Content-Type: text/plain\r\n\r\n'.padEnd(160, 'x'));
  const encrypted = parseBer(authEnveloped(content, { to, key })).children[1]?.children[0]?.children[2]
    ?.children[2]?.content;
  assert.ok(encrypted);
  const copy = await receiveCms(enveloped(content, { to, key, encrypted }));
  assert.equal(outcomesOf(copy)[0], 'not-decrypted failed');
  const swapped = authEnveloped(content, { to, key, contentType: ID.envelopedData, tail: [] });
  assert.deepEqual(outcomesOf(await receiveCms(swapped))[0], 'not-decrypted unsupported');
  const other = enveloped(content, { to, key, contentType: ID.authEnvelopedData });
  assert.match(outcomesOf(await receiveCms(other))[0] ?? '', /^not-decrypted (unsupported|malformed)$/);
});

const part = (content: string): string => `--b\r\n${content}\r\n`;
const cipherPart = `${PKCS7}${inBase64(enveloped(Buffer.from(`Content-Type: text/plain\r\n\r\n${SECRET}\r\n`), { to }))}`;
const html = (text: string): string => `Content-Type: text/html\r\n\r\n${text}`;
const armour = `Content-Type: text/plain\r\n\r\n> -----BEGIN PGP MESSAGE-----\r\n>\r\n> ${'A'.repeat(64)}\r\n> -----END PGP MESSAGE-----`;
const wrapped: readonly (readonly [string, string])[] = [
  [
    'between two parts of HTML',
    `multipart/mixed; boundary=b\r\n\r\n${part(html('<img src="http://e/?'))}${part(cipherPart)}${part(html('">'))}--b--\r\n`,
  ],
  ['first in multipart/mixed', `multipart/mixed; boundary=b\r\n\r\n${part(cipherPart)}--b--\r\n`],
  [
    'in multipart/alternative',
    `multipart/alternative; boundary=b\r\n\r\n${part(html('hi'))}${part(cipherPart)}--b--\r\n`,
  ],
  [
    'in multipart/related',
    `multipart/related; boundary=b\r\n\r\n${part(html('<img src=cid:a>'))}${part(cipherPart)}--b--\r\n`,
  ],
  ['in an attached message', `message/rfc822\r\n\r\nFrom: ${BOB}\r\n${cipherPart}`],
  [
    'in a report',
    `multipart/report; report-type=delivery-status; boundary=b\r\n\r\n${part(html('failed'))}${part(`Content-Type: message/rfc822\r\n\r\n${cipherPart}`)}--b--\r\n`,
  ],
  ['quoted as armour', `multipart/mixed; boundary=b\r\n\r\n${part(armour)}--b--\r\n`],
];
for (const [name, content] of wrapped) {
  test(`a stolen ciphertext among other parts is not decrypted: ${name}`, async () => {
    const message = Buffer.from(`${HEAD}Content-Type: ${content}`);
    const copy = await passage.receiveOne(message);
    assert.deepEqual(outcomesOf(copy), []);
    assert.equal(copy.text, message.toString('latin1'));
  });
}

test('mail to which machines answer, or that goes to many, is not decrypted', async () => {
  const { text } = await passage.receiveOne(
    opaqueMail(enveloped(Buffer.from(`Content-Type: text/plain\r\n\r\n${SECRET}\r\n`), { to })),
  );
  assert.ok(text.includes(SECRET));
  for (const field of [
    'Auto-Submitted: auto-replied',
    'List-Id: <l.example>',
    'List-Post: <mailto:l@x.example>',
    'Precedence: bulk',
    'AUTO-SUBMITTED:\r\n auto-generated (x)',
  ]) {
    const message = Buffer.from(`${field}\r\n${HEAD}${cipherPart}`);
    const copy = await passage.receiveOne(message);
    assert.deepEqual(outcomesOf(copy), []);
    assert.equal(copy.text, message.toString('latin1'));
  }
});

const INNER = [
  'From: chief@contoso.example',
  'Sender: chief@contoso.example',
  'To: all@contoso.example',
  'Subject: [signed OK]',
  'Reply-To: x@evil.example',
  'X-MS-Exchange-Organization-SCL: -1',
  'X-MS-Exchange-Organization-AuthAs: Internal',
  'X-Postern-Signature: gw.example; signature=intact',
  'Authentication-Results: gw.example; dkim=pass',
  'Received: from x by gw.example',
  'Return-Path: <x@evil.example>',
  'List-Id: <l.example>',
  'DKIM-Signature: v=1',
  'MIME-Version: 7',
  'HP-Outer: From: x@evil.example',
];
const inner = Buffer.from(`${INNER.join('\r\n')}\r\nContent-Type: text/plain\r\n\r\n${SECRET}\r\n`);
const compressed = sequence(
  oid(ID.compressedData),
  tagged(
    0,
    sequence(
      integer(0),
      algorithmIdentifier('1.2.840.113549.1.9.16.3.8'),
      sequence(oid(ID.data), tagged(0, octetString(deflateSync(inner)))),
    ),
  ),
);
test('fields of an inside stay inside, whatever it was wrapped in', async () => {
  const mails = {
    cbc: opaqueMail(enveloped(inner, { to })),
    gcm: opaqueMail(authEnveloped(inner, { to })),
    opaque: opaqueMail(signedData(inner, people.bob, { embedded: inner })),
    forged: opaqueMail(signedData(Buffer.from('x'), people.bob, { embedded: inner })),
    compressed: opaqueMail(compressed),
  };
  for (const [kind, message] of Object.entries(mails)) {
    for (const outside of ['outside', '[...]']) {
      const told = message.toString('latin1').replace('Subject: outside', `Subject: ${outside}`);
      const copy = await passage.receiveOne(Buffer.from(told, 'latin1'));
      assert.ok(copy.text.endsWith(`\r\n\r\n${SECRET}\r\n`), kind);
      // Only a Subject that was encrypted takes the place of a placeholder.
      const isRestored = outside === '[...]' && ['cbc', 'gcm'].includes(kind);
      const expected = HEAD.replace('outside', isRestored ? '[signed OK]' : outside);
      assert.equal(withoutMarks(copy), `${expected}Content-Type: text/plain`, kind);
    }
  }
});

const CONTENT = mail('Content-Type: text/plain', '', 'agreed', '');
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

function detachedMail(content: Uint8Array, cms: Uint8Array): Buffer {
  return Buffer.concat([
    mail(
      `${HEAD}Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=s`,
      '',
      '--s',
      '',
    ),
    content,
    mail(
      '',
      '--s',
      'Content-Type: application/pkcs7-signature',
      'Content-Transfer-Encoding: base64',
      '',
      `${inBase64(cms)}--s--`,
      '',
    ),
  ]);
}

const attributes = writeSignedAttributes(sha256(CONTENT), new Date());
const unsorted = Buffer.concat([
  Buffer.from([0x31, 0x80]),
  digestAttribute(CONTENT),
  typeAttribute,
  Buffer.alloc(2),
]);
const good = setOf(typeAttribute, digestAttribute(CONTENT));
const forgeries: readonly (readonly [string, Buffer])[] = [
  ['no signed attributes', detachedMail(CONTENT, signedData(CONTENT, people.bob, { attributes: null }))],
  [
    'the digest twice',
    detachedMail(
      CONTENT,
      signedData(CONTENT, people.bob, {
        attributes: setOf(typeAttribute, digestAttribute(CONTENT), digestAttribute(Buffer.from('x'))),
      }),
    ),
  ],
  [
    'two values of the digest',
    detachedMail(
      CONTENT,
      signedData(CONTENT, people.bob, {
        attributes: setOf(
          typeAttribute,
          attribute(ID.messageDigest, octetString(sha256(CONTENT)), octetString(sha256(Buffer.from('x')))),
        ),
      }),
    ),
  ],
  ['no digest', detachedMail(CONTENT, signedData(CONTENT, people.bob, { attributes: setOf(typeAttribute) }))],
  [
    'no content type',
    detachedMail(CONTENT, signedData(CONTENT, people.bob, { attributes: setOf(digestAttribute(CONTENT)) })),
  ],
  [
    'another content type',
    detachedMail(
      CONTENT,
      signedData(CONTENT, people.bob, {
        attributes: setOf(attribute(ID.contentType, oid(ID.signedData)), digestAttribute(CONTENT)),
      }),
    ),
  ],
  [
    'attributes that are not DER',
    detachedMail(CONTENT, signedData(CONTENT, people.bob, { attributes: unsorted, covers: good })),
  ],
  [
    'the right content only in the signature',
    detachedMail(
      Buffer.from('Content-Type: text/plain\r\n\r\nevil\r\n'),
      signedData(CONTENT, people.bob, { embedded: CONTENT }),
    ),
  ],
  [
    'the same content in the signature too',
    detachedMail(CONTENT, signedData(CONTENT, people.bob, { embedded: CONTENT })),
  ],
  [
    'one good and one broken signer',
    detachedMail(
      CONTENT,
      signedData(CONTENT, people.bob, {
        more: [signerInfo(CONTENT, people.bob, { signature: Buffer.alloc(256) })],
      }),
    ),
  ],
];
for (const [name, message] of forgeries) {
  test(`a signature that does not stand for the content is broken, and refused where the policy says so: ${name}`, async () => {
    await assert.rejects(passage.receiveOne(message, 'inbound: { on_invalid_signature: refuse }'), {
      code: 'signature-invalid',
    });
    const copy = await passage.receiveOne(message);
    assert.match(outcomesOf(copy)[0] ?? '', /^verified (intact )?broken$/);
    assert.match(
      copy.text,
      /^X-Postern-Signature: gw\.example;\r\n signature=(intact;[^]*signature=)?broken/,
    );
  });
}

test('the builder of these cases makes good signatures', async () => {
  for (const message of [
    detachedMail(CONTENT, signedData(CONTENT, people.bob)),
    opaqueMail(signedData(CONTENT, people.bob, { embedded: CONTENT })),
  ])
    assert.deepEqual(outcomesOf(await passage.receiveOne(message)), ['verified intact']);
});

// The signature that a mail has is one over the DER of its attributes: as a content of their own they would be signed too.
test('the signed attributes of a mail are no content that its signer has signed', async () => {
  const messages = [
    opaqueMail(signedData(attributes, people.bob, { attributes: null, embedded: attributes })),
    detachedMail(attributes, signedData(attributes, people.bob, { attributes: null })),
    opaqueMail(signedData(attributes, people.bob, { embedded: attributes })),
    detachedMail(attributes, signedData(attributes, people.bob)),
  ];
  for (const message of messages) {
    const copy = await passage.receiveOne(message);
    assert.match(outcomesOf(copy)[0] ?? '', /^(verified broken|not-verified malformed)$/);
    assert.doesNotMatch(copy.text, /signature=intact/);
  }
});

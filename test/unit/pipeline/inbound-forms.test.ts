// Mail of partners as it really comes: labels of every kind, structures of other programs, signatures that are worth
// nothing. It is opened where it can be, and delivered with a result in any case.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, test } from 'node:test';
import { bytesSource } from '../../../src/core/bytes.ts';
import { createTestCa } from '../../../src/lab/ca.ts';
import { signMessage as signPgp } from '../../../src/pgp/message.ts';
import { encryptMessage, signMessage } from '../../../src/smime/message.ts';
import { writeDetachedSignature } from '../../../src/smime/signed-data.ts';
import { authEnveloped, enveloped, signedData } from '../../support/cms.ts';
import { ANNA, BOB, DORA, openPassage, outcomesOf } from '../../support/passage.ts';
import { options as pgpOptions } from '../../support/pgp.ts';
import { asPerson, limits, mail, runStage } from '../../support/smime.ts';

const passage = await openPassage('inbound forms');
after(() => passage[Symbol.asyncDispose]());
const { people } = passage;
const at = new Date();

const HEAD = `From: ${BOB}\r\nTo: ${ANNA}\r\nSubject: s\r\nMIME-Version: 1.0\r\n`;
const ENTITY = mail('Content-Type: text/plain; charset=utf-8', '', 'the content', '');
const PLAIN = `${HEAD}${ENTITY.toString()}`;
const UNMARKED = 'inbound: { mark: false }';

function inBase64(bytes: Uint8Array, columns = 76): string {
  return Buffer.from(bytes)
    .toString('base64')
    .replace(new RegExp(`.{${columns}}`, 'g'), '$&\r\n');
}

const structures = {
  enveloped: enveloped(ENTITY, { to: [people.anna.certificate] }),
  'auth-enveloped': authEnveloped(ENTITY, { to: [people.anna.certificate] }),
  signed: signedData(ENTITY, people.bob, { embedded: ENTITY }),
};
const disposition = (name: string): string => `Content-Disposition: attachment; filename="${name}"\r\n`;
const labels: readonly string[] = [
  'Content-Type: application/pkcs7-mime\r\n',
  'Content-Type: application/x-pkcs7-mime; name=smime.p7m\r\n',
  'CONTENT-TYPE: Application/X-PKCS7-MIME; SMIME-TYPE="Enveloped-Data"\r\n',
  'Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n',
  'Content-Type: application/pkcs7-mime; smime-type=authenticated-enveloped-data\r\n',
  'Content-Type: application/pkcs7-mime; smime-type="\xff"; x\r\n',
  ...['smime.p7m', 'smime.p7s', 'smime.p7c', 'smime.p7z', 'SMIME.P7M', 'offer 2.p7m'].flatMap((name) => [
    `Content-Type: application/octet-stream; name="${name}"\r\n`,
    `Content-Type: application/octet-stream\r\n${disposition(name)}`,
  ]),
];
for (const label of labels) {
  test(`the bytes say what it is, whatever the label: ${JSON.stringify(label)}`, async () => {
    for (const [kind, cms] of Object.entries(structures)) {
      const bodies = [
        `Content-Transfer-Encoding: base64\r\n\r\n${inBase64(cms)}\r\n`,
        `Content-Transfer-Encoding: Base64 \r\n\r\n${inBase64(cms, 60)}`,
      ];
      for (const body of bodies) {
        const copy = await passage.receiveOne(Buffer.from(`${HEAD}${label}${body}`, 'latin1'), UNMARKED);
        const expected = kind === 'signed' ? 'verified intact' : 'decrypted';
        assert.equal(outcomesOf(copy)[0], expected);
        assert.equal(copy.text, PLAIN);
      }
    }
  });
}

const p7s = signedData(ENTITY, people.bob);
function multipartSigned(
  change: { parameters?: string; type?: string; content?: Uint8Array; signature?: Uint8Array } = {},
): Buffer {
  const {
    parameters = '; protocol="application/pkcs7-signature"; micalg=sha-256',
    type = 'application/pkcs7-signature; name=smime.p7s',
  } = change;
  return Buffer.concat([
    mail(`${HEAD}Content-Type: multipart/signed${parameters}; boundary=sig`, '', '--sig', ''),
    change.content ?? ENTITY,
    mail(
      '',
      '--sig',
      `Content-Type: ${type}`,
      'Content-Transfer-Encoding: base64',
      '',
      inBase64(change.signature ?? p7s),
      '--sig--',
      '',
    ),
  ]);
}

const detached: readonly (readonly [string, Parameters<typeof multipartSigned>[0]])[] = [
  ['as it should be', {}],
  ['no protocol and no micalg', { parameters: '' }],
  ['an empty protocol', { parameters: '; protocol=""' }],
  [
    'the old names',
    {
      parameters: '; protocol=application/x-pkcs7-signature; micalg=sha256',
      type: 'application/x-pkcs7-signature',
    },
  ],
  ['the old name in one place', { type: 'application/x-pkcs7-signature' }],
  [
    'capitals',
    {
      parameters: '; PROTOCOL="Application/PKCS7-Signature"; micalg=SHA-256',
      type: 'Application/PKCS7-SIGNATURE',
    },
  ],
  ['another micalg', { parameters: '; protocol="application/pkcs7-signature"; micalg=md5' }],
];
for (const [name, change] of detached) {
  test(`a detached signature is found and good: ${name}`, async () => {
    const message = multipartSigned(change);
    const copy = await passage.receiveOne(message);
    assert.deepEqual(outcomesOf(copy), ['verified intact']);
    assert.match(
      copy.text,
      /^X-Postern-Signature: gw\.example;\r\n signature=intact;\r\n trust=trusted;\r\n format=smime;\r\n from=signer;/,
    );
    assert.ok(copy.text.endsWith(message.toString('latin1')));
  });
}

test('OpenPGP signatures are found by the protocol, and without it by the type of the part', async () => {
  const message = Buffer.from(PLAIN.replace(BOB, ANNA));
  const { bytes } = await runStage(
    signPgp(bytesSource(message), passage.pgp.anna.own, { ...pgpOptions, at }),
  );
  const text = bytes.toString('latin1');
  for (const written of [
    text,
    text.replace(/ protocol="application\/pgp-signature";\r\n/, ''),
    text.replace(/"application\/pgp-signature"/, '"Application/PGP-Signature"'),
  ]) {
    const copy = await passage.receiveOne(Buffer.from(written, 'latin1'));
    assert.deepEqual(outcomesOf(copy), ['verified intact']);
    assert.match(copy.text, /format=pgp;/);
  }
});

const unreadable: readonly (readonly [string, Buffer, string])[] = [
  [
    'one byte of the content changed',
    multipartSigned({ content: Buffer.from(ENTITY.toString().replace('the', 'thE')) }),
    'verified broken',
  ],
  [
    'a signature that is text',
    multipartSigned({ signature: Buffer.from('hello') }),
    'not-verified malformed',
  ],
  ['an empty signature', multipartSigned({ signature: Buffer.alloc(0) }), 'not-verified malformed'],
  ['a signature cut off', multipartSigned({ signature: p7s.subarray(0, -9) }), 'not-verified malformed'],
  [
    'S/MIME by protocol, OpenPGP by part',
    multipartSigned({ type: 'application/pgp-signature' }),
    'not-verified malformed',
  ],
  [
    'OpenPGP by protocol, S/MIME by part',
    multipartSigned({ parameters: '; protocol="application/pgp-signature"' }),
    'not-verified malformed',
  ],
  [
    'an unknown protocol',
    multipartSigned({ parameters: '; protocol="application/x"' }),
    'not-verified unsupported',
  ],
  ['an opaque structure that is no signature', Buffer.from(`${HEAD}${labels[0]}\r\nhello\r\n`), ''],
];
for (const [name, message, expected] of unreadable) {
  test(`what cannot be verified is delivered as it is, below its result: ${name}`, async () => {
    const copy = await passage.receiveOne(message);
    assert.deepEqual(outcomesOf(copy).join(), expected);
    assert.ok(copy.text.endsWith(message.toString('latin1')));
    assert.match(copy.text.slice(0, -message.length), expected === '' ? /^$/ : /^X-Postern-Signature: /);
  });
}

test('opaque mail of a signer whom nobody knows is readable, and marked as intact and untrusted', async () => {
  const stranger = asPerson(
    await (await createTestCa('unknown CA')).issue({ commonName: 'bob', emails: [BOB] }),
    [],
  );
  const cases = [
    [signedData(ENTITY, stranger, { embedded: ENTITY }), /signature=intact;\r\n trust=untrusted;/],
    [
      signedData(ENTITY, stranger, { embedded: ENTITY, certificates: [] }),
      /signature=unchecked;\r\n trust=unknown-key;/,
    ],
    [signedData(Buffer.from('x'), people.bob, { embedded: ENTITY }), /signature=broken;/],
  ] as const;
  for (const [cms, marks] of cases) {
    const copy = await passage.receiveOne(
      Buffer.from(`${HEAD}${labels[0]}Content-Transfer-Encoding: base64\r\n\r\n${inBase64(cms)}\r\n`),
    );
    assert.match(copy.text, marks);
    assert.ok(copy.text.endsWith(PLAIN));
  }
});

test('a good signature of somebody else is not the author’s', async () => {
  const cms = signedData(ENTITY, people.carl);
  const copy = await passage.receiveOne(multipartSigned({ signature: cms }));
  assert.match(
    copy.text,
    /signature=intact;\r\n trust=trusted;\r\n format=smime;\r\n from=other;\r\n signer=carl@remote\.example\r\n/,
  );
});

test('a signature that comes without the chain is completed from what is declared for its author, and for nobody else', async () => {
  const message = multipartSigned({ signature: signedData(ENTITY, people.dora) }).toString('latin1');
  const own = await passage.receiveOne(Buffer.from(message.replace(BOB, DORA), 'latin1'));
  assert.match(own.text, /signature=intact;\r\n trust=trusted;\r\n format=smime;\r\n from=signer;/);
  const other = await passage.receiveOne(Buffer.from(message, 'latin1'));
  assert.match(other.text, /signature=intact;\r\n trust=untrusted;\r\n format=smime;\r\n from=other;/);
});

test('marks stand above a header that begins with MIME-Version, and nowhere in what was signed', async () => {
  const message = Buffer.from(
    multipartSigned()
      .toString('latin1')
      .replace(/^(.*)MIME-Version: 1\.0\r\n/s, 'MIME-Version: 1.0\r\n$1'),
  );
  const copy = await passage.receiveOne(message);
  assert.match(copy.text, /^X-Postern-Signature: [^]*?\r\nMIME-Version: 1\.0\r\nFrom: /);
  assert.ok(copy.text.endsWith(message.toString('latin1')));
  assert.equal(copy.text.split('\r\n\r\n').slice(1).join('').includes('X-Postern-'), false);
});

test('a signed message with 8-bit lines inside an attached message is good, and keeps its bytes', async () => {
  const entity = mail(
    'Content-Type: multipart/mixed; boundary=m',
    '',
    '--m',
    'Content-Type: message/rfc822',
    '',
    'Subject: gr\xfc\xdfe',
    'Content-Transfer-Encoding: 8bit',
    '',
    '\xe9 ',
    'From x',
    '',
    '--m--',
    '',
  );
  const signature = writeDetachedSignature(
    createHash('sha256').update(entity).digest(),
    people.bob.signer,
    at,
  );
  const message = multipartSigned({ content: entity, signature });
  const copy = await passage.receiveOne(message);
  assert.deepEqual(outcomesOf(copy), ['verified intact']);
  assert.ok(copy.bytes.subarray(-message.length).equals(message));
});

test('the key is found by the structure: header recipients do not matter, an expired certificate opens its mail', async () => {
  for (const to of ['undisclosed-recipients:;', 'x@other.example', '']) {
    for (const { certificate } of [people.anna, people.former]) {
      const message = Buffer.from(`From: ${BOB}\r\n${to === '' ? '' : `To: ${to}\r\n`}${ENTITY.toString()}`);
      const { bytes } = await runStage(
        encryptMessage(bytesSource(message).open(), [certificate], { limits }),
      );
      const copy = await passage.receiveOne(bytes);
      assert.equal(outcomesOf(copy)[0], 'decrypted');
      assert.match(copy.text, /\r\n\r\nthe content\r\n$/);
    }
  }
});

test('opened as far as each recipient’s own key goes', async () => {
  const { bytes } = await runStage(
    encryptMessage(bytesSource(Buffer.from(PLAIN)).open(), [people.anna.certificate], { limits }),
  );
  const { copies } = await passage.receive(bytes, [ANNA, 'otto@contoso.example']);
  assert.deepEqual(
    copies.map((copy) => [copy.to[0], outcomesOf(copy)[0]]),
    [
      [ANNA, 'decrypted'],
      ['otto@contoso.example', 'not-decrypted no-recipient'],
    ],
  );
  assert.ok(copies[1]?.text.endsWith(bytes.toString('latin1')));
});

test('signed by a client with another program, then encrypted: both layers come off in one pass', async () => {
  const signed = await runStage(
    signMessage(bytesSource(Buffer.from(PLAIN)), people.bob.signer, { limits, at }),
  );
  const opaque = Buffer.from(
    `${HEAD}${labels[1]}Content-Transfer-Encoding: base64\r\n\r\n${inBase64(structures.signed)}\r\n`,
  );
  for (const inner of [signed.bytes, opaque]) {
    for (const seal of [enveloped, authEnveloped]) {
      const body = inner.subarray(inner.indexOf('Content-Type:'));
      const cms = seal(body, { to: [people.anna.certificate] });
      const copy = await passage.receiveOne(
        Buffer.from(`${HEAD}${labels[1]}Content-Transfer-Encoding: base64\r\n\r\n${inBase64(cms)}\r\n`),
      );
      assert.deepEqual(outcomesOf(copy), ['decrypted', 'verified intact']);
      assert.match(copy.text, new RegExp(`authenticated=${seal === authEnveloped ? 'yes' : 'no'}`));
      assert.match(copy.text, /layers=encrypted,signed/);
    }
  }
});

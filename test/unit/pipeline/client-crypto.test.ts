// Mail in which the client has left cryptography, or something that looks like it, on its way out: only a message that is
// encrypted as a whole counts as encrypted.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import { writeArmor } from '../../../src/pgp/armor.ts';
import { packetTag, writePacket } from '../../../src/pgp/packet.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import { octetString, oid, sequence, tagged } from '../../../src/smime/ber-writer.ts';
import { encryptMessage } from '../../../src/smime/message.ts';
import { encryptMessage as encryptPgp } from '../../../src/pgp/message.ts';
import {
  ANNA,
  BOB,
  openPassage,
  OTTO,
  outcomesOf,
  PETRA,
  REQUIRED,
  SIGNED,
  WHEN_POSSIBLE,
} from '../../support/passage.ts';
import { options as pgpOptions } from '../../support/pgp.ts';
import { readLayers } from '../../support/smime-reading.ts';
import { limits, mail, runStage } from '../../support/smime.ts';

const passage = await openPassage('client crypto');
after(() => passage[Symbol.asyncDispose]());
const { world, people, pgp } = passage;

const HEAD = `From: ${ANNA}\r\nTo: ${BOB}, ${PETRA}\r\nSubject: s\r\nMIME-Version: 1.0\r\n`;
const SECRET = 'the secret text';
const ARMOUR = `-----BEGIN PGP MESSAGE-----\r\n\r\n${'A'.repeat(64)}\r\n=AAAA\r\n-----END PGP MESSAGE-----\r\n`;
const sealed = await runStage(
  encryptMessage(
    bytesSource(mail(`From: ${ANNA}`, 'Subject: s', '', SECRET, '')).open(),
    [people.bob.certificate],
    {
      limits,
    },
  ),
);
const cmsBase64 = sealed.bytes.toString('latin1').split('\r\n\r\n')[1] ?? '';
const pgpSealed = await runStage(
  encryptPgp(
    bytesSource(mail(`From: ${ANNA}`, 'Subject: s', '', SECRET, '')).open(),
    [pgp.petra.certificate],
    pgpOptions,
  ),
);

function multipart(type: string, ...parts: readonly string[]): string {
  const body = parts.map((part) => `--b\r\n${part}\r\n`).join('');
  return `Content-Type: ${type}; boundary=b\r\n\r\n${body}--b--\r\n`;
}
const text = (content: string): string => `Content-Type: text/plain\r\n\r\n${content}`;
const pkcs7 =
  'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n';
const version = 'Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n';
const octets = 'Content-Type: application/octet-stream\r\n\r\n';
const pgpEncrypted = 'multipart/encrypted; protocol="application/pgp-encrypted"';

const literal = writePacket(packetTag.literal, Buffer.from(`b\0\0\0\0\0${SECRET}`, 'latin1'));
const clearArmour = (
  await collect(writeArmor('MESSAGE', bytesSource(literal).open(), true), 10_000)
).toString();

const traces: readonly (readonly [string, string])[] = [
  ['armour that is quoted in a text', text(`${SECRET}\r\n${ARMOUR}`)],
  ['armour alone, as text', text(`${ARMOUR}\r\n${SECRET}\r\n`)],
  ['a clear-signed text', text(`-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n${SECRET}\r\n`)],
  ['an encrypted first part', multipart('multipart/mixed', `${pkcs7}${cmsBase64}`, text(SECRET))],
  ['an encrypted last part', multipart('multipart/mixed', text(SECRET), `${pkcs7}${cmsBase64}`)],
  [
    'an encrypted mail in an attachment',
    multipart(
      'multipart/mixed',
      text(SECRET),
      `Content-Type: message/rfc822\r\n\r\n${sealed.bytes.toString('latin1')}`,
    ),
  ],
  [
    'an attached .asc',
    multipart(
      'multipart/mixed',
      text(SECRET),
      `Content-Type: application/octet-stream; name="a.asc"\r\n\r\n${ARMOUR}`,
    ),
  ],
  ['the label of an envelope over text', `${pkcs7.replace('base64', '7bit')}${SECRET}\r\n`],
  [
    'the label of an envelope over base64 that is no CMS',
    `${pkcs7}${Buffer.from(SECRET).toString('base64')}\r\n`,
  ],
  [
    'the label of an envelope over signed data',
    `${pkcs7}${sequence(oid(ID.signedData), tagged(0, octetString(Buffer.from(SECRET)))).toString('base64')}\r\n`,
  ],
  ['the label of OpenPGP over one text', multipart(pgpEncrypted, text(SECRET))],
  ['the label of OpenPGP over two texts', multipart(pgpEncrypted, text(SECRET), text(SECRET))],
  [
    'the label of OpenPGP over a text and no armour',
    multipart(pgpEncrypted, version, `${octets}${SECRET}\r\n`),
  ],
  ['OpenPGP with a third part', multipart(pgpEncrypted, version, `${octets}${ARMOUR}`, text(SECRET))],
  ['OpenPGP in another order', multipart(pgpEncrypted, `${octets}${ARMOUR}`, version)],
  [
    'OpenPGP, and text before the armour',
    multipart(pgpEncrypted, version, `${octets}${SECRET}\r\n${ARMOUR}`),
  ],
  [
    'OpenPGP, and text behind the armour',
    multipart(pgpEncrypted, version, `${octets}${ARMOUR}${SECRET}\r\n`),
  ],
  ['OpenPGP that encrypts nothing', multipart(pgpEncrypted, version, `${octets}${clearArmour}`)],
  ['OpenPGP without its protocol', multipart('multipart/encrypted', text(SECRET), text(SECRET))],
  [
    'another protocol',
    multipart('multipart/encrypted; protocol="application/x"', version, `${octets}${SECRET}`),
  ],
];
for (const [name, content] of traces) {
  test(`a trace of encryption is none, the message is encrypted: ${name}`, async () => {
    const message = Buffer.from(`${HEAD}${content}`, 'latin1');
    for (const rules of [REQUIRED, WHEN_POSSIBLE]) {
      const copy = await passage.sendOne(message, rules);
      assert.deepEqual(outcomesOf(copy), ['encrypted']);
      const { layers, content: opened } = await readLayers(copy.bytes, [people.bob.decryption], world.trust);
      assert.equal(layers[0], 'decrypted');
      assert.ok(opened.toString('latin1').endsWith(content), 'the content is unchanged');
    }
  });
}

test('encrypted by the client as a whole: passed byte for byte once, to whoever has which key', async () => {
  for (const message of [sealed.bytes, pgpSealed.bytes]) {
    for (const to of [BOB, PETRA]) {
      const { plan, copies } = await passage.send(message, REQUIRED, [to]);
      assert.deepEqual(
        copies.map((copy) => copy.bytes),
        [message],
      );
      assert.match(plan.trace.at(-1)?.because ?? '', /already encrypted by the client \((smime|pgp)\)/);
    }
  }
});

test('encrypted by the client, where the rule takes no such mail: refused', async () => {
  const rules = 'otherwise: { sign: none, encrypt: required, already_encrypted: refuse }';
  for (const message of [sealed.bytes, pgpSealed.bytes]) {
    const { plan, copies } = await passage.send(message, rules, [BOB]);
    assert.equal(copies.length, 0);
    assert.deepEqual(
      plan.refusals.map(({ error }) => error),
      ['refused-by-rule'],
    );
  }
});

test('a message without any MIME field is text, and is encrypted', async () => {
  const copy = await passage.sendOne(
    mail(`From: ${ANNA}`, `To: ${BOB}`, 'Subject: cron', '', SECRET, ''),
    REQUIRED,
  );
  const { content } = await readLayers(copy.bytes, [people.bob.decryption], world.trust);
  assert.equal(
    content.toString(),
    `From: ${ANNA}\r\nTo: ${BOB}\r\nSubject: cron\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n${SECRET}\r\n`,
  );
});

test('encrypted twice, in either format: one Content-Type on each level, attachments and all come back', async () => {
  const attachments = `${HEAD}${multipart('multipart/mixed', text('one'), 'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD')}`;
  const inbound = Buffer.from(attachments.replace(ANNA, BOB), 'latin1');
  const smime = async (message: Buffer): Promise<Buffer> =>
    (await runStage(encryptMessage(bytesSource(message).open(), [people.anna.certificate], { limits })))
      .bytes;
  const openpgp = async (message: Buffer): Promise<Buffer> =>
    (await runStage(encryptPgp(bytesSource(message).open(), [pgp.anna.certificate], pgpOptions))).bytes;
  for (const [inner, outer] of [
    [smime, smime],
    [openpgp, openpgp],
    [openpgp, smime],
    [smime, openpgp],
  ] as const) {
    const once = await inner(inbound);
    const twice = await outer(once);
    for (const level of [once, twice]) {
      const header = level.toString('latin1').split('\r\n\r\n')[0] ?? '';
      assert.equal(header.match(/^Content-Type:/gim)?.length, 1);
      assert.equal(header.match(/^MIME-Version:/gim)?.length, 1);
      assert.ok((header.match(/^Content-Transfer-Encoding:/gim)?.length ?? 0) <= 1);
    }
    const copy = await passage.receiveOne(twice, 'inbound: { mark: false }');
    assert.deepEqual(
      outcomesOf(copy).filter((kind) => kind === 'decrypted'),
      ['decrypted', 'decrypted'],
    );
    assert.deepEqual(copy.bytes, inbound);
  }
});

test('two rules for two recipients, two forms: each gets what its own rule says', async () => {
  const rules = `rules:
  - { name: signed, when: { recipient: ['${PETRA}'] }, sign: pgp, encrypt: never }
  - { name: sealed, when: { recipient: ['${BOB}'] }, sign: smime, encrypt: required }
otherwise: { sign: none, encrypt: never }`;
  const message = mail(`From: ${ANNA}`, `To: ${BOB}, ${PETRA}`, 'Subject: s', '', SECRET, '');
  const { copies } = await passage.send(message, rules, [BOB, PETRA, 'x@other.example']);
  const by = new Map(copies.map((copy) => [copy.to.join(), copy]));
  const found = Object.fromEntries([...by].map(([to, copy]) => [to, outcomesOf(copy)]));
  assert.deepEqual(found, { [BOB]: ['signed', 'encrypted'], [PETRA]: ['signed'], 'x@other.example': [] });
  assert.match(by.get(PETRA)?.text ?? '', /protocol="application\/pgp-signature"/);
  assert.match(by.get(BOB)?.text ?? '', /smime-type=enveloped-data/);
  assert.deepEqual(by.get('x@other.example')?.bytes, message);
});

test('an invitation that came encrypted is one again: method and place are what Exchange looks for', async () => {
  const calendar =
    'Content-Type: text/calendar; charset=utf-8; Method=request\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR';
  for (const content of [`${calendar}\r\n`, multipart('multipart/alternative', text('come'), calendar)]) {
    const message = Buffer.from(
      `From: ${BOB}\r\nTo: ${ANNA}, ${OTTO}\r\nMIME-Version: 1.0\r\n${content}`,
      'latin1',
    );
    const certificates = [people.anna.certificate, people.otto.certificate] as const;
    const { bytes } = await runStage(encryptMessage(bytesSource(message).open(), certificates, { limits }));
    const { copies } = await passage.receive(bytes, [ANNA, OTTO], 'inbound: { mark: false }');
    assert.deepEqual(
      copies.map((copy) => copy.bytes),
      [message, message],
    );
  }
});

test('what only says that it is encrypted comes in as it is, under a mark', async () => {
  const content = multipart(pgpEncrypted, version, `${octets}${ARMOUR}`, text(SECRET));
  const message = Buffer.from(`From: ${BOB}\r\nTo: ${ANNA}\r\nMIME-Version: 1.0\r\n${content}`, 'latin1');
  const copy = await passage.receiveOne(message);
  assert.deepEqual(outcomesOf(copy), ['not-decrypted malformed', 'not-verified not-signed']);
  assert.equal(
    copy.text,
    `X-Postern-Decryption: gw.example;\r\n decrypted=no;\r\n reason=malformed\r\n${message.toString('latin1')}`,
  );
});

const SMIME_SIGNED = 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256';
const PGP_SIGNED = 'multipart/signed; protocol="application/pgp-signature"; micalg=pgp-sha256';
const p7s = 'Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n';
const asc = 'Content-Type: application/pgp-signature\r\n\r\n';
const signature = sequence(oid(ID.signedData), tagged(0, sequence())).toString('base64');
const labels: readonly (readonly [string, string])[] = [
  ['one text', multipart(SMIME_SIGNED, text(SECRET))],
  ['two texts', multipart(SMIME_SIGNED, text(SECRET), text(SECRET))],
  ['something else where the signature should be', multipart(SMIME_SIGNED, text(SECRET), `${p7s}QUJD`)],
  ['an envelope there', multipart(SMIME_SIGNED, text(SECRET), `${p7s}${cmsBase64}`)],
  ['a third part', multipart(SMIME_SIGNED, text(SECRET), `${p7s}${signature}`, text(SECRET))],
  ['no armour there', multipart(PGP_SIGNED, text(SECRET), `${asc}${SECRET}`)],
  ['no parts', multipart(PGP_SIGNED)],
];

for (const [name, content] of labels) {
  test(`a trace of a signature is none: a label of a signed message over ${name}`, async () => {
    const message = Buffer.from(`${HEAD}${content}`, 'latin1');
    const copy = await passage.sendOne(message, SIGNED);
    assert.ok(outcomesOf(copy).includes('signed'), outcomesOf(copy).join());
    const { outcome } = await runStage(passage.verify(copy.bytes));
    assert.equal(outcome.kind === 'verified' && outcome.signatures[0].integrity, 'intact');
  });
}

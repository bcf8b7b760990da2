import assert from 'node:assert/strict';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { bytesSource, collect } from '../../../src/core/bytes.ts';
import type { SignatureResult, StageOutcome } from '../../../src/core/outcome.ts';
import { ID } from '../../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  octetString,
  oid,
  sequence,
  tagged,
} from '../../../src/smime/ber-writer.ts';
import { parseBer } from '../../../src/smime/der.ts';
import { decryptMessage, encryptMessage, signMessage, verifyMessage } from '../../../src/smime/message.ts';
import { writeRecipientInfo } from '../../../src/smime/recipient-info.ts';
import { writeDetachedSignature } from '../../../src/smime/signed-data.ts';
import { chunkedSource, createWorld, limits, mail, runStage } from '../../support/smime.ts';

const world = await createWorld('message');
const alice = await world.person('alice');
const bob = await world.person('bob');
const at = new Date('2026-03-04T05:06:07Z');
const MESSAGE = mail(
  'Received: from a by b',
  'From: alice@contoso.example',
  'Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=',
  'mime-version:   1.0 (by hand)',
  'Content-Type: text/plain;',
  '\tcharset=iso-8859-1',
  'X-Odd:value  ',
  'Content-Transfer-Encoding: 8bit',
  'Content-Language: de',
  '',
  'gr\xfc\xdfe',
  '',
);
const OUTER =
  'Received: from a by b\r\nFrom: alice@contoso.example\r\nSubject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=\r\nX-Odd:value  \r\n';
const INNER =
  'Content-Type: text/plain;\r\n\tcharset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\nContent-Language: de\r\n';

const encrypt = async (message: Uint8Array): Promise<Buffer> =>
  (await runStage(encryptMessage(bytesSource(message).open(), [alice.certificate], { limits }))).bytes;
const decrypt = (message: Uint8Array, size = 1_000): ReturnType<typeof runStage> =>
  runStage(decryptMessage(chunkedSource(message, size), [alice.decryption], { limits }));
const signed = async (message: Uint8Array): Promise<Buffer> =>
  (await runStage(signMessage(bytesSource(message), alice.signer, { limits, at }))).bytes;
const verify = (message: Uint8Array, size = 1_000): ReturnType<typeof runStage> =>
  runStage(verifyMessage(chunkedSource(message, size), world.trust, { limits }));

function firstSignature(outcome: StageOutcome): SignatureResult {
  assert.equal(outcome.kind, 'verified');
  return outcome.signatures[0];
}

function envelope(cms: Uint8Array, ...fields: readonly string[]): Buffer {
  const head = fields.length > 0 ? fields : ['Content-Type: application/pkcs7-mime; name="smime.p7m"'];
  return mail(
    'From: alice@contoso.example',
    'MIME-Version: 1.0',
    ...head,
    'Content-Transfer-Encoding: base64',
    '',
    Buffer.from(cms).toString('base64').replace(/.{76}/g, '$&\r\n'),
    '',
  );
}

/** An envelope for alice whose content is exactly these bytes, padding included. */
function rawEnvelope(padded: Uint8Array, contentType: string = ID.data): Buffer {
  const [key, iv] = [randomBytes(32), randomBytes(16)];
  const cipher = createCipheriv('aes-256-cbc', key, iv).setAutoPadding(false);
  const content = sequence(
    integer(0),
    element(0x31, writeRecipientInfo(alice.certificate, key)),
    sequence(
      oid(contentType),
      algorithmIdentifier(ID.aes256Cbc, octetString(iv)),
      element(0x80, cipher.update(padded), cipher.final()),
    ),
  );
  return envelope(sequence(oid(ID.envelopedData), tagged(0, content)));
}

const padded = (text: string): Buffer => {
  const size = 16 - (text.length % 16);
  return Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(size, size)]);
};

test('encryption moves all Content-* fields inside and keeps the rest byte for byte', async () => {
  const { bytes, outcome } = await runStage(
    encryptMessage(bytesSource(MESSAGE).open(), [alice.certificate, bob.certificate], { limits }),
  );
  assert.deepEqual(outcome, {
    kind: 'encrypted',
    format: 'smime',
    keyIds: [`smime:${alice.certificate.fingerprint}`, `smime:${bob.certificate.fingerprint}`],
    algorithm: 'aes-256-cbc',
  });
  const [head, body] = bytes.toString('latin1').split('\r\n\r\n');
  assert.equal(
    head,
    `${OUTER}MIME-Version: 1.0\r\n` +
      'Content-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n name="smime.p7m"\r\n' +
      'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="smime.p7m"',
  );
  assert.match(body ?? '', /^(?:[A-Za-z0-9+/]{76}\r\n)+[A-Za-z0-9+/=]{1,76}\r\n$/);
});

test('decryption gives the message back', async () => {
  const bytes = await encrypt(MESSAGE);
  for (const size of [1, 7, 1_000, 1_000_000]) {
    const result = await decrypt(bytes, size);
    assert.deepEqual(result.outcome, {
      kind: 'decrypted',
      format: 'smime',
      keyId: `smime:${alice.certificate.fingerprint}`,
      authenticated: false,
      algorithm: 'aes-256-cbc',
      signatures: [],
    });
    assert.equal(result.bytes.toString('latin1'), `${OUTER}MIME-Version: 1.0\r\n${INNER}\r\ngr\xfc\xdfe\r\n`);
  }
});

test('a message without MIME fields gets them', async () => {
  const result = await decrypt(await encrypt(mail('Subject: cron', '', 'output', '')));
  assert.equal(
    result.bytes.toString('latin1'),
    'Subject: cron\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\noutput\r\n',
  );
});

test('inner-headers: from a decrypted payload only Content-* fields come out', async () => {
  const inner =
    'From: chief@contoso.example\r\nSubject: [signed OK]\r\nContent-Type: text/html\r\nX-MS-Exchange-Organization-SCL: -1\r\n\r\nhi\r\n';
  const { bytes, outcome } = await decrypt(rawEnvelope(padded(inner)));
  assert.equal(outcome.kind, 'decrypted');
  assert.equal(
    bytes.toString('latin1'),
    'From: alice@contoso.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\nhi\r\n',
  );
});

test('one outcome: whatever fails behind the private key is `failed`', async (t) => {
  const good = await encrypt(MESSAGE);
  const cut = good.subarray(0, good.lastIndexOf('\r\n', good.length - 40));
  const table: readonly (readonly [string, Buffer])[] = [
    ['bad padding', rawEnvelope(Buffer.from(`Content-Type: text/plain\r\n\r\n${'x'.repeat(84)}`))],
    ['random content', rawEnvelope(randomBytes(64_000))],
    ['random content that is long', rawEnvelope(randomBytes(640_000))],
    ['text that is no UTF-8', rawEnvelope(padded('no header here, gr\xfc\xdfe'))],
    ['text with control characters', rawEnvelope(padded('no header here \x1b[2J'))],
    ['header with a line that is none', rawEnvelope(padded('Content-Type: text/html\r\nhm\r\n\r\nx'))],
    ['header with NUL', rawEnvelope(padded('Content-Type: text/plain\0\r\n\r\n'))],
    ['body with NUL', rawEnvelope(padded('Content-Type: text/plain\r\n\r\nx\0y\r\n'))],
    ['empty content', rawEnvelope(Buffer.alloc(0))],
    ['cut off', cut],
    ['more behind the end', Buffer.concat([good, Buffer.from('AAAA\r\n')])],
  ];
  for (const [name, bytes] of table) {
    await t.test(name, async () => {
      assert.deepEqual((await decrypt(bytes)).outcome, { kind: 'not-decrypted', reason: 'failed' });
    });
  }
});

test('bare text: a content without a header is delivered as plain text, and says so', async () => {
  const { bytes, outcome } = await decrypt(rawEnvelope(padded('<b>no header</b> here')));
  assert.equal(outcome.kind === 'decrypted' && outcome.isBareText, true);
  assert.equal(
    bytes.toString('latin1'),
    'From: alice@contoso.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n' +
      'Content-Transfer-Encoding: quoted-printable\r\n\r\n<b>no header</b> here\r\n',
  );
});

test('bare text: a changed ciphertext is damage', async () => {
  const good = rawEnvelope(padded('a text without a header, long enough for several blocks of the cipher'));
  const cms = Buffer.from(good.subarray(good.indexOf('\r\n\r\n')).toString('latin1'), 'base64');
  for (let at = cms.length - 70; at < cms.length; at += 1) {
    const changed = Buffer.from(cms);
    changed.writeUInt8(changed.readUInt8(at) ^ 0x80, at);
    assert.deepEqual((await decrypt(envelope(changed))).outcome, { kind: 'not-decrypted', reason: 'failed' });
  }
});

async function bytesReadOf(message: Buffer): Promise<number> {
  let bytesRead = 0;
  const source = chunkedSource(message, 4_096);
  const counted = {
    size: source.size,
    async *open() {
      for await (const chunk of source.open()) {
        bytesRead += chunk.length;
        yield chunk;
      }
    },
  };
  await runStage(decryptMessage(counted, [alice.decryption], { limits }));
  return bytesRead;
}

test('one outcome: a wrong key is read as far as the right one', async () => {
  const text = `Content-Type: text/plain\r\n\r\n${'long enough to be cut\r\n'.repeat(10_000)}`;
  const good = rawEnvelope(padded(text));
  const bad = rawEnvelope(randomBytes(padded(text).length));
  assert.equal(await bytesReadOf(bad), await bytesReadOf(good));
});

test('a failure of the store is not a failed decryption', async () => {
  const bytes = await encrypt(mail('Subject: x', '', 'y'.repeat(200_000), ''));
  const failing = {
    size: bytes.length,
    async *open() {
      yield bytes.subarray(0, 100_000);
      throw new Error('disk');
    },
  };
  await assert.rejects(runStage(decryptMessage(failing, [alice.decryption], { limits })), /disk/);
});

test('what is not encrypted, or not for us, says so', async (t) => {
  const table: readonly (readonly [string, Buffer, string])[] = [
    ['plain', MESSAGE, 'not-encrypted'],
    [
      'opaque signed',
      envelope(opaque(Buffer.from('Content-Type: text/plain\r\n\r\nhi\r\n'))),
      'not-encrypted',
    ],
    [
      'for bob',
      (await runStage(encryptMessage(bytesSource(MESSAGE).open(), [bob.certificate], { limits }))).bytes,
      'no-recipient',
    ],
    ['malformed', envelope(sequence(oid(ID.envelopedData), tagged(0, sequence(integer(0))))), 'malformed'],
  ];
  for (const [name, bytes, reason] of table) {
    await t.test(name, async () => {
      const result = await decrypt(bytes);
      assert.deepEqual(result.outcome, { kind: 'not-decrypted', reason });
      assert.equal(result.bytes.length, 0);
    });
  }
});

test('line feeds inside an envelope become line ends', async () => {
  const { bytes } = await decrypt(rawEnvelope(padded('Content-Type: text/plain\n\none\ntwo\n')));
  assert.match(bytes.toString('latin1'), /Content-Type: text\/plain\r\n\r\none\r\ntwo\r\n$/);
});

test('a signed message: outer fields stay, the signature covers the first part', async () => {
  const { bytes, outcome } = await runStage(signMessage(bytesSource(MESSAGE), alice.signer, { limits, at }));
  assert.deepEqual(outcome, {
    kind: 'signed',
    format: 'smime',
    keyId: `smime:${alice.certificate.fingerprint}`,
  });
  const text = bytes.toString('latin1');
  assert.equal(
    text.startsWith(
      `${OUTER}MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n`,
    ),
    true,
  );
  assert.equal(text.match(/mime-version/gi)?.length, 1);
  assert.match(text, /micalg=sha-256/);
  assert.match(text, /gr=FC=DFe\r\n/);
  assert.match(text, /Content-Type: application\/pkcs7-signature; name="smime.p7s"\r\n/);
  for (const size of [1, 7, 1_000]) {
    const result = await verify(bytes, size);
    assert.equal(result.bytes.length, 0);
    assert.deepEqual(firstSignature(result.outcome), {
      format: 'smime',
      integrity: 'intact',
      trust: 'trusted',
      signer: ['alice@contoso.example'],
      keyId: `smime:${alice.certificate.fingerprint}`,
      signedAt: at,
      capabilities: ['aes-256-gcm', 'aes-128-gcm', 'aes-256-cbc', 'aes-128-cbc', 'cek-hkdf-sha256'],
    });
  }
});

test('signed, encrypted, decrypted, verified', async () => {
  const message = await signed(MESSAGE);
  const { bytes } = await decrypt(await encrypt(message));
  assert.deepEqual(bytes, message);
  assert.equal(firstSignature((await verify(bytes)).outcome).integrity, 'intact');
});

const ENTITY = 'Content-Type: text/plain\r\n\r\nhello\r\n';
const p7s = (content = ENTITY): Buffer =>
  writeDetachedSignature(createHash('sha256').update(content, 'latin1').digest(), alice.signer, at);

function detached(
  change: { type?: string; partType?: string; content?: string; signature?: Buffer; more?: string } = {},
): Buffer {
  return mail(
    'From: alice@contoso.example',
    `Content-Type: ${change.type ?? 'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b'}`,
    '',
    'preamble',
    '--b',
    change.content ?? ENTITY,
    '--b',
    `Content-Type: ${change.partType ?? 'application/pkcs7-signature'}`,
    'Content-Transfer-Encoding: base64',
    '',
    (change.signature ?? p7s()).toString('base64').replace(/.{76}/g, '$&\r\n'),
    `${change.more ?? ''}--b--`,
    '',
  );
}

test('detached signatures: labels and structure', async (t) => {
  const table: readonly (readonly [string, Buffer, string])[] = [
    ['good', detached(), 'intact'],
    ['x- type in the part', detached({ partType: 'application/x-pkcs7-signature' }), 'intact'],
    [
      'x- type as protocol',
      detached({ type: 'multipart/signed; protocol="application/x-pkcs7-signature"; boundary=b' }),
      'intact',
    ],
    ['no protocol, no micalg', detached({ type: 'multipart/signed; boundary=b' }), 'intact'],
    [
      'wrong micalg',
      detached({ type: 'multipart/signed; protocol="application/pkcs7-signature"; micalg=md5; boundary=b' }),
      'intact',
    ],
    ['one byte more', detached({ content: `${ENTITY}x` }), 'broken'],
    ['one blank less', detached({ content: ENTITY.replace('hello', 'hell o') }), 'broken'],
    ['signature with a content', detached({ signature: opaque(Buffer.from(ENTITY)) }), 'broken'],
    [
      'OpenPGP by protocol',
      detached({ type: 'multipart/signed; protocol="application/pgp-signature"; boundary=b' }),
      'unsupported',
    ],
    [
      'OpenPGP by part',
      detached({ type: 'multipart/signed; boundary=b', partType: 'application/pgp-signature' }),
      'unsupported',
    ],
    ['protocol and part differ', detached({ partType: 'application/pgp-signature' }), 'malformed'],
    ['three parts', detached({ more: '--b\r\nContent-Type: text/plain\r\n\r\nmore\r\n' }), 'malformed'],
    ['signature is text', detached({ signature: Buffer.from('hello') }), 'malformed'],
    [
      'signature is an envelope',
      detached({ signature: sequence(oid(ID.envelopedData), tagged(0, sequence())) }),
      'malformed',
    ],
    ['not a multipart', mail('Content-Type: text/plain', '', 'x', ''), 'not-signed'],
    ['no parts', mail('Content-Type: multipart/signed; boundary=b', '', 'x', ''), 'malformed'],
  ];
  for (const [name, bytes, expected] of table) {
    await t.test(name, async () => {
      const { outcome, bytes: out } = await verify(bytes);
      assert.equal(out.length, 0);
      assert.equal(
        outcome.kind === 'not-verified' ? outcome.reason : firstSignature(outcome).integrity,
        expected,
      );
    });
  }
});

test('variants: a signature over another form of the text stays broken, and the reason tells', async (t) => {
  const encoded = 'Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n';
  const eight = 'Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\ncaf\xe9\r\n';
  const blanks = 'Content-Type: text/plain\r\n\r\n-- \r\nx\t \r\nend ';
  const table: readonly (readonly [string, string, string, string])[] = [
    [
      'line feeds',
      ENTITY,
      ENTITY.replaceAll('\r\n', '\n'),
      'the signature fits the text with bare line feeds',
    ],
    [
      'line feeds, 8-bit',
      eight,
      eight.replaceAll('\r\n', '\n'),
      'the signature fits the text with bare line feeds',
    ],
    [
      'no trailing blanks',
      blanks,
      blanks.replace(/[ \t]+(?=\r\n|$)/g, ''),
      'the signature fits the text without blanks at line ends',
    ],
    ['one more line end', ENTITY, `${ENTITY}\r\n`, 'the signature fits the text with one more line end'],
    [
      'encoded by a relay',
      encoded,
      eight,
      'the signature fits the 8-bit text from before it was encoded on its way',
    ],
    ['something else', ENTITY, `${ENTITY}x`, 'the content was changed after signing'],
  ];
  for (const [name, content, covered, reason] of table) {
    await t.test(name, async () => {
      for (const size of [1, 3, 1_000]) {
        const { outcome } = await verify(detached({ content, signature: p7s(covered) }), size);
        const signature = firstSignature(outcome);
        assert.equal(signature.integrity, 'broken');
        assert.equal(signature.reason, reason);
      }
    });
  }
});

/** Opaque SignedData made of a detached one: the content is put into encapContentInfo. */
function opaque(content: Buffer, covered = content): Buffer {
  const signature = p7s(covered.toString('latin1'));
  const marker = sequence(oid(ID.data));
  const at = signature.indexOf(marker);
  const withContent = sequence(oid(ID.data), tagged(0, octetString(content)));
  const tail = signature.subarray(at + marker.length);
  const start = signature.indexOf(Buffer.from([0x02, 0x01, 0x01, 0x31]));
  return sequence(oid(ID.signedData), tagged(0, sequence(signature.subarray(start, at), withContent, tail)));
}

test('opaque signatures are taken off, whatever they are worth', async (t) => {
  const content = Buffer.from(
    `Content-Type: text/plain\r\nSubject: inner\r\n\r\n${'hello\r\n'.repeat(20_000)}`,
  );
  const expected = `From: alice@contoso.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n${'hello\r\n'.repeat(20_000)}`;
  for (const [name, covered, integrity] of [
    ['intact', content, 'intact'],
    ['broken', Buffer.from('other'), 'broken'],
  ] as const) {
    await t.test(name, async () => {
      const { bytes, outcome } = await verify(envelope(opaque(content, covered)));
      assert.equal(bytes.toString('latin1'), expected);
      assert.equal(outcome.kind === 'verified' && outcome.form, 'opaque');
      assert.equal(firstSignature(outcome).integrity, integrity);
    });
  }
});

test('opaque structures that hold no signed mail', async (t) => {
  const certificatesOnly = sequence(
    oid(ID.signedData),
    tagged(
      0,
      sequence(integer(1), element(0x31), sequence(oid(ID.data)), tagged(0, alice.der), element(0x31)),
    ),
  );
  const table: readonly (readonly [string, Buffer, string])[] = [
    ['certificates only', envelope(certificatesOnly), 'not-signed'],
    ['detached signature without its content', envelope(p7s()), 'not-signed'],
    ['content that is no text', envelope(opaque(Buffer.from('hell\xf6', 'latin1'))), 'malformed'],
    ['trailing bytes', envelope(Buffer.concat([opaque(Buffer.from(ENTITY)), Buffer.from([0])])), 'malformed'],
    ['encrypted', await encrypt(MESSAGE), 'not-signed'],
  ];
  for (const [name, bytes, reason] of table) {
    await t.test(name, async () => {
      assert.deepEqual((await verify(bytes)).outcome, { kind: 'not-verified', reason });
    });
  }
});

test('bare text: an opaque signature over a text without a header', async () => {
  const { bytes, outcome } = await verify(envelope(opaque(Buffer.from('hello'))));
  assert.equal(firstSignature(outcome).integrity, 'intact');
  assert.equal(outcome.kind === 'verified' && outcome.isBareText, true);
  assert.match(bytes.toString('latin1'), /text\/plain; charset=utf-8\r\n[^]*\r\n\r\nhello\r\n$/);
});

test('a CMS structure inside an envelope needs no MIME around it', async (t) => {
  const cms = opaque(Buffer.from(ENTITY));
  const { children } = parseBer(cms);
  const body = children[1]?.children[0]?.raw;
  assert.ok(body);
  for (const [name, type, content] of [
    ['as data', ID.data, cms],
    ['as its own type', ID.signedData, body],
  ] as const) {
    await t.test(name, async () => {
      const decrypted = await decrypt(rawEnvelope(padded(content.toString('latin1')), type));
      assert.equal(decrypted.outcome.kind, 'decrypted');
      const { bytes, outcome } = await verify(decrypted.bytes);
      assert.equal(firstSignature(outcome).integrity, 'intact');
      assert.match(bytes.toString('latin1'), /\r\n\r\nhello\r\n$/);
    });
  }
});

test('an opaque message inside an envelope is unwrapped in two steps', async () => {
  const inner = envelope(opaque(Buffer.from(ENTITY)));
  const decrypted = await decrypt(await encrypt(inner));
  assert.deepEqual(decrypted.bytes, inner);
  const { bytes, outcome } = await verify(decrypted.bytes);
  assert.equal(firstSignature(outcome).integrity, 'intact');
  assert.match(bytes.toString('latin1'), /\r\n\r\nhello\r\n$/);
});

test('base64 that lost its label, or has it twice, is read all the same', async () => {
  const label = 'Content-Transfer-Encoding: base64\r\n';
  const inner = envelope(opaque(Buffer.from(ENTITY))).toString('latin1');
  const sealed = (await encrypt(MESSAGE)).toString('latin1');
  for (const size of [1, 7, 1_000]) {
    for (const given of [
      '',
      'Content-Transfer-Encoding: 7bit\r\n',
      'Content-Transfer-Encoding: binary\r\n',
    ]) {
      const { outcome } = await verify(Buffer.from(inner.replace(label, given), 'latin1'), size);
      assert.equal(firstSignature(outcome).integrity, 'intact');
      const opened = await decrypt(Buffer.from(sealed.replace(label, given), 'latin1'), size);
      assert.equal(opened.outcome.kind, 'decrypted');
    }
  }
  const detachedText = detached().toString('latin1').replace(label, '');
  const { outcome } = await verify(Buffer.from(detachedText, 'latin1'));
  assert.equal(firstSignature(outcome).integrity, 'intact');
});

test('input that cannot be read is refused with a code', async () => {
  const bad = mail('Subject : x', '', 'y', '');
  await assert.rejects(
    collect(encryptMessage(bytesSource(bad).open(), [alice.certificate], { limits }), 1_000),
    {
      code: 'header-malformed',
    },
  );
  await assert.rejects(runStage(verifyMessage(bytesSource(bad), world.trust, { limits })), {
    code: 'header-malformed',
  });
});

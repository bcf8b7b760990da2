// PGP/MIME in both directions: structure, outcomes, and that nothing but the body and Content-* changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { config, revokeKey } from 'openpgp';
import { GatewayError } from '../../../src/core/errors.ts';
import {
  decryptMessage,
  encryptMessage,
  signAndEncryptMessage,
  signMessage,
  verifyMessage,
} from '../../../src/pgp/message.ts';
import {
  armoured,
  AT,
  encryptedMail,
  inChunks,
  literal,
  mail,
  makeKey,
  options,
  protect,
  run,
  SIMPLE,
  source,
} from '../../support/pgp.ts';

const failsWith = (code: string) => (error: unknown) => error instanceof GatewayError && error.code === code;

const bob = await makeKey('bob@fabrikam.example');
const alice = await makeKey('alice@contoso.example');
const stranger = await makeKey('stranger@tailspin.example');

const KEYS = {
  'curve 25519, old form': bob,
  'RSA 2048': await makeKey('rsa@fabrikam.example', { type: 'rsa', rsaBits: 2048 }),
  'NIST P-384': await makeKey('nist@fabrikam.example', { type: 'ecc', curve: 'nistP384' }),
  'version 6, SEIPDv2': await makeKey('v6@fabrikam.example', {
    type: 'curve25519',
    config: { v6Keys: true, aeadProtect: true },
  }),
};

for (const [name, key] of Object.entries(KEYS)) {
  test(`encrypt and decrypt: ${name}`, async () => {
    const encrypted = await run(encryptMessage(inChunks(SIMPLE, 7), [key.certificate], options));
    assert.deepEqual(encrypted.outcome, {
      kind: 'encrypted',
      format: 'pgp',
      keyIds: [`pgp:${key.certificate.fingerprint}`],
    });
    assert.ok(!encrypted.bytes.includes('plan is here'));
    const decrypted = await run(decryptMessage(source(encrypted.bytes), [key.own], [], options));
    assert.equal(decrypted.bytes.toString(), SIMPLE.toString());
    assert.ok(decrypted.outcome.kind === 'decrypted');
    assert.deepEqual(decrypted.outcome.signatures, []);
    assert.ok(decrypted.outcome.authenticated);
    assert.equal(decrypted.outcome.keyId, `pgp:${key.certificate.fingerprint}`);
  });

  test(`sign and verify: ${name}`, async () => {
    const signed = await run(signMessage(source(SIMPLE), key.own, options));
    assert.equal(signed.outcome.kind, 'signed');
    const verified = await run(
      verifyMessage(source(signed.bytes), [alice.certificate, key.certificate], options),
    );
    assert.equal(verified.bytes.length, 0);
    assert.ok(verified.outcome.kind === 'verified');
    assert.equal(verified.outcome.form, 'detached');
    assert.deepEqual(verified.outcome.signatures, [
      {
        format: 'pgp',
        integrity: 'intact',
        trust: 'trusted',
        signer: key.certificate.addresses,
        keyId: `pgp:${key.certificate.fingerprint}`,
        signedAt: AT,
      },
    ]);
  });

  test(`sign and encrypt in one: ${name}`, async () => {
    const sealed = await run(signAndEncryptMessage(source(SIMPLE), [key.certificate], alice.own, options));
    assert.ok(sealed.outcome.kind === 'encrypted' && sealed.outcome.signed);
    const opened = await run(decryptMessage(source(sealed.bytes), [key.own], [alice.certificate], options));
    assert.ok(opened.outcome.kind === 'decrypted');
    assert.equal(opened.outcome.signatures.length, 1);
    assert.equal(opened.outcome.signatures[0]?.integrity, 'intact');
    assert.deepEqual(opened.outcome.signatures[0]?.signer, ['alice@contoso.example']);
    assert.match(opened.bytes.toString(), /Gr=C3=BC=C3=9Fe, the plan is here\./);
  });
}

test('SEIPDv1 unless every key announces version 2, and no checksum with version 2', async () => {
  const v6 = KEYS['version 6, SEIPDv2'];
  const both = await run(encryptMessage(source(SIMPLE).open(), [v6.certificate, bob.certificate], options));
  const opened = await run(decryptMessage(source(both.bytes), [v6.own], [], options));
  assert.ok(opened.outcome.kind === 'decrypted');
  assert.equal(opened.outcome.algorithm, 'AES-256-CFB with MDC');
  assert.match(both.bytes.toString(), /\r\n=[A-Za-z0-9+/]{4}\r\n-----END/);
  const alone = await run(encryptMessage(source(SIMPLE).open(), [v6.certificate], options));
  assert.doesNotMatch(alone.bytes.toString(), /\r\n=[A-Za-z0-9+/]{4}\r\n-----END/);
});

test('the structure of RFC 3156, outer fields byte for byte', async () => {
  const encrypted = await run(encryptMessage(source(SIMPLE).open(), [bob.certificate], options));
  const text = encrypted.bytes.toString('latin1');
  assert.ok(text.startsWith(SIMPLE.toString('latin1').split('MIME-Version')[0] ?? 'x'));
  assert.equal(text.match(/^MIME-Version:/gm)?.length, 1);
  assert.match(
    text,
    /Content-Type: multipart\/encrypted; protocol="application\/pgp-encrypted";\r\n boundary="/,
  );
  assert.match(text, /Content-Type: application\/pgp-encrypted\r\n[^\r]*\r\n\r\nVersion: 1\r\n/);
  assert.doesNotMatch(text, /charset/);
  assert.ok(text.split('\r\n').every((line) => line.length <= 78 && !line.includes('\n')));
});

test('micalg names the hash that was used', async () => {
  const rsa = await run(signMessage(source(SIMPLE), KEYS['RSA 2048'].own, options));
  assert.match(rsa.bytes.toString(), /micalg=pgp-sha256/);
  const nist = await run(signMessage(source(SIMPLE), KEYS['NIST P-384'].own, options));
  assert.match(nist.bytes.toString(), /micalg=pgp-sha384/);
});

test('inner-headers: of the decrypted header only Content-* fields come out', async () => {
  const inner = mail([
    'From: ceo@contoso.example',
    'Subject: Pay now',
    'X-Postern-Verified: yes',
    'Content-Type: text/x-a',
    '',
    'x',
  ]);
  const sealed = encryptedMail(await armoured(await protect(literal(inner), bob.publicKey)));
  const { bytes, outcome } = await run(decryptMessage(source(sealed), [bob.own], [], options));
  assert.equal(outcome.kind, 'decrypted');
  assert.equal(
    bytes.toString(),
    'From: alice@contoso.example\r\nSubject: The plan\r\nMIME-Version: 1.0\r\nContent-Type: text/x-a\r\n\r\nx\r\n',
  );
});

test('a payload with line feeds only is read and comes out with CRLF', async () => {
  const inner = 'Content-Type: text/plain\n\none\ntwo\n';
  const sealed = encryptedMail(await armoured(await protect(literal(inner), bob.publicKey)));
  const { bytes, outcome } = await run(decryptMessage(source(sealed), [bob.own], [], options));
  assert.equal(outcome.kind, 'decrypted');
  assert.match(bytes.toString(), /\r\n\r\none\r\ntwo\r\n$/);
});

test('exchange-mixed: multipart/encrypted that Exchange made multipart/mixed', async () => {
  const plain = await run(encryptMessage(source(SIMPLE).open(), [bob.certificate], options));
  const text = plain.bytes.toString('latin1');
  const mixed = text.replace(/multipart\/encrypted; protocol="[^"]*"/, 'multipart/mixed');
  const boundary = /boundary="([^"]+)"/.exec(text)?.[1] ?? '';
  const withText = (content: string) =>
    mixed.replace(
      `\r\n\r\n--${boundary}\r\n`,
      `\r\n\r\n--${boundary}\r\nContent-Type: text/plain\r\n\r\n${content}\r\n--${boundary}\r\n`,
    );
  for (const [form, wanted] of [
    [mixed, 'decrypted'],
    [withText('\r\n'), 'decrypted'],
    [withText('attacker text'), 'not-decrypted'],
  ] as const) {
    const { bytes, outcome } = await run(decryptMessage(source(form), [bob.own], [], options));
    assert.equal(outcome.kind, wanted, form);
    if (wanted === 'decrypted') assert.equal(bytes.toString(), SIMPLE.toString());
  }
});

const NOT_OURS: readonly (readonly [string, string, string])[] = [
  ['a plain message', 'text/plain', 'not-encrypted'],
  ['another protocol', 'multipart/encrypted; protocol="application/x-other"; boundary=b', 'not-encrypted'],
  ['no boundary', 'multipart/encrypted; protocol="application/pgp-encrypted"', 'not-encrypted'],
  ['mixed without such parts', 'multipart/mixed; boundary=b', 'not-encrypted'],
];
for (const [name, type, reason] of NOT_OURS) {
  test(`not decrypted: ${name}`, async () => {
    const message = mail([`Content-Type: ${type}`, '', '--b', 'Content-Type: text/plain', '', 'x', '--b--']);
    const { bytes, outcome } = await run(decryptMessage(source(message), [bob.own], [], options));
    assert.deepEqual(outcome, { kind: 'not-decrypted', reason });
    assert.equal(bytes.length, 0);
  });
}

const MALFORMED_STRUCTURE: readonly (readonly [string, (text: string) => string])[] = [
  ['version 2', (text) => text.replace('\r\nVersion: 1\r', '\r\nVersion: 2\r')],
  ['a third part', (text) => text.replace('--b--', '--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--')],
  ['one part', (text) => text.replace(/--b\r\nContent-Type: application\/octet-stream[^]*--b--/, '--b--')],
  ['parts swapped in type', (text) => text.replace('application/octet-stream', 'text/plain')],
];
for (const [name, change] of MALFORMED_STRUCTURE) {
  test(`malformed: ${name}`, async () => {
    const good = encryptedMail(await armoured(await protect(literal(SIMPLE), bob.publicKey))).toString(
      'latin1',
    );
    assert.equal((await run(decryptMessage(source(good), [bob.own], [], options))).outcome.kind, 'decrypted');
    const { outcome } = await run(decryptMessage(source(change(good)), [bob.own], [], options));
    assert.deepEqual(outcome, { kind: 'not-decrypted', reason: 'malformed' });
  });
}

test('base64 and quoted-printable around the armour', async () => {
  const text = await armoured(await protect(literal(SIMPLE), bob.publicKey));
  const base64 = (
    Buffer.from(text)
      .toString('base64')
      .match(/.{1,76}/g) ?? []
  ).join('\r\n');
  for (const sealed of [
    encryptedMail(base64, 'base64'),
    encryptedMail(text.replaceAll('=', '=3D'), 'quoted-printable'),
  ]) {
    const { outcome } = await run(decryptMessage(source(sealed), [bob.own], [], options));
    assert.equal(outcome.kind, 'decrypted');
  }
});

test('binary instead of armour', async () => {
  const binary = await protect(literal(SIMPLE), bob.publicKey);
  const head = encryptedMail('@').toString('latin1').split('@\r\n--b--')[0] ?? '';
  const sealed = Buffer.concat([Buffer.from(head, 'latin1'), binary, Buffer.from('\r\n--b--\r\n')]);
  const { outcome } = await run(decryptMessage(source(sealed), [bob.own], [], options));
  assert.equal(outcome.kind, 'decrypted');
});

test('signing and encrypting fail with a code where the key cannot be used', async () => {
  const expired = await makeKey('old@fabrikam.example', { keyExpirationTime: 86_400 });
  await assert.rejects(
    run(encryptMessage(source(SIMPLE).open(), [expired.certificate], options)),
    failsWith('encryption-required'),
  );
  await assert.rejects(
    run(signMessage(source(SIMPLE), expired.own, options)),
    failsWith('signing-key-missing'),
  );
  await assert.rejects(
    run(signAndEncryptMessage(source(SIMPLE), [bob.certificate], expired.own, options)),
    failsWith('signing-key-missing'),
  );
});

test('an expired and a revoked own key still decrypt', async () => {
  const young = { limits: options.limits, at: new Date('2026-01-01T12:00:00Z') };
  const expired = await makeKey('old@fabrikam.example', { keyExpirationTime: 86_400 });
  const toExpired = await run(encryptMessage(source(SIMPLE).open(), [expired.certificate], young));
  assert.equal(
    (await run(decryptMessage(source(toExpired.bytes), [expired.own], [], options))).outcome.kind,
    'decrypted',
  );
  const { privateKey } = await revokeKey({ key: expired.privateKey, format: 'object', date: AT });
  const revoked = { certificate: expired.certificate, key: privateKey };
  assert.equal(
    (await run(decryptMessage(source(toExpired.bytes), [revoked], [], options))).outcome.kind,
    'decrypted',
  );
});

test('an error of the source is thrown as it is, by every function', async () => {
  const failure = new GatewayError('store-failed', 'the disk is gone');
  async function* broken(): AsyncGenerator<Uint8Array, void> {
    yield SIMPLE;
    throw failure;
  }
  await assert.rejects(run(encryptMessage(broken(), [bob.certificate], options)), failure);
  const sealed = await run(
    encryptMessage(
      source(Buffer.concat([SIMPLE, Buffer.alloc(300_000, 'x\r\n')])).open(),
      [bob.certificate],
      options,
    ),
  );
  const signed = await run(
    signMessage(source(Buffer.concat([SIMPLE, Buffer.alloc(300_000, 'x\r\n')])), bob.own, options),
  );
  for (const bytes of [sealed.bytes, signed.bytes]) {
    let opened = 0;
    const failing = {
      size: bytes.length,
      async *open(range?: { start: number; end?: number }) {
        opened += 1;
        const slice = bytes.subarray(range?.start ?? 0, range?.end ?? bytes.length);
        // The header and the structure are read before the content is.
        const isContent = range !== undefined && slice.length > 100_000;
        yield slice.subarray(0, isContent ? 70_000 : slice.length);
        if (isContent) throw failure;
      },
    };
    const call =
      bytes === sealed.bytes
        ? decryptMessage(failing, [bob.own], [], options)
        : verifyMessage(failing, [bob.certificate], options);
    await assert.rejects(run(call), failure);
    assert.ok(opened > 1);
  }
});

test('the global configuration of the library is not touched', async () => {
  const before = { ...config };
  await run(signAndEncryptMessage(source(SIMPLE), [bob.certificate], alice.own, options));
  assert.deepEqual({ ...config }, before);
});

test('several recipients, each alone can read; another cannot', async () => {
  const sealed = await run(
    encryptMessage(source(SIMPLE).open(), [bob.certificate, alice.certificate], options),
  );
  for (const key of [bob, alice]) {
    const { bytes } = await run(decryptMessage(source(sealed.bytes), [key.own], [], options));
    assert.equal(bytes.toString(), SIMPLE.toString());
  }
  const { outcome } = await run(decryptMessage(source(sealed.bytes), [stranger.own], [], options));
  assert.deepEqual(outcome, { kind: 'not-decrypted', reason: 'no-recipient' });
});

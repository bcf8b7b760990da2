// Both ways against Sequoia (sq and sqop): what one side writes, the other reads, byte for byte.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { collect } from '../../src/core/bytes.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import { prepareEntity } from '../../src/mime/prepare.ts';
import { parsePrivateKey, parsePublicKey, type PgpPrivateKey } from '../../src/pgp/certificate.ts';
import {
  decryptMessage,
  encryptMessage,
  signAndEncryptMessage,
  signMessage,
  verifyMessage,
} from '../../src/pgp/message.ts';
import { bodyOf, encryptedMail, flip, mail, makeKey, partsOf, run, source } from '../support/pgp.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgp-sq-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function call(command: 'sq' | 'sqop', args: readonly string[], input?: Uint8Array): Buffer {
  const result = spawnSync(command, args, { input, maxBuffer: 50_000_000 });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}\n${result.stderr.toString()}`);
  return result.stdout;
}

let files = 0;
function file(bytes: Uint8Array | string): string {
  files += 1;
  const path = join(folder, `${files}`);
  writeFileSync(path, bytes, { mode: 0o600 });
  return path;
}

/** A key on both sides. */
interface Party {
  readonly own: PgpPrivateKey;
  /** Files. */
  readonly key: string;
  readonly certificate: string;
}

async function party(armored: string): Promise<Party> {
  const own = await parsePrivateKey(armored);
  return { own, key: file(armored), certificate: file(own.certificate.armored) };
}

function generate(suite: string): string {
  const path = file('');
  call('sq', ['--force', 'key', 'generate', '--userid', `<${suite}@sq.example>`, '-c', suite, '-e', path]);
  return readFileSync(path, 'latin1');
}

const parties: Readonly<Record<string, Party>> = {
  'our curve 25519': await party((await makeKey('ecc@contoso.example')).armoredPrivate),
  'our RSA': await party(
    (await makeKey('rsa@contoso.example', { type: 'rsa', rsaBits: 3072 })).armoredPrivate,
  ),
  'our NIST P-521': await party(
    (await makeKey('p521@contoso.example', { curve: 'nistP521' })).armoredPrivate,
  ),
  "sq's cv25519": await party(generate('cv25519')),
  "sq's rsa3k": await party(generate('rsa3k')),
  "sqop's": await party(call('sqop', ['generate-key', '<sqop@sq.example>']).toString()),
};
const sender = parties["sq's cv25519"] as Party;

// After the keys, which may not be used before they were made.
const options = { limits: defaultLimits, at: new Date() };

const ENTITY = Buffer.concat([
  mail([
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    'Gr\u00fc\u00dfe  ',
  ]),
  // Over several partial lengths, and no round number.
  Buffer.from('From line to line of text\r\n'.repeat(9_973)),
]);
const MESSAGE = Buffer.concat([
  mail(['From: a@contoso.example', 'Subject: interop', 'MIME-Version: 1.0']),
  ENTITY,
]);
const PREPARED = await (async () => {
  const { entity } = await prepareEntity(source(MESSAGE), defaultLimits);
  return collect(entity.open(), 10_000_000);
})();

for (const [name, to] of Object.entries(parties)) {
  test(`sq and sqop decrypt what we encrypt: ${name}`, async () => {
    const { bytes } = await run(encryptMessage(source(MESSAGE).open(), [to.own.certificate], options));
    const armored = bodyOf(partsOf(bytes)[1] ?? Buffer.alloc(0));
    assert.ok(call('sq', ['decrypt', '--recipient-key', to.key], armored).equals(ENTITY));
    assert.ok(call('sqop', ['decrypt', to.key], armored).equals(ENTITY));
  });

  test(`sq and sqop verify what we sign: ${name}`, async () => {
    const { bytes } = await run(signMessage(source(MESSAGE), to.own, options));
    const [content, signature] = partsOf(bytes);
    assert.ok(content && signature);
    assert.ok(content.equals(PREPARED));
    const detached = file(bodyOf(signature));
    call('sq', ['verify', '--signer-cert', to.certificate, '--detached', detached, file(content)]);
    const said = call('sqop', ['verify', detached, to.certificate], content).toString().toLowerCase();
    assert.match(said, new RegExp(to.own.certificate.fingerprint));
    const changed = spawnSync('sqop', ['verify', detached, to.certificate], { input: flip(content, -3) });
    assert.notEqual(changed.status, 0);
  });

  test(`sq and sqop open what we sign and encrypt: ${name}`, async () => {
    // Each party signs to itself: every kind of key on both sides of it.
    const { bytes } = await run(
      signAndEncryptMessage(source(MESSAGE), [to.own.certificate], to.own, options),
    );
    const armored = bodyOf(partsOf(bytes)[1] ?? Buffer.alloc(0));
    // Fails unless there is one good signature.
    const signer = ['--signer-cert', to.certificate];
    assert.ok(call('sq', ['decrypt', '--recipient-key', to.key, ...signer], armored).equals(PREPARED));
    const results = file('');
    rmSync(results);
    const verify = [`--verifications-out=${results}`, `--verify-with=${to.certificate}`];
    assert.ok(call('sqop', ['decrypt', ...verify, to.key], armored).equals(PREPARED));
    assert.match(readFileSync(results, 'latin1').toLowerCase(), new RegExp(to.own.certificate.fingerprint));
  });

  test(`we decrypt what sq and sqop encrypt: ${name}`, async () => {
    const by = {
      sq: call('sq', ['encrypt', '--recipient-cert', to.certificate], ENTITY),
      sqop: call('sqop', ['encrypt', to.certificate], ENTITY),
    };
    for (const armored of Object.values(by)) await assertOpens(armored, to, 0);
  });

  test(`we open what sq and sqop sign and encrypt: ${name}`, async () => {
    const by = {
      sq: call('sq', ['encrypt', '--signer-key', to.key, '--recipient-cert', to.certificate], ENTITY),
      sqop: call('sqop', ['encrypt', `--sign-with=${to.key}`, to.certificate], ENTITY),
    };
    for (const armored of Object.values(by)) await assertOpens(armored, to, 1);
  });

  test(`we verify what sq and sqop sign: ${name}`, async () => {
    const by = {
      sq: call('sq', ['sign', '--detached', '--signer-key', to.key], PREPARED),
      sqop: call('sqop', ['sign', to.key], PREPARED),
      'sqop, text': call('sqop', ['sign', '--as=text', to.key], PREPARED),
    };
    for (const [by_, signature] of Object.entries(by)) {
      assert.equal(await integrityOf(PREPARED, signature, to), 'intact trusted', by_);
      assert.equal(await integrityOf(flip(PREPARED, -3), signature, to), 'broken untrusted', by_);
    }
  });
}

for (const compression of ['none', 'pad', 'zip', 'zlib', 'bzip2']) {
  test(`we decrypt what sq compresses: ${compression}`, async () => {
    const to = parties['our RSA'] as Party;
    const args = ['encrypt', '--compression', compression, '--signer-key', sender.key];
    const armored = call('sq', [...args, '--recipient-cert', to.certificate], ENTITY);
    await assertOpens(armored, to, 1, sender);
  });
}

test('two signers, two recipients, and 5 MB', async () => {
  const [one, two] = [parties['our RSA'], parties["sqop's"]] as [Party, Party];
  const large = Buffer.concat([
    mail(['Content-Type: application/octet-stream', '']),
    Buffer.from(randomBytes(2_500_000).toString('hex').replace(/.{76}/g, '$&\r\n')),
    Buffer.from('\r\n'),
  ]);
  const signers = ['--signer-key', sender.key, '--signer-key', one.key];
  const recipients = ['--recipient-cert', one.certificate, '--recipient-cert', two.certificate];
  const armored = call('sq', ['encrypt', ...signers, ...recipients], large);
  for (const to of [one, two]) await assertOpens(armored, to, 2, sender, one, large);
  const { bytes } = await run(
    encryptMessage(source(large).open(), [one.own.certificate, two.own.certificate], options),
  );
  const written = bodyOf(partsOf(bytes)[1] ?? Buffer.alloc(0));
  for (const to of [one, two]) assert.ok(call('sqop', ['decrypt', to.key], written).equals(large));
});

test('keys: a certificate that sq extracts is the one that we write', async () => {
  for (const { own, key } of Object.values(parties)) {
    const extracted = await parsePublicKey(call('sq', ['key', 'extract-cert', key]).toString());
    assert.equal(extracted.fingerprint, own.certificate.fingerprint);
    assert.deepEqual(extracted.addresses, own.certificate.addresses);
    assert.deepEqual(extracted.keyIds, own.certificate.keyIds);
  }
});

async function assertOpens(
  armored: Uint8Array,
  to: Party,
  signatures: number,
  signer = to,
  other = to,
  content: Buffer = ENTITY,
): Promise<void> {
  const sealed = encryptedMail(Buffer.from(armored).toString('latin1').trimEnd());
  const verification = [...new Set([signer.own.certificate, other.own.certificate])];
  const { bytes, outcome } = await run(decryptMessage(source(sealed), [to.own], verification, options));
  assert.ok(outcome.kind === 'decrypted', JSON.stringify(outcome));
  assert.equal(outcome.keyId, `pgp:${to.own.certificate.fingerprint}`);
  const found = outcome.signatures.map(({ integrity, trust }) => `${integrity} ${trust}`);
  assert.deepEqual(
    found,
    Array.from({ length: signatures }, () => 'intact trusted'),
  );
  assert.ok(bytes.subarray(bytes.indexOf('Content-Type')).equals(content));
}

async function integrityOf(content: Buffer, signature: Uint8Array, signer: Party): Promise<string> {
  const signed = Buffer.concat([
    mail(['Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b', '', '--b']),
    content,
    mail([
      '',
      '--b',
      'Content-Type: application/pgp-signature',
      '',
      Buffer.from(signature).toString('latin1').trimEnd(),
      '--b--',
    ]),
  ]);
  const { outcome } = await run(verifyMessage(source(signed), [signer.own.certificate], options));
  return describe(outcome);
}

function describe(outcome: StageOutcome): string {
  if (outcome.kind !== 'verified') return JSON.stringify(outcome);
  return outcome.signatures.map(({ integrity, trust }) => `${integrity} ${trust}`).join(', ');
}

// Reading keys, and what a key may be used for at a given time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encryptKey, enums, type PublicKey, readKey, reformatKey, revokeKey } from 'openpgp';
import { GatewayError } from '../../../src/core/errors.ts';
import { Secret } from '../../../src/core/secret.ts';
import { certificateUse, parsePrivateKey, parsePublicKey } from '../../../src/pgp/certificate.ts';
import { packetTag, writePacket } from '../../../src/pgp/packet.ts';
import { armoured, AT, makeKey } from '../../support/pgp.ts';

const DAY = 86_400;
const day = (text: string) => new Date(`${text}T00:00:00Z`);
const alice = await makeKey('Alice@Contoso.EXAMPLE');

const invalid = (text: RegExp) => (error: unknown) =>
  error instanceof GatewayError && error.code === 'config-invalid' && text.test(error.message);

test('what is read from a key', () => {
  const { certificate } = alice;
  assert.match(certificate.fingerprint, /^[0-9a-f]{40}$/);
  assert.equal(certificate.keyIds.length, 2);
  assert.equal(certificate.keyIds[0], certificate.fingerprint.slice(-16));
  assert.deepEqual(certificate.addresses, ['alice@contoso.example']);
  assert.deepEqual(certificate.notBefore, day('2026-01-01'));
  assert.equal(certificate.notAfter, undefined);
});

test('a key as its own armour gives the same key', async () => {
  const again = await parsePublicKey(alice.certificate.armored);
  assert.equal(again.fingerprint, alice.certificate.fingerprint);
  assert.equal(again.armored, alice.certificate.armored);
});

const USER_IDS: readonly (readonly [string, readonly string[]])[] = [
  ['Alice <alice@contoso.example>', ['alice@contoso.example']],
  ['alice@contoso.example', ['alice@contoso.example']],
  ['<alice@contoso.example>', ['alice@contoso.example']],
  ['"a@x.example" <alice@contoso.example>', ['alice@contoso.example']],
  ['Alice (work) <alice@contoso.example> ', ['alice@contoso.example']],
  ['<ceo@contoso.example> <alice@contoso.example>', []],
  ['Alice <alice@contoso.example> ceo@contoso.example', []],
  ['Alice', []],
  ['alice@localhost', []],
  ['Alice <alice@contoso.example', []],
];
for (const [userId, addresses] of USER_IDS) {
  test(`addresses of the user id ${userId}`, async () => {
    // The library writes `name (comment) <email>`; a name alone is taken as it is.
    const { publicKey } = await reformatKey({
      privateKey: alice.privateKey,
      userIDs: [{ name: userId }],
      date: day('2026-01-02'),
      format: 'object',
    });
    assert.deepEqual((await parsePublicKey(publicKey.armor())).addresses, addresses);
  });
}

test('user ids: one with a revoked or foreign certification counts for nothing', async () => {
  const two = await makeKey('alice@contoso.example', {
    userIDs: [{ email: 'alice@contoso.example' }, { email: 'old@contoso.example' }],
  });
  const key = await readKey({ armoredKey: two.publicKey.armor() });
  const [first, second] = key.users;
  assert.ok(first && second);
  // The certification of one user id does not certify another.
  second.selfCertifications = [...first.selfCertifications];
  assert.deepEqual((await parsePublicKey(key.armor())).addresses, ['alice@contoso.example']);

  const revoked = await readKey({ armoredKey: two.publicKey.armor() });
  const user = revoked.users[1];
  assert.ok(user);
  revoked.users[1] = await user.revoke(two.privateKey.keyPacket as never, {}, day('2026-02-01'), undefined);
  assert.deepEqual((await parsePublicKey(revoked.armor())).addresses, ['alice@contoso.example']);
});

test('key-import: third-party certifications and pictures are dropped', async () => {
  const bob = await makeKey('bob@fabrikam.example');
  const certified = await alice.publicKey.signPrimaryUser([bob.privateKey], AT);
  assert.ok(certified.armor().length > alice.publicKey.armor().length + 100);
  const read = await parsePublicKey(certified.armor());
  assert.equal(read.armored, alice.certificate.armored);
});

const binaryKey = alice.publicKey.write();
const userIdPacket = writePacket(packetTag.userId, Buffer.from('x'));
const IMPORTS: readonly (readonly [string, () => Promise<string> | string, RegExp])[] = [
  ['nothing', () => 'no key', /no public key block/],
  ['a private key', () => alice.armoredPrivate, /is a private key/],
  ['two armours', () => alice.publicKey.armor() + alice.publicKey.armor(), /more than one/],
  [
    'two keys in one armour',
    () => armoured(Buffer.concat([binaryKey, binaryKey]), 'PUBLIC KEY BLOCK'),
    /holds 2 keys/,
  ],
  [
    'a secret key labelled public',
    () => armoured(alice.privateKey.write(), 'PUBLIC KEY BLOCK'),
    /is a private key/,
  ],
  [
    '51 user ids',
    () =>
      armoured(
        Buffer.concat([binaryKey, ...Array.from({ length: 50 }, () => userIdPacket)]),
        'PUBLIC KEY BLOCK',
      ),
    /more than 50 user ids/,
  ],
  ['over a megabyte', () => `${alice.publicKey.armor()}${' '.repeat(1_048_576)}`, /larger than 1 MiB/],
  ['garbage', () => armoured(Buffer.alloc(500, 0x99), 'PUBLIC KEY BLOCK'), /holds|cannot|packet/],
  [
    'cut off',
    () => armoured(binaryKey.subarray(0, 60), 'PUBLIC KEY BLOCK'),
    /cannot be parsed|self-signature|cut off/,
  ],
];
for (const [name, text, reason] of IMPORTS) {
  test(`key-import refuses ${name}`, async () => {
    await assert.rejects(parsePublicKey(await text()), invalid(reason));
  });
}

test('a key with text around it, as key files have it', async () => {
  const read = await parsePublicKey(`The key of Alice:\n\n${alice.publicKey.armor()}\nbye\n`);
  assert.equal(read.fingerprint, alice.certificate.fingerprint);
});

test('private keys: unlocked, locked, wrong password, public instead', async () => {
  const locked = await encryptKey({ privateKey: alice.privateKey, passphrase: 'opensesame' });
  const open = await parsePrivateKey(alice.armoredPrivate);
  assert.equal(open.certificate.fingerprint, alice.certificate.fingerprint);
  assert.ok(!open.certificate.armored.includes('PRIVATE'));
  const unlocked = await parsePrivateKey(locked.armor(), new Secret('opensesame'));
  assert.ok(unlocked.key.isDecrypted());
  await assert.rejects(parsePrivateKey(locked.armor()), invalid(/no password is given/));
  await assert.rejects(
    parsePrivateKey(locked.armor(), new Secret('wrong')),
    invalid(/the password does not open it/),
  );
  await assert.rejects(parsePrivateKey(alice.publicKey.armor()), invalid(/no private key block/));
});

test('argon2: a locked key that wants a terabyte is refused', async () => {
  const locked = await encryptKey({
    privateKey: alice.privateKey,
    passphrase: 'opensesame',
    config: {
      s2kType: enums.s2k.argon2,
      aeadProtect: true,
      s2kArgon2Params: { passes: 1, parallelism: 1, memoryExponent: 10 },
    },
  });
  const bytes = Buffer.from(locked.write());
  const params = bytes.indexOf(Buffer.of(1, 1, 10));
  assert.ok(params > 0);
  bytes[params + 2] = 30;
  const started = performance.now();
  await assert.rejects(
    parsePrivateKey(await armoured(bytes, 'PRIVATE KEY BLOCK'), new Secret('opensesame')),
    invalid(/./),
  );
  assert.ok(performance.now() - started < 2_000);
});

const expiring = await makeKey('a@contoso.example', { keyExpirationTime: 30 * DAY });
const signOnly = await makeKey('a@contoso.example', { subkeys: [{ sign: true }] });
const shortSubkey = await makeKey('a@contoso.example', { subkeys: [{ keyExpirationTime: 30 * DAY }] });
const twoSubkeys = await makeKey('a@contoso.example', { subkeys: [{ keyExpirationTime: 30 * DAY }, {}] });
const revoked = await parsePublicKey(
  (
    await revokeKey({ key: expiring.privateKey, format: 'object', date: day('2026-01-10') })
  ).publicKey.armor(),
);
const weak = await makeKey('a@contoso.example', { type: 'rsa', rsaBits: 1024, config: { minRSABits: 1024 } });
const revokedSubkey = await (async () => {
  const key = await readKey({ armoredKey: alice.publicKey.armor() });
  const [subkey] = key.subkeys;
  assert.ok(subkey);
  key.subkeys[0] = await subkey.revoke(alice.privateKey.keyPacket as never, {}, day('2026-02-01'));
  return parsePublicKey(key.armor());
})();

const USES = [
  ['a good key', alice.certificate, 'encrypt', '2026-06-01', undefined],
  ['a good key', alice.certificate, 'sign', '2026-06-01', undefined],
  ['before its birth', alice.certificate, 'encrypt', '2025-12-31', /not valid before 2026-01-01/],
  ['an expiring key in time', expiring.certificate, 'encrypt', '2026-01-15', undefined],
  ['an expired key', expiring.certificate, 'encrypt', '2026-02-01', /expired on 2026-01-31/],
  ['an expired key', expiring.certificate, 'sign', '2026-02-01', /expired on 2026-01-31/],
  ['a revoked key', revoked, 'encrypt', '2026-01-15', /the key is revoked/],
  // A revocation without a reason counts for all times (RFC 9580 §5.2.3.31).
  ['a revoked key, before that', revoked, 'encrypt', '2026-01-05', /the key is revoked/],
  ['no encryption subkey', signOnly.certificate, 'encrypt', '2026-06-01', /no part for encryption/],
  ['no encryption subkey', signOnly.certificate, 'sign', '2026-06-01', undefined],
  [
    'an expired subkey',
    shortSubkey.certificate,
    'encrypt',
    '2026-06-01',
    /its encryption subkey has expired/,
  ],
  ['an expired subkey, in time', shortSubkey.certificate, 'encrypt', '2026-01-15', undefined],
  ['an expired subkey beside a good one', twoSubkeys.certificate, 'encrypt', '2026-06-01', undefined],
  ['a revoked subkey', revokedSubkey, 'encrypt', '2026-06-01', /its encryption subkey is revoked/],
  ['a revoked subkey', revokedSubkey, 'sign', '2026-06-01', undefined],
  ['RSA with 1024 bits', weak.certificate, 'encrypt', '2026-06-01', /too weak/],
] as const;
for (const [name, certificate, purpose, at, reason] of USES) {
  test(`${name}: ${purpose} at ${at}`, async () => {
    const use = await certificateUse(certificate, purpose, day(at));
    if (reason === undefined) assert.deepEqual(use, { usable: true });
    else assert.match(use.usable ? 'usable' : use.reason, reason);
  });
}

async function merged(older: PublicKey, newer: PublicKey) {
  return parsePublicKey((await older.update(newer, AT)).armor());
}

test('F95: the newest self-signature decides, in both directions', async () => {
  const renew = (keyExpirationTime: number, date: string) =>
    reformatKey({
      privateKey: alice.privateKey,
      userIDs: [{ name: 'Test', email: 'alice@contoso.example' }],
      keyExpirationTime,
      date: day(date),
      format: 'object',
    });
  // Expiry counts from the birth of the key.
  const short = await renew(60 * DAY, '2026-01-10');
  const long = await renew(365 * DAY, '2026-02-10');
  const prolonged = await merged(short.publicKey, long.publicKey);
  assert.deepEqual(await certificateUse(prolonged, 'sign', day('2026-06-01')), { usable: true });
  const never = await readKey({ armoredKey: alice.publicKey.armor() });
  const shortened = await merged(never, short.publicKey);
  assert.match(
    JSON.stringify(await certificateUse(shortened, 'sign', day('2026-06-01'))),
    /expired on 2026-03-02/,
  );
});

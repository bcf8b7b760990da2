// What a sender may do to us with multipart/signed: every case must end in the right result, and cheaply.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMessage, type PrivateKey, sign } from 'openpgp';
import { defaultLimits } from '../../../src/core/limits.ts';
import type { SignatureResult, StageOutcome } from '../../../src/core/outcome.ts';
import { verifyMessage } from '../../../src/pgp/message.ts';
import { armoured, AT, flip, literal, mail, makeKey, options, run, source } from '../../support/pgp.ts';

const alice = await makeKey('alice@contoso.example');
const mallory = await makeKey('alice@contoso.example');

const ENTITY = 'Content-Type: text/plain\r\n\r\nSigned text\r\n';

function signedMail(
  armor: string,
  entity = ENTITY,
  type = 'multipart/signed; protocol="application/pgp-signature"',
): Buffer {
  return mail([
    'From: alice@contoso.example',
    `Content-Type: ${type}; boundary=b`,
    '',
    `--b\r\n${entity}`,
    '--b',
    'Content-Type: application/pgp-signature',
    '',
    armor,
    '--b--',
  ]);
}

async function detached(key: PrivateKey, content: string, date = AT): Promise<Buffer> {
  const message = await createMessage({ binary: Buffer.from(content), date });
  return Buffer.from(await sign({ message, signingKeys: key, date, detached: true, format: 'binary' }));
}

async function verify(message: Buffer): Promise<StageOutcome> {
  const { bytes, outcome } = await run(verifyMessage(source(message), [alice.certificate], options));
  assert.equal(bytes.length, 0);
  return outcome;
}

test('verify: intact, changed, unknown key, both kinds together', async () => {
  const own = await detached(alice.privateKey, ENTITY);
  const other = await detached(mallory.privateKey, ENTITY);
  const facts = async (signature: Buffer, entity = ENTITY) => {
    const outcome = await verify(signedMail(await armoured(signature, 'SIGNATURE'), entity));
    assert.ok(outcome.kind === 'verified');
    return outcome.signatures.map(({ integrity, trust }) => `${integrity} ${trust}`);
  };
  assert.deepEqual(await facts(own), ['intact trusted']);
  assert.deepEqual(await facts(own, ENTITY.replace('Signed', 'Forged')), ['broken untrusted']);
  assert.deepEqual(await facts(own, ENTITY.replace('text\r', 'text \r')), ['broken untrusted']);
  assert.deepEqual(await facts(other), ['unchecked unknown-key']);
  assert.deepEqual(await facts(Buffer.concat([own, other])), ['intact trusted', 'unchecked unknown-key']);
  assert.deepEqual(await facts(flip(own, -1)), ['broken untrusted']);
});

test('verify: a signature labelled as a message, as in the example of RFC 3156', async () => {
  const outcome = await verify(
    signedMail(await armoured(await detached(alice.privateKey, ENTITY), 'MESSAGE')),
  );
  assert.equal(outcome.kind, 'verified');
});

test('sig-flood: counted before anything is hashed', async () => {
  const one = await detached(alice.privateKey, ENTITY);
  const flood = (count: number) => Buffer.concat(Array.from({ length: count }, () => one));
  const many = await verify(signedMail(await armoured(flood(50), 'SIGNATURE')));
  assert.ok(many.kind === 'verified');
  assert.equal(many.signatures.length, 50);
  assert.equal(
    many.signatures.filter(({ integrity }) => integrity === 'intact').length,
    defaultLimits.maxSigners,
  );
  for (const signature of [flood(51), Buffer.alloc(400_000, 0x88)]) {
    const outcome = await verify(signedMail(await armoured(signature, 'SIGNATURE')));
    assert.deepEqual(outcome, { kind: 'not-verified', reason: 'malformed' });
  }
});

async function reason(message: Buffer): Promise<string> {
  const outcome = await verify(message);
  return outcome.kind === 'not-verified' ? outcome.reason : outcome.kind;
}

test('verify: structures that are no PGP signature', async () => {
  const armor = await armoured(await detached(alice.privateKey, ENTITY), 'SIGNATURE');
  assert.equal(await reason(signedMail(armor, ENTITY, 'multipart/signed')), 'verified');
  assert.equal(await reason(signedMail(armor, ENTITY, 'multipart/mixed')), 'not-signed');
  assert.equal(
    await reason(signedMail(armor, ENTITY, 'multipart/signed; protocol="application/pkcs7-signature"')),
    'not-signed',
  );
  assert.equal(await reason(signedMail('no armour')), 'malformed');
  assert.equal(await reason(signedMail(`${armor}\r\nmore`)), 'malformed');
  assert.equal(await reason(signedMail(`${armor}\r\n--b\r\n\r\nfooter of a list`)), 'malformed');
  assert.equal(await reason(signedMail(await armoured(literal('x'), 'SIGNATURE'))), 'malformed');
});

test('expired-key: signed in time stays valid, and says that the key has expired since', async () => {
  const old = await makeKey('old@contoso.example', { keyExpirationTime: 30 * 86_400 });
  const verifyOld = async (date: Date) => {
    const armor = await armoured(await detached(old.privateKey, ENTITY, date), 'SIGNATURE');
    const { outcome } = await run(verifyMessage(source(signedMail(armor)), [old.certificate], options));
    return outcome.kind === 'verified' ? outcome.signatures[0] : undefined;
  };
  const inTime = await verifyOld(new Date('2026-01-15T00:00:00Z'));
  assert.equal(inTime?.trust, 'trusted');
  assert.equal(inTime?.reason, 'valid when it was made; since then: expired on 2026-01-31');
});

async function verifyAt(date: Date): Promise<SignatureResult | undefined> {
  const outcome = await verify(
    signedMail(await armoured(await detached(alice.privateKey, ENTITY, date), 'SIGNATURE')),
  );
  return outcome.kind === 'verified' ? outcome.signatures[0] : undefined;
}

test('a signature from the future is intact and not trusted', async () => {
  assert.equal((await verifyAt(new Date(AT.getTime() + 600_000)))?.trust, 'trusted');
  const future = await verifyAt(new Date(AT.getTime() + 3_600_000));
  assert.equal(future?.integrity, 'intact');
  assert.equal(future?.trust, 'untrusted');
  assert.equal(future?.reason, 'it was made in the future');
});

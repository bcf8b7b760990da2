// OpenPGP keys: from armour to what the gateway works with, and what a key may be used for at a given time. Which key
// belongs to which recipient is decided in keys/.
import { decryptKey, type Key, type PrivateKey, type PublicKey, readKey, readPrivateKey } from 'openpgp';
import { parseAddress } from '../core/address.ts';
import { bytesSource } from '../core/bytes.ts';
import { GatewayError } from '../core/errors.ts';
import type { KeyPurpose } from '../core/key.ts';
import type { Secret } from '../core/secret.ts';
import { type ArmorLabel, parseArmor } from './armor.ts';
import { readBytes } from './byte-reader.ts';
import { PgpFault } from './fault.ts';
import { MAX_KEY_CHARACTERS, MAX_SELF_SIGNATURES, MAX_USER_IDS, strictConfig } from './options.ts';
import { packetTag, readPacketBody, readPacketHead } from './packet.ts';

/** A public key. Lower-case hex; key ids of the primary key and all subkeys. */
export interface PgpCertificate {
  readonly fingerprint: string;
  readonly keyIds: readonly string[];
  /** `Address.key` of each user id with a good, unrevoked self-certification. */
  readonly addresses: readonly string[];
  readonly notBefore: Date;
  /** Undefined: does not expire. */
  readonly notAfter?: Date;
  /** The key without third-party certifications and pictures. */
  readonly armored: string;
  readonly key: PublicKey;
}

export interface PgpPrivateKey {
  readonly certificate: PgpCertificate;
  /** Unlocked. */
  readonly key: PrivateKey;
}

export type CertificateUse = { readonly usable: true } | { readonly usable: false; readonly reason: string };

const PRIVATE_GIVEN = 'this is a private key; a public key is expected';
const SECRET: ReadonlySet<number> = new Set([packetTag.secretKey, packetTag.secretSubkey]);
/** The library takes null for "at any time", which its types do not say. */
const ANY_TIME = null as unknown as Date;

/**
 * Reads one armoured public key; text around the armour is ignored. Throws GatewayError `config-invalid` for anything
 * else: a private key, several keys, over 1 MiB or 50 user ids.
 */
export async function parsePublicKey(armored: string): Promise<PgpCertificate> {
  return explain('public key', async () => {
    if (armored.includes('-----BEGIN PGP PRIVATE KEY BLOCK-----'))
      throw new PgpFault('malformed', PRIVATE_GIVEN);
    const binaryKey = await readKeyBlock(armored, 'PUBLIC KEY BLOCK');
    const key = await readKey({ binaryKey, config: strictConfig });
    minimise(key);
    return describe(key);
  });
}

/**
 * Reads one armoured private key and unlocks it. Throws GatewayError `config-invalid`: as `parsePublicKey`, and for a
 * missing or wrong password, or a private part that does not belong to the public one.
 */
export async function parsePrivateKey(armored: string, password?: Secret): Promise<PgpPrivateKey> {
  return explain('private key', async () => {
    const binaryKey = await readKeyBlock(armored, 'PRIVATE KEY BLOCK');
    const read = await readPrivateKey({ binaryKey, config: strictConfig });
    minimise(read);
    const key = await unlock(read, password);
    return { certificate: await describe(key.toPublic()), key };
  });
}

/**
 * Whether the key may be used for this purpose at this time: primary key valid, and a part with the right flag that is
 * neither expired nor revoked by its newest self-signature. The reason is for people.
 */
export async function certificateUse(
  certificate: PgpCertificate,
  purpose: KeyPurpose,
  at: Date,
): Promise<CertificateUse> {
  const { key, notBefore, notAfter } = certificate;
  if (at < notBefore) return unusable(`not valid before ${day(notBefore)}`);
  if (await key.isRevoked(undefined, undefined, at, strictConfig)) return unusable('the key is revoked');
  if (notAfter && at >= notAfter) return unusable(`expired on ${day(notAfter)}`);
  try {
    if (purpose === 'encrypt') await key.getEncryptionKey(undefined, at, undefined, strictConfig);
    else await key.getSigningKey(undefined, at, undefined, strictConfig);
    return { usable: true };
  } catch (error) {
    return unusable(reasonOf(error, purpose));
  }
}

/** Throws GatewayError `encryption-required` or `signing-key-missing` for a key that may not be used so at this time. */
export async function requireUse(certificate: PgpCertificate, purpose: KeyPurpose, at: Date): Promise<void> {
  const use = await certificateUse(certificate, purpose, at);
  if (use.usable) return;
  const code = purpose === 'encrypt' ? 'encryption-required' : 'signing-key-missing';
  throw new GatewayError(code, `the key cannot be used: ${use.reason}`);
}

function unusable(reason: string): CertificateUse {
  return { usable: false, reason };
}

/** The id under which the key is known in the gateway. */
export function pgpKeyId(certificate: PgpCertificate): string {
  return `pgp:${certificate.fingerprint}`;
}

async function readKeyBlock(armored: string, label: ArmorLabel): Promise<Buffer> {
  if (armored.length > MAX_KEY_CHARACTERS) throw new PgpFault('malformed', 'larger than 1 MiB');
  const bytes = await parseArmor(armored, label);
  const reader = readBytes(bytesSource(bytes).open());
  const isPublic = label === 'PUBLIC KEY BLOCK';
  let userIds = 0;
  let keys = 0;
  for (let head = await readPacketHead(reader); head; head = await readPacketHead(reader)) {
    if (head.tag === packetTag.publicKey || head.tag === packetTag.secretKey) keys += 1;
    if (head.tag === packetTag.userId || head.tag === packetTag.userAttribute) userIds += 1;
    // SECURITY: a secret key in a public label would be stored and shown as a public one (test: key-import).
    if (isPublic && SECRET.has(head.tag)) throw new PgpFault('malformed', PRIVATE_GIVEN);
    for await (const skipped of readPacketBody(reader, head)) void skipped;
  }
  if (keys !== 1) throw new PgpFault('malformed', `holds ${keys} keys; one is expected`);
  if (userIds > MAX_USER_IDS) throw new PgpFault('malformed', `more than ${MAX_USER_IDS} user ids`);
  return bytes;
}

/** SECURITY: strangers may attach thousands of certifications and pictures to a key (test: key-import). */
function minimise(key: Key): void {
  key.users = key.users.filter((user) => user.userID !== null);
  let signatures = key.revocationSignatures.length;
  for (const user of key.users) {
    user.otherCertifications = [];
    signatures += user.selfCertifications.length + user.revocationSignatures.length;
  }
  for (const subkey of key.subkeys) {
    signatures += subkey.bindingSignatures.length + subkey.revocationSignatures.length;
  }
  if (signatures > MAX_SELF_SIGNATURES) {
    throw new PgpFault('malformed', `more than ${MAX_SELF_SIGNATURES} signatures`);
  }
}

async function unlock(key: PrivateKey, password: Secret | undefined): Promise<PrivateKey> {
  const isLocked = key.getKeys().some((part) => !part.isDecrypted());
  if (!isLocked) return key;
  if (!password) throw new PgpFault('malformed', 'it is protected and no password is given');
  try {
    const passphrase = password.reveal().toString('utf8');
    return await decryptKey({ privateKey: key, passphrase, config: strictConfig });
  } catch (error) {
    const text = messageOf(error);
    if (/passphrase|Argon2/i.test(text)) throw new PgpFault('malformed', 'the password does not open it');
    throw new PgpFault('malformed', 'its private part cannot be used');
  }
}

async function describe(key: PublicKey): Promise<PgpCertificate> {
  const expires = await key.getExpirationTime(undefined, strictConfig);
  if (expires === null) throw new PgpFault('malformed', 'it has no valid self-signature');
  const addresses = new Set<string>();
  for (const user of key.users) {
    const address = user.userID && addressOf(user.userID.userID);
    if (address && (await isCertified(user))) addresses.add(address);
  }
  return {
    fingerprint: key.getFingerprint().toLowerCase(),
    keyIds: key.getKeyIDs().map((id) => id.toHex()),
    addresses: [...addresses],
    notBefore: key.getCreationTime(),
    ...(expires instanceof Date ? { notAfter: expires } : {}),
    armored: key.armor(strictConfig),
    key,
  };
}

async function isCertified(user: Key['users'][number]): Promise<boolean> {
  try {
    return await user.verify(ANY_TIME, strictConfig);
  } catch {
    return false;
  }
}

/** `Name <local@domain>` or a bare address. Two bracketed addresses name nobody: readers disagree on which counts. */
function addressOf(userId: string): string | undefined {
  const bracketed = /^[^<>]*<([^<>]*)>\s*$/.exec(userId);
  return parseAddress((bracketed?.[1] ?? userId).trim())?.key;
}

function reasonOf(error: unknown, purpose: KeyPurpose): string {
  const text = messageOf(error);
  const part = purpose === 'encrypt' ? 'encryption subkey' : 'signing subkey';
  if (text.includes('Subkey is expired')) return `its ${part} has expired`;
  if (text.includes('Subkey is revoked')) return `its ${part} is revoked`;
  if (text.includes('Primary key is revoked')) return 'the key is revoked';
  if (text.includes('Primary key is expired')) return 'the key has expired';
  if (text.includes('key flags')) return 'it does not say what it may be used for';
  if (text.includes('too weak')) return 'its algorithm or size is too weak';
  if (text.includes('Insecure hash')) return 'its self-signature uses a broken hash';
  if (text.includes('self-signature') || text.includes('Could not find primary user')) {
    return 'it has no valid self-signature at this time';
  }
  return purpose === 'encrypt' ? 'it has no part for encryption' : 'it has no part for signing';
}

async function explain<T>(what: string, parse: () => Promise<T>): Promise<T> {
  try {
    return await parse();
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    const reason = error instanceof PgpFault ? error.message : 'it cannot be parsed';
    throw new GatewayError('config-invalid', `OpenPGP ${what}: ${reason}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

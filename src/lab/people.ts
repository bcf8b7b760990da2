// People of the lab: an S/MIME identity of the lab's mail CA and an OpenPGP key pair, made on the spot. All of it is test
// material and says so.
import * as openpgp from 'openpgp';
import type { TestCa, TestIdentity, TestKeyType } from './ca.ts';

export interface SmimeIdentity extends TestIdentity {
  /** CA certificates between the leaf and the root, PEM, without the root. */
  readonly chainPem: string;
}

export interface PgpKeyPair {
  readonly publicKey: string;
  /** Not protected by a passphrase. */
  readonly privateKey: string;
  /** Lower-case hex. */
  readonly fingerprint: string;
}

export interface Person {
  readonly address: string;
  readonly smime: SmimeIdentity;
  readonly pgp: PgpKeyPair;
}

export interface PersonOptions {
  /** Of the S/MIME key. Default `rsa`, which every client can encrypt to. */
  readonly keyType?: TestKeyType;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** A passphrase for the OpenPGP private key. */
  readonly passphrase?: string;
}

const VALIDITY_DAYS = 7;
const DAY_MS = 86_400_000;

/** Makes a person. `issuer` signs the certificate; `chainPem` leads from it to the root. */
export async function makePerson(
  address: string,
  issuer: TestCa,
  chainPem: string,
  options: PersonOptions = {},
): Promise<Person> {
  const [smime, pgp] = await Promise.all([
    issueMailCertificate(address, issuer, options),
    makePgpKey(address, options),
  ]);
  return { address, smime: { ...smime, chainPem }, pgp };
}

/** A v4 key with legacy Curve25519 packets, which GnuPG 2.2 reads as well as newer software. */
export async function makePgpKey(address: string, options: PersonOptions = {}): Promise<PgpKeyPair> {
  const from = options.notBefore ?? new Date(Date.now() - DAY_MS);
  const until = options.notAfter ?? new Date(Date.now() + VALIDITY_DAYS * DAY_MS);
  const { publicKey, privateKey } = await openpgp.generateKey({
    type: 'ecc',
    curve: 'curve25519Legacy',
    userIDs: [{ name: 'Postern test', email: address }],
    date: from,
    keyExpirationTime: Math.floor((until.getTime() - from.getTime()) / 1000),
    format: 'object',
    ...(options.passphrase === undefined ? {} : { passphrase: options.passphrase }),
  });
  return {
    publicKey: publicKey.armor(),
    privateKey: privateKey.armor(),
    fingerprint: publicKey.getFingerprint(),
  };
}

function issueMailCertificate(
  address: string,
  issuer: TestCa,
  options: PersonOptions,
): Promise<TestIdentity> {
  const keyType = options.keyType ?? 'rsa';
  return issuer.issue({
    commonName: address,
    emails: [address],
    keyType,
    keyUsage: ['digitalSignature', keyType === 'rsa' ? 'keyEncipherment' : 'keyAgreement'],
    extendedKeyUsage: ['emailProtection'],
    ...(options.notBefore ? { notBefore: options.notBefore } : {}),
    ...(options.notAfter ? { notAfter: options.notAfter } : {}),
  });
}

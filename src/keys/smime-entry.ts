// The S/MIME part of a declared key: a certificate file, with its key for an own one, or a PKCS#12 file.
import type { KeyObject } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import type { KeyRole } from '../core/key.ts';
import { Secret } from '../core/secret.ts';
import type { KeyEntry } from '../policy/schema.ts';
import { type Certificate, parseCertificate, parsePemCertificates } from '../smime/certificate.ts';
import { readPkcs12Identities } from '../smime/pkcs12.ts';
import { isKeyOf, readPrivateKey } from '../smime/private-key.ts';
import { type FileAccess, type FoundKey, type KeyFile, readKeyFile, readPassword } from './key-files.ts';

/** Reads the entry's files. Throws GatewayError `config-invalid` with a reason that names the file. */
export async function readSmimeEntry(
  smime: NonNullable<KeyEntry['smime']>,
  role: KeyRole,
  access: FileAccess,
): Promise<readonly FoundKey[]> {
  const password =
    smime.password === undefined
      ? undefined
      : await readPassword(smime.password, access.folder, access.environment);
  if (smime.pkcs12 !== undefined) {
    if (role === 'partner') throw invalid('a PKCS#12 file holds a private key; a partner key must be public');
    return readPkcs12Entry(smime.pkcs12, password ?? new Secret(''), access);
  }
  if (smime.certificate === undefined) throw invalid('neither certificate nor pkcs12 is given');
  const path = smime.certificate;
  const { bytes } = await readKeyFile(access.folder, path);
  if (role === 'partner') {
    if (bytes.includes('PRIVATE KEY-----'))
      throw invalid(`${path} holds a private key; a partner key must be public`);
    const certificates = within(path, () => parseCertificates(bytes));
    return [describe(certificates, certificates.find(({ isCa }) => !isCa) ?? certificates[0])];
  }
  if (smime.key === undefined) throw invalid('an own key needs its private key: key, or pkcs12');
  const keyPath = smime.key;
  const file = await readKeyFile(access.folder, keyPath);
  const key = within(keyPath, () => readPrivateKey(file.bytes, password));
  const certificates = within(path, () => parseCertificates(bytes));
  const leaf = certificates.find((certificate) => isKeyOf(key, certificate));
  if (!leaf) throw invalid(`the private key in ${keyPath} does not belong to a certificate in ${path}`);
  return [describe(certificates, leaf, key, looseWarning(keyPath, file))];
}

/** Certificates of a file, PEM or one DER. Throws GatewayError `config-invalid`. */
export function parseCertificates(bytes: Buffer): readonly Certificate[] {
  return bytes[0] === 0x30 ? [parseCertificate(bytes)] : parsePemCertificates(bytes.toString('latin1'));
}

async function readPkcs12Entry(
  path: string,
  password: Secret,
  access: FileAccess,
): Promise<readonly FoundKey[]> {
  const file = await readKeyFile(access.folder, path);
  const identities = within(path, () => readPkcs12Identities(file.bytes, password));
  return identities.map(({ certificate, chain, key }) =>
    describe([certificate, ...chain], certificate, key, looseWarning(path, file)),
  );
}

/** The chain is kept leaf first and without roots: a receiver takes those from its own store only. */
function describe(
  certificates: readonly Certificate[],
  leaf: Certificate | undefined,
  key?: KeyObject,
  warnings: readonly string[] = [],
): FoundKey {
  if (!leaf) throw invalid('no certificate');
  const others = certificates.filter((certificate) => certificate !== leaf && !certificate.isSelfIssued);
  return {
    format: 'smime',
    fingerprint: leaf.fingerprint,
    addresses: leaf.addresses,
    subjectAddresses: leaf.subjectAddresses,
    material: [leaf, ...others].map(({ pem }) => pem).join(''),
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
    ...(key && { privateMaterial: new Secret(key.export({ type: 'pkcs8', format: 'pem' })) }),
    warnings,
  };
}

function looseWarning(path: string, file: KeyFile): readonly string[] {
  return file.isLoose ? [`${path} holds a private key and is open to other users: run chmod 600 on it`] : [];
}

/** Puts the file's name in front of a reason. */
function within<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof GatewayError ? invalid(`${path}: ${error.message}`) : error;
  }
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

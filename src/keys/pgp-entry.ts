// The OpenPGP part of a declared key: one armoured key file, private for an own key.
import { GatewayError } from '../core/errors.ts';
import type { KeyRole } from '../core/key.ts';
import { Secret } from '../core/secret.ts';
import { type PgpCertificate, parsePrivateKey, parsePublicKey } from '../pgp/certificate.ts';
import type { KeyEntry } from '../policy/schema.ts';
import { type FileAccess, type FoundKey, readKeyFile, readPassword } from './key-files.ts';

/** Reads the entry's file. Throws GatewayError `config-invalid` with a reason that names the file. */
export async function readPgpEntry(
  pgp: NonNullable<KeyEntry['pgp']>,
  role: KeyRole,
  access: FileAccess,
): Promise<FoundKey> {
  const file = await readKeyFile(access.folder, pgp.key);
  const text = file.bytes.toString('utf8');
  try {
    if (role === 'partner') {
      if (text.includes('PRIVATE KEY BLOCK'))
        throw invalid('holds a private key; a partner key must be public');
      return describe(await parsePublicKey(text));
    }
    const password =
      pgp.password === undefined
        ? undefined
        : await readPassword(pgp.password, access.folder, access.environment);
    const { certificate, key } = await parsePrivateKey(text, password);
    const warnings = file.isLoose
      ? [`${pgp.key} holds a private key and is open to other users: run chmod 600 on it`]
      : [];
    return { ...describe(certificate), privateMaterial: new Secret(key.armor()), warnings };
  } catch (error) {
    throw error instanceof GatewayError ? invalid(`${pgp.key}: ${error.message}`) : error;
  }
}

function describe(certificate: PgpCertificate): FoundKey {
  return {
    format: 'pgp',
    fingerprint: certificate.fingerprint,
    addresses: certificate.addresses,
    material: certificate.armored,
    notBefore: certificate.notBefore,
    ...(certificate.notAfter && { notAfter: certificate.notAfter }),
    warnings: [],
  };
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

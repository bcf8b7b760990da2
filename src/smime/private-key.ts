// Private keys from files: PKCS#8 (plain or encrypted), PKCS#1 and SEC1, as PEM or DER.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import type { Certificate } from './certificate.ts';

const MAX_KEY_BYTES = 64 * 1024;
const PEM_KEY = /-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----[\s\S]{1,65536}?-----END \1-----/;

/**
 * Reads one private key; other PEM blocks in the text are passed over. Throws GatewayError `config-invalid`: no key, a
 * password that is missing or wrong, or a key that cannot be read. SECURITY: nothing of the input is in the error.
 */
export function readPrivateKey(input: string | Uint8Array, password?: Secret): KeyObject {
  const bytes = Buffer.from(input as Uint8Array);
  if (bytes.length > MAX_KEY_BYTES) throw invalid('private key file is too large');
  const pem = PEM_KEY.exec(bytes.toString('latin1'))?.[0];
  if (pem !== undefined) return readPem(pem, password);
  if (bytes.includes('-----BEGIN ')) throw invalid('no private key in the PEM text');
  return readDer(bytes, password);
}

/** Whether the private key belongs to the certificate. */
export function isKeyOf(key: KeyObject, certificate: Certificate): boolean {
  // QUIRK: Node 26's `equals` over two types of key leaves an error in OpenSSL's queue, and the next private key that is
  // read fails with it (test: another type of key).
  const isSameType = key.asymmetricKeyType === certificate.publicKey.asymmetricKeyType;
  return isSameType && createPublicKey(key).equals(certificate.publicKey);
}

function readPem(pem: string, password: Secret | undefined): KeyObject {
  const isEncrypted = pem.includes('BEGIN ENCRYPTED ') || /^Proc-Type: 4,ENCRYPTED/m.test(pem);
  if (isEncrypted && !password) throw invalid('private key is encrypted and no password is given');
  try {
    return createPrivateKey({ key: pem, format: 'pem', ...(password && { passphrase: password.reveal() }) });
  } catch {
    throw invalid(unreadable(isEncrypted));
  }
}

function readDer(der: Buffer, password: Secret | undefined): KeyObject {
  for (const type of ['pkcs8', 'pkcs1', 'sec1'] as const) {
    try {
      const passphrase = type === 'pkcs8' && password ? { passphrase: password.reveal() } : {};
      return createPrivateKey({ key: der, format: 'der', type, ...passphrase });
    } catch {
      // The next form; the one error below speaks for all of them.
    }
  }
  throw invalid(unreadable(password !== undefined));
}

function unreadable(isEncrypted: boolean): string {
  return isEncrypted
    ? 'private key cannot be read: the password is wrong or the file is damaged'
    : 'private key cannot be read';
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

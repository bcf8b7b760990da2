// Password-based encryption of PKCS#12 files: PBES2 (RFC 8018 §6.2) and the older schemes of RFC 7292 appendix C, for
// reading only, and the MAC over the file.
import {
  createDecipheriv,
  createHash,
  createHmac,
  hash as digestOf,
  pbkdf2Sync,
  timingSafeEqual,
} from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { countOf, type DerNode, fieldsOf, octetsOf, oidOf, TAG } from './der.ts';
import { decryptRc2Cbc } from './rc2.ts';

/** The forms of one password: UTF-8 for PBES2; UTF-16 with a final zero for the older schemes. */
export interface PasswordForms {
  readonly utf8: Buffer;
  readonly utf16: Buffer;
}

const PBES2 = '1.2.840.113549.1.5.13';
const PBMAC1 = '1.2.840.113549.1.5.14';
const PBKDF2 = '1.2.840.113549.1.5.12';
// SECURITY: a count in a file decides how long the process works (test: iteration bomb).
const MAX_ITERATIONS = 2_000_000;
const MAX_SALT_BYTES = 1_024;

const HMAC_HASH: Record<string, string> = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.8': 'sha224',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
};
const DIGEST: Record<string, { readonly hash: string; readonly size: number; readonly block: number }> = {
  '1.3.14.3.2.26': { hash: 'sha1', size: 20, block: 64 },
  '2.16.840.1.101.3.4.2.4': { hash: 'sha224', size: 28, block: 64 },
  '2.16.840.1.101.3.4.2.1': { hash: 'sha256', size: 32, block: 64 },
  '2.16.840.1.101.3.4.2.2': { hash: 'sha384', size: 48, block: 128 },
  '2.16.840.1.101.3.4.2.3': { hash: 'sha512', size: 64, block: 128 },
};
const SHA1 = { hash: 'sha1', size: 20, block: 64 };
const CIPHER: Record<string, { readonly name: string; readonly keyBytes: number }> = {
  '2.16.840.1.101.3.4.1.2': { name: 'aes-128-cbc', keyBytes: 16 },
  '2.16.840.1.101.3.4.1.22': { name: 'aes-192-cbc', keyBytes: 24 },
  '2.16.840.1.101.3.4.1.42': { name: 'aes-256-cbc', keyBytes: 32 },
  '1.2.840.113549.3.7': { name: 'des-ede3-cbc', keyBytes: 24 },
};
const OLD_SCHEME: Record<
  string,
  { readonly keyBytes: number; readonly cipher: 'rc2' | 'des-ede3-cbc' | 'des-ede-cbc' }
> = {
  '1.2.840.113549.1.12.1.3': { keyBytes: 24, cipher: 'des-ede3-cbc' },
  '1.2.840.113549.1.12.1.4': { keyBytes: 16, cipher: 'des-ede-cbc' },
  '1.2.840.113549.1.12.1.5': { keyBytes: 16, cipher: 'rc2' },
  '1.2.840.113549.1.12.1.6': { keyBytes: 5, cipher: 'rc2' },
};

/** Decrypts data under the given AlgorithmIdentifier. Throws GatewayError `config-invalid`. */
export function decryptWithPassword(algorithm: DerNode, data: Buffer, password: PasswordForms): Buffer {
  const fields = fieldsOf(algorithm);
  const scheme = oidOf(fields.take(TAG.oid));
  const parameters = fields.take(TAG.sequence);
  if (scheme === PBES2) return decryptPbes2(parameters, data, password);
  const old = OLD_SCHEME[scheme];
  if (!old) throw invalid('encryption of the PKCS#12 file is not supported');
  const { salt, iterations } = readSalt(parameters);
  const key = deriveOld(SHA1, 1, password.utf16, salt, iterations, old.keyBytes);
  const iv = deriveOld(SHA1, 2, password.utf16, salt, iterations, 8);
  if (old.cipher === 'rc2') return decryptRc2Cbc(key, old.keyBytes * 8, iv, data);
  return decipher(old.cipher, key, iv, data);
}

/** Whether the MAC over the content is right for this password. Throws GatewayError `config-invalid`. */
export function isMacRight(macData: DerNode, content: Buffer, password: PasswordForms): boolean {
  const fields = fieldsOf(macData);
  const digestInfo = fieldsOf(fields.take(TAG.sequence));
  const algorithm = fieldsOf(digestInfo.take(TAG.sequence));
  const expected = octetsOf(digestInfo.take(TAG.octetString));
  const salt = octetsOf(fields.take(TAG.octetString));
  const count = fields.optional(TAG.integer);
  const oid = oidOf(algorithm.take(TAG.oid));
  const { key, hash } =
    oid === PBMAC1
      ? deriveMac1(algorithm.take(TAG.sequence), password)
      : deriveOldMac(oid, password, salt, count ? countOf(count) : 1);
  const actual = createHmac(hash, key).update(content).digest();
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}

function deriveOldMac(oid: string, password: PasswordForms, salt: Buffer, iterations: number) {
  const digest = DIGEST[oid];
  if (!digest) throw invalid('MAC of the PKCS#12 file is not supported');
  checkCost(salt, iterations);
  const key = deriveOld(digest, 3, password.utf16, salt, iterations, digest.size);
  return { key, hash: digest.hash };
}

/** PBMAC1 of RFC 9579. */
function deriveMac1(parameters: DerNode, password: PasswordForms): { key: Buffer; hash: string } {
  const fields = fieldsOf(parameters);
  const key = derivePbkdf2(fields.take(TAG.sequence), password, undefined);
  const hash = HMAC_HASH[oidOf(fieldsOf(fields.take(TAG.sequence)).take(TAG.oid))];
  if (hash === undefined) throw invalid('MAC of the PKCS#12 file is not supported');
  return { key, hash };
}

function decryptPbes2(parameters: DerNode, data: Buffer, password: PasswordForms): Buffer {
  const fields = fieldsOf(parameters);
  const derivation = fields.take(TAG.sequence);
  const encryption = fieldsOf(fields.take(TAG.sequence));
  const cipher = CIPHER[oidOf(encryption.take(TAG.oid))];
  if (!cipher) throw invalid('encryption of the PKCS#12 file is not supported');
  const iv = octetsOf(encryption.take(TAG.octetString));
  return decipher(cipher.name, derivePbkdf2(derivation, password, cipher.keyBytes), iv, data);
}

function derivePbkdf2(derivation: DerNode, password: PasswordForms, keyBytes: number | undefined): Buffer {
  const fields = fieldsOf(derivation);
  if (oidOf(fields.take(TAG.oid)) !== PBKDF2)
    throw invalid('key derivation of the PKCS#12 file is not supported');
  const parameters = fieldsOf(fields.take(TAG.sequence));
  const salt = octetsOf(parameters.take(TAG.octetString));
  const iterations = countOf(parameters.take(TAG.integer));
  const length = parameters.optional(TAG.integer);
  const prf = parameters.optional(TAG.sequence);
  const hash = prf ? HMAC_HASH[oidOf(fieldsOf(prf).take(TAG.oid))] : 'sha1';
  const bytes = keyBytes ?? (length ? countOf(length) : 0);
  if (hash === undefined || bytes < 1 || bytes > 64)
    throw invalid('key derivation of the PKCS#12 file is not supported');
  checkCost(salt, iterations);
  return pbkdf2Sync(password.utf8, salt, iterations, bytes, hash);
}

function readSalt(parameters: DerNode): { salt: Buffer; iterations: number } {
  const fields = fieldsOf(parameters);
  const salt = octetsOf(fields.take(TAG.octetString));
  const iterations = countOf(fields.take(TAG.integer));
  checkCost(salt, iterations);
  return { salt, iterations };
}

function checkCost(salt: Buffer, iterations: number): void {
  if (iterations < 1 || iterations > MAX_ITERATIONS || salt.length > MAX_SALT_BYTES)
    throw invalid('iteration count or salt of the PKCS#12 file is out of range');
}

/** RFC 7292 appendix B.2. `id`: 1 key, 2 IV, 3 MAC. */
function deriveOld(
  digest: { readonly hash: string; readonly size: number; readonly block: number },
  id: number,
  password: Buffer,
  salt: Buffer,
  iterations: number,
  bytes: number,
): Buffer {
  const { hash, block } = digest;
  const input = Buffer.concat([repeat(salt, block), repeat(password, block)]);
  const parts: Buffer[] = [];
  for (let size = 0; size < bytes; size += digest.size) {
    let a = createHash(hash).update(Buffer.alloc(block, id)).update(input).digest();
    for (let round = 1; round < iterations; round += 1) a = digestOf(hash, a, 'buffer');
    parts.push(a);
    const b = repeat(a, block).subarray(0, block);
    for (let at = 0; at < input.length; at += block) addOne(input.subarray(at, at + block), b);
  }
  return Buffer.concat(parts).subarray(0, bytes);
}

/** `block = block + b + 1`, as big-endian numbers. */
function addOne(block: Buffer, b: Buffer): void {
  let carry = 1;
  for (let index = block.length - 1; index >= 0; index -= 1) {
    carry += (block[index] ?? 0) + (b[index] ?? 0);
    block[index] = carry & 0xff;
    carry >>= 8;
  }
}

/** The bytes again and again, up to a whole number of blocks. */
function repeat(bytes: Buffer, block: number): Buffer {
  return Buffer.alloc(bytes.length === 0 ? 0 : block * Math.ceil(bytes.length / block), bytes);
}

function decipher(name: string, key: Buffer, iv: Buffer, data: Buffer): Buffer {
  try {
    const cipher = createDecipheriv(name, key, iv);
    return Buffer.concat([cipher.update(data), cipher.final()]);
  } catch {
    throw invalid('decryption failed: the password is wrong or the file is damaged');
  }
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

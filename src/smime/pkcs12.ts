// PKCS#12 files (RFC 7292): a private key with its certificate and the CA certificates beside it. Reading only.
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import type { Secret } from '../core/secret.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { type DerNode, fieldsOf, listOf, octetsOf, oidOf, parseBer, TAG } from './der.ts';
import { isSameName } from './distinguished-name.ts';
import { decryptWithPassword, isMacRight, type PasswordForms } from './password-encryption.ts';
import { isKeyOf } from './private-key.ts';

/** A key with its certificate. `chain`: the CA certificates of the file above it, issuer first, a root included. */
export interface Pkcs12Identity {
  readonly key: KeyObject;
  readonly certificate: Certificate;
  readonly chain: readonly Certificate[];
}

const MAX_BYTES = 1024 * 1024;
const MAX_BAGS = 500;
const MAX_CHAIN = 10;
const DATA = '1.2.840.113549.1.7.1';
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6';
const BAG = {
  key: '1.2.840.113549.1.12.10.1.1',
  shroudedKey: '1.2.840.113549.1.12.10.1.2',
  certificate: '1.2.840.113549.1.12.10.1.3',
  safeContents: '1.2.840.113549.1.12.10.1.6',
} as const;
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';

interface Contents {
  readonly keys: KeyObject[];
  readonly certificates: Certificate[];
  bags: number;
}

/** The first identity of the file; most files hold one. Errors as `readPkcs12Identities`. */
export function readPkcs12(bytes: Uint8Array, password: Secret): Pkcs12Identity {
  return readPkcs12Identities(bytes, password)[0];
}

/**
 * All identities of the file (one for signing and one for encrypting is common), in its order. Reads PBES2 with AES and the
 * older 3DES and RC2 schemes. Throws GatewayError `config-invalid`: wrong password, damaged file, no key with a
 * certificate. SECURITY: nothing of the password or the key is in the error.
 */
export function readPkcs12Identities(bytes: Uint8Array, password: Secret): NonEmpty<Pkcs12Identity> {
  if (bytes.length > MAX_BYTES) throw invalid('PKCS#12 file is too large');
  const pfx = fieldsOf(parseBer(bytes));
  pfx.take(TAG.integer);
  const outer = readContentInfo(pfx.take(TAG.sequence));
  if (outer.type !== DATA) throw invalid('PKCS#12 file that is protected by a public key is not supported');
  const safe = octetsOf(outer.content);
  const macData = pfx.optional(TAG.sequence);
  const forms = choosePassword(password, macData, safe);
  const contents: Contents = { keys: [], certificates: [], bags: 0 };
  for (const part of listOf(parseBer(safe))) readSafe(part, forms, contents);
  const identities = contents.keys.flatMap((key) => identityOf(key, contents.certificates));
  if (!isNonEmpty(identities)) throw invalid('PKCS#12 file holds no private key with its certificate');
  return identities;
}

function identityOf(key: KeyObject, certificates: readonly Certificate[]): readonly Pkcs12Identity[] {
  const certificate = certificates.find((candidate) => isKeyOf(key, candidate));
  return certificate ? [{ key, certificate, chain: chainAbove(certificate, certificates) }] : [];
}

/** By name only: the chain is validated where it is used. */
function chainAbove(leaf: Certificate, certificates: readonly Certificate[]): readonly Certificate[] {
  const chain: Certificate[] = [];
  let tip = leaf;
  while (!tip.isSelfIssued && chain.length < MAX_CHAIN) {
    const { issuerName } = tip;
    const issuer = certificates.find((candidate) => isSameName(candidate.subjectName, issuerName));
    if (!issuer || chain.includes(issuer)) break;
    chain.push(issuer);
    tip = issuer;
  }
  return chain;
}

/** QUIRK: an empty password is written by some software as no bytes, by other as the two bytes of the final zero. */
function choosePassword(password: Secret, macData: DerNode | undefined, safe: Buffer): PasswordForms {
  const utf8 = password.reveal();
  const utf16 = Buffer.from(`${utf8.toString('utf8')}\0`, 'utf16le').swap16();
  const candidates: PasswordForms[] = [{ utf8, utf16 }];
  if (utf8.length === 0) candidates.push({ utf8, utf16: Buffer.alloc(0) });
  const [first] = candidates;
  if (!macData && first) return first;
  const right = macData && candidates.find((forms) => isMacRight(macData, safe, forms));
  if (!right) throw invalid('password of the PKCS#12 file is wrong, or the file is damaged');
  return right;
}

function readContentInfo(node: DerNode): { type: string; content: DerNode } {
  const fields = fieldsOf(node);
  const type = oidOf(fields.take(TAG.oid));
  return { type, content: fieldsOf(fields.take(0xa0), 0xa0).any() };
}

function readSafe(node: DerNode, password: PasswordForms, contents: Contents): void {
  const { type, content } = readContentInfo(node);
  if (type === DATA) readBags(parseBer(octetsOf(content)), password, contents);
  else if (type === ENCRYPTED_DATA) readBags(parseBer(decryptSafe(content, password)), password, contents);
  else throw invalid('PKCS#12 file that is protected by a public key is not supported');
}

/** EncryptedData of RFC 5652 §8. */
function decryptSafe(node: DerNode, password: PasswordForms): Buffer {
  const fields = fieldsOf(node);
  fields.take(TAG.integer);
  const info = fieldsOf(fields.take(TAG.sequence));
  info.take(TAG.oid);
  const algorithm = info.take(TAG.sequence);
  const data = info.optional(0x80) ?? info.take(0xa0);
  return decryptWithPassword(algorithm, octetsOf(data), password);
}

function readBags(node: DerNode, password: PasswordForms, contents: Contents): void {
  for (const bag of listOf(node)) {
    contents.bags += 1;
    if (contents.bags > MAX_BAGS) throw invalid('PKCS#12 file holds too much');
    const fields = fieldsOf(bag);
    const type = oidOf(fields.take(TAG.oid));
    const value = fieldsOf(fields.take(0xa0), 0xa0).any();
    if (type === BAG.certificate) contents.certificates.push(...readCertificateBag(value));
    else if (type === BAG.key) contents.keys.push(readKey(value.raw));
    else if (type === BAG.shroudedKey) contents.keys.push(readShroudedKey(value, password));
    else if (type === BAG.safeContents) readBags(value, password, contents);
  }
}

function readCertificateBag(node: DerNode): readonly Certificate[] {
  const fields = fieldsOf(node);
  if (oidOf(fields.take(TAG.oid)) !== X509_CERTIFICATE) return [];
  return [parseCertificate(octetsOf(fieldsOf(fields.take(0xa0), 0xa0).any()))];
}

function readShroudedKey(node: DerNode, password: PasswordForms): KeyObject {
  const fields = fieldsOf(node);
  const algorithm = fields.take(TAG.sequence);
  return readKey(decryptWithPassword(algorithm, octetsOf(fields.take(TAG.octetString)), password));
}

function readKey(der: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch {
    throw invalid('private key in the PKCS#12 file cannot be read');
  }
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

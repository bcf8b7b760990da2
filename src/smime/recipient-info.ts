// RecipientInfo of CMS (RFC 5652 §6.2): for whom a content key is encrypted, and its recovery with one of our keys.
import { type KeyObject, randomBytes } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import type { NotDecryptedReason } from '../core/outcome.ts';
import type { WeakAlgorithm } from '../core/plan.ts';
import { ID } from './algorithms.ts';
import { element, integer, octetString, oid, sequence, tagged } from './ber-writer.ts';
import { type Certificate, isMlKem } from './certificate.ts';
import { type DerNode, fieldsOf, listOf, octetsOf, oidOf, parseBer, TAG } from './der.ts';
import { isSameName, parseName } from './distinguished-name.ts';
import {
  type AgreementScheme,
  agreementScheme,
  agreeOnKey,
  canAgree,
  recoverAgreed,
} from './key-agreement.ts';
import {
  encapsulateKey,
  type EncapsulationScheme,
  readEncapsulated,
  recoverEncapsulated,
} from './key-encapsulation.ts';
import { recoverTransported, type TransportScheme, transportKey, transportScheme } from './key-transport.ts';

/** A private key with its certificate, by which messages name it. */
export interface SmimeDecryptionKey {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

/** One entry for one recipient. A key agreement with several recipients gives several entries. */
export type RecipientEntry =
  | {
      readonly kind: 'transport';
      readonly id: RecipientId;
      readonly scheme: TransportScheme | undefined;
      readonly encryptedKey: Buffer;
    }
  | {
      readonly kind: 'agreement';
      readonly id: RecipientId;
      readonly scheme: AgreementScheme | undefined;
      readonly originatorPoint: Buffer | undefined;
      readonly encryptedKey: Buffer;
    }
  | {
      readonly kind: 'encapsulation';
      readonly id: RecipientId;
      readonly scheme: EncapsulationScheme | undefined;
      readonly ciphertext: Buffer;
      readonly encryptedKey: Buffer;
    }
  | { readonly kind: 'password' | 'symmetric' | 'other' };

/** A RecipientIdentifier or SignerIdentifier. */
export type RecipientId =
  | { readonly kind: 'issuer-serial'; readonly issuer: DerNode; readonly serial: Buffer }
  | { readonly kind: 'key-id'; readonly keyId: Buffer };

/** One of our keys that the message is encrypted to. */
export interface RecipientMatch {
  readonly key: SmimeDecryptionKey;
  readonly entry: Extract<RecipientEntry, { id: RecipientId }>;
}

/** A RecipientInfo for the certificate's holder. Throws GatewayError `encryption-required` for keys it cannot use. */
export function writeRecipientInfo(certificate: Certificate, contentKey: Uint8Array): Buffer {
  const { publicKey } = certificate;
  if (certificate.keyType === 'rsa') {
    return sequence(integer(0), issuerAndSerial(certificate), ...transportKey(publicKey, contentKey));
  }
  if (isMlKem(certificate.keyType)) {
    // RFC 9629 §3: an OtherRecipientInfo.
    const kem = encapsulateKey(publicKey, contentKey);
    return tagged(4, oid(ID.oriKem), sequence(integer(0), issuerAndSerial(certificate), ...kem));
  }
  if (!canAgree(publicKey)) {
    throw new GatewayError('encryption-required', 'key type of the certificate cannot be encrypted to');
  }
  const agreed = agreeOnKey(publicKey, contentKey);
  return tagged(
    1,
    integer(3),
    tagged(0, tagged(1, ...agreed.originator)),
    agreed.algorithm,
    sequence(sequence(issuerAndSerial(certificate), octetString(agreed.encryptedKey))),
  );
}

/** IssuerAndSerialNumber of a certificate, with the issuer's bytes as they stand in it. */
export function issuerAndSerial(certificate: Certificate): Buffer {
  return sequence(certificate.issuerDer, element(TAG.integer, certificate.serial));
}

/**
 * Parses one RecipientInfo; `weak`: key wraps that are read all the same. Throws GatewayError `config-invalid` where it is
 * malformed.
 */
export function parseRecipientInfo(
  bytes: Uint8Array,
  weak: readonly WeakAlgorithm[] = [],
): readonly RecipientEntry[] {
  const node = parseBer(bytes);
  switch (node.tag) {
    case TAG.sequence:
      return [readTransport(node)];
    case 0xa1:
      return readAgreement(node, weak);
    case 0xa2:
      return [{ kind: 'symmetric' }];
    case 0xa3:
      return [{ kind: 'password' }];
    case 0xa4:
      return [readOther(node)];
    default:
      return [{ kind: 'other' }];
  }
}

/** Parses a RecipientIdentifier or SignerIdentifier: a SEQUENCE, or `[0]` with a key identifier. */
export function parseRecipientId(node: DerNode): RecipientId {
  if (node.tag === TAG.sequence) {
    const fields = fieldsOf(node);
    const issuer = fields.take(TAG.sequence);
    const serial = fields.take(TAG.integer).content;
    fields.end();
    return { kind: 'issuer-serial', issuer, serial };
  }
  if (node.tag !== 0x80 && node.tag !== 0xa0)
    throw new GatewayError('config-invalid', 'identifier is malformed');
  return { kind: 'key-id', keyId: octetsOf(node) };
}

/** Whether the identifier names this certificate. Names are compared by RFC 5280 §7.1: senders re-encode them. */
export function isNamedBy(certificate: Certificate, id: RecipientId): boolean {
  if (id.kind === 'key-id') return certificate.subjectKeyId?.equals(id.keyId) ?? false;
  if (!certificate.serial.equals(id.serial)) return false;
  return (
    certificate.issuerDer.equals(id.issuer.raw) || isSameName(certificate.issuerName, parseName(id.issuer))
  );
}

/**
 * Chooses the entry to use, by structure alone, or says why there is none. SECURITY: the first entry that names a key
 * of ours is the one that is tried, and its failure is final: a later entry cannot be used to probe the key
 * (test: recipient order).
 */
export function selectRecipient(
  entries: readonly RecipientEntry[],
  keys: readonly SmimeDecryptionKey[],
): RecipientMatch | { readonly reason: NotDecryptedReason } {
  let isOurs = false;
  for (const entry of entries) {
    if (!('id' in entry)) continue;
    const key = keys.find(({ certificate }) => isNamedBy(certificate, entry.id));
    if (!key) continue;
    isOurs = true;
    if (isUsable(entry, key.key)) return { key, entry };
  }
  if (isOurs) return { reason: 'unsupported' };
  const isPasswordOnly =
    entries.length > 0 && entries.every(({ kind }) => kind === 'password' || kind === 'symmetric');
  return { reason: isPasswordOnly ? 'password-only' : 'no-recipient' };
}

/**
 * The content key of a match. SECURITY: never fails: a key that cannot be recovered or has the wrong length is
 * replaced by a random one, so that all failures look like damaged content (RFC 3218; test: one outcome).
 */
export function recoverContentKey({ key, entry }: RecipientMatch, keyBytes: number): Buffer {
  const random = randomBytes(keyBytes);
  try {
    const recovered = recover(key.key, entry);
    return recovered?.length === keyBytes ? recovered : random;
  } catch {
    return random;
  }
}

function recover(key: KeyObject, entry: RecipientMatch['entry']): Buffer | undefined {
  switch (entry.kind) {
    case 'transport':
      return entry.scheme && recoverTransported(key, entry.scheme, entry.encryptedKey);
    case 'agreement':
      return (
        entry.scheme &&
        entry.originatorPoint &&
        recoverAgreed(key, entry.scheme, entry.originatorPoint, entry.encryptedKey)
      );
    case 'encapsulation':
      return entry.scheme && recoverEncapsulated(key, entry.scheme, entry.ciphertext, entry.encryptedKey);
  }
}

/** Whether the way to the content key no longer protects it. */
export function isWeaklyWrapped({ entry }: RecipientMatch): boolean {
  return entry.kind === 'agreement' && (entry.scheme?.wrap.isWeak ?? false);
}

function isUsable(entry: RecipientMatch['entry'], key: KeyObject): boolean {
  if (entry.scheme === undefined) return false;
  if (entry.kind === 'transport') return key.asymmetricKeyType === 'rsa';
  if (entry.kind === 'encapsulation') return key.asymmetricKeyType === entry.scheme.keyType;
  return entry.originatorPoint !== undefined && canAgree(key);
}

function readTransport(node: DerNode): RecipientEntry {
  const fields = fieldsOf(node);
  fields.take(TAG.integer);
  const id = parseRecipientId(fields.any());
  const algorithm = readAlgorithm(fields.take(TAG.sequence));
  const encryptedKey = octetsOf(fields.any());
  fields.end();
  return {
    kind: 'transport',
    id,
    scheme: transportScheme(algorithm.oid, algorithm.parameters),
    encryptedKey,
  };
}

/** OtherRecipientInfo: a KEMRecipientInfo, or one that nobody here knows. */
function readOther(node: DerNode): RecipientEntry {
  const outer = fieldsOf(node, 0xa4);
  if (oidOf(outer.take(TAG.oid)) !== ID.oriKem) return { kind: 'other' };
  const fields = fieldsOf(outer.take(TAG.sequence));
  outer.end();
  fields.take(TAG.integer);
  const id = parseRecipientId(fields.any());
  return { kind: 'encapsulation', id, ...readEncapsulated(fields) };
}

function readAgreement(node: DerNode, weak: readonly WeakAlgorithm[]): readonly RecipientEntry[] {
  const fields = fieldsOf(node, 0xa1);
  fields.take(TAG.integer);
  const originator = fieldsOf(fields.take(0xa0), 0xa0).any();
  const material = fields.optional(0xa1);
  const algorithm = readAlgorithm(fields.take(TAG.sequence));
  const recipients = listOf(fields.take(TAG.sequence));
  fields.end();
  // Only an ephemeral key in the message is used; a static key would have to be fetched by its certificate.
  const originatorPoint = originator.tag === 0xa1 ? fieldsOf(originator, 0xa1) : undefined;
  originatorPoint?.take(TAG.sequence);
  const point = originatorPoint?.take(TAG.bitString).content;
  const userKeyingMaterial = material && octetsOf(fieldsOf(material, 0xa1).any());
  const scheme = agreementScheme(algorithm.oid, algorithm.parameters, userKeyingMaterial, weak);
  return recipients.map((recipient) => {
    const inner = fieldsOf(recipient);
    const id = inner.any();
    const encryptedKey = octetsOf(inner.take(TAG.octetString));
    inner.end();
    return { kind: 'agreement', id: agreementId(id), scheme, originatorPoint: point, encryptedKey };
  });
}

/** KeyAgreeRecipientIdentifier: its `[0]` is a sequence that begins with the key identifier. */
function agreementId(node: DerNode): RecipientId {
  if (node.tag !== 0xa0) return parseRecipientId(node);
  return { kind: 'key-id', keyId: octetsOf(fieldsOf(node, 0xa0).take(TAG.octetString)) };
}

function readAlgorithm(node: DerNode): { oid: string; parameters: DerNode | undefined } {
  return { oid: oidOf(fieldsOf(node).take(TAG.oid)), parameters: node.children[1] };
}

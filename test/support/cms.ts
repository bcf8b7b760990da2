// CMS structures with chosen insides, for what an attacker or another program writes and we never would.
import { createCipheriv, createHash, randomBytes, sign } from 'node:crypto';
import { ID } from '../../src/smime/algorithms.ts';
import {
  algorithmIdentifier,
  element,
  integer,
  NULL,
  octetString,
  oid,
  sequence,
  setOf,
  tagged,
} from '../../src/smime/ber-writer.ts';
import type { Certificate } from '../../src/smime/certificate.ts';
import { issuerAndSerial, writeRecipientInfo } from '../../src/smime/recipient-info.ts';
import type { TestPerson } from './smime.ts';

export interface EnvelopeParts {
  readonly to: readonly Certificate[];
  /** In place of those that `to` gives. */
  readonly recipients?: readonly Uint8Array[];
  readonly key?: Buffer;
  readonly iv?: Buffer;
  /** In place of the content, encrypted. */
  readonly encrypted?: Uint8Array;
  readonly contentType?: string;
  readonly algorithm?: Buffer;
  /** Behind EncryptedContentInfo. */
  readonly tail?: readonly Uint8Array[];
}

/** EnvelopedData with AES-256-CBC. */
export function enveloped(content: Uint8Array, parts: EnvelopeParts): Buffer {
  const { key = randomBytes(32), iv = randomBytes(16) } = parts;
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()]);
  const algorithm = algorithmIdentifier(ID.aes256Cbc, octetString(iv));
  return envelope({ algorithm, encrypted, contentType: ID.envelopedData, ...parts, key });
}

/** AuthEnvelopedData with AES-256-GCM. */
export function authEnveloped(content: Uint8Array, parts: EnvelopeParts): Buffer {
  const { key = randomBytes(32), iv = randomBytes(12) } = parts;
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()]);
  const algorithm = algorithmIdentifier(ID.aes256Gcm, sequence(octetString(iv), integer(16)));
  const tail = [octetString(cipher.getAuthTag())];
  return envelope({ algorithm, encrypted, contentType: ID.authEnvelopedData, tail, ...parts, key });
}

function envelope(
  parts: EnvelopeParts & Required<Pick<EnvelopeParts, 'key' | 'algorithm' | 'encrypted' | 'contentType'>>,
): Buffer {
  const { to, key, algorithm, encrypted, contentType, tail = [] } = parts;
  const recipients = parts.recipients ?? to.map((certificate) => writeRecipientInfo(certificate, key));
  const content = sequence(oid(ID.data), algorithm, element(0x80, encrypted));
  return sequence(
    oid(contentType),
    tagged(0, sequence(integer(0), element(0x31, ...recipients), content, ...tail)),
  );
}

export interface SignatureParts {
  /** The whole SET OF Attribute; null for none; default: content type and digest. */
  readonly attributes?: Buffer | null;
  /** What is signed in place of the attributes. */
  readonly covers?: Uint8Array;
  readonly signature?: Buffer;
  /** What the structure brings along. */
  readonly embedded?: Uint8Array;
  readonly certificates?: readonly Uint8Array[];
  /** SignerInfos behind the first one. */
  readonly more?: readonly Uint8Array[];
}

export const attribute = (type: string, ...values: readonly Uint8Array[]): Buffer =>
  sequence(oid(type), setOf(...values));
export const typeAttribute = attribute(ID.contentType, oid(ID.data));
export const digestAttribute = (content: Uint8Array): Buffer =>
  attribute(ID.messageDigest, octetString(createHash('sha256').update(content).digest()));

/** SignedData over a content with SHA-256 and an RSA key; opaque with `embedded`. */
export function signedData(content: Uint8Array, signer: TestPerson, parts: SignatureParts = {}): Buffer {
  const body = sequence(
    integer(1),
    setOf(algorithmIdentifier(ID.sha256)),
    sequence(oid(ID.data), ...(parts.embedded ? [tagged(0, octetString(parts.embedded))] : [])),
    tagged(0, ...(parts.certificates ?? [signer.der])),
    element(0x31, signerInfo(content, signer, parts), ...(parts.more ?? [])),
  );
  return sequence(oid(ID.signedData), tagged(0, body));
}

export function signerInfo(content: Uint8Array, signer: TestPerson, parts: SignatureParts = {}): Buffer {
  const attributes =
    parts.attributes === undefined ? setOf(typeAttribute, digestAttribute(content)) : parts.attributes;
  const covered = parts.covers ?? attributes ?? content;
  return sequence(
    integer(1),
    issuerAndSerial(signer.certificate),
    algorithmIdentifier(ID.sha256),
    ...(attributes ? [Buffer.concat([Buffer.from([0xa0]), attributes.subarray(1)])] : []),
    algorithmIdentifier(ID.rsaEncryption, NULL),
    octetString(parts.signature ?? sign('sha256', covered, signer.key)),
  );
}

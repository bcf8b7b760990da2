// Signed attributes of a SignerInfo (RFC 5652 §5.3, §11): what is really signed. Read strictly, since they are DER.
import { GatewayError } from '../core/errors.ts';
import { ID } from './algorithms.ts';
import { element, octetString, oid, sequence, setOf } from './ber-writer.ts';
import { readCapabilities, writeCapabilities } from './capabilities.ts';
import { type DerNode, fieldsOf, listOf, oidOf, parseDer, TAG, timeOf } from './der.ts';
import { parseRecipientId, type RecipientId } from './recipient-info.ts';

export interface SignedAttributes {
  /** The bytes that the signature covers: the DER of the SET. */
  readonly signed: Buffer;
  readonly contentType: string;
  readonly messageDigest: Buffer;
  readonly signingTime?: Date;
  /** Content ciphers that the signer announces, best first. */
  readonly capabilities?: readonly string[];
  /** The certificate that the signer wants to be encrypted to. */
  readonly encryptionKey?: RecipientId;
}

const UNIVERSAL_CONSTRUCTED = new Set<number>([TAG.sequence, TAG.set]);
const SIGNED_ONLY = new Set<string>([ID.contentType, ID.messageDigest, ID.signingTime]);
const GENERALIZED_TIME_FROM_YEAR = 2050;

/** The SET OF Attribute for a signature over a content with this digest. */
export function writeSignedAttributes(messageDigest: Uint8Array, at: Date): Buffer {
  return setOf(
    attribute(ID.contentType, oid(ID.data)),
    attribute(ID.signingTime, time(at)),
    attribute(ID.messageDigest, octetString(messageDigest)),
    attribute(ID.smimeCapabilities, writeCapabilities()),
  );
}

/**
 * Reads the `[0]` of a SignerInfo, as it stands in the message. Returns a reason in plain words where RFC 5652 does not
 * allow it: not DER, an attribute that is missing, doubled or has several values.
 */
export function readSignedAttributes(raw: Uint8Array): SignedAttributes | string {
  const signed = Buffer.concat([Buffer.from([TAG.set]), raw.subarray(1)]);
  let set: DerNode;
  try {
    set = parseDer(signed);
    // SECURITY: two readings of one BER text would let the verifier see other attributes than the signer (test: attrs-der).
    if (!isDer(set)) return 'signed attributes are not in DER';
  } catch {
    return 'signed attributes are not in DER';
  }
  try {
    return readSet(set, signed);
  } catch {
    return 'signed attributes are malformed';
  }
}

function readSet(set: DerNode, signed: Buffer): SignedAttributes | string {
  const contentType = only(set, ID.contentType);
  const messageDigest = only(set, ID.messageDigest);
  const signingTime = only(set, ID.signingTime);
  if (contentType === 'repeated' || messageDigest === 'repeated' || signingTime === 'repeated')
    return 'a signed attribute is repeated';
  if (contentType === 'empty' || messageDigest === 'empty' || signingTime === 'empty')
    return 'a signed attribute is missing its value';
  if (!contentType || messageDigest?.tag !== TAG.octetString) return 'a signed attribute is missing';
  const capabilities = hint(() => readCapabilities(orNothing(only(set, ID.smimeCapabilities))));
  const encryptionKey = hint(() => readPreference(orNothing(only(set, ID.encryptionKeyPreference))));
  return {
    signed,
    contentType: oidOf(contentType),
    messageDigest: messageDigest.content,
    ...(signingTime && { signingTime: timeOf(signingTime) }),
    ...(capabilities && { capabilities }),
    ...(encryptionKey && { encryptionKey }),
  };
}

/**
 * Whether the `[1]` of a SignerInfo holds an attribute that has to be signed (RFC 5652 §11.1-11.3). Throws GatewayError
 * `config-invalid` where it is malformed.
 */
export function hasMisplacedAttribute(unsigned: DerNode): boolean {
  return listOf(unsigned, 0xa1).some((node) => SIGNED_ONLY.has(oidOf(fieldsOf(node).take(TAG.oid))));
}

/** A hint for later mail: where it is missing or cannot be read, the signature is none the worse. */
function hint<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function orNothing(value: ReturnType<typeof only>): DerNode {
  if (value === undefined || value === 'repeated' || value === 'empty')
    throw new GatewayError('config-invalid', 'the attribute has no single value');
  return value;
}

/** SMIMEEncryptionKeyPreference (RFC 8551 §2.5.3), with its three implicit tags. */
function readPreference(value: DerNode): RecipientId {
  const asSequence = (): DerNode => parseDer(Buffer.concat([Buffer.of(TAG.sequence), value.raw.subarray(1)]));
  switch (value.tag) {
    case 0xa0:
      return parseRecipientId(asSequence());
    case 0xa1:
      return { kind: 'key-id', keyId: fieldsOf(asSequence()).take(TAG.octetString).content };
    case 0x82:
      return { kind: 'key-id', keyId: value.content };
    default:
      throw new GatewayError('config-invalid', 'the preferred certificate is not named as it should be');
  }
}

/** The single value of the single attribute of that type. */
function only(set: DerNode, type: string): DerNode | 'repeated' | 'empty' | undefined {
  const found = listOf(set, TAG.set).filter((node) => oidOf(fieldsOf(node).take(TAG.oid)) === type);
  if (found.length > 1) return 'repeated';
  if (!found[0]) return undefined;
  const fields = fieldsOf(found[0]);
  fields.take(TAG.oid);
  const values = listOf(fields.take(TAG.set), TAG.set);
  fields.end();
  return values.length > 1 ? 'repeated' : (values[0] ?? 'empty');
}

/** What parseDer does not look at: string types that are constructed, and the order within a SET OF. */
function isDer(node: DerNode): boolean {
  if ((node.tag & 0xe0) === 0x20 && !UNIVERSAL_CONSTRUCTED.has(node.tag)) return false;
  if (node.tag === TAG.set) {
    const isSorted = node.children.every(
      (child, index) =>
        index === 0 || Buffer.compare(node.children[index - 1]?.raw ?? child.raw, child.raw) <= 0,
    );
    if (!isSorted) return false;
  }
  return node.children.every(isDer);
}

function attribute(type: string, value: Uint8Array): Buffer {
  return sequence(oid(type), setOf(value));
}

/** UTCTime to 2049, GeneralizedTime from then on (RFC 5652 §11.3). */
function time(at: Date): Buffer {
  const digits = at
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '');
  const isLate = at.getUTCFullYear() >= GENERALIZED_TIME_FROM_YEAR;
  return element(
    isLate ? TAG.generalizedTime : TAG.utcTime,
    Buffer.from(isLate ? digits : digits.slice(2), 'latin1'),
  );
}

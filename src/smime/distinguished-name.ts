// Distinguished names: their text for people, and their comparison by RFC 5280 §7.1.
import { isUtf8 } from 'node:buffer';
import { element, sequence } from './ber-writer.ts';
import { type DerNode, fieldsOf, listOf, oidOf, parseDer, TAG } from './der.ts';

export interface NameAttribute {
  readonly type: string;
  readonly value: string;
}

export interface DistinguishedName {
  readonly der: Buffer;
  /** For people: `CN=..., O=...`, most specific first, without control characters; at most 500 characters. */
  readonly text: string;
  /** One comparison key per relative name: letter case, blanks and string type aside. */
  readonly keys: readonly string[];
  readonly attributes: readonly NameAttribute[];
}

export const EMAIL_ADDRESS = '1.2.840.113549.1.9.1';
const MAX_TEXT_CHARACTERS = 500;
const SHORT_NAME: Record<string, string> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.42': 'GN',
  '2.5.4.97': 'organizationIdentifier',
  '0.9.2342.19200300.100.1.25': 'DC',
  [EMAIL_ADDRESS]: 'emailAddress',
};

/** Reads a Name. Throws GatewayError `config-invalid`. */
export function parseName(node: DerNode): DistinguishedName {
  const relative = listOf(node).map((set) => listOf(set, TAG.set).map(readAttribute));
  const attributes = relative.flat();
  return {
    der: node.raw,
    text: formatName(attributes),
    keys: relative.map((parts) => parts.map(attributeKey).sort().join('+')),
    attributes: attributes.map(({ type, value }) => ({ type, value })),
  };
}

/** The name with one more relative name, given by its content. Throws GatewayError `config-invalid`. */
export function withRelativeName({ der }: DistinguishedName, relative: Uint8Array): DistinguishedName {
  return parseName(parseDer(sequence(parseDer(der).content, element(TAG.set, relative))));
}

export function isSameName(one: DistinguishedName, other: DistinguishedName): boolean {
  return one.keys.length === other.keys.length && isWithinName(one, other);
}

/** Whether `name` lies in the subtree of `base` (RFC 5280 §4.2.1.10, directoryName). */
export function isWithinName(name: DistinguishedName, base: DistinguishedName): boolean {
  return base.keys.length <= name.keys.length && base.keys.every((key, index) => key === name.keys[index]);
}

interface ReadAttribute extends NameAttribute {
  readonly isText: boolean;
}

function readAttribute(node: DerNode): ReadAttribute {
  const fields = fieldsOf(node);
  const type = oidOf(fields.take(TAG.oid));
  const valueNode = fields.any();
  fields.end();
  const value = textOf(valueNode);
  return value === undefined
    ? { type, value: valueNode.raw.toString('hex'), isText: false }
    : { type, value, isText: true };
}

/** Text of a string element; undefined for another type or broken coding. */
export function textOf(node: DerNode): string | undefined {
  switch (node.tag) {
    case TAG.utf8String:
      return isUtf8(node.content) ? node.content.toString('utf8') : undefined;
    case TAG.printableString:
    case TAG.ia5String:
    case TAG.t61String:
      return node.content.toString('latin1');
    case TAG.bmpString:
      if (node.content.length % 2 !== 0) return undefined;
      return Buffer.from(node.content).swap16().toString('utf16le');
    default:
      return undefined;
  }
}

function attributeKey(attribute: ReadAttribute): string {
  const value = attribute.isText
    ? attribute.value.normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ')
    : attribute.value;
  return JSON.stringify([attribute.type, attribute.isText, value]);
}

function formatName(attributes: readonly NameAttribute[]): string {
  const text = attributes
    .toReversed()
    .map(({ type, value }) => `${SHORT_NAME[type] ?? type}=${value.replace(/[,+="\\<>;]/g, '\\$&')}`)
    .join(', ');
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, '\uFFFD')
    .slice(0, MAX_TEXT_CHARACTERS);
}

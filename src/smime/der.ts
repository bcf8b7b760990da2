// A bounded reader of DER for certificates, keys and PKCS#12 (X.690). Strict by default; the tolerant form also takes
// the BER that PKCS#12 writers use. Content streams of CMS messages are ber-reader's business, not this one's.
import { GatewayError } from '../core/errors.ts';

/** One element. `tag` is the identifier octet (class, constructed bit, number below 31). */
export interface DerNode {
  readonly tag: number;
  /** The element with its header. */
  readonly raw: Buffer;
  readonly content: Buffer;
  /** Elements inside, empty for a primitive one. */
  readonly children: readonly DerNode[];
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  t61String: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

// SECURITY: bounds for hostile input; a real certificate has some 200 elements and 10 levels (test: hostile DER).
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_NODES = 20_000;
const MAX_DEPTH = 32;
const CONSTRUCTED_OCTET_STRING = 0x24;

interface Budget {
  nodes: number;
  readonly isBer: boolean;
}

/** Reads exactly one DER element. Throws GatewayError `config-invalid` for anything else, also for trailing bytes. */
export function parseDer(bytes: Uint8Array): DerNode {
  return parseWhole(bytes, false);
}

/**
 * As `parseDer`, but what BER allows is taken (CMS, PKCS#12 files of NSS and older Windows): indefinite and long-form lengths,
 * and an OCTET STRING in pieces, which comes as one.
 */
export function parseBer(bytes: Uint8Array): DerNode {
  return parseWhole(bytes, true);
}

function parseWhole(bytes: Uint8Array, isBer: boolean): DerNode {
  if (bytes.length > MAX_BYTES) throw invalid('ASN.1 structure is too large');
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const node = parseAt(buffer, 0, 0, { nodes: 0, isBer });
  if (node.raw.length !== buffer.length) throw invalid('bytes after the end of the ASN.1 structure');
  return node;
}

function parseAt(buffer: Buffer, start: number, depth: number, budget: Budget): DerNode {
  budget.nodes += 1;
  if (budget.nodes > MAX_NODES || depth > MAX_DEPTH) throw invalid('ASN.1 structure has too many elements');
  const tag = buffer[start];
  const first = buffer[start + 1];
  if (tag === undefined || first === undefined) throw invalid('ASN.1 structure is cut off');
  if ((tag & 0x1f) === 0x1f) throw invalid('ASN.1 tag is not supported');
  const isConstructed = (tag & 0x20) !== 0;
  if (first === 0x80) {
    if (!budget.isBer || !isConstructed) throw invalid('indefinite length where DER is required');
    return indefinite(buffer, start, tag, depth, budget);
  }
  const { length, at } = readLength(buffer, start + 1, budget.isBer);
  const end = at + length;
  if (end > buffer.length) throw invalid('ASN.1 structure is cut off');
  const content = buffer.subarray(at, end);
  const children: DerNode[] = [];
  if (isConstructed) {
    for (let next = 0; next < content.length;) {
      const child = parseAt(content, next, depth + 1, budget);
      children.push(child);
      next += child.raw.length;
    }
  }
  return joined({ tag, raw: buffer.subarray(start, end), content, children }, budget);
}

/** CMS is BER (RFC 5652 §2), so any OCTET STRING may come in pieces (test: an envelope in any BER). */
function joined(node: DerNode, { isBer }: Budget): DerNode {
  if (!isBer || node.tag !== CONSTRUCTED_OCTET_STRING) return node;
  const isOfPieces = node.children.every(({ tag }) => tag === TAG.octetString);
  if (!isOfPieces) throw invalid('ASN.1 string has a piece of another type');
  return { ...node, tag: TAG.octetString, content: octetsOf(node), children: [] };
}

function indefinite(buffer: Buffer, start: number, tag: number, depth: number, budget: Budget): DerNode {
  const children: DerNode[] = [];
  let next = start + 2;
  while (buffer[next] !== 0 || buffer[next + 1] !== 0) {
    const child = parseAt(buffer, next, depth + 1, budget);
    children.push(child);
    next += child.raw.length;
  }
  const raw = buffer.subarray(start, next + 2);
  return joined({ tag, raw, content: buffer.subarray(start + 2, next), children }, budget);
}

function readLength(buffer: Buffer, start: number, isBer: boolean): { length: number; at: number } {
  const first = buffer[start] ?? 0;
  if (first < 0x80) return { length: first, at: start + 1 };
  const octets = first & 0x7f;
  if (octets > 4 || start + 1 + octets > buffer.length) throw invalid('ASN.1 length is not acceptable');
  const length = buffer.readUIntBE(start + 1, octets);
  const isMinimal = length >= 0x80 && length >= 2 ** (8 * (octets - 1));
  if (!isMinimal && !isBer) throw invalid('ASN.1 length is not minimal');
  return { length, at: start + 1 + octets };
}

/** Takes the elements of a SEQUENCE one after the other, in the order of its definition. */
export interface Fields {
  /** The next element, which must have this tag. */
  take(tag: number): DerNode;
  /** The next element if it has this tag. */
  optional(tag: number): DerNode | undefined;
  /** The next element, whatever it is. */
  any(): DerNode;
  /** Throws if elements are left. */
  end(): void;
}

export function fieldsOf(node: DerNode, tag: number = TAG.sequence): Fields {
  expectTag(node, tag);
  let index = 0;
  const optional = (wanted: number): DerNode | undefined => {
    const next = node.children[index];
    if (next?.tag !== wanted) return undefined;
    index += 1;
    return next;
  };
  return {
    optional,
    take: (wanted) => optional(wanted) ?? fail('ASN.1 structure lacks an element'),
    any() {
      const next = node.children[index] ?? fail('ASN.1 structure lacks an element');
      index += 1;
      return next;
    },
    end() {
      if (index < node.children.length) throw invalid('ASN.1 structure has an unknown element');
    },
  };
}

/** The elements of a SEQUENCE OF or SET OF. */
export function listOf(node: DerNode, tag: number = TAG.sequence): readonly DerNode[] {
  expectTag(node, tag);
  return node.children;
}

/** An OBJECT IDENTIFIER in dotted form. */
export function oidOf(node: DerNode): string {
  expectTag(node, TAG.oid);
  const { content } = node;
  const last = content.at(-1);
  if (last === undefined || last >= 0x80 || content.length > 64)
    throw invalid('object identifier is malformed');
  const arcs: bigint[] = [];
  let value = 0n;
  for (const byte of content) {
    value = (value << 7n) | BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    if (arcs.length === 0) {
      const first = value < 80n ? value / 40n : 2n;
      arcs.push(first, value - first * 40n);
    } else arcs.push(value);
    value = 0n;
  }
  return arcs.join('.');
}

/** A small non-negative INTEGER. */
export function countOf(node: DerNode, tag: number = TAG.integer): number {
  expectTag(node, tag);
  const { content } = node;
  if (content.length === 0 || content.length > 5 || (content[0] ?? 0) >= 0x80)
    throw invalid('ASN.1 number is out of range');
  return content.readUIntBE(0, content.length);
}

export function booleanOf(node: DerNode): boolean {
  expectTag(node, TAG.boolean);
  if (node.content.length !== 1) throw invalid('ASN.1 boolean is malformed');
  return node.content[0] !== 0;
}

/** Content of an OCTET STRING; the pieces of a constructed one are joined (BER). */
export function octetsOf(node: DerNode): Buffer {
  if ((node.tag & 0x20) === 0) return node.content;
  return Buffer.concat(node.children.map(octetsOf));
}

/** Bits of a BIT STRING as octets, without the octet that counts the unused bits. */
export function bitsOf(node: DerNode): Buffer {
  expectTag(node, TAG.bitString);
  const unused = node.content[0];
  if (unused === undefined || unused > 7 || (unused > 0 && node.content.length === 1))
    throw invalid('ASN.1 bit string is malformed');
  return node.content.subarray(1);
}

/** UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5: seconds, `Z`, no fraction. */
export function timeOf(node: DerNode): Date {
  const text = node.content.toString('latin1');
  const isShort = node.tag === TAG.utcTime;
  if (!isShort && node.tag !== TAG.generalizedTime) throw invalid('ASN.1 time is malformed');
  const match = (isShort ? /^(\d\d)(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text);
  if (!match) throw invalid('ASN.1 time is malformed');
  const year = Number(match[1]) + (isShort ? (Number(match[1]) < 50 ? 2000 : 1900) : 0);
  const [month = '', day = '', hour = '', minute = '', second = ''] = match[2]?.match(/\d\d/g) ?? [];
  const date = new Date(`${String(year).padStart(4, '0')}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(date.getTime()) || date.getUTCDate() !== Number(day))
    throw invalid('ASN.1 time is malformed');
  return date;
}

function expectTag(node: DerNode, tag: number): void {
  if (node.tag !== tag) throw invalid('ASN.1 structure has an element of another type than expected');
}

function fail(reason: string): never {
  throw invalid(reason);
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

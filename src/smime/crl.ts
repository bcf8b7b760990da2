// Reads certificate revocation lists (RFC 5280 §5): the head. The entries stay as they stand, for crl-entries.ts.
import { GatewayError } from '../core/errors.ts';
import { bitsOf, type DerNode, fieldsOf, parseDer, TAG, timeOf } from './der.ts';
import { type Element, elementAt, extensionsOf, malformed } from './der-walk.ts';
import { type DistinguishedName, parseName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';
import {
  ALL_REASONS,
  namesOfPoint,
  parsePointName,
  parsePoints,
  POINTER_ID,
  reasonsOf,
  urlsOfPoints,
} from './pointers.ts';
import type { SignedStructure } from './signed-structure.ts';

/** A list with everything but its entries. */
export interface RevocationList extends SignedStructure {
  readonly issuer: DistinguishedName;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
  readonly scope: ListScope;
  /** The scope as it stands: a delta CRL has the same as its complete list. */
  readonly scopeDer: Buffer;
  readonly authorityKeyId?: Buffer;
  readonly number?: bigint;
  /** Of a delta CRL: the number of the list that it brings up to date. */
  readonly base?: bigint;
  /** Where delta CRLs are. */
  readonly deltaUrls: readonly string[];
  /** Entries as they stand, one SEQUENCE after the other. */
  readonly entries: Buffer;
}

/** What the list is about (RFC 5280 §5.2.5), and what makes it unusable here. */
export interface ListScope {
  /** Of its distribution point, where it names one. */
  readonly names?: readonly GeneralName[];
  readonly isUserOnly: boolean;
  readonly isCaOnly: boolean;
  /** As in DistributionPoint. */
  readonly reasons: number;
  readonly isIndirect: boolean;
  /** Why the list cannot be used: for attribute certificates, or an extension that is not known. */
  readonly problem?: string;
}

export const MAX_LIST_BYTES = 20 * 1024 * 1024;
const ID = {
  crlNumber: '2.5.29.20',
  deltaIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  authorityKeyIdentifier: '2.5.29.35',
} as const;
const PROCESSED: ReadonlySet<string> = new Set(Object.values(ID));
const WHOLE: ListScope = { isUserOnly: false, isCaOnly: false, reasons: ALL_REASONS, isIndirect: false };

/** Parses a list, DER or PEM, up to its entries. Throws GatewayError `config-invalid`. */
export function parseRevocationList(bytes: Buffer): RevocationList {
  if (bytes.length > MAX_LIST_BYTES) throw invalid('the CRL is too large');
  const der = fromPem(bytes);
  const outer = elementAt(der, 0);
  if (outer.tag !== TAG.sequence || outer.end !== der.length) malformed();
  const body = elementAt(der, outer.start);
  const algorithm = elementAt(der, body.end);
  const signature = elementAt(der, algorithm.end);
  if (body.tag !== TAG.sequence || signature.end !== outer.end) malformed();
  const algorithmNode = parseDer(der.subarray(body.end, algorithm.end));
  const head = readBody(der, body);
  // SECURITY: the signed algorithm and the outer one must be the same (RFC 5280 §5.1.1.2).
  if (!algorithmNode.raw.equals(head.algorithm)) throw invalid('signature algorithms of the CRL differ');
  return {
    ...head,
    body: der.subarray(outer.start, body.end),
    algorithm: algorithmNode,
    signature: bitsOf(parseDer(der.subarray(algorithm.end, signature.end))),
  };
}

type Head = Omit<RevocationList, keyof SignedStructure> & { readonly algorithm: Buffer };

/** TBSCertList. */
function readBody(der: Buffer, body: Element): Head {
  let at = body.start;
  const next = (): Element | undefined => (at < body.end ? elementAt(der, at) : undefined);
  const take = (): DerNode => {
    const found = next() ?? malformed();
    const node = parseDer(der.subarray(at, found.end));
    at = found.end;
    return node;
  };
  if (next()?.tag === TAG.integer) take();
  const algorithm = take().raw;
  const issuer = parseName(take());
  const thisUpdate = timeOf(take());
  const nextUpdate = isTime(next()?.tag) ? timeOf(take()) : undefined;
  const list = next();
  const hasEntries = list?.tag === TAG.sequence;
  if (hasEntries) at = list.end;
  const extensions = next()?.tag === 0xa0 ? take() : undefined;
  if (at !== body.end) malformed();
  return {
    algorithm,
    issuer,
    thisUpdate,
    ...(nextUpdate && { nextUpdate }),
    ...readExtensions(extensions, issuer),
    entries: hasEntries ? der.subarray(list.start, list.end) : Buffer.alloc(0),
  };
}

function isTime(tag: number | undefined): boolean {
  return tag === TAG.utcTime || tag === TAG.generalizedTime;
}

type Extensions = Pick<
  RevocationList,
  'scope' | 'scopeDer' | 'authorityKeyId' | 'number' | 'base' | 'deltaUrls'
>;

function readExtensions(node: DerNode | undefined, issuer: DistinguishedName): Extensions {
  const extensions = node ? extensionsOf(fieldsOf(node, 0xa0).any()) : [];
  const values = new Map(extensions.map(({ id, value }) => [id, value]));
  const read = <T>(id: string, parse: (value: DerNode) => T): T | undefined => {
    const value = values.get(id);
    return value && parse(parseDer(value));
  };
  const unknown = extensions.find(({ id, isCritical }) => isCritical && !PROCESSED.has(id));
  const scope = read(ID.issuingDistributionPoint, (value) => readScope(value, issuer)) ?? WHOLE;
  const number = read(ID.crlNumber, numberOf);
  const base = read(ID.deltaIndicator, numberOf);
  const authorityKeyId = read(ID.authorityKeyIdentifier, (value) => fieldsOf(value).optional(0x80)?.content);
  return {
    scope: unknown ? { ...scope, problem: `the CRL has the critical extension ${unknown.id}` } : scope,
    scopeDer: values.get(ID.issuingDistributionPoint) ?? Buffer.alloc(0),
    deltaUrls: urlsOfPoints(read(POINTER_ID.freshest, parsePoints) ?? []),
    ...(number !== undefined && { number }),
    ...(base !== undefined && { base }),
    ...(authorityKeyId && { authorityKeyId }),
  };
}

/** CRLNumber: up to 20 octets (RFC 5280 §5.2.3). */
function numberOf({ tag, content }: DerNode): bigint {
  if (tag !== TAG.integer || content.length === 0 || content.length > 21) malformed();
  return BigInt(`0x${content.toString('hex')}`);
}

/** IssuingDistributionPoint. */
function readScope(node: DerNode, issuer: DistinguishedName): ListScope {
  const fields = fieldsOf(node);
  const point = fields.optional(0xa0);
  const flag = (tag: number): boolean => {
    const found = fields.optional(tag);
    return found !== undefined && found.content[0] !== 0;
  };
  const isUserOnly = flag(0x81);
  const isCaOnly = flag(0x82);
  const reasons = fields.optional(0x83);
  const isIndirect = flag(0x84);
  const isAttributeOnly = flag(0x85);
  fields.end();
  return {
    ...(point && { names: namesOfPoint(parsePointName(point), issuer) }),
    isUserOnly,
    isCaOnly,
    reasons: reasons ? reasonsOf(reasons) : ALL_REASONS,
    isIndirect,
    ...(isAttributeOnly && { problem: 'the CRL is for attribute certificates' }),
  };
}

/** QUIRK: some CAs publish their list as PEM (RFC 5280 §4.2.1.13 asks for DER). */
function fromPem(bytes: Buffer): Buffer {
  if (bytes[0] === TAG.sequence) return bytes;
  const text = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/.exec(
    bytes.toString('latin1'),
  );
  return text ? Buffer.from(text[1] ?? '', 'base64') : malformed();
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

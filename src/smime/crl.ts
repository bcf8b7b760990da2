// Reads certificate revocation lists (RFC 5280 §5). The head is parsed; the entries are walked one after the other where
// they stand, so that a list with a million of them costs time but no memory.
import { setImmediate } from 'node:timers/promises';
import { GatewayError } from '../core/errors.ts';
import {
  booleanOf,
  bitsOf,
  type DerNode,
  fieldsOf,
  listOf,
  octetsOf,
  oidOf,
  parseDer,
  TAG,
  timeOf,
} from './der.ts';
import { type DistinguishedName, parseName } from './distinguished-name.ts';
import type { GeneralName } from './general-name.ts';
import { parsePointName } from './pointers.ts';
import type { SignedStructure } from './signed-structure.ts';

/** A list with everything but its entries. */
export interface RevocationList extends SignedStructure {
  readonly issuer: DistinguishedName;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
  readonly scope: ListScope;
  readonly authorityKeyId?: Buffer;
  /** Entries as they stand, one SEQUENCE after the other. */
  readonly entries: Buffer;
}

/** What the list is about (RFC 5280 §5.2.5), and what makes it unusable here. */
export interface ListScope {
  readonly names: readonly GeneralName[];
  readonly isUserOnly: boolean;
  readonly isCaOnly: boolean;
  /** Why the list cannot be used: delta, indirect, some reasons only, or an extension that is not known. */
  readonly problem?: string;
}

export interface RevokedEntry {
  readonly since: Date;
  readonly reason: string;
}

export const MAX_LIST_BYTES = 20 * 1024 * 1024;
const ENTRIES_AT_A_TIME = 20_000;
const ID = {
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  deltaIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  authorityKeyIdentifier: '2.5.29.35',
} as const;
const REASONS: readonly string[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'unknown reason',
  'removeFromCRL',
  'privilegeWithdrawn',
  'aACompromise',
];

/** Parses a list, DER or PEM, up to its entries. Throws GatewayError `config-invalid`. */
export function parseRevocationList(bytes: Buffer): RevocationList {
  if (bytes.length > MAX_LIST_BYTES) throw invalid('the CRL is too large');
  const der = fromPem(bytes);
  const outer = elementAt(der, 0);
  if (outer.tag !== TAG.sequence || outer.end !== der.length) throw invalid('the CRL is malformed');
  const body = elementAt(der, outer.start);
  const algorithm = elementAt(der, body.end);
  const signature = elementAt(der, algorithm.end);
  if (body.tag !== TAG.sequence || signature.end !== outer.end) throw invalid('the CRL is malformed');
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

/**
 * Looks for a serial number among all entries. Undefined: it is not there. Throws GatewayError `config-invalid` for a
 * list whose entries are malformed or hold what would change their meaning.
 */
export async function findRevoked(
  { entries }: RevocationList,
  serial: Buffer,
): Promise<RevokedEntry | undefined> {
  let found: RevokedEntry | undefined;
  let count = 0;
  for (let at = 0; at < entries.length; count += 1) {
    if (count % ENTRIES_AT_A_TIME === ENTRIES_AT_A_TIME - 1) await setImmediate();
    const entry = elementAt(entries, at);
    const number = elementAt(entries, entry.start);
    const time = elementAt(entries, number.end);
    if (entry.tag !== TAG.sequence || number.tag !== TAG.integer || time.end > entry.end)
      throw invalid('the CRL is malformed');
    const isWanted = entries.subarray(number.start, number.end).equals(serial);
    const extensions = time.end < entry.end ? entries.subarray(time.end, entry.end) : undefined;
    // Few entries hold what is critical: their bytes are looked at before they are parsed.
    const isCritical = extensions?.includes(CRITICAL) ?? false;
    const reason = extensions && (isWanted || isCritical) ? readEntryExtensions(extensions) : 'unspecified';
    if (isWanted) found ??= { since: timeOf(parseDer(entries.subarray(number.end, time.end))), reason };
    at = entry.end;
  }
  return found;
}

/** BOOLEAN TRUE. */
const CRITICAL = Buffer.of(0x01, 0x01, 0xff);

type Head = Omit<RevocationList, keyof SignedStructure> & { readonly algorithm: Buffer };

/** TBSCertList. */
function readBody(der: Buffer, body: Element): Head {
  let at = body.start;
  const next = (): Element | undefined => (at < body.end ? elementAt(der, at) : undefined);
  const take = (): DerNode => {
    const found = next() ?? fail();
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
  if (at !== body.end) throw invalid('the CRL is malformed');
  return {
    algorithm,
    issuer,
    thisUpdate,
    ...(nextUpdate && { nextUpdate }),
    ...readExtensions(extensions),
    entries: hasEntries ? der.subarray(list.start, list.end) : Buffer.alloc(0),
  };
}

function isTime(tag: number | undefined): boolean {
  return tag === TAG.utcTime || tag === TAG.generalizedTime;
}

function readExtensions(node: DerNode | undefined): Pick<RevocationList, 'scope' | 'authorityKeyId'> {
  let scope: ListScope = { names: [], isUserOnly: false, isCaOnly: false };
  let authorityKeyId: Buffer | undefined;
  let problem: string | undefined;
  for (const { id, isCritical, value } of node ? extensionsOf(fieldsOf(node, 0xa0).any()) : []) {
    if (id === ID.issuingDistributionPoint) scope = readScope(parseDer(value));
    else if (id === ID.authorityKeyIdentifier)
      authorityKeyId = fieldsOf(parseDer(value)).optional(0x80)?.content;
    else if (id === ID.deltaIndicator) problem = 'the CRL is a delta CRL, which is not supported';
    else if (isCritical && id !== ID.crlNumber) problem ??= `the CRL has the critical extension ${id}`;
  }
  return {
    scope: problem === undefined ? scope : { ...scope, problem },
    ...(authorityKeyId && { authorityKeyId }),
  };
}

/** IssuingDistributionPoint. */
function readScope(node: DerNode): ListScope {
  const fields = fieldsOf(node);
  const point = fields.optional(0xa0);
  const flag = (tag: number): boolean => {
    const found = fields.optional(tag);
    return found !== undefined && found.content[0] !== 0;
  };
  const isUserOnly = flag(0x81);
  const isCaOnly = flag(0x82);
  const hasSomeReasons = fields.optional(0x83) !== undefined;
  const isIndirect = flag(0x84);
  const isAttributeOnly = flag(0x85);
  fields.end();
  const names = point ? parsePointName(point) : [];
  const problem = isIndirect
    ? 'the CRL is an indirect CRL, which is not supported'
    : hasSomeReasons
      ? 'the CRL covers some reasons only'
      : isAttributeOnly
        ? 'the CRL is for attribute certificates'
        : point && names.length === 0
          ? 'the CRL names its distribution point in a form that is not supported'
          : undefined;
  return { names, isUserOnly, isCaOnly, ...(problem !== undefined && { problem }) };
}

/** The reason in words. SECURITY: what is critical and not known makes the whole list unusable (RFC 5280 §5.3). */
function readEntryExtensions(bytes: Buffer): string {
  let reason = 0;
  for (const { id, isCritical, value } of extensionsOf(parseDer(bytes))) {
    if (id === ID.reasonCode) reason = parseDer(value).content[0] ?? 0;
    else if (isCritical && id !== ID.invalidityDate)
      throw invalid(`an entry of the CRL has the critical extension ${id}`);
  }
  return REASONS[reason] ?? 'unknown reason';
}

function extensionsOf(node: DerNode) {
  return listOf(node).map((item) => {
    const fields = fieldsOf(item);
    const id = oidOf(fields.take(TAG.oid));
    const critical = fields.optional(TAG.boolean);
    return {
      id,
      isCritical: critical !== undefined && booleanOf(critical),
      value: octetsOf(fields.take(TAG.octetString)),
    };
  });
}

/** Offsets of one element: its content begins at `start`; `end` is behind it. */
interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

function elementAt(bytes: Buffer, at: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) fail();
  const octets = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || octets > 4 || at + 2 + octets > bytes.length) fail();
  const start = at + 2 + octets;
  const end = start + (octets === 0 ? first : bytes.readUIntBE(at + 2, octets));
  if (end > bytes.length) fail();
  return { tag, start, end };
}

/** QUIRK: some CAs publish their list as PEM (RFC 5280 §4.2.1.13 asks for DER). */
function fromPem(bytes: Buffer): Buffer {
  if (bytes[0] === TAG.sequence) return bytes;
  const text = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/.exec(
    bytes.toString('latin1'),
  );
  return text ? Buffer.from(text[1] ?? '', 'base64') : fail();
}

function fail(): never {
  throw invalid('the CRL is malformed');
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

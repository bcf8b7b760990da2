// Where a certificate says that its revocation and its issuer can be asked for: CRL distribution points (RFC 5280
// §4.2.1.13) and authority information access (§4.2.2.1). Who made the certificate chose these addresses.
import { GatewayError } from '../core/errors.ts';
import { type DerNode, fieldsOf, listOf, oidOf, parseDer } from './der.ts';
import { type GeneralName, parseGeneralName } from './general-name.ts';

/** The names of one CRL; `relative`: part of a name, which is not followed. */
export interface DistributionPoint {
  readonly names: readonly GeneralName[];
  /** Covers some reasons only, or another issuer signs the CRL. */
  readonly isPartial: boolean;
  readonly isIndirect: boolean;
}

export interface Pointers {
  readonly distributionPoints: readonly DistributionPoint[];
  readonly ocspUrls: readonly string[];
  readonly issuerUrls: readonly string[];
}

export const POINTER_ID = {
  distributionPoints: '2.5.29.31',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
} as const;
const OCSP = '1.3.6.1.5.5.7.48.1';
const CA_ISSUERS = '1.3.6.1.5.5.7.48.2';
const MAX_POINTS = 20;

/** Reads both extensions, given by their value. What is malformed points nowhere: it makes no certificate invalid. */
export function parsePointers(points: Buffer | undefined, access: Buffer | undefined): Pointers {
  const accesses = tolerant(access, (node) => listOf(node).slice(0, MAX_POINTS).map(parseAccess));
  const urlsOf = (method: string): readonly string[] =>
    accesses.flatMap(({ id, name }) => (id === method && name.kind === 'uri' ? [name.value] : []));
  return {
    distributionPoints: tolerant(points, (node) => listOf(node).slice(0, MAX_POINTS).map(parsePoint)),
    ocspUrls: urlsOf(OCSP),
    issuerUrls: urlsOf(CA_ISSUERS),
  };
}

/** DistributionPointName. Throws GatewayError `config-invalid`. */
export function parsePointName(node: DerNode): readonly GeneralName[] {
  const fields = fieldsOf(node, 0xa0);
  const full = fields.optional(0xa0);
  return full ? listOf(full, 0xa0).slice(0, MAX_POINTS).map(parseGeneralName) : [];
}

function parsePoint(node: DerNode): DistributionPoint {
  const fields = fieldsOf(node);
  const name = fields.optional(0xa0);
  const isPartial = fields.optional(0x81) !== undefined;
  const isIndirect = fields.optional(0xa2) !== undefined;
  fields.end();
  return { names: name ? parsePointName(name) : [], isPartial, isIndirect };
}

function parseAccess(node: DerNode): { readonly id: string; readonly name: GeneralName } {
  const fields = fieldsOf(node);
  const id = oidOf(fields.any());
  return { id, name: parseGeneralName(fields.any()) };
}

function tolerant<T>(value: Buffer | undefined, parse: (node: DerNode) => readonly T[]): readonly T[] {
  if (!value) return [];
  try {
    return parse(parseDer(value));
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return [];
  }
}

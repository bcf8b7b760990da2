// Where a certificate says that its revocation and its issuer can be asked for: CRL distribution points (RFC 5280
// §4.2.1.13, §4.2.1.15) and authority information access (§4.2.2.1). Who made the certificate chose these addresses.
import { GatewayError } from '../core/errors.ts';
import { type DerNode, fieldsOf, listOf, oidOf, parseDer } from './der.ts';
import { type DistinguishedName, withRelativeName } from './distinguished-name.ts';
import { type GeneralName, parseGeneralName } from './general-name.ts';

/** DistributionPointName: whole names, or the rest of a name that begins with that of whoever signs the CRL. */
export interface PointName {
  readonly names: readonly GeneralName[];
  readonly relative?: Buffer;
}

export interface DistributionPoint {
  readonly name?: PointName;
  /** Bits of ReasonFlags: the reasons for which the CRL there lists certificates. */
  readonly reasons: number;
  /** Who signs the CRL, where it is not the issuer of the certificate. */
  readonly crlIssuers: readonly DistinguishedName[];
}

export interface Pointers {
  readonly distributionPoints: readonly DistributionPoint[];
  /** Of delta CRLs. */
  readonly freshest: readonly DistributionPoint[];
  readonly ocspUrls: readonly string[];
  readonly issuerUrls: readonly string[];
}

export const POINTER_ID = {
  distributionPoints: '2.5.29.31',
  freshest: '2.5.29.46',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
} as const;
/** keyCompromise to aACompromise. */
export const ALL_REASONS = 0xff;
const OCSP = '1.3.6.1.5.5.7.48.1';
const CA_ISSUERS = '1.3.6.1.5.5.7.48.2';
const MAX_POINTS = 20;

/** Reads the extensions, given by their value. What is malformed points nowhere: it makes no certificate invalid. */
export function parsePointers(values: ReadonlyMap<string, Buffer>): Pointers {
  const accesses = tolerant(values.get(POINTER_ID.authorityInfoAccess), (node) =>
    listOf(node).slice(0, MAX_POINTS).map(parseAccess),
  );
  const urlsOf = (method: string): readonly string[] =>
    accesses.flatMap(({ id, name }) => (id === method && name.kind === 'uri' ? [name.value] : []));
  return {
    distributionPoints: tolerant(values.get(POINTER_ID.distributionPoints), parsePoints),
    freshest: tolerant(values.get(POINTER_ID.freshest), parsePoints),
    ocspUrls: urlsOf(OCSP),
    issuerUrls: urlsOf(CA_ISSUERS),
  };
}

/** CRLDistributionPoints. Throws GatewayError `config-invalid`. */
export function parsePoints(node: DerNode): readonly DistributionPoint[] {
  return listOf(node).slice(0, MAX_POINTS).map(parsePoint);
}

/** DistributionPointName. Throws GatewayError `config-invalid`. */
export function parsePointName(node: DerNode): PointName {
  const fields = fieldsOf(node, 0xa0);
  const full = fields.optional(0xa0);
  const relative = fields.optional(0xa1);
  fields.end();
  return {
    names: full ? listOf(full, 0xa0).slice(0, MAX_POINTS).map(parseGeneralName) : [],
    ...(relative && { relative: relative.content }),
  };
}

/** The names of a point; `signer`: whoever signs the CRL. Throws GatewayError `config-invalid`. */
export function namesOfPoint(
  { names, relative }: PointName,
  signer: DistinguishedName,
): readonly GeneralName[] {
  return relative ? [{ kind: 'directory', name: withRelativeName(signer, relative) }] : names;
}

/** Content of a BIT STRING of ReasonFlags, as a mask of the bits 1 to 8. */
export function reasonsOf({ content }: DerNode): number {
  return (((content[1] ?? 0) << 1) | ((content[2] ?? 0) >> 7)) & ALL_REASONS;
}

export function urlsOfPoints(points: readonly DistributionPoint[]): readonly string[] {
  const urls = points.flatMap(({ name }) =>
    (name?.names ?? []).flatMap((one) => (one.kind === 'uri' ? [one.value] : [])),
  );
  return [...new Set(urls)];
}

function parsePoint(node: DerNode): DistributionPoint {
  const fields = fieldsOf(node);
  const name = fields.optional(0xa0);
  const reasons = fields.optional(0x81);
  const issuers = fields.optional(0xa2);
  fields.end();
  const crlIssuers = issuers ? listOf(issuers, 0xa2).slice(0, MAX_POINTS).map(parseGeneralName) : [];
  const directories = crlIssuers.flatMap((one) => (one.kind === 'directory' ? [one.name] : []));
  if (crlIssuers.length > directories.length)
    throw new GatewayError('config-invalid', 'issuer of a CRL is not named by a directory name');
  return {
    ...(name && { name: parsePointName(name) }),
    reasons: reasons ? reasonsOf(reasons) : ALL_REASONS,
    crlIssuers: directories,
  };
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

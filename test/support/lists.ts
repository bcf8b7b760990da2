// Certificate revocation lists made byte by byte, as test/support/certificates.ts makes certificates.
import { sign } from 'node:crypto';
import { parseRevocationList, type RevocationList } from '../../src/smime/crl.ts';
import { element, extension, oid, type RawIdentity, sequence } from './certificates.ts';

export interface RawEntry {
  readonly serial: Uint8Array;
  /** Number of CRLReason. */
  readonly reason?: number;
  /** Name of the issuer, for indirect lists. */
  readonly issuer?: Buffer;
}

export interface RawList {
  readonly entries?: readonly RawEntry[];
  readonly extensions?: readonly Buffer[];
  readonly thisUpdate?: string;
  readonly nextUpdate?: string;
}

export const directoryName = (name: Buffer): Buffer => element(0xa4, name);
export const uriName = (uri: string): Buffer => element(0x86, uri);
export const fullName = (...names: readonly Buffer[]): Buffer => element(0xa0, element(0xa0, ...names));
/** One more `CN=...` below the name of whoever signs the list. */
export const relativeName = (commonName: string): Buffer =>
  element(0xa0, element(0xa1, sequence(oid('2.5.4.3'), element(0x0c, commonName))));

/** issuingDistributionPoint of these fields. */
export const scope = (...fields: readonly Buffer[]): Buffer =>
  extension('2.5.29.28', sequence(...fields), true);
export const INDIRECT = element(0x84, Buffer.of(0xff));
/** ReasonFlags by their bits 0 to 7, of both lists and distribution points. */
export const someReasons = (tag: number, bits: number): Buffer => element(tag, Buffer.of(0, bits));
export const listNumber = (number: number): Buffer =>
  extension('2.5.29.20', element(0x02, Buffer.of(number)));
export const deltaOf = (base: number): Buffer => extension('2.5.29.27', element(0x02, Buffer.of(base)), true);
/** cRLDistributionPoints of these points, each given by its fields. */
export const pointers = (...points: readonly (readonly Buffer[])[]): Buffer =>
  extension('2.5.29.31', sequence(...points.map((fields) => sequence(...fields))));
export const crlIssuer = (name: Buffer): Buffer => element(0xa2, directoryName(name));

/** A list by this signer. From May to July 2026. */
export function makeList(signer: RawIdentity, list: RawList = {}): RevocationList {
  return parseRevocationList(listBytes(signer, list));
}

export function listBytes(signer: RawIdentity, list: RawList = {}): Buffer {
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
  const { entries = [], extensions = [] } = list;
  const body = sequence(
    element(0x02, Buffer.of(1)),
    algorithm,
    signer.subject,
    element(0x17, list.thisUpdate ?? '260501000000Z'),
    element(0x17, list.nextUpdate ?? '260701000000Z'),
    ...(entries.length > 0 ? [sequence(...entries.map(entryBytes))] : []),
    ...(extensions.length > 0 ? [element(0xa0, sequence(...extensions))] : []),
  );
  return sequence(body, algorithm, element(0x03, Buffer.of(0), sign('sha256', body, signer.key)));
}

function entryBytes({ serial, reason, issuer }: RawEntry): Buffer {
  const extensions = [
    ...(reason === undefined ? [] : [extension('2.5.29.21', element(0x0a, Buffer.of(reason)))]),
    ...(issuer ? [extension('2.5.29.29', sequence(directoryName(issuer)), true)] : []),
  ];
  return sequence(
    element(0x02, serial),
    element(0x17, '260520000000Z'),
    ...(extensions.length > 0 ? [sequence(...extensions)] : []),
  );
}

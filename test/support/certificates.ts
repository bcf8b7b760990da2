// Certificates made byte by byte, for what no honest CA issues: odd names, repeated or unknown extensions, weak hashes.
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { type Certificate, parseCertificate } from '../../src/smime/certificate.ts';

export function element(tag: number, ...parts: readonly (Uint8Array | string)[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array)));
  const { length } = content;
  const header =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(header), content]);
}

export const sequence = (...parts: readonly (Uint8Array | string)[]): Buffer => element(0x30, ...parts);

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const septets = [arc & 0x7f];
    for (let value = Math.floor(arc / 128); value > 0; value = Math.floor(value / 128))
      septets.unshift((value & 0x7f) | 0x80);
    return septets;
  });
  return element(0x06, Buffer.from(bytes));
}

/** `CN=...` as UTF8String, with optional emailAddress. */
export function name(commonName: string, email?: string): Buffer {
  const attribute = (type: string, value: Buffer): Buffer => element(0x31, sequence(oid(type), value));
  return sequence(
    attribute('2.5.4.3', element(0x0c, commonName)),
    ...(email === undefined ? [] : [attribute('1.2.840.113549.1.9.1', element(0x16, email))]),
  );
}

export function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(oid(id), ...(critical ? [element(0x01, Buffer.of(0xff))] : []), element(0x04, value));
}

export const emailName = (value: string): Buffer => element(0x81, Buffer.from(value, 'latin1'));

export const altNames = (...names: readonly Buffer[]): Buffer => extension('2.5.29.17', sequence(...names));

export const caExtension = (pathLength?: number): Buffer =>
  extension(
    '2.5.29.19',
    sequence(
      element(0x01, Buffer.of(0xff)),
      ...(pathLength === undefined ? [] : [element(0x02, Buffer.of(pathLength))]),
    ),
    true,
  );

/** permitted and excluded subtrees, each a list of GeneralName elements. */
export function constraints(permitted: readonly Buffer[], excluded: readonly Buffer[] = []): Buffer {
  const list = (tag: number, names: readonly Buffer[]): Buffer =>
    names.length === 0 ? Buffer.alloc(0) : element(tag, ...names.map((item) => sequence(item)));
  return extension('2.5.29.30', sequence(list(0xa0, permitted), list(0xa1, excluded)), true);
}

export const policies = (...ids: readonly string[]): Buffer =>
  extension('2.5.29.32', sequence(...ids.map((id) => sequence(oid(id)))));

/** policyMappings: pairs of the issuer's policy and the subject's. */
export const mappings = (...pairs: readonly (readonly [string, string])[]): Buffer =>
  extension('2.5.29.33', sequence(...pairs.map(([one, other]) => sequence(oid(one), oid(other)))), true);

export const policyConstraints = (counts: {
  readonly explicit?: number;
  readonly mapping?: number;
}): Buffer => {
  const count = (tag: number, value: number | undefined): Buffer =>
    value === undefined ? Buffer.alloc(0) : element(tag, Buffer.of(value));
  return extension('2.5.29.36', sequence(count(0x80, counts.explicit), count(0x81, counts.mapping)), true);
};

export const inhibitAny = (count: number): Buffer =>
  extension('2.5.29.54', element(0x02, Buffer.of(count)), true);

/** Algorithms that are one with the type of the key. */
const PURE_SIGNATURES: Readonly<Record<string, string>> = {
  ed25519: '1.3.101.112',
  ed448: '1.3.101.113',
  'ml-dsa-44': '2.16.840.1.101.3.4.3.17',
  'ml-dsa-65': '2.16.840.1.101.3.4.3.18',
  'ml-dsa-87': '2.16.840.1.101.3.4.3.19',
};

export interface RawRequest {
  readonly subject?: Buffer;
  readonly issuer?: RawIdentity;
  readonly extensions?: readonly Buffer[];
  readonly hash?: 'sha256' | 'sha1';
  readonly keys?: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly notBefore?: string;
  readonly notAfter?: string;
  /** Signature with another key than the issuer's. */
  readonly isForged?: boolean;
}

export interface RawIdentity {
  readonly subject: Buffer;
  readonly der: Buffer;
  readonly key: KeyObject;
  readonly certificate: Certificate;
}

/** A certificate with exactly these parts; self-signed without an issuer. P-256, valid 2020 to 2049. */
export function makeCertificate(request: RawRequest): RawIdentity {
  const der = makeDer(request);
  return { ...der, certificate: parseCertificate(der.der) };
}

/** As `makeCertificate`, without parsing: for certificates that must be refused. */
export function makeDer(request: RawRequest): Omit<RawIdentity, 'certificate'> {
  const { publicKey, privateKey } = request.keys ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = request.subject ?? name('Postern test');
  const signer = request.issuer?.key ?? privateKey;
  const hash = request.hash ?? 'sha256';
  const pure = PURE_SIGNATURES[signer.asymmetricKeyType ?? ''];
  const algorithm = sequence(
    ...(pure !== undefined
      ? [oid(pure)]
      : signer.asymmetricKeyType === 'rsa'
        ? [oid(hash === 'sha1' ? '1.2.840.113549.1.1.5' : '1.2.840.113549.1.1.11'), element(0x05)]
        : [oid(hash === 'sha1' ? '1.2.840.10045.4.1' : '1.2.840.10045.4.3.2')]),
  );
  const extensions = request.extensions ?? [];
  const body = sequence(
    ...(extensions.length > 0 ? [element(0xa0, element(0x02, Buffer.of(2)))] : []),
    element(0x02, Buffer.concat([Buffer.of(0x40), randomBytes(8)])),
    algorithm,
    request.issuer?.subject ?? subject,
    sequence(
      element(0x17, request.notBefore ?? '200101000000Z'),
      element(0x17, request.notAfter ?? '491231235959Z'),
    ),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [element(0xa3, sequence(...extensions))] : []),
  );
  const signature = sign(
    pure === undefined ? hash : null,
    body,
    request.isForged ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey : signer,
  );
  const der = sequence(body, algorithm, element(0x03, Buffer.of(0), signature));
  return { subject, der, key: privateKey };
}

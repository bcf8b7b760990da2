// A certificate authority for the lab: short-lived test certificates for tenants, servers and people. Everything it
// issues says "Postern test" in its subject and expires within days; nothing outside src/lab may trust it.
import { generateKeyPairSync, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';

export type TestKeyType = 'rsa' | 'p256' | 'p384';
export type KeyUsageName =
  'digitalSignature' | 'nonRepudiation' | 'keyEncipherment' | 'keyAgreement' | 'keyCertSign' | 'cRLSign';

export interface TestCertificateRequest {
  readonly commonName: string;
  readonly emails?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly keyType?: TestKeyType;
  readonly keyUsage?: readonly KeyUsageName[];
  /** `serverAuth`, `clientAuth`, `emailProtection` or a dotted OID. */
  readonly extendedKeyUsage?: readonly string[];
  readonly isCa?: boolean;
  readonly pathLength?: number;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

export interface TestIdentity {
  readonly der: Buffer;
  readonly certificatePem: string;
  readonly key: KeyObject;
  /** PKCS#8, not encrypted. */
  readonly keyPem: string;
}

export interface TestCa extends TestIdentity {
  issue(request: TestCertificateRequest): Promise<TestIdentity>;
  /** A subordinate CA, signed by this one. */
  issueCa(request: TestCertificateRequest): Promise<TestCa>;
}

const DAY_MS = 86_400_000;
const KEY_USAGE_BIT: Record<KeyUsageName, number> = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
};
const EXTENDED_KEY_USAGE: Record<string, string> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  emailProtection: '1.3.6.1.5.5.7.3.4',
};
// pkijs types its engine against newer WebCrypto methods than it needs.
const engine = new pkijs.CryptoEngine({
  name: 'node',
  crypto: webcrypto,
}) as unknown as pkijs.ICryptoEngine;

/** Makes a self-signed test root. */
export async function createTestCa(commonName: string, keyType: TestKeyType = 'p256'): Promise<TestCa> {
  return asCa(await issue({ commonName, keyType, isCa: true }, undefined));
}

function asCa(identity: TestIdentity): TestCa {
  return {
    ...identity,
    issue: (request) => issue(request, identity),
    issueCa: async (request) => asCa(await issue({ ...request, isCa: true }, identity)),
  };
}

async function issue(
  request: TestCertificateRequest,
  issuer: TestIdentity | undefined,
): Promise<TestIdentity> {
  const { publicKey, privateKey } = generateKeys(request.keyType ?? 'rsa');
  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  certificate.serialNumber = new asn1js.Integer({ valueHex: positiveSerial() });
  certificate.subject.typesAndValues = nameOf(request.commonName);
  certificate.issuer = issuer ? parse(issuer.der).subject : certificate.subject;
  const now = Date.now();
  certificate.notBefore.value = request.notBefore ?? new Date(now - DAY_MS);
  certificate.notAfter.value = request.notAfter ?? new Date(now + 7 * DAY_MS);
  await certificate.subjectPublicKeyInfo.importKey(toCryptoKey(publicKey, 'verify'), engine);
  const issuerKeyInfo = issuer ? parse(issuer.der).subjectPublicKeyInfo : certificate.subjectPublicKeyInfo;
  certificate.extensions = [
    ...extensionsFor(request),
    await keyIdentifier('2.5.29.14', certificate.subjectPublicKeyInfo),
    await keyIdentifier('2.5.29.35', issuerKeyInfo),
  ];
  await certificate.sign(toCryptoKey(issuer?.key ?? privateKey, 'sign'), 'SHA-256', engine);
  const der = Buffer.from(certificate.toSchema(true).toBER());
  return {
    der,
    certificatePem: `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}

function generateKeys(type: TestKeyType): { publicKey: KeyObject; privateKey: KeyObject } {
  if (type === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  return generateKeyPairSync('ec', { namedCurve: type === 'p256' ? 'P-256' : 'P-384' });
}

function toCryptoKey(key: KeyObject, usage: 'sign' | 'verify'): CryptoKey {
  const algorithm =
    key.asymmetricKeyType === 'rsa'
      ? { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
      : {
          name: 'ECDSA',
          namedCurve: key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : 'P-256',
        };
  return key.toCryptoKey(algorithm, true, [usage]);
}

function extensionsFor(request: TestCertificateRequest): pkijs.Extension[] {
  const isCa = request.isCa ?? false;
  const constraints = new pkijs.BasicConstraints({
    cA: isCa,
    ...(request.pathLength === undefined ? {} : { pathLenConstraint: request.pathLength }),
  });
  const extensions = [extension('2.5.29.19', true, constraints.toSchema())];
  const usages = request.keyUsage ?? (isCa ? (['keyCertSign', 'cRLSign'] as const) : undefined);
  if (usages) extensions.push(extension('2.5.29.15', true, keyUsageBits(usages)));
  if (request.extendedKeyUsage) {
    const purposes = request.extendedKeyUsage.map((name) => EXTENDED_KEY_USAGE[name] ?? name);
    extensions.push(
      extension('2.5.29.37', false, new pkijs.ExtKeyUsage({ keyPurposes: purposes }).toSchema()),
    );
  }
  const names = [
    ...(request.emails ?? []).map((value) => new pkijs.GeneralName({ type: 1, value })),
    ...(request.dnsNames ?? []).map((value) => new pkijs.GeneralName({ type: 2, value })),
    ...(request.ipAddresses ?? []).map(
      (value) =>
        new pkijs.GeneralName({
          type: 7,
          value: new asn1js.OctetString({ valueHex: Uint8Array.from(value.split('.').map(Number)) }),
        }),
    ),
  ];
  if (names.length > 0)
    extensions.push(extension('2.5.29.17', false, new pkijs.GeneralNames({ names }).toSchema()));
  return extensions;
}

function keyUsageBits(names: readonly KeyUsageName[]): asn1js.BitString {
  const bits = names.reduce((sum, name) => sum | (0x80 >> KEY_USAGE_BIT[name]), 0);
  return new asn1js.BitString({ valueHex: Uint8Array.of(bits) });
}

async function keyIdentifier(id: string, keyInfo: pkijs.PublicKeyInfo): Promise<pkijs.Extension> {
  const digest = await webcrypto.subtle.digest(
    'SHA-1',
    keyInfo.subjectPublicKey.valueBlock.valueHexView as Uint8Array<ArrayBuffer>,
  );
  const octets = new asn1js.OctetString({ valueHex: digest });
  return extension(
    id,
    false,
    id === '2.5.29.14' ? octets : new pkijs.AuthorityKeyIdentifier({ keyIdentifier: octets }).toSchema(),
  );
}

function extension(extnID: string, critical: boolean, value: { toBER(): ArrayBuffer }): pkijs.Extension {
  return new pkijs.Extension({ extnID, critical, extnValue: value.toBER() });
}

/** One RDN: pkijs writes several attributes as one multi-valued RDN, which other software shows oddly. */
function nameOf(commonName: string): pkijs.AttributeTypeAndValue[] {
  return [
    new pkijs.AttributeTypeAndValue({
      type: '2.5.4.3',
      value: new asn1js.Utf8String({ value: `Postern test: ${commonName}` }),
    }),
  ];
}

function parse(der: Buffer): pkijs.Certificate {
  return pkijs.Certificate.fromBER(der);
}

function positiveSerial(): Uint8Array {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

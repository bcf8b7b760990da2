// What a record's material may be used for now: the answer of the format's own certificate module.
import type { KeyPurpose, KeyRecord } from '../core/key.ts';
import { certificateUse as pgpUse, parsePublicKey, type PgpCertificate } from '../pgp/certificate.ts';
import { certificateCapabilities } from '../smime/capabilities.ts';
import {
  type Certificate,
  certificateUse as smimeUse,
  isMlKem,
  parsePemCertificates,
} from '../smime/certificate.ts';
import type { KeyUse } from './select.ts';

/** Parsed public material. */
export type ParsedMaterial =
  | {
      readonly format: 'smime';
      readonly certificate: Certificate;
      /** Content ciphers that the certificate itself announces. */
      readonly ciphers?: readonly string[];
    }
  | { readonly format: 'pgp'; readonly certificate: PgpCertificate };

/** Parses the public material of a record. Throws GatewayError where it cannot be read. */
export async function parseMaterial(record: KeyRecord): Promise<ParsedMaterial> {
  if (record.format === 'pgp') return { format: 'pgp', certificate: await parsePublicKey(record.material) };
  // `parsePemCertificates` gives one or throws.
  const [certificate] = parsePemCertificates(record.material) as readonly [Certificate];
  const ciphers = certificateCapabilities(certificate);
  return { format: 'smime', certificate, ...(ciphers && { ciphers }) };
}

/** Whether the key may be used for the purpose at that time. Reasons are for people. */
export async function materialUse(material: ParsedMaterial, purpose: KeyPurpose, at: Date): Promise<KeyUse> {
  if (material.format === 'pgp') return pgpUse(material.certificate, purpose, at);
  const use = smimeUse(material.certificate, purpose, at);
  return use.usable && isMlKem(material.certificate.keyType) ? { ...use, isMlKem: true } : use;
}

/** Security levels of RSA by the size of the modulus (NIST SP 800-57 part 1, table 2; 4,096 in between). */
const RSA_STRENGTHS = [
  [15_360, 256],
  [7_680, 192],
  [4_096, 140],
  [3_072, 128],
  [2_048, 112],
] as const;

/** How strong the key is, in bits, to choose between two that are both strong enough. Of OpenPGP keys nothing is said. */
export function strengthOf(material: ParsedMaterial): number | undefined {
  if (material.format === 'pgp') return undefined;
  const { asymmetricKeyType: type = '', asymmetricKeyDetails } = material.certificate.publicKey;
  const { modulusLength, namedCurve = '' } = asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined) return RSA_STRENGTHS.find(([bits]) => modulusLength >= bits)?.[1] ?? 80;
  if (type === 'x25519') return 128;
  if (type === 'x448') return 224;
  // Curves are named by their size, ML-KEM by four times its level.
  const size = Number(/\d{3,4}/.exec(namedCurve === '' ? type : namedCurve)?.[0] ?? 0);
  return type.startsWith('ml-kem') ? size / 4 : Math.floor(size / 2);
}

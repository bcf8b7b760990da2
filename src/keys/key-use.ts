// What a record's material may be used for now: the answer of the format's own certificate module.
import type { KeyPurpose, KeyRecord } from '../core/key.ts';
import { certificateUse as pgpUse, parsePublicKey, type PgpCertificate } from '../pgp/certificate.ts';
import { certificateCapabilities } from '../smime/capabilities.ts';
import { type Certificate, certificateUse as smimeUse, parsePemCertificates } from '../smime/certificate.ts';
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
  return material.format === 'pgp'
    ? pgpUse(material.certificate, purpose, at)
    : smimeUse(material.certificate, purpose, at);
}

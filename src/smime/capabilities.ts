// SMIMECapabilities (RFC 8551 §2.5.2, RFC 4262): what we announce, and what others announce. Which content cipher follows
// from it is the policy's business (policy/content-mode.ts).
import { cbcCiphers, gcmCiphers, ID, weakCiphers } from './algorithms.ts';
import { algorithmIdentifier, sequence } from './ber-writer.ts';
import type { Certificate } from './certificate.ts';
import { type DerNode, fieldsOf, listOf, octetsOf, oidOf, parseDer, TAG } from './der.ts';

/** What this gateway encrypts with. */
export type WrittenCipher = 'aes-256-cbc' | 'aes-256-gcm';

/** What our decrypt stage reads, best first. */
const OWN = [ID.aes256Gcm, ID.aes128Gcm, ID.aes256Cbc, ID.aes128Cbc, ID.cekHkdfSha256];
/** Not a cipher: keys derived for their algorithm (RFC 9709 §5). */
const KEY_DERIVATION = 'cek-hkdf-sha256';
const MAX_CAPABILITIES = 100;
const NAMES: ReadonlyMap<string, string> = new Map([
  ...[...gcmCiphers, ...cbcCiphers].map(([id, { name }]) => [id, name] as const),
  ...weakCiphers,
  [ID.cekHkdfSha256, KEY_DERIVATION],
]);

/** The value of the attribute in our own signatures. */
export function writeCapabilities(): Buffer {
  return sequence(...OWN.map((id) => algorithmIdentifier(id)));
}

/**
 * Content ciphers of an SMIMECapabilities value by their names here, in the order of preference that it states. Others
 * are left out. Throws GatewayError `config-invalid` where it is malformed.
 */
export function readCapabilities(value: DerNode): readonly string[] {
  const names = listOf(value)
    .slice(0, MAX_CAPABILITIES)
    .map((capability) => NAMES.get(oidOf(fieldsOf(capability).take(TAG.oid))));
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** What the certificate itself announces (RFC 4262); undefined where it says nothing that can be read. */
export function certificateCapabilities({ der }: Certificate): readonly string[] | undefined {
  try {
    const body = listOf(parseDer(der))[0];
    const extensions = body?.children.find(({ tag }) => tag === 0xa3)?.children[0];
    const found = extensions?.children.find(
      (extension) => oidOf(fieldsOf(extension).take(TAG.oid)) === ID.smimeCapabilities,
    );
    const value = found?.children.at(-1);
    return value && readCapabilities(parseDer(octetsOf(value)));
  } catch {
    return undefined;
  }
}

// From key records to what the crypto folders take: certificates, signers, decryption keys of one tenant.
import type { Address } from '../core/address.ts';
import { GatewayError } from '../core/errors.ts';
import type { KeyId, KeyRecord } from '../core/key.ts';
import type { TenantKeys } from '../keys/store.ts';
import { parseAddressList } from '../mime/address-list.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';
import {
  parsePrivateKey,
  parsePublicKey,
  type PgpCertificate,
  type PgpPrivateKey,
} from '../pgp/certificate.ts';
import { type Certificate, parsePemCertificates } from '../smime/certificate.ts';
import type { SmimeDecryptionKey, SmimeSigner } from '../smime/message.ts';
import { readPrivateKey } from '../smime/private-key.ts';

/** Of a From field that names many, only the first are looked up. */
const MAX_AUTHORS = 5;

export async function smimeCertificate(keys: TenantKeys, id: KeyId): Promise<Certificate> {
  return leafOf(await recordOf(keys, id));
}

export async function smimeSigner(keys: TenantKeys, id: KeyId): Promise<SmimeSigner> {
  const [certificate, ...chain] = chainOf(await recordOf(keys, id));
  return keys.withPrivateKey(id, (material) =>
    Promise.resolve({ certificate, chain, key: readPrivateKey(material.reveal().toString()) }),
  );
}

export async function pgpCertificate(keys: TenantKeys, id: KeyId): Promise<PgpCertificate> {
  return parsePublicKey((await recordOf(keys, id)).material);
}

export async function pgpSigner(keys: TenantKeys, id: KeyId): Promise<PgpPrivateKey> {
  return keys.withPrivateKey(id, (material) => parsePrivateKey(material.reveal().toString()));
}

/** Every private key that may decrypt for these addresses, old ones included. */
export async function smimeDecryptionKeys(
  keys: TenantKeys,
  owners: readonly Address[],
): Promise<readonly SmimeDecryptionKey[]> {
  const records = await ownRecords(keys, owners, 'smime');
  return Promise.all(
    records.map((record) =>
      keys.withPrivateKey(record.id, (material) =>
        Promise.resolve({ certificate: leafOf(record), key: readPrivateKey(material.reveal().toString()) }),
      ),
    ),
  );
}

export async function pgpDecryptionKeys(
  keys: TenantKeys,
  owners: readonly Address[],
): Promise<readonly PgpPrivateKey[]> {
  const records = await ownRecords(keys, owners, 'pgp');
  return Promise.all(
    records.map((record) =>
      keys.withPrivateKey(record.id, (material) => parsePrivateKey(material.reveal().toString())),
    ),
  );
}

/** OpenPGP certificates that our store binds to the From addresses. SECURITY: user ids in the mail count for nothing. */
export async function pgpVerificationKeys(
  keys: TenantKeys,
  header: HeaderSection,
): Promise<readonly PgpCertificate[]> {
  const records = await recordsOfAuthors(keys, header, 'pgp');
  return Promise.all(records.map((record) => parsePublicKey(record.material)));
}

/** What stands behind the certificates that our store binds to the From addresses. It helps to find a path, not to trust. */
export async function storedIssuers(
  keys: TenantKeys,
  header: HeaderSection,
): Promise<readonly Certificate[]> {
  const records = await recordsOfAuthors(keys, header, 'smime');
  return records.flatMap((record) => chainOf(record).slice(1));
}

async function recordsOfAuthors(
  keys: TenantKeys,
  header: HeaderSection,
  format: KeyRecord['format'],
): Promise<readonly KeyRecord[]> {
  const addresses = fieldsNamed(header, 'from').flatMap(
    (field) => parseAddressList(fieldValue(field))?.mailboxes ?? [],
  );
  const found = await Promise.all(
    addresses.slice(0, MAX_AUTHORS).map(({ address }) => keys.recordsFor(address, format)),
  );
  return [...new Map(found.flat().map((record) => [record.id, record])).values()];
}

async function ownRecords(
  keys: TenantKeys,
  owners: readonly Address[],
  format: KeyRecord['format'],
): Promise<readonly KeyRecord[]> {
  const found = await Promise.all(owners.map((owner) => keys.ownKeysFor(owner, format)));
  return [...new Map(found.flat().map((record) => [record.id, record])).values()];
}

async function recordOf(keys: TenantKeys, id: KeyId): Promise<KeyRecord> {
  const record = await keys.get(id);
  if (!record)
    throw new GatewayError('key-unreadable', 'a key that the plan names is gone', { detail: { key: id } });
  return record;
}

/** The certificate of a record and what leads from there to a root. */
export function chainOf(record: KeyRecord): readonly [Certificate, ...Certificate[]] {
  const [leaf, ...rest] = parsePemCertificates(record.material);
  if (!leaf)
    throw new GatewayError('key-unreadable', 'a key record has no certificate', {
      detail: { key: record.id },
    });
  return [leaf, ...rest];
}

function leafOf(record: KeyRecord): Certificate {
  return chainOf(record)[0];
}

// Key records as the store keeps them: their names in the key database and their one JSON form.
import type { KeyFormat, KeyId, KeyRecord, KeyRole } from '../core/key.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import { parseTenantId, type TenantId } from '../core/origin.ts';

/** A record with its state in the store. */
export interface StoredKey extends KeyRecord {
  /** No longer declared: kept to decrypt old mail, never used to sign or to encrypt. */
  readonly isRetired: boolean;
}

const FINGERPRINT = /^[0-9a-f]{40,64}$/;

/** `<format>:<fingerprint>`; undefined for what is not a fingerprint. */
export function makeKeyId(format: KeyFormat, fingerprint: string): KeyId | undefined {
  const hex = fingerprint.toLowerCase();
  return FINGERPRINT.test(hex) ? (`${format}:${hex}` as KeyId) : undefined;
}

/** Reads a key id as operators write it. */
export function parseKeyId(text: string): KeyId | undefined {
  const [format, fingerprint, ...rest] = text.split(':');
  if ((format !== 'smime' && format !== 'pgp') || fingerprint === undefined || rest.length > 0)
    return undefined;
  return makeKeyId(format, fingerprint);
}

export function formatOf(id: KeyId): KeyFormat {
  return id.startsWith('smime:') ? 'smime' : 'pgp';
}

/** The public record of a key. */
export function recordName(tenant: TenantId, id: KeyId): string {
  return `${recordPrefix(tenant)}${id}`;
}

/** Of one tenant's records; without a tenant, of all. */
export function recordPrefix(tenant?: TenantId): string {
  return prefixOf('key', tenant);
}

/** The tenant that a row's name belongs to. */
export function tenantOfName(name: string): TenantId | undefined {
  return parseTenantId(name.split('/')[1] ?? '');
}

/** The private material of a key: a row of its own, read only to use it. */
export function privateName(tenant: TenantId, id: KeyId): string {
  return `${privatePrefix(tenant)}${id}`;
}

export function privatePrefix(tenant?: TenantId): string {
  return prefixOf('private', tenant);
}

/** One row per address of a key, so that a damaged record still shows for whom it was (`key-unreadable`, not `none`). */
export function addressName(tenant: TenantId, id: KeyId, address: string): string {
  return `${addressPrefix(tenant)}${id}/${address}`;
}

export function addressPrefix(tenant?: TenantId): string {
  return prefixOf('address', tenant);
}

/** Takes an address row's name apart; undefined for a name that this file did not make. */
export function parseAddressName(tenant: TenantId, name: string): { id: KeyId; address: string } | undefined {
  const rest = name.slice(addressPrefix(tenant).length);
  const slash = rest.indexOf('/');
  const id = parseKeyId(rest.slice(0, Math.max(0, slash)));
  return id && { id, address: rest.slice(slash + 1) };
}

/** What a key's owner was heard to announce: one row for all of its addresses. */
export function learnedName(tenant: TenantId, id: KeyId): string {
  return `${learnedPrefix(tenant)}${id}`;
}

export function learnedPrefix(tenant: TenantId): string {
  return prefixOf('learned', tenant);
}

export function writeRecord(record: StoredKey): Buffer {
  const { notBefore, notAfter, ...rest } = record;
  return Buffer.from(
    JSON.stringify({
      ...rest,
      notBefore: notBefore.toISOString(),
      ...(notAfter && { notAfter: notAfter.toISOString() }),
    }),
  );
}

/** Reads what `writeRecord` wrote; undefined for anything else, or for the record of another key or tenant. */
export function readRecord(bytes: Buffer, tenant: TenantId, id: KeyId): StoredKey | undefined {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const field = new Map<string, unknown>(Object.entries(value));
  const addresses = field.get('addresses');
  const notBefore = readDate(field.get('notBefore'));
  const notAfter = readDate(field.get('notAfter'));
  const role = field.get('role');
  const source = field.get('source');
  const material = field.get('material');
  const hasPrivateKey = field.get('hasPrivateKey');
  const isRetired = field.get('isRetired');
  if (field.get('id') !== id || field.get('tenant') !== tenant) return undefined;
  if (!isTextList(addresses) || !isNonEmpty(addresses) || typeof material !== 'string') return undefined;
  if (!isRole(role) || (source !== 'policy' && source !== 'manual') || !notBefore) return undefined;
  // An end that cannot be read is not "never", a mark that cannot be read is not "no".
  if (field.has('notAfter') && !notAfter) return undefined;
  if (typeof hasPrivateKey !== 'boolean' || typeof isRetired !== 'boolean') return undefined;
  return {
    id,
    tenant,
    format: formatOf(id),
    role,
    addresses,
    material,
    hasPrivateKey,
    notBefore,
    ...(notAfter && { notAfter }),
    source,
    isRetired,
  };
}

function prefixOf(kind: 'key' | 'private' | 'address' | 'learned', tenant: TenantId | undefined): string {
  return tenant === undefined ? `${kind}/` : `${kind}/${tenant}/`;
}

function isRole(value: unknown): value is KeyRole {
  return value === 'own' || value === 'partner';
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function readDate(value: unknown): Date | undefined {
  const date = typeof value === 'string' ? new Date(value) : undefined;
  return date && !Number.isNaN(date.getTime()) ? date : undefined;
}

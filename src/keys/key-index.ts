// Which keys a tenant has, for which addresses, by the names of the rows alone: nothing has to be opened to know it, so
// a damaged record is still known to be there, and one of which only some rows are left too.
import type { KeyFormat, KeyId } from '../core/key.ts';
import type { TenantId } from '../core/origin.ts';
import type { KeyDatabase } from '../storage/key-database.ts';
import {
  addressPrefix,
  formatOf,
  parseAddressName,
  parseKeyId,
  privatePrefix,
  recordPrefix,
} from './records.ts';

/** What the store needs of the key database. A map in memory has it too. */
export type KeyRows = Pick<KeyDatabase, 'get' | 'names' | 'batch'>;

/** In memory, kept in step by the store. */
export class KeyIndex {
  readonly #ids = new Set<KeyId>();
  readonly #privateIds = new Set<KeyId>();
  readonly #addresses = new Map<KeyId, readonly string[]>();
  readonly #byAddress = new Map<string, Set<KeyId>>();

  /** Throws GatewayError `store-failed` where the database has stopped. */
  static load(rows: KeyRows, tenant: TenantId): KeyIndex {
    const index = new KeyIndex();
    const privateIds = new Set(idsBelow(rows, privatePrefix(tenant)));
    const addresses = new Map<KeyId, string[]>();
    for (const name of rows.names(addressPrefix(tenant))) {
      const row = parseAddressName(tenant, name);
      if (row) addresses.set(row.id, [...(addresses.get(row.id) ?? []), row.address]);
    }
    // SECURITY: a key whose record is gone is damaged, not absent (test: damaged, not absent).
    const ids = new Set([...idsBelow(rows, recordPrefix(tenant)), ...addresses.keys(), ...privateIds]);
    for (const id of ids) index.set(id, addresses.get(id) ?? [], privateIds.has(id));
    return index;
  }

  has(id: KeyId): boolean {
    return this.#ids.has(id);
  }

  hasPrivate(id: KeyId): boolean {
    return this.#privateIds.has(id);
  }

  ids(): readonly KeyId[] {
    return [...this.#ids];
  }

  addressesOf(id: KeyId): readonly string[] {
    return this.#addresses.get(id) ?? [];
  }

  /** `address`: an `Address.key`, or `@domain`. Exact only. */
  idsFor(address: string, format: KeyFormat): readonly KeyId[] {
    return [...(this.#byAddress.get(address) ?? [])].filter((id) => formatOf(id) === format);
  }

  set(id: KeyId, addresses: readonly string[], hasPrivate: boolean): void {
    this.delete(id);
    this.#ids.add(id);
    if (hasPrivate) this.#privateIds.add(id);
    this.#addresses.set(id, addresses);
    for (const address of addresses) {
      const ids = this.#byAddress.get(address) ?? new Set();
      this.#byAddress.set(address, ids.add(id));
    }
  }

  delete(id: KeyId): void {
    for (const address of this.addressesOf(id)) this.#byAddress.get(address)?.delete(id);
    this.#ids.delete(id);
    this.#privateIds.delete(id);
    this.#addresses.delete(id);
  }
}

function idsBelow(rows: KeyRows, prefix: string): readonly KeyId[] {
  return rows.names(prefix).flatMap((name) => parseKeyId(name.slice(prefix.length)) ?? []);
}

// Which keys a tenant has, for which addresses, by the names of the rows alone: nothing has to be opened to know it, so
// a damaged record is still known to be there.
import type { KeyFormat, KeyId } from '../core/key.ts';
import type { TenantId } from '../core/origin.ts';
import type { KeyDatabase } from '../storage/key-database.ts';
import {
  addressPrefix,
  formatOf,
  parseAddressName,
  parseKeyId,
  privateName,
  recordPrefix,
} from './records.ts';

/** In memory, kept in step by the store. */
export class KeyIndex {
  readonly #ids = new Set<KeyId>();
  readonly #privateIds = new Set<KeyId>();
  readonly #addresses = new Map<KeyId, readonly string[]>();
  readonly #byAddress = new Map<string, Set<KeyId>>();

  /** Throws GatewayError `store-failed` where the database has stopped. */
  static load(database: KeyDatabase, tenant: TenantId): KeyIndex {
    const index = new KeyIndex();
    const prefix = recordPrefix(tenant);
    const privateNames = new Set(database.names(privateName(tenant, '' as KeyId)));
    const addresses = new Map<KeyId, string[]>();
    for (const name of database.names(addressPrefix(tenant))) {
      const row = parseAddressName(tenant, name);
      if (row) addresses.set(row.id, [...(addresses.get(row.id) ?? []), row.address]);
    }
    for (const name of database.names(prefix)) {
      const id = parseKeyId(name.slice(prefix.length));
      if (id) index.set(id, addresses.get(id) ?? [], privateNames.has(privateName(tenant, id)));
    }
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

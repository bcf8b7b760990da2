// The key store: records and private keys of each tenant over the key database. One tenant can never reach the keys of
// another: every row name holds the tenant, and the handle of a tenant makes no other names.
import { type Address, plusBase } from '../core/address.ts';
import { GatewayError } from '../core/errors.ts';
import type {
  Announced,
  KeyFormat,
  KeyId,
  KeyLookup,
  KeyPurpose,
  KeyRecord,
  UsableKey,
} from '../core/key.ts';
import type { Log } from '../core/log.ts';
import type { TenantId } from '../core/origin.ts';
import { Secret } from '../core/secret.ts';
import type { Learned, Lesson, Taught } from './capabilities.ts';
import { KeyIndex, type KeyRows } from './key-index.ts';
import { materialUse, type ParsedMaterial, parseMaterial, strengthOf } from './key-use.ts';
import { LearnedCapabilities } from './learned.ts';
import {
  addressName,
  addressPrefix,
  makeKeyId,
  privateName,
  privatePrefix,
  readRecord,
  recordName,
  recordPrefix,
  type StoredKey,
  tenantOfName,
  writeRecord,
} from './records.ts';
import { type Candidate, selectKeys } from './select.ts';

export interface KeyStore {
  forTenant(id: TenantId): TenantKeys;
  /** Tenants that have keys here, damaged ones too, whether or not a policy is loaded for them. */
  tenants(): readonly TenantId[];
}

/** All methods throw GatewayError `store-failed` where the database cannot be read or written. */
export interface TenantKeys {
  /** The keys for an address and purpose at that time, or why there is none. */
  lookup(address: Address, format: KeyFormat, purpose: KeyPurpose, at: Date): Promise<KeyLookup>;
  /**
   * Every own key that may decrypt mail to the address (exact, without `+tag`, domain), expired and retired ones too,
   * newest first. Damaged ones are logged and left out.
   */
  ownKeysFor(address: Address, format: KeyFormat): Promise<readonly StoredKey[]>;
  /**
   * Every key that is bound to the address (exact, domain), of any role, expired and retired ones too: for verification.
   * Damaged ones are logged and left out.
   */
  recordsFor(address: Address, format: KeyFormat): Promise<readonly StoredKey[]>;
  /** Throws `key-unreadable` for a damaged record. */
  get(id: KeyId): Promise<StoredKey | undefined>;
  /** All records that can be read, and the ids of those that cannot, their private part included. */
  inspect(): Promise<{ readonly records: readonly StoredKey[]; readonly unreadable: readonly KeyId[] }>;
  /**
   * Adds or replaces a record, durable when it resolves. `privateMaterial`: PKCS#8 PEM, or an armoured OpenPGP private key
   * without password. Without it a private part that is there stays. Throws `config-invalid` where a record claims a
   * private part that is neither given nor there.
   */
  put(record: KeyRecord & { readonly isRetired?: boolean }, privateMaterial?: Secret): Promise<void>;
  /** Removes a record and destroys its private key, retired keys too. False: there was none. */
  remove(id: KeyId): Promise<boolean>;
  /** Lends the private material; it is wiped when `use` has settled. Throws `key-unreadable` where there is none. */
  withPrivateKey<T>(id: KeyId, use: (material: Secret) => Promise<T>): Promise<T>;
  /**
   * Takes what signed mail says of the software behind a key. Only for keys that are here, and for an address or domain that
   * they are declared for, since for others they are never encrypted to. SECURITY: the caller has verified the signature (pipeline/lessons).
   */
  learn(id: KeyId, lesson: Lesson, at: Date): Promise<Taught>;
  /** What was learned of a key, by address. */
  learnedOf(id: KeyId): Promise<readonly Learned[]>;
  /** Forgets what was learned of a key. False: there was nothing. */
  forgetLearned(id: KeyId): Promise<boolean>;
}

type KeyOperation = Parameters<KeyRows['batch']>[0][number];

interface Loaded {
  readonly record: StoredKey;
  readonly material: ParsedMaterial;
}

interface Match {
  readonly id: KeyId;
  readonly matchedBy: UsableKey['matchedBy'];
}

const MAX_CACHED_RECORDS = 2_000;

/** The store over an open database, which stays the caller's to close. There must be one store per database. */
export function openKeyStore(options: { readonly database: KeyRows; readonly log: Log }): KeyStore {
  const tenants = new Map<TenantId, TenantKeys>();
  return {
    forTenant(id) {
      const known = tenants.get(id);
      if (known) return known;
      const keys = new DatabaseTenantKeys(options.database, id, options.log.with({ tenant: id }));
      tenants.set(id, keys);
      return keys;
    },
    tenants: () => [
      ...new Set(
        [recordPrefix, privatePrefix, addressPrefix]
          .flatMap((prefix) => options.database.names(prefix()))
          .flatMap((name) => tenantOfName(name) ?? []),
      ),
    ],
  };
}

class DatabaseTenantKeys implements TenantKeys {
  readonly #database: KeyRows;
  readonly #tenant: TenantId;
  readonly #log: Log;
  readonly #cache = new Map<KeyId, Loaded>();
  readonly #learned: LearnedCapabilities;
  #index: KeyIndex | undefined;
  #writes = 0;
  #lastWrite: Promise<unknown> = Promise.resolve();

  constructor(database: KeyRows, tenant: TenantId, log: Log) {
    this.#database = database;
    this.#tenant = tenant;
    this.#log = log;
    this.#learned = new LearnedCapabilities(database, tenant, log);
  }

  async lookup(address: Address, format: KeyFormat, purpose: KeyPurpose, at: Date): Promise<KeyLookup> {
    const candidates: Candidate[] = [];
    for (const { id, matchedBy } of this.#matches(address, format)) {
      const loaded = await this.#loadOrReport(id);
      if (!loaded) {
        candidates.push({ kind: 'unreadable', id });
        continue;
      }
      const use = await materialUse(loaded.material, purpose, at);
      const announces = purpose === 'encrypt' ? await this.#announced(loaded, address) : undefined;
      const strength = strengthOf(loaded.material);
      candidates.push({
        kind: 'readable',
        record: loaded.record,
        matchedBy,
        use,
        ...(announces && { announces }),
        ...(strength !== undefined && { strength }),
      });
    }
    return selectKeys(candidates, purpose);
  }

  async ownKeysFor(address: Address, format: KeyFormat): Promise<readonly StoredKey[]> {
    const found = await this.#readable(this.#matches(address, format));
    return found
      .filter(({ hasPrivateKey }) => hasPrivateKey)
      .toSorted((one, other) => other.notBefore.getTime() - one.notBefore.getTime());
  }

  recordsFor(address: Address, format: KeyFormat): Promise<readonly StoredKey[]> {
    const bound = this.#matches(address, format).filter(({ matchedBy }) => matchedBy !== 'plus-base');
    return this.#readable(bound);
  }

  async get(id: KeyId): Promise<StoredKey | undefined> {
    return this.#openIndex().has(id) ? (await this.#load(id)).record : undefined;
  }

  async inspect(): Promise<{ records: readonly StoredKey[]; unreadable: readonly KeyId[] }> {
    const records: StoredKey[] = [];
    const unreadable: KeyId[] = [];
    for (const id of this.#openIndex().ids()) {
      const record = await this.#inspectOne(id).catch(asUnreadable);
      if (record) records.push(record);
      else unreadable.push(id);
    }
    return { records, unreadable };
  }

  put(record: KeyRecord & { readonly isRetired?: boolean }, privateMaterial?: Secret): Promise<void> {
    return this.#inTurn(async () => {
      const { id } = record;
      if (record.tenant !== this.#tenant) throw invalid('key record of another tenant');
      const index = this.#openIndex();
      const hasPrivateKey = privateMaterial !== undefined || index.hasPrivate(id);
      if (record.hasPrivateKey && !hasPrivateKey) throw invalid(`${id} is stored without its private key`);
      const stored: StoredKey = { ...record, hasPrivateKey, isRetired: record.isRetired ?? false };
      // What cannot be read back must not get in.
      const material = await parseMaterial(stored);
      const { fingerprint } = material.certificate;
      if (makeKeyId(material.format, fingerprint) !== id) throw invalid(`${id} is stored with another key`);
      await this.#write([
        ...index
          .addressesOf(id)
          .filter((address) => !record.addresses.includes(address))
          .map((address): KeyOperation => ({ kind: 'delete', name: this.#addressName(id, address) })),
        ...record.addresses.map((address) => put(this.#addressName(id, address), Buffer.of(1))),
        ...(privateMaterial ? [put(privateName(this.#tenant, id), privateMaterial.reveal())] : []),
        put(recordName(this.#tenant, id), writeRecord(stored)),
      ]);
      index.set(id, record.addresses, hasPrivateKey);
      this.#remember(id, { record: stored, material });
    });
  }

  remove(id: KeyId): Promise<boolean> {
    return this.#inTurn(async () => {
      const index = this.#openIndex();
      if (!index.has(id)) return false;
      const names = [
        recordName(this.#tenant, id),
        ...(index.hasPrivate(id) ? [privateName(this.#tenant, id)] : []),
        ...index.addressesOf(id).map((address) => this.#addressName(id, address)),
      ];
      const learned = this.#learned.removal(id);
      await this.#write([...names.map((name) => ({ kind: 'delete' as const, name })), ...learned]);
      index.delete(id);
      this.#learned.removed(id);
      this.#cache.delete(id);
      return true;
    });
  }

  async withPrivateKey<T>(id: KeyId, use: (material: Secret) => Promise<T>): Promise<T> {
    const value = await this.#database.get(privateName(this.#tenant, id));
    if (!value) throw unreadable(id);
    const material = new Secret(value);
    value.fill(0);
    try {
      return await use(material);
    } finally {
      material.reveal().fill(0);
    }
  }

  learn(id: KeyId, lesson: Lesson, at: Date): Promise<Taught> {
    return this.#inTurn(async () => {
      const domain = lesson.address.slice(lesson.address.lastIndexOf('@'));
      const bound = this.#openIndex().addressesOf(id);
      // SECURITY: nobody makes room for themselves in what is known of another's key (test: not theirs).
      const isTheirs = bound.includes(lesson.address) || bound.includes(domain);
      return isTheirs ? this.#learned.learn(id, lesson, at) : 'nothing';
    });
  }

  learnedOf(id: KeyId): Promise<readonly Learned[]> {
    return this.#learned.of(id);
  }

  forgetLearned(id: KeyId): Promise<boolean> {
    return this.#inTurn(() => this.#learned.forget(id));
  }

  /** What was learned comes before what the certificate says: it is newer, and the software's own word. */
  async #announced({ record, material }: Loaded, address: Address): Promise<Announced | undefined> {
    if (material.format !== 'smime') return undefined;
    const learned = await this.#learned.of(record.id);
    const own = [address, plusBase(address)].flatMap((each) => each?.key ?? []);
    const heard = own.map((key) => learned.find((each) => each.address === key)).find((each) => each);
    if (heard) return { by: 'learned', ciphers: heard.ciphers, at: heard.signedAt };
    return material.ciphers && { by: 'certificate', ciphers: material.ciphers };
  }

  /** Ids that match the address, each once, under its closest match. */
  #matches(address: Address, format: KeyFormat): readonly Match[] {
    const index = this.#openIndex();
    const base = plusBase(address);
    const ways: readonly (readonly [string | undefined, UsableKey['matchedBy']])[] = [
      [address.key, 'address'],
      [base?.key, 'plus-base'],
      [`@${address.domain}`, 'domain'],
    ];
    const found = new Map<KeyId, Match>();
    for (const [key, matchedBy] of ways) {
      for (const id of key === undefined ? [] : index.idsFor(key, format))
        if (!found.has(id)) found.set(id, { id, matchedBy });
    }
    return [...found.values()];
  }

  async #readable(matches: readonly Match[]): Promise<readonly StoredKey[]> {
    const found: StoredKey[] = [];
    for (const { id } of matches) {
      const loaded = await this.#loadOrReport(id);
      if (loaded) found.push(loaded.record);
    }
    return found;
  }

  async #loadOrReport(id: KeyId): Promise<Loaded | undefined> {
    const loaded = await this.#load(id).catch(asUnreadable);
    if (!loaded) this.#log.error('key-unreadable', { key: id });
    return loaded;
  }

  async #load(id: KeyId): Promise<Loaded> {
    const cached = this.#cache.get(id);
    if (cached) return cached;
    const writes = this.#writes;
    const value = await this.#database.get(recordName(this.#tenant, id));
    const record = value && readRecord(value, this.#tenant, id);
    if (!record) throw unreadable(id);
    const material = await parseMaterial(record).catch(() => {
      throw unreadable(id);
    });
    const loaded = { record, material };
    // SECURITY: what was read before a write must not stay after it (test: a look-up during a change).
    if (writes === this.#writes) this.#remember(id, loaded);
    return loaded;
  }

  async #inspectOne(id: KeyId): Promise<StoredKey> {
    this.#cache.delete(id);
    const { record } = await this.#load(id);
    const indexed = this.#openIndex().addressesOf(id);
    // SECURITY: without its address rows no look-up finds the key, as if there were none (test: lost address row).
    if (!record.addresses.every((address) => indexed.includes(address))) throw unreadable(id);
    if (record.hasPrivateKey) await this.withPrivateKey(id, () => Promise.resolve());
    return record;
  }

  #remember(id: KeyId, loaded: Loaded): void {
    this.#cache.delete(id);
    this.#cache.set(id, loaded);
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > MAX_CACHED_RECORDS && oldest !== undefined) this.#cache.delete(oldest);
  }

  #openIndex(): KeyIndex {
    this.#index ??= KeyIndex.load(this.#database, this.#tenant);
    return this.#index;
  }

  #addressName(id: KeyId, address: string): string {
    return addressName(this.#tenant, id, address);
  }

  async #write(operations: readonly KeyOperation[]): Promise<void> {
    try {
      await this.#database.batch(operations);
    } catch (error) {
      // SECURITY: a write that failed may have happened; what we remember could turn a key into "no key".
      this.#index = undefined;
      this.#cache.clear();
      throw error;
    } finally {
      this.#writes += 1;
    }
  }

  #inTurn<T>(write: () => Promise<T>): Promise<T> {
    const done = this.#lastWrite.then(write);
    this.#lastWrite = done.catch(() => undefined);
    return done;
  }
}

function put(name: string, value: Uint8Array): KeyOperation {
  return { kind: 'put', name, value };
}

/** A damaged record as undefined; every other failure goes on. */
function asUnreadable(error: unknown): undefined {
  if (error instanceof GatewayError && error.code === 'key-unreadable') return undefined;
  throw error;
}

function unreadable(id: KeyId): GatewayError {
  return new GatewayError('key-unreadable', `stored key ${id} cannot be read`, { detail: { key: id } });
}

function invalid(reason: string): GatewayError {
  return new GatewayError('config-invalid', reason);
}

// Support for tests of the key store: stores in a folder that goes away, declared keys in few words, rows damaged behind
// the store's back.
import { join } from 'node:path';
import { Level } from 'level';
import type { KeyFormat, KeyId, KeyLookup, KeyRecord, KeyRole } from '../../src/core/key.ts';
import { openLog } from '../../src/core/log.ts';
import { isNonEmpty, type NonEmpty } from '../../src/core/non-empty.ts';
import type { TenantId } from '../../src/core/origin.ts';
import { Secret } from '../../src/core/secret.ts';
import type { DeclaredKey } from '../../src/keys/plan.ts';
import { makeKeyId, type StoredKey } from '../../src/keys/records.ts';
import { type KeyStore, openKeyStore, type TenantKeys } from '../../src/keys/store.ts';
import { initKeyDatabase, type KeyDatabase, openKeyDatabase } from '../../src/storage/key-database.ts';
import { emailName, makeCertificate, altNames } from './certificates.ts';
import type { TestKey } from './pgp.ts';
import { TENANT_A } from './policy.ts';
import { makeFolder, testKek } from './storage.ts';

export const NOW = new Date('2026-06-01T12:00:00Z');

export interface OpenStore extends AsyncDisposable {
  readonly database: KeyDatabase;
  readonly store: KeyStore;
  readonly keys: TenantKeys;
  /** What was logged, as JSON lines. */
  readonly logged: readonly string[];
}

/** A folder with an empty key database, removed at the end. */
export async function makeStoreFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const folder = await makeFolder();
  await initKeyDatabase({ folder: folder.path, kek: testKek });
  return folder;
}

/** Opens the store in that folder, the keys of TENANT_A at hand. */
export async function openStore(folder: string, acceptLoss = false): Promise<OpenStore> {
  const database = await openKeyDatabase({ folder, kek: testKek, acceptLoss });
  const logged: string[] = [];
  const log = openLog('info', { write: (line) => void logged.push(line) });
  const store = openKeyStore({ database, log });
  return {
    database,
    store,
    keys: store.forTenant(TENANT_A),
    logged,
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

/** Runs on an empty store of its own. */
export async function withStore(run: (store: OpenStore, folder: string) => Promise<void>): Promise<void> {
  await using folder = await makeStoreFolder();
  await using store = await openStore(folder.path);
  await run(store, folder.path);
}

/** Overwrites a closed database's row with other bytes, or takes it away. */
export async function damageRow(folder: string, name: string, how: 'change' | 'delete'): Promise<void> {
  const level = new Level<string, Buffer>(join(folder, 'level'), {
    createIfMissing: false,
    valueEncoding: 'buffer',
  });
  await level.open();
  const row = `record:${name}`;
  const value = await level.get(row);
  if (value === undefined) throw new Error(`no row ${name}`);
  if (how === 'delete') await level.del(row);
  else await level.put(row, Buffer.concat([value.subarray(0, -1), Buffer.of((value.at(-1) ?? 0) ^ 1)]));
  await level.close();
}

export interface KeyRequest {
  readonly role?: KeyRole;
  readonly tenant?: TenantId;
  readonly source?: KeyRecord['source'];
  /** UTCTime: `260101000000Z`. */
  readonly notBefore?: string;
  readonly notAfter?: string;
}

/** A new self-signed certificate, declared for these addresses (`Address.key` or `@domain`); with its key if `own`. */
export function smimeKey(addresses: string | readonly string[], request: KeyRequest = {}): DeclaredKey {
  const list = [addresses].flat();
  const { role = 'partner', notBefore, notAfter } = request;
  const emails = list.filter((address) => !address.startsWith('@'));
  const { certificate, key } = makeCertificate({
    extensions: [altNames(...(emails.length > 0 ? emails : ['x@any.example']).map(emailName))],
    ...(notBefore !== undefined && { notBefore }),
    ...(notAfter !== undefined && { notAfter }),
  });
  return declare('smime', certificate, certificate.pem, list, request, {
    ...(role === 'own' && { privateMaterial: new Secret(key.export({ type: 'pkcs8', format: 'pem' })) }),
  });
}

/** An OpenPGP key, declared for these addresses. */
export function pgpKey(
  key: TestKey,
  addresses: string | readonly string[],
  request: KeyRequest = {},
): DeclaredKey {
  return declare('pgp', key.certificate, key.certificate.armored, [addresses].flat(), request, {
    ...(request.role === 'own' && { privateMaterial: new Secret(key.own.key.armor()) }),
  });
}

function declare(
  format: KeyFormat,
  certificate: { readonly fingerprint: string; readonly notBefore: Date; readonly notAfter?: Date },
  material: string,
  addresses: readonly string[],
  { role = 'partner', tenant = TENANT_A, source = 'policy' }: KeyRequest,
  { privateMaterial }: { readonly privateMaterial?: Secret },
): DeclaredKey {
  const { notBefore, notAfter } = certificate;
  const record = {
    id: keyIdOf(format, certificate.fingerprint),
    tenant,
    format,
    role,
    addresses: nonEmpty(addresses),
    material,
    hasPrivateKey: privateMaterial !== undefined,
    notBefore,
    ...(notAfter && { notAfter }),
    source,
  };
  return { record, ...(privateMaterial && { privateMaterial }) };
}

export function keyIdOf(format: KeyFormat, fingerprint: string): KeyId {
  const id = makeKeyId(format, fingerprint);
  if (!id) throw new Error(`not a fingerprint: ${fingerprint}`);
  return id;
}

/** A record of the store without real material, for what never looks at it. */
export function bareRecord(digit: string, more: Partial<StoredKey> = {}): StoredKey {
  return {
    id: keyIdOf('smime', digit.repeat(64)),
    tenant: TENANT_A,
    format: 'smime',
    role: 'partner',
    addresses: ['bob@fabrikam.example'],
    material: `material ${digit}`,
    hasPrivateKey: false,
    notBefore: new Date('2026-01-01T00:00:00Z'),
    notAfter: new Date('2027-01-01T00:00:00Z'),
    source: 'policy',
    isRetired: false,
    ...more,
  };
}

/** A look-up's answer in short: kind, the ids it would use, the reasons for the others. */
export function answer(lookup: KeyLookup): readonly unknown[] {
  const ids = lookup.kind === 'usable' ? lookup.keys.map(({ record }) => record.id) : [];
  return [lookup.kind, ids, lookup.rejected.map(({ reason }) => reason)];
}

function nonEmpty(list: readonly string[]): NonEmpty<string> {
  if (!isNonEmpty(list)) throw new Error('no address');
  return list;
}

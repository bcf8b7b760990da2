// Keys of a policy file without a key store: the same look-ups, over rows in memory. For the command line.
import type { TenantId } from '../core/origin.ts';
import { silentLog } from '../core/log.ts';
import type { KeyDatabase } from '../storage/key-database.ts';
import { applyKeys } from './apply.ts';
import type { DeclaredKey } from './plan.ts';
import { openKeyStore, type TenantKeys } from './store.ts';

/** The declared keys of one tenant. They live as long as the object; nothing is written. */
export async function memoryTenantKeys(
  tenant: TenantId,
  declared: readonly DeclaredKey[],
): Promise<TenantKeys> {
  const keys = openKeyStore({ database: memoryDatabase(), log: silentLog }).forTenant(tenant);
  await applyKeys(keys, declared);
  return keys;
}

function memoryDatabase(): KeyDatabase {
  const rows = new Map<string, Buffer>();
  const names = (prefix: string) => [...rows.keys()].filter((name) => name.startsWith(prefix)).toSorted();
  const batch: KeyDatabase['batch'] = (operations) => {
    for (const operation of operations) {
      if (operation.kind === 'put') rows.set(operation.name, Buffer.from(operation.value));
      else rows.delete(operation.name);
    }
    return Promise.resolve();
  };
  const copyOf = (name: string) => {
    const value = rows.get(name);
    return value && Buffer.from(value);
  };
  return {
    get: (name) => Promise.resolve(copyOf(name)),
    names,
    async *list(prefix) {
      for (const name of names(prefix)) yield { name, value: copyOf(name) ?? Buffer.alloc(0) };
    },
    put: (name, value) => batch([{ kind: 'put', name, value }]),
    delete: (name) => batch([{ kind: 'delete', name }]),
    batch,
    [Symbol.asyncDispose]: () => Promise.resolve(rows.clear()),
  };
}

// Keys of a policy file without a key store: the same look-ups, over rows in memory. For the command line.
import type { TenantId } from '../core/origin.ts';
import { silentLog } from '../core/log.ts';
import { applyKeys } from './apply.ts';
import type { KeyRows } from './key-index.ts';
import type { DeclaredKey } from './plan.ts';
import { openKeyStore, type TenantKeys } from './store.ts';

/** The declared keys of one tenant. They live as long as the object; nothing is written. */
export async function memoryTenantKeys(
  tenant: TenantId,
  declared: readonly DeclaredKey[],
): Promise<TenantKeys> {
  const keys = openKeyStore({ database: memoryRows(), log: silentLog }).forTenant(tenant);
  await applyKeys(keys, declared);
  return keys;
}

function memoryRows(): KeyRows {
  const rows = new Map<string, Buffer>();
  return {
    // A copy: the store wipes private material after use.
    get: (name) => Promise.resolve(copyOf(rows.get(name))),
    names: (prefix) => [...rows.keys()].filter((name) => name.startsWith(prefix)).toSorted(),
    batch(operations) {
      for (const operation of operations) {
        if (operation.kind === 'put') rows.set(operation.name, Buffer.from(operation.value));
        else rows.delete(operation.name);
      }
      return Promise.resolve();
    },
  };
}

function copyOf(value: Buffer | undefined): Buffer | undefined {
  return value && Buffer.from(value);
}

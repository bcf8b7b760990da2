// Brings the key store to the state that a policy file declares. Safe to repeat: a run that was cut off is completed by
// the next one.
import type { KeyId } from '../core/key.ts';
import { type DeclaredKey, planKeyChanges } from './plan.ts';
import type { TenantKeys } from './store.ts';

/** What was done. */
export interface AppliedKeys {
  readonly added: readonly KeyId[];
  readonly updated: readonly KeyId[];
  readonly unchanged: readonly KeyId[];
  readonly retired: readonly KeyId[];
  readonly removed: readonly KeyId[];
  /** Damaged keys that the declared ones could not repair: left as they are, for the operator to remove. */
  readonly unreadable: readonly KeyId[];
}

/**
 * Applies the declared keys of one tenant. Each change is durable on its own; new keys go in before old ones go out. Damaged
 * records that are declared are written anew. Throws GatewayError `store-failed`; run it again then. Must not run twice at
 * once for one tenant.
 */
export async function applyKeys(keys: TenantKeys, declared: readonly DeclaredKey[]): Promise<AppliedKeys> {
  const { records, unreadable } = await keys.inspect();
  const changes = planKeyChanges(declared, records);
  const done: Record<'add' | 'update' | 'retire' | 'remove', KeyId[]> = {
    add: [],
    update: [],
    retire: [],
    remove: [],
  };
  for (const change of changes) {
    if (change.kind === 'remove') {
      await keys.remove(change.id);
      done.remove.push(change.id);
    } else {
      const material = change.kind === 'retire' ? undefined : change.privateMaterial;
      await keys.put(change.record, material);
      done[change.kind].push(change.record.id);
    }
  }
  const ids = declared.map(({ record }) => record.id);
  const changed = new Set([...done.add, ...done.update]);
  return {
    added: done.add,
    updated: done.update,
    unchanged: ids.filter((id) => !changed.has(id)),
    retired: done.retire,
    removed: done.remove,
    unreadable: unreadable.length === 0 ? [] : (await keys.inspect()).unreadable,
  };
}

// What has to change in the store so that it holds what the policy declares: pure data, made before anything is touched.
import type { KeyId, KeyRecord } from '../core/key.ts';
import type { Secret } from '../core/secret.ts';
import type { StoredKey } from './records.ts';

/** A key of the policy file, read and checked. Own keys carry their private material. */
export interface DeclaredKey {
  readonly record: KeyRecord;
  readonly privateMaterial?: Secret;
}

export type KeyChange =
  | { readonly kind: 'add' | 'update'; readonly record: StoredKey; readonly privateMaterial?: Secret }
  /** Kept for decryption only. */
  | { readonly kind: 'retire'; readonly record: StoredKey }
  | { readonly kind: 'remove'; readonly id: KeyId };

/**
 * The changes, in the order in which they are made: what is new first, so that nobody is without a key in between (a stop
 * after any of them leaves more keys, never fewer). Keys of source `manual` are left alone unless the policy declares them.
 * An own key that is no longer declared is retired, never removed: old mail must stay readable. `declared` holds each id once.
 */
export function planKeyChanges(
  declared: readonly DeclaredKey[],
  stored: readonly StoredKey[],
): readonly KeyChange[] {
  const before = new Map(stored.map((record) => [record.id, record]));
  const wanted = new Set(declared.map(({ record }) => record.id));
  const added: KeyChange[] = [];
  const updated: KeyChange[] = [];
  for (const { record, privateMaterial } of declared) {
    const existing = before.get(record.id);
    const target = targetOf(record, existing);
    const material = privateMaterial ? { privateMaterial } : {};
    if (!existing) added.push({ kind: 'add', record: target, ...material });
    else if (!isSame(target, existing)) updated.push({ kind: 'update', record: target, ...material });
  }
  const gone = stored.filter((record) => record.source === 'policy' && !wanted.has(record.id));
  const retired = gone.filter((record) => record.hasPrivateKey && !record.isRetired);
  const removed = gone.filter((record) => !record.hasPrivateKey);
  return [
    ...added,
    ...updated,
    ...retired.map((record): KeyChange => ({ kind: 'retire', record: { ...record, isRetired: true } })),
    ...removed.map(({ id }): KeyChange => ({ kind: 'remove', id })),
  ];
}

/** A private part that the store has stays, also where the policy declares the public half only. */
function targetOf(record: KeyRecord, existing: StoredKey | undefined): StoredKey {
  const hasPrivateKey = record.hasPrivateKey || existing?.hasPrivateKey === true;
  return { ...record, role: hasPrivateKey ? 'own' : record.role, hasPrivateKey, isRetired: false };
}

function isSame(one: StoredKey, other: StoredKey): boolean {
  return comparable(one) === comparable(other);
}

function comparable(record: StoredKey): string {
  return JSON.stringify([
    record.role,
    record.addresses.toSorted(),
    record.material,
    record.hasPrivateKey,
    record.notBefore,
    record.notAfter,
    record.source,
    record.isRetired,
  ]);
}

// What a tenant's store has learned of the software behind its keys: one sealed row for each key, read once and kept. It is
// advice, so a row that cannot be read is no more than nothing learned.
import { GatewayError } from '../core/errors.ts';
import type { KeyId } from '../core/key.ts';
import type { Log } from '../core/log.ts';
import type { TenantId } from '../core/origin.ts';
import {
  applyLesson,
  isNews,
  type Learned,
  type Lesson,
  readLearned,
  type Taught,
  writeLearned,
} from './capabilities.ts';
import type { KeyRows } from './key-index.ts';
import { learnedName, learnedPrefix, parseKeyId } from './records.ts';

interface Known {
  /** With mail that is not worth a write of its own. */
  current: readonly Learned[];
  stored: readonly Learned[];
}

/** All methods throw GatewayError `store-failed` where the database cannot be read or written. */
export class LearnedCapabilities {
  readonly #rows: KeyRows;
  readonly #tenant: TenantId;
  readonly #log: Log;
  readonly #known = new Map<KeyId, Known>();
  #ids: Set<KeyId> | undefined;

  constructor(rows: KeyRows, tenant: TenantId, log: Log) {
    this.#rows = rows;
    this.#tenant = tenant;
    this.#log = log;
  }

  /** What is known of a key, by address; empty where its row is damaged. */
  async of(id: KeyId): Promise<readonly Learned[]> {
    return this.#has(id) ? (await this.#load(id)).current : [];
  }

  /** Takes a lesson about a key that is in the store. Not twice at once. */
  async learn(id: KeyId, lesson: Lesson, at: Date): Promise<Taught> {
    const known = this.#has(id) ? await this.#load(id) : { current: [], stored: [] };
    const next = applyLesson(known.current, lesson, at);
    if (!next) return 'nothing';
    const before = known.current.find(({ address }) => address === lesson.address);
    if (isNews(known.stored, lesson)) await this.#write(id, next);
    else known.current = next;
    return before?.ciphers.join() === lesson.ciphers.join() ? 'confirmed' : 'changed';
  }

  /** False: there was nothing. */
  async forget(id: KeyId): Promise<boolean> {
    if (!this.#has(id)) return false;
    await this.#rows.batch(this.removal(id));
    this.removed(id);
    return true;
  }

  /** What goes with the key in one write; call `removed` when it is done. */
  removal(id: KeyId): readonly { readonly kind: 'delete'; readonly name: string }[] {
    return this.#has(id) ? [{ kind: 'delete', name: learnedName(this.#tenant, id) }] : [];
  }

  removed(id: KeyId): void {
    this.#ids?.delete(id);
    this.#known.delete(id);
  }

  async #write(id: KeyId, next: readonly Learned[]): Promise<void> {
    try {
      await this.#rows.batch([
        { kind: 'put', name: learnedName(this.#tenant, id), value: writeLearned(next) },
      ]);
    } catch (error) {
      // It may have happened or not: what is there is read again.
      this.#known.delete(id);
      this.#ids = undefined;
      throw error;
    }
    this.#ids?.add(id);
    this.#known.set(id, { current: next, stored: next });
  }

  #has(id: KeyId): boolean {
    const prefix = learnedPrefix(this.#tenant);
    this.#ids ??= new Set(
      this.#rows.names(prefix).flatMap((name) => parseKeyId(name.slice(prefix.length)) ?? []),
    );
    return this.#ids.has(id);
  }

  async #load(id: KeyId): Promise<Known> {
    const loaded = this.#known.get(id);
    if (loaded) return loaded;
    const value = await this.#rows.get(learnedName(this.#tenant, id)).catch(asUnreadable);
    const meanwhile = this.#known.get(id);
    if (meanwhile) return meanwhile;
    const stored = value && readLearned(value);
    // SECURITY: damage leads to the cipher that everybody reads, never to mail in clear (test: damaged capabilities).
    if (!stored) this.#log.warn('capabilities-unreadable', { key: id });
    const known = { current: stored ?? [], stored: stored ?? [] };
    this.#known.set(id, known);
    return known;
  }
}

/** A damaged record as undefined; every other failure goes on. */
function asUnreadable(error: unknown): undefined {
  if (error instanceof GatewayError && error.code === 'key-unreadable') return undefined;
  throw error;
}

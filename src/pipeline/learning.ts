// Hands lessons to the key store once their message is committed, beside the way of the message: a store that is slow or
// fails costs a lesson, which the next signed mail teaches again, and never time or the message itself.
import { asGatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { KeyStore } from '../keys/store.ts';
import type { TenantLesson } from './lessons.ts';

/** Dispose it before the key store: what was taken is learned then. */
export interface Learning extends AsyncDisposable {
  /** Returns at once. `at`: when the message was received. Never throws. */
  take(lessons: readonly TenantLesson[], at: Date): void;
}

/** Lessons that wait; more are dropped. */
const MAX_WAITING = 200;

export function openLearning(keys: KeyStore, log: Log): Learning {
  let waiting = 0;
  let last: Promise<void> = Promise.resolve();
  return {
    take(lessons, at) {
      for (const lesson of lessons) {
        if (waiting >= MAX_WAITING) {
          log.warn('capabilities-not-learned', {
            key: lesson.key,
            reason: 'too many wait for the key store',
          });
          continue;
        }
        waiting += 1;
        last = last.then(async () => {
          await learn(keys, lesson, at, log);
          waiting -= 1;
        });
      }
    },
    [Symbol.asyncDispose]: () => last,
  };
}

async function learn(
  keys: KeyStore,
  { tenant, key, lesson }: TenantLesson,
  at: Date,
  log: Log,
): Promise<void> {
  try {
    const taught = await keys.forTenant(tenant).learn(key, lesson, at);
    if (taught === 'changed')
      log.info('capabilities-learned', {
        tenant,
        key,
        ciphers: lesson.ciphers,
        signed: lesson.signedAt.toISOString(),
      });
  } catch (error) {
    log.warn('capabilities-not-learned', { tenant, key, reason: asGatewayError(error).message });
  }
}

// Waiting for something that another part of the lab will do: woken by the event itself, never by polling.

export type Waiters = Set<() => void>;

/** Resolves once `isDone`, which is looked at now and whenever a waiter is called. Rejects after `timeoutMs`. */
export async function waitUntil(
  waiters: Waiters,
  isDone: () => boolean,
  timeoutMs: number,
  describe: () => string,
): Promise<void> {
  if (isDone()) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (end: () => void): void => {
      waiters.delete(wake);
      clearTimeout(timer);
      end();
    };
    const wake = (): void => {
      if (isDone()) settle(resolve);
    };
    const timer = setTimeout(() => {
      settle(() => reject(new Error(`waited ${timeoutMs} ms: ${describe()}`)));
    }, timeoutMs);
    waiters.add(wake);
  });
}

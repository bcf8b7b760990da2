// DNS as the authentication methods ask it. Which resolvers answer is the composition root's business.

/** Resolves like `dns.promises.resolve(name, type)`; rejects with its codes (`ENOTFOUND`, `ENODATA`, `ETIMEOUT`, ...). */
export type DnsLookup = (name: string, type: string) => Promise<unknown>;

/** The names that mailauth knows for "there is no such record". Anything else is trouble that may pass. */
export class NoRecord extends Error {
  readonly code = 'ENODATA';
}

class LookupTimeout extends Error {
  readonly code = 'ETIMEOUT';
}

/** A lookup that ends by itself: after `totalMs` of its life every question is answered with a timeout. */
export function boundedLookup(lookup: DnsLookup, totalMs: number): DnsLookup {
  const end = AbortSignal.timeout(totalMs);
  const expired = new Promise<never>((_, reject) => {
    end.addEventListener('abort', () => reject(new LookupTimeout('DNS took too long')), { once: true });
  });
  expired.catch(() => undefined);
  return (name, type) => Promise.race([lookup(name, type), expired]);
}

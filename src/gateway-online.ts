// What the gateway may ask servers that certificates name: composed from the site configuration.
import type { Config } from './config.ts';
import { openOnlineServices, type OnlineServices } from './smime/online.ts';
import { openResolver } from './smtp/mx.ts';
import { openGuardedFetch } from './web/guarded-fetch.ts';

const FETCH_TIMEOUT_MS = 10_000;

/** Throws GatewayError `config-invalid` for a resolver that is no address. */
export function openOnline({ internet }: Config): OnlineServices {
  const resolver = openResolver(internet.resolvers);
  return openOnlineServices(
    openGuardedFetch({
      resolve: async (host) => {
        const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
        return found.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      },
      allowPrivateAddresses: internet.allowPrivateAddresses,
      timeoutMs: FETCH_TIMEOUT_MS,
    }),
  );
}

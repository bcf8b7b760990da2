// Names of the outbound legs. The TLS identity hangs on the leg, never on the destination host.
import type { TenantId } from './origin.ts';

export type LegName =
  | { readonly kind: 'tenant'; readonly tenant: TenantId }
  | { readonly kind: 'internet' }
  | { readonly kind: 'smarthost' };

/** One string per leg, for queue rows and pool keys. */
export function formatLeg(leg: LegName): string {
  return leg.kind === 'tenant' ? `tenant:${leg.tenant}` : leg.kind;
}

/** Reads what `formatLeg` wrote; undefined for anything else. */
export function parseLeg(text: string): LegName | undefined {
  if (text === 'internet' || text === 'smarthost') return { kind: text };
  return text.startsWith('tenant:')
    ? { kind: 'tenant', tenant: text.slice('tenant:'.length) as TenantId }
    : undefined;
}

// What a recipients directory is fed from: a source gives all addresses of the tenant that it knows, or fails. Half a
// list would turn mail for real people away for good, so a source that cannot give everything has to throw.
import { type Address, parseAddress } from '../../core/address.ts';
import type { Clock } from '../../core/clock.ts';
import { GatewayError } from '../../core/errors.ts';

export type SourceName = 'list' | 'csv' | 'ldap' | 'microsoft_graph';

/** What a source gave at one time. */
export interface Listing {
  readonly source: SourceName;
  /** `RecipientSource.settings` of the source that made it. */
  readonly settings: string;
  readonly loadedAt: Date;
  /** `Address.key` of each. */
  readonly addresses: ReadonlySet<string>;
  /** Plain data with which the source goes on next time; only its own code reads it. */
  readonly state?: unknown;
}

/** What one load gave. */
export type LoadedAddresses = Pick<Listing, 'addresses' | 'state'>;

export interface LoadContext {
  readonly clock: Clock;
  /** Aborted: the load rejects soon. */
  readonly signal: AbortSignal;
}

export interface RecipientSource {
  readonly name: SourceName;
  /** Names what it reads, without secrets. A listing that other settings made is no proof that an address is unknown. */
  readonly settings: string;
  /**
   * Reads everything, or what changed since the listing whose `state` is given. Throws GatewayError `recipients-unavailable`
   * with a reason that holds neither secrets nor addresses.
   */
  load(state: unknown, context: LoadContext): Promise<LoadedAddresses>;
}

/** Addresses that the policy file itself names. */
export function listSource(addresses: readonly Address[]): RecipientSource {
  const keys = new Set(addresses.map(({ key }) => key));
  return { name: 'list', settings: '', load: () => Promise.resolve({ addresses: keys }) };
}

/**
 * The mail address in one value of proxyAddresses. `SMTP:` marks the primary address, `smtp:` an alias; SIP, X500, EUM and
 * the like are addresses of other networks.
 */
export function parseProxyAddress(value: string): Address | undefined {
  return /^smtp:/i.test(value) ? parseAddress(value.slice('smtp:'.length).trim()) : undefined;
}

export function unavailable(reason: string, cause?: unknown): GatewayError {
  return new GatewayError('recipients-unavailable', reason, cause === undefined ? {} : { cause });
}

// The recipients directory of one tenant: who is known, by the last good listing of each source; refreshed in the
// background. The rule that everything here serves: an address is called unknown only on the word of every source, each
// recent and made with the settings in force. In any other case nobody is turned away for good.
import { type Address, plusBase } from '../../core/address.ts';
import type { Clock } from '../../core/clock.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { TenantId } from '../../core/origin.ts';
import type { Secret } from '../../core/secret.ts';
import { originalSender } from '../sender-rewriting.ts';
import { formatSnapshot, parseSnapshot, type SnapshotStore } from './snapshot.ts';
import type { Listing, RecipientSource, SourceName } from './source.ts';

export interface DirectorySettings {
  readonly sources: readonly RecipientSource[];
  /** Domains, as lower-case A-labels, of which every address is known. Their sub-domains are not meant. */
  readonly catchAll: readonly string[];
  /** Whether `user+tag` is known where `user` is. */
  readonly hasPlusAddressing: boolean;
  readonly refreshMs: number;
  /** Age of a listing from which on it does not call anybody unknown any more. */
  readonly staleMs: number;
}

export interface DirectoryServices {
  readonly tenant: { readonly id: TenantId; readonly name: string };
  /** Makes the senders of forwarded mail, to which reports come. */
  readonly rewritingKey: Secret;
  readonly store: SnapshotStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** `unavailable`: no source knows the address, but one of them has no listing, or an old one. */
export type RecipientJudgement =
  | { readonly kind: 'known'; readonly by: SourceName | 'catch_all' | 'postmaster' | 'rewritten_sender' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unavailable'; readonly sources: readonly SourceName[] };

export interface SourceStatus {
  readonly source: SourceName;
  readonly addresses: number;
  /** Of the last good listing; null: there is none. */
  readonly loadedAt: string | null;
  /** `waiting`: no listing made with these settings yet. */
  readonly state: 'good' | 'stale' | 'waiting';
  /** Why the last attempt failed; null where it did not. */
  readonly failure: string | null;
}

export interface RecipientDirectory extends AsyncDisposable {
  judge(address: Address): RecipientJudgement;
  status(): readonly SourceStatus[];
  listings(): readonly Listing[];
  /** Loads all sources now, or waits for the loading that is under way. Failures are in the status, never thrown. */
  refresh(): Promise<void>;
  /** Starts to refresh in the background, until disposed. */
  start(): void;
}

/**
 * QUIRK: Exchange Online rewrites senders as `user+SRS=hash=time`, and as `bounces+SRS=...` where there is no user, whose
 * mailbox need not exist (test: rewritten by Exchange).
 */
const EXCHANGE_REWRITTEN = /\+srs=[^=]+=[^=]+$/i;
const EXCHANGE_BOUNCES = /^bounces\+srs=[^=]+=[^=]+$/i;
/** The first wait after a failure; doubled with each further one, up to the usual interval. */
const RETRY_MS = 60_000;

/** Sources on this machine: they are there as soon as the directory is. */
const LOCAL: readonly SourceName[] = ['list', 'csv'];

/**
 * Opens the directory with the given listings, else with the tenant's snapshot; nothing is asked of a server before
 * `refresh` or `start`. Never throws.
 */
export async function openDirectory(
  settings: DirectorySettings,
  services: DirectoryServices,
  given?: readonly Listing[],
): Promise<RecipientDirectory> {
  const listings = given ?? (await readListings(services));
  const directory = new ListedDirectory(settings, services, listings);
  await directory.loadLocal();
  return directory;
}

async function readListings({ store, tenant, log }: DirectoryServices): Promise<readonly Listing[]> {
  try {
    const bytes = await store.read(tenant.id);
    const listings = bytes === undefined ? [] : parseSnapshot(bytes);
    if (listings) return listings;
    log.warn('recipients-snapshot-unreadable', { tenant: tenant.name, reason: 'it has another form' });
  } catch (error) {
    log.warn('recipients-snapshot-unreadable', { tenant: tenant.name, ...failureOf(error) });
  }
  return [];
}

class ListedDirectory implements RecipientDirectory {
  readonly #settings: DirectorySettings;
  readonly #services: DirectoryServices;
  readonly #listings: Map<SourceName, Listing>;
  readonly #failures = new Map<SourceName, string>();
  readonly #closing = new AbortController();
  #refreshing: Promise<void> | undefined;
  #loop: Promise<void> | undefined;

  constructor(settings: DirectorySettings, services: DirectoryServices, listings: readonly Listing[]) {
    this.#settings = settings;
    this.#services = services;
    this.#listings = new Map(listings.map((listing) => [listing.source, listing]));
  }

  judge(address: Address): RecipientJudgement {
    const { catchAll, hasPlusAddressing, sources } = this.#settings;
    // RFC 5321 §4.5.1: every domain that takes mail takes mail for its postmaster.
    if (address.localPart.toLowerCase() === 'postmaster') return { kind: 'known', by: 'postmaster' };
    if (catchAll.includes(address.domain)) return { kind: 'known', by: 'catch_all' };
    if (this.#isRewrittenSender(address)) return { kind: 'known', by: 'rewritten_sender' };
    // A rewritten sender needs no plus addressing of people.
    const base =
      hasPlusAddressing || EXCHANGE_REWRITTEN.test(address.localPart) ? plusBase(address) : undefined;
    const keys = [address.key, ...(base ? [base.key] : [])];
    const owner = sources.find(({ name }) =>
      keys.some((key) => this.#listings.get(name)?.addresses.has(key)),
    );
    if (owner) return { kind: 'known', by: owner.name };
    const behind = sources.filter((source) => this.#stateOf(source) !== 'good').map(({ name }) => name);
    return behind.length > 0 ? { kind: 'unavailable', sources: behind } : { kind: 'unknown' };
  }

  status(): readonly SourceStatus[] {
    return this.#settings.sources.map((source) => {
      const listing = this.#listings.get(source.name);
      return {
        source: source.name,
        addresses: listing?.addresses.size ?? 0,
        loadedAt: listing?.loadedAt.toISOString() ?? null,
        state: this.#stateOf(source),
        failure: this.#failures.get(source.name) ?? null,
      };
    });
  }

  listings(): readonly Listing[] {
    return [...this.#listings.values()];
  }

  async loadLocal(): Promise<void> {
    const local = this.#settings.sources.filter(({ name }) => LOCAL.includes(name));
    await Promise.all(local.map((source) => this.#load(source)));
  }

  refresh(): Promise<void> {
    this.#refreshing ??= this.#loadAll().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#loop;
    await this.#refreshing;
  }

  /** Senders of forwarded mail, to which reports come: of our own making, or of Exchange's, which no source can know. */
  #isRewrittenSender(address: Address): boolean {
    if (EXCHANGE_BOUNCES.test(address.localPart)) return true;
    const { clock, rewritingKey: key, tenant } = this.#services;
    return originalSender(address, { key, tenant: tenant.id, at: clock.now() }) !== undefined;
  }

  /** SECURITY: a listing of other settings may lack people, so it counts as none (test: changed settings). */
  #stateOf({ name, settings }: RecipientSource): SourceStatus['state'] {
    const listing = this.#listings.get(name);
    if (listing?.settings !== settings) return 'waiting';
    // What the policy file says does not age.
    if (name === 'list') return 'good';
    const age = this.#services.clock.now().getTime() - listing.loadedAt.getTime();
    return age > this.#settings.staleMs ? 'stale' : 'good';
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    for (let failures = 0; !signal.aborted;) {
      await this.refresh();
      failures = this.#failures.size > 0 ? failures + 1 : 0;
      const { refreshMs } = this.#settings;
      const wait =
        failures === 0 ? refreshMs : Math.min(refreshMs, RETRY_MS * 2 ** Math.min(failures - 1, 20));
      await this.#services.clock.sleep(wait, signal).catch(() => undefined);
    }
  }

  async #loadAll(): Promise<void> {
    const results = await Promise.all(this.#settings.sources.map((source) => this.#load(source)));
    if (!results.includes(true) || this.#closing.signal.aborted) return;
    const { store, tenant, log } = this.#services;
    // What the policy file says needs no listing, and listings of sources that are no more are not kept.
    const kept = this.#settings.sources.filter(({ name }) => name !== 'list');
    const listings = kept.flatMap(({ name }) => this.#listings.get(name) ?? []);
    try {
      if (listings.length > 0) await store.write(tenant.id, formatSnapshot(listings));
    } catch (error) {
      log.warn('recipients-snapshot-not-kept', { tenant: tenant.name, ...failureOf(error) });
    }
  }

  async #load(source: RecipientSource): Promise<boolean> {
    const { clock, log, tenant } = this.#services;
    const { name, settings } = source;
    const { signal } = this.#closing;
    const before = this.#listings.get(name);
    const state = before?.settings === settings ? before.state : undefined;
    const loadedAt = clock.now();
    try {
      const loaded = await source.load(state, { clock, signal });
      // Nobody runs a tenant without a mailbox: a filter or a permission is wrong.
      if (loaded.addresses.size === 0)
        throw new GatewayError('recipients-unavailable', 'it gives no mail address at all');
      this.#listings.set(name, { ...loaded, source: name, settings, loadedAt });
      this.#failures.delete(name);
      const level = before?.addresses.size === loaded.addresses.size ? 'debug' : 'info';
      log[level]('recipients-loaded', {
        tenant: tenant.name,
        source: name,
        addresses: loaded.addresses.size,
      });
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      const failure = failureOf(error);
      this.#failures.set(name, failure.reason);
      log.warn('recipients-refresh-failed', { tenant: tenant.name, source: name, ...failure });
      return false;
    }
  }
}

/** SECURITY: what is no failure of ours may hold anything, a password too; its text stays out (test: foreign error). */
function failureOf(error: unknown): { readonly code: string; readonly reason: string } {
  if (error instanceof GatewayError) return { code: error.code, reason: error.message };
  return { code: 'unplanned', reason: error instanceof Error ? error.name : 'unknown' };
}

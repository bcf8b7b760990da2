// The listings of a tenant's sources as bytes, so that a restart without the directory still knows the recipients. Whoever
// keeps the bytes seals them: addresses are personal data.
import type { TenantId } from '../../core/origin.ts';
import type { Listing, SourceName } from './source.ts';

/** Keeps one snapshot for each tenant. */
export interface SnapshotStore {
  /** Undefined where there is none. Throws GatewayError `store-failed` for one that cannot be read. */
  read(tenant: TenantId): Promise<Uint8Array | undefined>;
  /** Durable when it resolves; replaces the one that was there. */
  write(tenant: TenantId, bytes: Uint8Array): Promise<void>;
}

const VERSION = 1;
const NAMES: readonly string[] = ['list', 'csv', 'ldap', 'microsoft_graph'] satisfies readonly SourceName[];

export function formatSnapshot(listings: readonly Listing[]): Buffer {
  const sources = listings.map(({ addresses, loadedAt, ...rest }) => ({
    ...rest,
    loadedAt: loadedAt.toISOString(),
    addresses: [...addresses],
  }));
  return Buffer.from(JSON.stringify({ version: VERSION, sources }));
}

/** What cannot be read as a whole is no listing: undefined. */
export function parseSnapshot(bytes: Uint8Array): readonly Listing[] | undefined {
  try {
    const data = JSON.parse(Buffer.from(bytes).toString('utf8')) as { version?: unknown; sources?: unknown };
    if (data.version !== VERSION || !Array.isArray(data.sources)) return undefined;
    const listings = data.sources.map(toListing);
    return listings.every((listing) => listing !== undefined) ? listings : undefined;
  } catch {
    return undefined;
  }
}

function toListing(value: unknown): Listing | undefined {
  const { source, settings, loadedAt, addresses, state } = value as Readonly<Record<string, unknown>>;
  const at = new Date(typeof loadedAt === 'string' ? loadedAt : '');
  if (typeof source !== 'string' || !NAMES.includes(source) || typeof settings !== 'string') return undefined;
  if (Number.isNaN(at.getTime()) || !Array.isArray(addresses)) return undefined;
  if (!addresses.every((each) => typeof each === 'string' && each.includes('@'))) return undefined;
  return {
    source: source as SourceName,
    settings,
    loadedAt: at,
    addresses: new Set(addresses as readonly string[]),
    ...(state === undefined ? {} : { state }),
  };
}

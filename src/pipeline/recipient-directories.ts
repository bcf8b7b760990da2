// The recipients directories of all tenants in force. A tenant without one accepts every address of its domains.
import { type Address, parseAddress } from '../core/address.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorCode, errorTable, GatewayError, replyFor } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { TenantId } from '../core/origin.ts';
import type { Reply } from '../core/reply.ts';
import type { Secret } from '../core/secret.ts';
import {
  openDirectory,
  type RecipientDirectory,
  type RecipientJudgement,
  type SourceStatus,
} from '../tenant/recipients/directory.ts';
import type { Listing } from '../tenant/recipients/source.ts';
import type { SnapshotStore } from '../tenant/recipients/snapshot.ts';
import { tenantOfDomain } from '../tenant/registry.ts';
import type { PolicySet } from './policy-set.ts';

export interface TenantRecipients extends SourceStatus {
  readonly tenant: string;
}

/** What RCPT would be told of an address, and why. */
export interface RecipientCheck {
  readonly address: string;
  readonly tenant: string;
  readonly judgement: RecipientJudgement['kind'];
  /** The source that knows it, or those that cannot say. */
  readonly sources: readonly string[];
}

export interface RecipientDirectories extends AsyncDisposable {
  /** The refusal for an address of the tenant; undefined: it is accepted. */
  refusal(tenant: TenantId, address: Address): Reply | undefined;
  status(): readonly TenantRecipients[];
  /** What the tenant's directory knows now; undefined: it has none. */
  listings(tenant: TenantId): readonly Listing[] | undefined;
  /** Throws GatewayError `config-invalid` for what is no address of a tenant. */
  check(address: string): RecipientCheck;
  /** Loads all sources now. What fails is in the status. */
  refresh(): Promise<void>;
  /** Starts to refresh in the background, until disposed. */
  start(): void;
}

interface Services {
  readonly snapshots: SnapshotStore;
  readonly rewritingKey: Secret;
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens the directories of a policy set with the listings of those before, else with their snapshots. Asks no server. */
export async function openDirectories(
  policies: PolicySet,
  services: Services,
  before?: RecipientDirectories,
): Promise<RecipientDirectories> {
  const { snapshots: store, rewritingKey, clock, log } = services;
  const directories = new Map<TenantId, RecipientDirectory>();
  for (const { policy, recipients } of policies.all) {
    const { id, name } = policy.tenant;
    if (!recipients) continue;
    const directory = await openDirectory(
      recipients,
      { tenant: { id, name }, store, rewritingKey, clock, log },
      before?.listings(id),
    );
    directories.set(id, directory);
  }
  const nameOf = (id: TenantId): string => policies.of(id)?.policy.tenant.name ?? id;
  return {
    refusal: (tenant, address) => {
      const code = codeOf(directories.get(tenant)?.judge(address));
      if (code === undefined) return undefined;
      // Addresses are personal data, and whoever probes for them would fill the log with theirs.
      log[errorTable[code].level]('recipient-refused', { tenant: nameOf(tenant), code });
      return replyFor(code);
    },
    status: () =>
      [...directories].flatMap(([id, directory]) =>
        directory.status().map((status) => ({ tenant: nameOf(id), ...status })),
      ),
    listings: (tenant) => directories.get(tenant)?.listings(),
    check: (text) => {
      const address = parseAddress(text);
      const tenant = address && tenantOfDomain(policies.registry, address.domain);
      if (!tenant) throw new GatewayError('config-invalid', `${text} is no address of a hosted tenant`);
      return describe(address.text, tenant.name, directories.get(tenant.id)?.judge(address));
    },
    refresh: async () => {
      await Promise.all([...directories.values()].map((directory) => directory.refresh()));
    },
    start: () => {
      for (const directory of directories.values()) directory.start();
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...directories.values()].map((directory) => directory[Symbol.asyncDispose]()));
    },
  };
}

function codeOf(judgement: RecipientJudgement | undefined): ErrorCode | undefined {
  if (judgement?.kind === 'unknown') return 'recipient-unknown';
  return judgement?.kind === 'unavailable' ? 'recipients-unavailable' : undefined;
}

function describe(
  address: string,
  tenant: string,
  judgement: RecipientJudgement | undefined,
): RecipientCheck {
  if (!judgement) return { address, tenant, judgement: 'known', sources: [] };
  const sources =
    judgement.kind === 'known' ? [judgement.by] : judgement.kind === 'unavailable' ? judgement.sources : [];
  return { address, tenant, judgement: judgement.kind, sources };
}

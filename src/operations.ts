// What an operator can ask of the stores, as one set of functions: the command line calls them directly while no gateway
// runs, and through the control socket while one does. No logic of its own beyond shaping the answers.
import { GatewayError } from './core/errors.ts';
import type { KeyId } from './core/key.ts';
import { type ProofMode, stricterMode, type TenantId } from './core/origin.ts';
import type { Learned } from './keys/capabilities.ts';
import type { StoredKey } from './keys/records.ts';
import type { KeyStore } from './keys/store.ts';
import type { AppliedKeys } from './keys/apply.ts';
import type {
  RecipientCheck,
  RecipientDirectories,
  TenantRecipients,
} from './pipeline/recipient-directories.ts';
import type { PolicySet } from './pipeline/policy-set.ts';
import type { PolicyTenant } from './policy/schema.ts';
import type { QueueEntry } from './queue/message-types.ts';
import type { Queue } from './queue/queue.ts';
import type { ProofStatistics } from './tenant/statistics.ts';

/** A key as the operator sees it. Never holds private parts. */
export interface KeySummary {
  readonly id: string;
  readonly tenant: string;
  /** `retired`: no longer declared, kept for decryption. `damaged`: nothing but its id can be read. */
  readonly state: 'active' | 'retired' | 'damaged';
  readonly format: string;
  readonly role: string;
  readonly addresses: readonly string[];
  readonly hasPrivateKey: boolean;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  readonly source: string;
  /** What signed mail of its owner announced; one entry for each address. */
  readonly learned: readonly LearnedSummary[];
}

export interface LearnedSummary {
  readonly address: string;
  /** Content ciphers, best first. */
  readonly ciphers: readonly string[];
  readonly signedAt: string;
  readonly seenAt: string;
}

export interface KeyDetails extends KeySummary {
  /** Public part: PEM chain or armoured key. */
  readonly material: string;
}

export interface TenantApplied extends AppliedKeys {
  readonly tenant: string;
}

/** One condition of the proof: its mode, and how many proven messages of seven days `require` would have refused. */
export interface ConditionSummary {
  readonly mode: ProofMode;
  readonly observed: number;
}

export interface TenantSummary {
  readonly id: string;
  readonly name: string;
  readonly state: 'enabled' | 'suspended';
  readonly topology: 'inline' | 'loop-back';
  /** Copies in the queue. */
  readonly queued: number;
  /** Messages proven within the last seven days. */
  readonly proven: number;
  readonly conditions: Readonly<Record<'C3' | 'C8' | 'C9', ConditionSummary>>;
}

/** All answers are plain data, safe to print. Every function may throw GatewayError. */
export interface Operations {
  status(): Promise<{ readonly pid: number; readonly tenants: readonly string[]; readonly queued: number }>;
  /** Reads the policy files anew, applies their keys, and puts them in force; a problem changes nothing. */
  applyPolicies(): Promise<readonly TenantApplied[]>;
  listTenants(): Promise<readonly TenantSummary[]>;
  listKeys(): Promise<readonly KeySummary[]>;
  showKey(id: string): Promise<KeyDetails>;
  removeKey(id: string): Promise<KeySummary>;
  /** Forgets what was learned of a key; the answer still shows it. */
  forgetCapabilities(id: string): Promise<KeySummary>;
  listQueue(): Promise<readonly QueueEntry[]>;
  showQueued(id: string): Promise<QueueEntry>;
  retryQueued(id: string): Promise<QueueEntry>;
  removeQueued(id: string): Promise<QueueEntry>;
  /** The sources of all recipients directories. */
  listRecipients(): Promise<readonly TenantRecipients[]>;
  /** Loads them all now; what fails is in the answer. */
  refreshRecipients(): Promise<readonly TenantRecipients[]>;
  checkRecipient(address: string): Promise<RecipientCheck>;
}

interface FoundKey {
  readonly tenant: TenantId;
  readonly summary: KeySummary;
  readonly material: string;
}

export interface OperationServices {
  readonly keys: KeyStore;
  readonly queue: Queue;
  /** The policies in force; those of the files, where no gateway runs. */
  readonly policies: () => Promise<PolicySet>;
  readonly statistics: ProofStatistics;
  /** C3 of the whole site. */
  readonly addressCheck: ProofMode;
  readonly recipients: () => Promise<RecipientDirectories>;
  readonly applyPolicies: () => Promise<readonly TenantApplied[]>;
}

export function operationsOf(services: OperationServices): Operations {
  const { keys, queue, applyPolicies } = services;
  const found = async (): Promise<readonly FoundKey[]> => {
    return (await Promise.all(keys.tenants().map((tenant) => keysOf(keys, tenant)))).flat();
  };
  const find = async (id: string): Promise<FoundKey> => {
    const matching = (await found()).filter(({ summary }) => summary.id === id || isStartOf(id, summary.id));
    const [key, ...others] = matching;
    if (!key) throw new GatewayError('config-invalid', `no key ${id}; see \`postern keys list\``);
    if (others.length > 0)
      throw new GatewayError('config-invalid', `${id} fits several keys; give more of it`);
    return key;
  };
  return {
    status: async () => ({
      pid: process.pid,
      tenants: (await services.policies()).all.map(({ policy }) => policy.tenant.name),
      queued: queue.list().length,
    }),
    applyPolicies,
    listTenants: async () =>
      (await services.policies()).all.map(({ policy }) => tenantSummary(services, policy.tenant)),
    listKeys: async () => (await found()).map(({ summary }) => summary),
    showKey: async (id) => {
      const { summary, material } = await find(id);
      return { ...summary, material };
    },
    removeKey: async (id) => {
      const { summary, tenant } = await find(id);
      await keys.forTenant(tenant).remove(summary.id as KeyId);
      return summary;
    },
    forgetCapabilities: async (id) => {
      const { summary, tenant } = await find(id);
      await keys.forTenant(tenant).forgetLearned(summary.id as KeyId);
      return summary;
    },
    listQueue: () => Promise.resolve(queue.list()),
    showQueued: (id) => Promise.resolve(queuedOf(queue, id)),
    retryQueued: async (id) => {
      const entry = queuedOf(queue, id);
      await queue.retry(id);
      return entry;
    },
    removeQueued: async (id) => {
      const entry = queuedOf(queue, id);
      await queue.remove(id);
      return entry;
    },
    listRecipients: async () => (await services.recipients()).status(),
    refreshRecipients: async () => {
      const recipients = await services.recipients();
      await recipients.refresh();
      return recipients.status();
    },
    checkRecipient: async (address) => (await services.recipients()).check(address),
  };
}

const OBSERVED_DAYS = 7;

function tenantSummary(
  { queue, statistics, addressCheck }: OperationServices,
  { id, name, isEnabled, loopBack, proof }: PolicyTenant,
): TenantSummary {
  const { proven, observed } = statistics.sum(id, OBSERVED_DAYS);
  return {
    id,
    name,
    state: isEnabled ? 'enabled' : 'suspended',
    topology: loopBack ? 'loop-back' : 'inline',
    queued: queue.queuedOf(id),
    proven,
    conditions: {
      C3: { mode: stricterMode(addressCheck, proof.addressMode), observed: observed.C3 ?? 0 },
      C8: { mode: proof.dkimMode, observed: observed.C8 ?? 0 },
      C9: { mode: proof.secretMode, observed: observed.C9 ?? 0 },
    },
  };
}

function queuedOf(queue: Queue, id: string): QueueEntry {
  const entry = queue.show(id);
  if (!entry) throw new GatewayError('config-invalid', `no queued message ${id}; see \`postern queue list\``);
  return entry;
}

async function keysOf(keys: KeyStore, tenant: TenantId): Promise<readonly FoundKey[]> {
  const own = keys.forTenant(tenant);
  const { records, unreadable } = await own.inspect();
  const found: FoundKey[] = [];
  for (const record of records) {
    const summary = summaryOf(record, await own.learnedOf(record.id));
    found.push({ tenant, summary, material: record.material });
  }
  const damaged = unreadable.map((id) => ({ tenant, summary: damagedSummary(tenant, id), material: '' }));
  return [...found, ...damaged];
}

/** `smime:12ab` and `12ab` both name the key whose fingerprint begins so. */
function isStartOf(given: string, id: string): boolean {
  const start = given.toLowerCase();
  return start !== '' && (id.startsWith(start) || (id.split(':')[1] ?? '').startsWith(start));
}

function summaryOf(record: StoredKey, learned: readonly Learned[]): KeySummary {
  return {
    id: record.id,
    tenant: record.tenant,
    state: record.isRetired ? 'retired' : 'active',
    format: record.format,
    role: record.role,
    addresses: record.addresses,
    hasPrivateKey: record.hasPrivateKey,
    notBefore: record.notBefore.toISOString(),
    notAfter: record.notAfter?.toISOString() ?? null,
    source: record.source,
    learned: learned.map(({ address, ciphers, signedAt, seenAt }) => ({
      address,
      ciphers,
      signedAt: signedAt.toISOString(),
      seenAt: seenAt.toISOString(),
    })),
  };
}

function damagedSummary(tenant: TenantId, id: KeyId): KeySummary {
  return {
    id,
    tenant,
    state: 'damaged',
    format: id.split(':')[0] ?? '',
    role: '',
    addresses: [],
    hasPrivateKey: false,
    notBefore: null,
    notAfter: null,
    source: '',
    learned: [],
  };
}

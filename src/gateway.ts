// The composition root: the only place that builds services and decides who gets which. Opens in an order in which
// nothing is accepted before everything behind it stands, and closes in the reverse.
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openControlServer } from './admin/control-server.ts';
import type { DnsLookup } from './authentication/dns-lookup.ts';
import type { Config } from './config.ts';
import { type Clock, systemClock } from './core/clock.ts';
import type { Deliver } from './core/delivery.ts';
import { GatewayError } from './core/errors.ts';
import { type Log, openLog } from './core/log.ts';
import type { Secret } from './core/secret.ts';
import { openProofStatistics, openTally } from './gateway-counting.ts';
import { openDelivery, readText } from './gateway-legs.ts';
import { openOnline } from './gateway-online.ts';
import { applyKeys } from './keys/apply.ts';
import { type KeyStore, openKeyStore } from './keys/store.ts';
import { operationsOf, type Operations, type TenantApplied } from './operations.ts';
import { formatProblems, type PolicySet, readPolicySet } from './pipeline/policy-set.ts';
import { openLearning } from './pipeline/learning.ts';
import { receive, type ReceiveServices } from './pipeline/receive.ts';
import { openDirectories, type RecipientDirectories } from './pipeline/recipient-directories.ts';
import { openTenantGate } from './pipeline/tenant-limits.ts';
import { answerRecipient } from './pipeline/recipients.ts';
import { openQueue, type Queue } from './queue/queue.ts';
import { startRunner } from './queue/runner.ts';
import { defaultRetryPolicy } from './queue/schedule.ts';
import { openResolver } from './smtp/mx.ts';
import { type Listener, openListener } from './smtp/listener.ts';
import { receivedField } from './smtp/loop-guard.ts';
import type { TransactionHandler } from './smtp/session.ts';
import { openHolds } from './storage/hold.ts';
import { openSealedFiles } from './storage/sealed-files.ts';
import { exchangeRanges, parseRanges } from './tenant/address-ranges.ts';
import { isLogin, mayLogIn } from './tenant/on-premises.ts';
import type { ProofSettings } from './tenant/settings.ts';
import type { ProofStatistics } from './tenant/statistics.ts';
import type { SnapshotStore } from './tenant/recipients/snapshot.ts';
import { hasKeyDatabase, initKeyDatabase, openKeyDatabase } from './storage/key-database.ts';
import { createKekFile, deriveKey, readKek } from './storage/kek.ts';

/** What a test or the demo may put in place of the system's. */
export interface GatewayEnvironment {
  readonly clock?: Clock;
  readonly log?: Log;
}

/** The stores without a gateway, for the command line. */
export interface Stores extends AsyncDisposable {
  readonly operations: Operations;
}

export interface Gateway extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly operations: Operations;
}

interface Services {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly keys: KeyStore;
  readonly queue: Queue;
  /** Makes done marks. */
  readonly doneKey: Secret;
  /** Makes rewritten senders. */
  readonly rewritingKey: Secret;
  readonly snapshots: SnapshotStore;
  readonly statistics: ProofStatistics;
}

/**
 * Opens the gateway; it serves when this resolves, and ends when disposed: running transactions and deliveries are
 * finished first, within limits. Throws GatewayError `config-invalid` or `store-failed` with what to do about it.
 */
export async function openGateway(config: Config, environment: GatewayEnvironment = {}): Promise<Gateway> {
  await using stack = new AsyncDisposableStack();
  const services = await openServices(config, environment, stack);
  const { clock, log, keys, queue } = services;
  const inForce = stack.use(await putInForce(services));
  const operations = operationsOf({
    keys,
    queue,
    statistics: services.statistics,
    addressCheck: config.exchange.addressCheck,
    policies: () => Promise.resolve(inForce.policies()),
    recipients: () => Promise.resolve(inForce.recipients()),
    applyPolicies: inForce.reload,
  });
  const folder = join(config.dataFolder, 'hold');
  const holds = stack.use(await openHolds({ folder, memoryBytes: config.limits.holdMemoryBytes, log }));
  const { concurrency } = config.queue;
  stack.use(startRunner({ queue, deliver: inForce.deliver, clock, log, concurrency }));
  stack.use(await openControlServer(config.controlSocket, operations, log));
  const listener = stack.use(
    await openSmtp(services, inForce.recipients, {
      ...receiveSettings(config),
      holds,
      keys,
      lookup: dnsLookup(config),
      online: openOnline(config),
      doneKey: services.doneKey,
      rewritingKey: services.rewritingKey,
      tally: await openTally(config, services, inForce.policies, stack),
      gate: openTenantGate((tenant) => queue.queuedOf(tenant)),
      policies: inForce.policies,
      proof: inForce.proof,
      learning: stack.use(openLearning(keys, log)),
      commit: async (message) => {
        await queue.commit(message);
      },
      clock,
      log,
    }),
  );
  const { address, port } = listener;
  log.info('gateway-started', { address, port, tenants: tenantNames(inForce.policies()) });
  stack.defer(() => log.info('gateway-stopping'));
  const open = stack.move();
  return { address, port, operations, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** Opens key store and queue, while no gateway has them, for the operations of the command line. */
export async function openStores(config: Config, environment: GatewayEnvironment = {}): Promise<Stores> {
  await using stack = new AsyncDisposableStack();
  const services = await openServices(config, environment, stack);
  const operations = operationsOf({
    ...services,
    addressCheck: config.exchange.addressCheck,
    policies: () => readPolicies(services),
    recipients: async () => openDirectories(await readPolicies(services), services),
    applyPolicies: async () => {
      const { applied } = await loadPolicies(services);
      return applied;
    },
  });
  const open = stack.move();
  return { operations, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/**
 * Makes the data folder, the KEK file where the configuration names one, and an empty key store. What is there stays as it
 * is. Returns the paths that were made. Throws GatewayError `config-invalid` or `store-failed`.
 */
export async function initStores(config: Config): Promise<readonly string[]> {
  const created: string[] = [];
  if (await mkdir(config.dataFolder, { recursive: true, mode: 0o700 })) created.push(config.dataFolder);
  const kekFile = config.kek.startsWith('file:') ? config.kek.slice('file:'.length) : undefined;
  const folder = keyFolder(config);
  const hasStore = await hasKeyDatabase(folder);
  if (kekFile !== undefined && !(await isThere(kekFile))) {
    // SECURITY: a new KEK beside an old store would look like a fresh start and leave every key unreadable.
    if (hasStore) {
      throw new GatewayError(
        'store-failed',
        `${folder} is there, but its KEK ${kekFile} is not: put the KEK back from its copy`,
      );
    }
    await mkdir(dirname(kekFile), { recursive: true, mode: 0o700 });
    await createKekFile(kekFile);
    created.push(kekFile);
  }
  if (!hasStore) {
    const kek = await readKek(config.kek);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await initKeyDatabase({ folder, kek });
    created.push(folder);
  }
  return created;
}

async function openServices(
  config: Config,
  environment: GatewayEnvironment,
  stack: AsyncDisposableStack,
): Promise<Services> {
  const clock = environment.clock ?? systemClock;
  const log = environment.log ?? openLog(config.logLevel);
  const folder = keyFolder(config);
  if (!(await hasKeyDatabase(folder))) {
    throw new GatewayError('store-failed', `no key store in ${folder}: make one with \`postern keys init\``);
  }
  const kek = await readKek(config.kek);
  const database = stack.use(await openKeyDatabase({ folder, kek, log }));
  const { expireAfterHours, maxMessages, minFreeBytes } = config.queue;
  const queue = stack.use(
    await openQueue({
      folder: join(config.dataFolder, 'queue'),
      kek,
      clock,
      log,
      hostname: config.hostname,
      retry: { ...defaultRetryPolicy, expireAfterMs: expireAfterHours * 3_600_000 },
      maxCopies: maxMessages,
      reserveBytes: minFreeBytes,
    }),
  );
  return {
    config,
    clock,
    log,
    keys: openKeyStore({ database, log }),
    queue,
    snapshots: await openSealedFiles(join(config.dataFolder, 'recipients'), 'recipients', kek),
    statistics: stack.use(await openProofStatistics(config, kek, clock, log)),
    doneKey: deriveKey(kek, 'done marks'),
    rewritingKey: deriveKey(kek, 'rewritten senders'),
  };
}

/** The policies in force with what hangs on them. A set that cannot be in force as a whole changes nothing. */
interface InForce extends AsyncDisposable {
  readonly recipients: () => RecipientDirectories;
  readonly policies: () => PolicySet;
  readonly proof: () => ProofSettings;
  readonly deliver: Deliver;
  readonly reload: () => Promise<readonly TenantApplied[]>;
}

async function putInForce(services: Services): Promise<InForce> {
  let current = await openPolicies(services);
  current.recipients.start();
  return {
    policies: () => current.policies,
    proof: () => current.proof,
    recipients: () => current.recipients,
    deliver: (shipment, signal) => current.deliver(shipment, signal),
    reload: inTurn(async () => {
      const { recipients: before } = current;
      current = await openPolicies(services, before);
      await before[Symbol.asyncDispose]();
      current.recipients.start();
      return current.applied;
    }),
    [Symbol.asyncDispose]: () => current.recipients[Symbol.asyncDispose](),
  };
}

async function openPolicies(services: Services, before?: RecipientDirectories) {
  const loaded = await loadPolicies(services);
  return { ...loaded, recipients: await openDirectories(loaded.policies, services, before) };
}

/** Everything is read and checked before the first key is changed. */
async function loadPolicies(services: Services) {
  const policies = await readPolicies(services);
  const deliver = await openDelivery(services, policies);
  const proof = { ...(await readProofSettings(services.config)), doneKey: services.doneKey };
  return { policies, proof, deliver, applied: await applyAll(services, policies) };
}

/** DNS as messages are authenticated with it. */
export function dnsLookup({ internet }: Config): DnsLookup {
  const resolver = openResolver(internet.resolvers);
  return (name, type) => resolver.resolve(name, type);
}

/** The list of ranges is read with the policies: one that cannot be used leaves the last good one in force. */
export async function readProofSettings({ exchange, limits, hostname }: Config): Promise<ProofSettings> {
  const { certificateNames, addressCheck, addressRanges } = exchange;
  const common = { certificateNames, hostname, maxReceived: limits.maxReceived };
  const text = addressRanges === undefined ? exchangeRanges.join('\n') : await readText(addressRanges);
  const result = parseRanges(text);
  if ('ranges' in result) return { ...common, addresses: { mode: addressCheck, ranges: result.ranges } };
  throw new GatewayError('config-invalid', `${addressRanges}:${result.line}:1: ${result.reason}`);
}

async function readPolicies({ config, clock, log }: Services): Promise<PolicySet> {
  const result = await readPolicySet(config.policyFolder, clock.now());
  if ('set' in result) {
    for (const { warnings } of result.set.all)
      for (const { file, line, message } of warnings)
        log.warn('policy-warning', { file, line, reason: message });
    return result.set;
  }
  throw new GatewayError('config-invalid', `the policy is not usable:\n${formatProblems(result.problems)}`);
}

async function applyAll({ keys, log }: Services, policies: PolicySet): Promise<readonly TenantApplied[]> {
  const applied: TenantApplied[] = [];
  for (const { policy, keys: declared } of policies.all) {
    const changes = await applyKeys(keys.forTenant(policy.tenant.id), declared);
    const counts = Object.entries(changes).map(([name, ids]) => [name, (ids as readonly string[]).length]);
    log.info('keys-applied', { tenant: policy.tenant.name, ...Object.fromEntries(counts) });
    applied.push({ tenant: policy.tenant.name, ...changes });
  }
  return applied;
}

async function openSmtp(
  { config, clock, log, queue }: Services,
  recipients: () => RecipientDirectories,
  services: ReceiveServices,
): Promise<Listener> {
  const { listener, exchange } = config;
  const ca = await Promise.all(exchange.ca.map(readText));
  return openListener({
    host: listener.host,
    port: listener.port,
    hostname: config.hostname,
    tls: {
      key: await readText(listener.key),
      cert: await readText(listener.certificate),
      ca: ca.length === 0 ? ['system'] : ca,
      isPurposeChecked: exchange.isPurposeChecked,
    },
    limits: config.limits,
    clock,
    log,
    handler: handlerOf(services, queue, recipients),
  });
}

function handlerOf(
  services: ReceiveServices,
  queue: Queue,
  recipients: () => RecipientDirectories,
): TransactionHandler {
  return {
    recipient: async ({ peer, accepted }, recipient) => {
      if (accepted.length === 0) await queue.checkRoom();
      return answerRecipient(services.policies(), services.proof(), peer, accepted, recipient, recipients());
    },
    offersLogin: (address) => mayLogIn(services.policies().registry, address),
    isLogin: (address, user, password) => isLogin(services.policies().registry, address, user, password),
    message: (peer, envelope, body, signal) => receive(services, peer, envelope, body, signal),
  };
}

function receiveSettings({
  hostname,
  limits,
  listener,
}: Config): Pick<ReceiveServices, 'hostname' | 'limits' | 'bareLineEnds' | 'received'> {
  return {
    hostname,
    limits,
    bareLineEnds: listener.bareLineEnds,
    received: (peer, envelope, at) => receivedField(peer, envelope, hostname, at),
  };
}

/** One call at a time; each waits for the one before, whatever became of it. */
function inTurn<T>(action: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return () => {
    const next = last.then(action, action);
    last = next.catch(() => undefined);
    return next;
  };
}

function tenantNames(policies: PolicySet): readonly string[] {
  return policies.all.map(({ policy }) => policy.tenant.name);
}

/** Where the key store is. */
export function keyFolder(config: Config): string {
  return join(config.dataFolder, 'keys');
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

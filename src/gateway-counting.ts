// Counting, as the gateway does it: statistics that last, for the operator; counters for Prometheus, where they are wanted.
import { join } from 'node:path';
import { openMetrics, serveMetrics } from './admin/metrics.ts';
import type { Config } from './config.ts';
import type { Clock } from './core/clock.ts';
import type { Log } from './core/log.ts';
import type { Secret } from './core/secret.ts';
import { joinTallies, type Tally } from './core/tally.ts';
import type { PolicySet } from './pipeline/policy-set.ts';
import type { Queue } from './queue/queue.ts';
import { openSealedFiles } from './storage/sealed-files.ts';
import { openStatistics, type ProofStatistics } from './tenant/statistics.ts';

const FILE = 'proof';

/** Opens the statistics of the data folder. The caller disposes them. */
export async function openProofStatistics(
  { dataFolder }: Config,
  kek: Secret,
  clock: Clock,
  log: Log,
): Promise<ProofStatistics> {
  const files = await openSealedFiles(join(dataFolder, 'statistics'), 'statistics', kek);
  const store = { read: () => files.read(FILE), write: (bytes: Uint8Array) => files.write(FILE, bytes) };
  return openStatistics(store, clock, log);
}

/** The tally of a gateway; serves the metrics page while `stack` lives, where the configuration has one. */
export async function openTally(
  { metrics: address }: Config,
  {
    queue,
    log,
    statistics,
  }: { readonly queue: Queue; readonly log: Log; readonly statistics: ProofStatistics },
  policies: () => PolicySet,
  stack: AsyncDisposableStack,
): Promise<Tally> {
  const lasting: Tally = {
    proven: (origin) => statistics.note(origin),
    committed: () => undefined,
    refused: () => undefined,
  };
  if (!address) return lasting;
  const metrics = openMetrics({
    nameOf: (tenant) => policies().of(tenant)?.policy.tenant.name ?? tenant,
    queued: () =>
      new Map(policies().all.map(({ policy: { tenant } }) => [tenant.id, queue.queuedOf(tenant.id)])),
  });
  const { port } = stack.use(await serveMetrics(metrics, address));
  log.info('metrics-served', { address: address.host, port });
  return joinTallies(lasting, metrics.tally);
}

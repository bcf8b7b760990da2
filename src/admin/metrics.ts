// Counters for Prometheus, by tenant, and the page that it reads: GET /metrics, nothing else, on a loopback address unless the
// operator names another. Names of tenants are shown there; addresses, subjects and rules are not.
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { GatewayError } from '../core/errors.ts';
import type { TenantId } from '../core/origin.ts';
import type { Tally } from '../core/tally.ts';

export interface MetricsSources {
  /** For labels. */
  readonly nameOf: (tenant: TenantId) => string;
  /** Queued copies by tenant. */
  readonly queued: () => ReadonlyMap<TenantId, number>;
}

export interface Metrics {
  readonly tally: Tally;
  /** The page in Prometheus' text format. */
  render(): Promise<string>;
}

const PREFIX = 'postern_';

/** Counters of one gateway, in a registry of their own: two gateways in one process do not mix. */
export function openMetrics({ nameOf, queued }: MetricsSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: PREFIX });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name: `${PREFIX}${name}`, help, labelNames, registers: [registry] });
  const proven = counter('proof_total', 'Messages proven to come from a tenant.', ['tenant', 'class']);
  const observed = counter(
    'proof_observed_total',
    'Proven messages that would be refused if the condition were required.',
    ['tenant', 'condition'],
  );
  const copies = counter('copies_total', 'Copies that were queued.', ['tenant', 'direction', 'encrypted']);
  const refused = counter('refused_total', 'Messages and recipients that were refused, by reason.', [
    'reason',
  ]);
  const inQueue = new Gauge({
    name: `${PREFIX}queued_copies`,
    help: 'Copies in the queue.',
    labelNames: ['tenant'],
    registers: [registry],
  });
  return {
    tally: {
      proven: (origin) => {
        const tenant = nameOf(origin.tenant);
        proven.inc({ tenant, class: origin.class });
        for (const condition of new Set(origin.observed.map((failure) => failure.condition)))
          observed.inc({ tenant, condition });
      },
      committed: (committed) => {
        for (const { tenant, direction, isEncrypted } of committed)
          copies.inc({ tenant: nameOf(tenant), direction, encrypted: isEncrypted ? 'yes' : 'no' });
      },
      refused: (reason) => refused.inc({ reason }),
    },
    render: () => {
      inQueue.reset();
      for (const [tenant, count] of queued()) inQueue.set({ tenant: nameOf(tenant) }, count);
      return registry.metrics();
    },
  };
}

export interface MetricsServer extends AsyncDisposable {
  readonly port: number;
}

/** Serves the page. Throws GatewayError `config-invalid` where the address cannot be used. */
export async function serveMetrics(
  metrics: Metrics,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics.render().then(
      (text) =>
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    throw new GatewayError('config-invalid', `metrics: cannot listen on ${host}:${port}: ${code}`, { cause });
  }
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

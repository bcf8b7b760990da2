// The outbound legs. Each has its own way to the next hop and its own TLS identity: Exchange Online attributes a connection
// by the client certificate, so one tenant's certificate on another leg turns mail to strangers into loops.
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Clock } from '../core/clock.ts';
import type { Deliver, DeliveryResult, Shipment } from '../core/delivery.ts';
import { GatewayError, replyFor } from '../core/errors.ts';
import { formatLeg, type LegName } from '../core/leg.ts';
import type { Log } from '../core/log.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { TenantId } from '../core/origin.ts';
import { type ClientTimeouts, defaultTimeouts, deliverShipment } from './client.ts';
import { openRoute, type Route, type RouteOptions } from './mx.ts';
import type { NextHop, TlsIdentity, TlsMode } from './next-hop.ts';

interface FixedHost {
  readonly host: string;
  readonly port: number;
  /** Name that the server's certificate must have; default: `host`. */
  readonly serverName?: string;
  /** PEM texts; default: the roots that come with Node. */
  readonly ca?: readonly string[];
}

/** TLS with this name and this client certificate, or the mail waits. */
export interface TenantLeg extends FixedHost {
  readonly tenant: TenantId;
  readonly identity: TlsIdentity;
}

/** The mail exchangers of each domain. */
export interface InternetLeg {
  readonly port: number;
  readonly resolvers: readonly string[];
  readonly allowPrivateAddresses: boolean;
  /** Usually none; never one with a name that a tenant's certificate has. */
  readonly identity?: TlsIdentity;
}

export interface SmarthostLeg extends FixedHost {
  readonly tls: TlsMode;
  readonly identity?: TlsIdentity;
  readonly auth?: NonNullable<NextHop['auth']>;
}

export interface LegsConfig {
  /** Name for EHLO. */
  readonly hostname: string;
  readonly tenants: readonly TenantLeg[];
  readonly internet: InternetLeg;
  readonly smarthost?: SmarthostLeg;
  readonly clock: Clock;
  readonly log: Log;
  readonly timeouts?: ClientTimeouts;
}

export interface Legs {
  readonly deliver: Deliver;
}

type HopOf = (domain: string) => NextHop;

const CONNECT_TIMEOUT_MS = 30_000;
/** One shipment may have as many domains as recipients. */
const MAX_DOMAINS_AT_ONCE = 8;

/**
 * Prepares the legs; no connection is opened and none is kept, so that nothing of one leg can serve another.
 * Throws GatewayError `config-invalid` where an identity cannot be used, or has a name of another leg's identity.
 */
export function openLegs(config: LegsConfig): Legs {
  refuseSharedIdentities(config);
  const hops = new Map<string, HopOf>(
    config.tenants.map((leg) => [formatLeg({ kind: 'tenant', tenant: leg.tenant }), tenantHop(leg, config)]),
  );
  hops.set(formatLeg({ kind: 'internet' }), internetHop(config.internet));
  if (config.smarthost) hops.set(formatLeg({ kind: 'smarthost' }), smarthostHop(config.smarthost, config));
  const client = { ...config, timeouts: config.timeouts ?? defaultTimeouts };
  return {
    deliver: async (shipment, signal) => {
      const hopOf = hops.get(formatLeg(shipment.leg));
      if (!hopOf) return noSuchLeg(shipment);
      const parts = shipment.leg.kind === 'internet' ? byDomain(shipment) : [shipment];
      const results: DeliveryResult[] = [];
      for (let at = 0; at < parts.length; at += MAX_DOMAINS_AT_ONCE) {
        const batch = parts
          .slice(at, at + MAX_DOMAINS_AT_ONCE)
          .map((part) => deliverShipment(hopOf(part.recipients[0].address.domain), part, client, signal));
        results.push(...(await Promise.all(batch)).flat());
      }
      return results;
    },
  };
}

function tenantHop(leg: TenantLeg, { internet }: LegsConfig): HopOf {
  return fixedHop(leg, internet.resolvers, { tls: 'verified', identity: leg.identity });
}

function smarthostHop(leg: SmarthostLeg, { internet }: LegsConfig): HopOf {
  return fixedHop(leg, internet.resolvers, {
    tls: leg.tls,
    ...(leg.identity ? { identity: leg.identity } : {}),
    ...(leg.auth ? { auth: leg.auth } : {}),
  });
}

/** A host that the operator named may be anywhere, inside too. */
function fixedHop(
  leg: FixedHost,
  resolvers: readonly string[],
  rest: Pick<NextHop, 'tls' | 'identity' | 'auth'>,
): HopOf {
  const route = routeOf({ port: leg.port, resolvers, allowPrivateAddresses: true });
  const hop: NextHop = {
    ...rest,
    serverName: leg.serverName ?? leg.host,
    ...(leg.ca ? { ca: leg.ca } : {}),
    open: (skip, signal) => route.toHost(leg.host, skip, signal),
  };
  return () => hop;
}

function internetHop(leg: InternetLeg): HopOf {
  const route = routeOf(leg);
  return (domain) => ({
    tls: 'opportunistic',
    ...(leg.identity ? { identity: leg.identity } : {}),
    open: (skip, signal) => route.toDomain(domain, skip, signal),
  });
}

function routeOf(options: Omit<RouteOptions, 'connectTimeoutMs'>): Route {
  return openRoute({ ...options, connectTimeoutMs: CONNECT_TIMEOUT_MS });
}

/** Each domain has its own exchangers. */
function byDomain(shipment: Shipment): readonly Shipment[] {
  const domains = Map.groupBy(shipment.recipients, ({ address }) => address.domain);
  return [...domains.values()].flatMap((recipients) =>
    isNonEmpty(recipients) ? [{ ...shipment, recipients }] : [],
  );
}

/** The tenant may be back after the next reload of the policies. */
function noSuchLeg({ recipients }: Shipment): readonly DeliveryResult[] {
  return recipients.map((recipient) => ({
    recipient,
    status: 'deferred',
    reply: replyFor('tenant-not-loaded'),
  }));
}

/** The legs with what they show. */
export interface LegIdentities {
  readonly tenants: readonly Pick<TenantLeg, 'tenant' | 'identity'>[];
  readonly internet: Pick<InternetLeg, 'identity'>;
  readonly smarthost?: Pick<SmarthostLeg, 'identity'>;
}

/**
 * Throws GatewayError `config-invalid`. SECURITY: Exchange Online compares names of the certificate, not keys: two legs whose
 * certificates share a name are one to it (test: leg-identity).
 */
export function refuseSharedIdentities({ tenants, internet, smarthost }: LegIdentities): void {
  const owners = new Map<string, LegName>();
  const claim = (leg: LegName, identity: TlsIdentity | undefined) => {
    if (!identity) return;
    for (const name of identityNames(leg, identity)) {
      const owner = owners.get(name);
      if (owner && formatLeg(owner) !== formatLeg(leg)) {
        const legs = `${formatLeg(owner)} and ${formatLeg(leg)}`;
        throw new GatewayError(
          'config-invalid',
          `${legs} use a client certificate with the same name ${name}`,
        );
      }
      owners.set(name, leg);
    }
  };
  for (const { tenant, identity } of tenants) claim({ kind: 'tenant', tenant }, identity);
  claim({ kind: 'internet' }, internet.identity);
  claim({ kind: 'smarthost' }, smarthost?.identity);
}

/** DNS names, subject and public key of a client certificate, in one form that can be compared. */
function identityNames(leg: LegName, { key, cert }: TlsIdentity): readonly string[] {
  try {
    createSecureContext({ key, cert });
    const leaf = new X509Certificate(cert);
    const dnsNames = (leaf.subjectAltName ?? '').split(', ').filter((name) => name.startsWith('DNS:'));
    return [...dnsNames.map((name) => name.toLowerCase()), leaf.subject, leaf.fingerprint256];
  } catch (cause) {
    throw new GatewayError('config-invalid', `key or certificate of leg ${formatLeg(leg)} cannot be used`, {
      cause,
    });
  }
}

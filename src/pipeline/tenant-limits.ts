// The limits of a tenant (C11): what it may have in the queue, and how much it may hand in within an hour. One tenant at its
// limit does not touch another.
import { GatewayError } from '../core/errors.ts';
import type { MessageClass, TenantId } from '../core/origin.ts';
import type { TenantLimits } from '../policy/schema.ts';

export interface TenantGate {
  /**
   * Counts one message of the tenant. Throws GatewayError `tenant-limit` for one too many in the hour; refused ones do not
   * count, so that waiting helps.
   */
  admit(tenant: TenantId, limits: TenantLimits, messageClass: MessageClass, at: Date): void;
  /** Throws GatewayError `tenant-limit` where the tenant has no more room in the queue. */
  checkRoom(tenant: TenantId, limits: TenantLimits): void;
}

interface Hour {
  readonly hour: number;
  messages: number;
  system: number;
}

const HOUR_MS = 3_600_000;

/** `queuedOf`: queued copies of a tenant. */
export function openTenantGate(queuedOf: (tenant: TenantId) => number): TenantGate {
  const hours = new Map<TenantId, Hour>();
  return {
    admit: (tenant, { messagesPerHour, systemPerHour }, messageClass, at) => {
      const hour = Math.floor(at.getTime() / HOUR_MS);
      const known = hours.get(tenant);
      const current = known?.hour === hour ? known : { hour, messages: 0, system: 0 };
      const isSystem = messageClass === 'system';
      if (messagesPerHour !== undefined && current.messages >= messagesPerHour)
        throw atLimit(`${messagesPerHour} messages an hour`);
      if (isSystem && current.system >= systemPerHour)
        throw atLimit(`${systemPerHour} reports and notifications an hour`);
      current.messages += 1;
      if (isSystem) current.system += 1;
      hours.set(tenant, current);
    },
    checkRoom: (tenant, { maxQueued }) => {
      if (maxQueued !== undefined && queuedOf(tenant) >= maxQueued)
        throw atLimit(`${maxQueued} queued copies`);
    },
  };
}

function atLimit(limit: string): GatewayError {
  return new GatewayError('tenant-limit', `the tenant is at its limit of ${limit}`);
}

// What the simulated Exchange Online remembers, for tests and rehearsals to look at.
import { type FaultPlan, planFaults } from './faults.ts';
import type { TlsFacts } from './tls-facts.ts';
import type { Waiters } from './waiting.ts';

/** How one recipient was judged. */
export interface Attribution {
  readonly sender: string;
  readonly recipient: string;
  /** Name of the tenant in the lab; undefined: nobody's. */
  readonly attributedTenant: string | undefined;
  readonly direction: 'originating' | 'incoming' | undefined;
  readonly connector: string | undefined;
  /** Names that counted: those of a verified certificate. */
  readonly certNames: readonly string[];
  readonly tlsVersion: string | undefined;
  readonly tls: TlsFacts | undefined;
  /** The client's address, where the connector's Enhanced Filtering looks past it. */
  readonly skipListedIp: string | undefined;
  /** Number of the connection, from 1: two attributions with the same number shared one. */
  readonly connection: number;
  /** `250`, or the refusal as answered. */
  readonly reply: string;
}

/** A message as one tenant got it: one for each tenant and direction of a transaction. */
export interface TenantMessage {
  readonly tenant: string;
  /** `internal`: it never left Exchange, such as an NDR to the tenant's own user. */
  readonly direction: 'originating' | 'incoming' | 'internal';
  readonly sender: string;
  readonly recipients: readonly string[];
  /** As received, before anything was changed. Only its first 256 KiB where the server keeps no bytes. */
  readonly received: Buffer;
  /** As the mailbox gets it. */
  readonly delivered: Buffer;
  /** Of all that was received. */
  readonly sha256: string;
  readonly size: number;
  /** Whether the mailbox shows it as sent from inside the organisation. */
  readonly isInternal: boolean;
  readonly tls: TlsFacts | undefined;
}

export interface ExchangeRecord {
  readonly attributions: Attribution[];
  readonly delivered: TenantMessage[];
  readonly directInternet: TenantMessage[];
  readonly waiters: Waiters;
  readonly faults: FaultPlan;
  loops: number;
}

export function openRecord(): ExchangeRecord {
  return {
    attributions: [],
    delivered: [],
    directInternet: [],
    waiters: new Set(),
    faults: planFaults(),
    loops: 0,
  };
}

export function clearRecord(record: ExchangeRecord): void {
  record.attributions.length = 0;
  record.delivered.length = 0;
  record.directInternet.length = 0;
  record.loops = 0;
  record.faults.clear();
}

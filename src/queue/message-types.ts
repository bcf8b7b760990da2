// What comes out of the queue, as data: deliveries for the runner, entries and counts for the operator. What goes in is
// core/commit.
import type { Shipment } from '../core/delivery.ts';

/** One attempt that is due: a copy and those of its recipients that are still open. */
export interface Delivery {
  /** Id of the copy. */
  readonly id: string;
  readonly shipment: Shipment;
  /** Attempts before this one. */
  readonly attempts: number;
  readonly firstAt: Date;
}

/** Monotone: `queued` -> one of the others. `removed` is an operator's doing. */
export type RecipientState = 'queued' | 'delivered' | 'failed' | 'expired' | 'removed';

export interface QueuedRecipient {
  readonly address: string;
  readonly state: RecipientState;
  /** The last remote or own reply; the text only as long as the copy is queued. */
  readonly reply?: string;
  readonly remote?: string;
  readonly closedAt?: Date;
}

export interface QueuedCopy {
  readonly id: string;
  readonly leg: string;
  readonly direction: 'inbound' | 'outbound';
  /** Whose rule decided. */
  readonly tenant: string;
  readonly rule: string;
  readonly isEncrypted: boolean;
  readonly sizeBytes: number;
  /** `damaged`: its record or body is not authentic; it is never sent. */
  readonly state: 'queued' | 'closed' | 'damaged';
  readonly isInFlight: boolean;
  readonly attempts: number;
  readonly nextAt?: Date;
  readonly recipients: readonly QueuedRecipient[];
}

/** One message for the operator: plain data, no content, no subject. */
export interface QueueEntry {
  readonly id: string;
  /** Id of the SMTP transaction, as in the log. */
  readonly transactionId: string;
  readonly createdAt: Date;
  readonly closedAt?: Date;
  /** null is the null sender. */
  readonly sender: string | null;
  readonly isReport: boolean;
  readonly copies: readonly QueuedCopy[];
}

export interface QueueFilter {
  /** Default `open`: messages with something queued or damaged. */
  readonly state?: 'open' | 'closed' | 'all';
  /** Sender or recipient, `local@domain` or `@domain`, letter case aside. */
  readonly address?: string;
  readonly tenant?: string;
  /** Default 100, newest first. */
  readonly limit?: number;
}

export interface QueueCounts {
  readonly messages: number;
  readonly copies: number;
  readonly recipients: number;
  readonly bytes: number;
  readonly inFlight: number;
  readonly damaged: number;
  readonly oldestAt?: Date;
}

// Delivery as the queue and the SMTP client speak of it.
import type { ByteSource } from './bytes.ts';
import type { Address } from './address.ts';
import type { Recipient } from './envelope.ts';
import type { LegName } from './leg.ts';
import type { NonEmpty } from './non-empty.ts';
import type { Reply } from './reply.ts';

/** One attempt: what is sent, and to whom. `body` is the whole message, CRLF lines, not dot-stuffed. */
export interface Shipment {
  /** Queue id, for logs and the Received trail. */
  readonly id: string;
  readonly leg: LegName;
  readonly sender: Address | null;
  readonly recipients: NonEmpty<Recipient>;
  readonly body: ByteSource;
  readonly smtpUtf8: boolean;
  readonly is8bit: boolean;
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
}

/** What became of one recipient in one attempt. */
export interface DeliveryResult {
  readonly recipient: Recipient;
  readonly status: 'delivered' | 'deferred' | 'failed';
  /** The remote reply, or ours where there was none (`4.4.1 connection refused`). */
  readonly reply: Reply;
  /** Host name of the remote MTA, where one was reached. */
  readonly remote?: string;
  /** Whether the DSN parameters were handed on (RFC 3461): the remote MTA then reports success. */
  readonly isDsnRelayed?: boolean;
}

export type Deliver = (shipment: Shipment, signal: AbortSignal) => Promise<readonly DeliveryResult[]>;

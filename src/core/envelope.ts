// The SMTP envelope (RFC 5321 §2.3.1): who sends, who receives, with which parameters. Header addresses never decide.
import type { Address } from './address.ts';
import type { NonEmpty } from './non-empty.ts';

/** NOTIFY of RFC 3461 §4.1. `NEVER` stands alone. */
export type NotifyCondition = 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY';

export interface Recipient {
  readonly address: Address;
  readonly notify?: readonly NotifyCondition[];
  /** ORCPT as received, xtext not decoded (RFC 3461 §4.2). */
  readonly orcpt?: string;
}

export interface Envelope {
  /** Our id of this transaction: in logs, replies and Received. Made by us, safe as a file name. */
  readonly id: string;
  /** null is the null sender `<>`. */
  readonly sender: Address | null;
  readonly recipients: NonEmpty<Recipient>;
  readonly smtpUtf8: boolean;
  readonly body: '7BIT' | '8BITMIME';
  /** RET and ENVID of RFC 3461 §4.3, §4.4; ENVID as received, xtext not decoded. */
  readonly ret?: 'FULL' | 'HDRS';
  readonly envid?: string;
}

// What the pipeline hands to the queue in one piece: a message whose copies become durable together, or not at all.
import type { Address } from './address.ts';
import type { ByteSource } from './bytes.ts';
import type { Envelope, Recipient } from './envelope.ts';
import type { LegName } from './leg.ts';
import type { NonEmpty } from './non-empty.ts';
import type { TenantId } from './origin.ts';

export interface FinishedCopy {
  readonly leg: LegName;
  readonly recipients: NonEmpty<Recipient>;
  /** MAIL FROM where it is not the sender of the envelope. Reports go to the sender of the envelope all the same. */
  readonly mailFrom?: Address | null;
  /** Whose policy decided, which version of it, and by which rule. */
  readonly tenant: TenantId;
  readonly direction: 'inbound' | 'outbound';
  readonly policyVersion: string;
  readonly rule: string;
  /** The finished message. Open until commit has resolved. */
  readonly body: ByteSource;
  readonly isEncrypted: boolean;
  readonly is8bit: boolean;
}

/** A recipient that the policy refused while others were accepted: the proven sender gets a DSN in the same commit. */
export interface RefusedRecipient {
  readonly recipient: Recipient;
  readonly explanation: string;
}

export interface CommittedMessage {
  readonly envelope: Envelope;
  readonly isProven: boolean;
  /** SHA-256 of the message as held, hex: binds the result to what was received. */
  readonly inputSha256: string;
  /** The leg that a DSN to the sender takes. */
  readonly returnLeg: LegName;
  readonly copies: readonly FinishedCopy[];
  readonly refused: readonly RefusedRecipient[];
}

/** Resolves once everything is durable. Rejects with `store-failed` or `queue-full`, and then nothing is queued. */
export type Commit = (message: CommittedMessage) => Promise<void>;

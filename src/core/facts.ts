// Everything that decide() may look at. Gathered once by pipeline/inspect; pure data.
import type { Address } from './address.ts';
import type { Envelope } from './envelope.ts';
import type { KeyFormat, KeyLookup } from './key.ts';
import type { Shape } from './shape.ts';

/**
 * Fields that are no facts, in lower case: a trace would show the tenant's secret and hidden recipients. A rule that names one
 * is an error of the policy file, so none is silently without effect.
 */
export const HIDDEN_FIELDS: readonly string[] = ['x-postern-tenant-auth', 'x-ms-exchange-crosspremises-bcc'];

/** A top-level header field, unfolded, encoded words decoded (RFC 2047), name in lower case. */
export interface FactField {
  readonly name: string;
  readonly value: string;
}

export interface Facts {
  readonly envelope: Envelope;
  /** Size of the message in bytes. */
  readonly size: number;
  readonly shape: Shape;
  readonly fields: readonly FactField[];
  /** The one From address; undefined where the field is missing, repeated, a group or ambiguous. */
  readonly from?: Address;
  /** Address keys in To and Cc: whoever is not among them is a hidden recipient. */
  readonly visible: ReadonlySet<string>;
  /** Auto-Submitted other than `no` (RFC 3834 §5), multipart/report, or the null sender. */
  readonly isAutomatic: boolean;
  /** text/calendar with a METHOD, anywhere in the message (RFC 6047 §2.4). */
  readonly isCalendar: boolean;
  /** A TNEF part (winmail.dat), anywhere in the message: what Outlook writes instead of MIME. */
  readonly hasTnef: boolean;
  /** Bytes over 127 below the message's own header, anywhere: the next hop has to offer 8BITMIME. */
  readonly is8bit: boolean;
  /** Look-ups made before deciding, so that decide() stays pure: by recipient `Address.key`. */
  readonly encryptionKeys: ReadonlyMap<string, Readonly<Record<KeyFormat, KeyLookup>>>;
  readonly signingKeys: Readonly<Record<KeyFormat, KeyLookup>>;
}

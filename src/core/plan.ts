// The plan: what will happen to a message, as immutable data. decide() writes it, pipeline/run-copy executes it.
import type { ErrorCode } from './errors.ts';
import type { KeyFormat, KeyId } from './key.ts';
import type { LegName } from './leg.ts';
import type { Recipient } from './envelope.ts';
import type { NonEmpty } from './non-empty.ts';

/** How header fields go into the cryptographic payload (RFC 9788). */
export interface HeaderProtection {
  /** What the payload says of itself: whether an encrypting layer was put around it. */
  readonly hp: 'clear' | 'cipher';
  /** Only with `cipher`: the outer Subject becomes a placeholder. */
  readonly isSubjectHidden: boolean;
  /** Only with a hidden Subject: it also stands on top of the text (RFC 9788 §5.2.2). */
  readonly hasLegacyDisplay?: true;
}

/** Algorithms that no longer protect, and that are read only where the policy names them. */
export type WeakAlgorithm = '3des' | 'rc2' | 'sha1';

/** How S/MIME content is encrypted: AES-256-CBC, which everybody reads, or AES-256-GCM. */
export type ContentMode = 'cbc' | 'gcm';

/** What chose the content mode: the rule, what the recipient announced, or nothing at all. */
export type ContentReason = 'rule' | 'learned' | 'certificate' | 'default';

export interface ContentChoice {
  readonly mode: ContentMode;
  /** Of the recipients that made it so, each reason once. */
  readonly by: NonEmpty<ContentReason>;
  /** The key is bound to the cipher (RFC 9709): all recipients announce that they read it. */
  readonly isKeyDerived?: true;
}

/** Whether S/MIME encrypts to a recipient's ML-KEM certificate: never, in addition to the other one, or instead of it. */
export type MlKemMode = 'off' | 'beside' | 'instead';

/** One step of a copy, in the order in which the steps run. */
export type Step =
  /** Removes fields of the given class from the outer header section; which ones is tenant/exchange-headers' business. */
  | {
      readonly kind: 'strip';
      readonly direction: 'inbound' | 'outbound';
      /** The body changes: signatures over the old one (DKIM, ARC) go as well. */
      readonly isRewritten?: boolean;
    }
  /** Puts the Subject on top of the text; before the step that hides it. */
  | { readonly kind: 'legacy-display' }
  | {
      readonly kind: 'sign';
      readonly format: KeyFormat;
      readonly key: KeyId;
      readonly protection?: HeaderProtection;
    }
  /** With `sign`, one OpenPGP message that is signed and encrypted (RFC 3156 §6.2). */
  | {
      readonly kind: 'encrypt';
      readonly format: KeyFormat;
      readonly keys: NonEmpty<KeyId>;
      readonly sign?: KeyId;
      /** Where no step before it has protected the header. */
      readonly protection?: HeaderProtection;
      /** Of S/MIME; without it CBC. */
      readonly content?: ContentChoice;
    }
  /** Decrypts the top-level entity with keys of `owner`'s addresses only. */
  | {
      readonly kind: 'decrypt';
      readonly owner: NonEmpty<Recipient>;
      readonly onFailure: 'deliver-marked';
      readonly weak?: NonEmpty<WeakAlgorithm>;
    }
  /** Verifies the signatures that are there after decryption. */
  | {
      readonly kind: 'verify';
      /** Decryption follows: a detached signature around a further one that covers a ciphertext is taken off. */
      readonly isBeforeDecryption?: true;
      readonly onInvalid: 'deliver-marked' | 'refuse';
      readonly weak?: NonEmpty<WeakAlgorithm>;
    }
  /** Compares the header inside the layers that were taken off with the outer one, and puts the Subject back. */
  | { readonly kind: 'compare-header'; readonly isMarked: boolean }
  /** Writes the results of decrypt and verify into X-Postern-* fields of the outer header. */
  | { readonly kind: 'mark' }
  /** Signs with DKIM for this domain, in place of the signature that was stripped. */
  | { readonly kind: 'dkim'; readonly domain: string }
  /** Loop-back: says to the tenant's rules that the message has been here. The last step. */
  | { readonly kind: 'done'; readonly direction: 'inbound' | 'outbound' };

/** One finished message for one recipient group over one leg. */
export interface Copy {
  readonly recipients: NonEmpty<Recipient>;
  readonly steps: readonly Step[];
  readonly leg: LegName;
  /** SECURITY: a copy with `mustEncrypt` commits only with an `encrypted` outcome (pipeline/run-copy). */
  readonly mustEncrypt: boolean;
  /** The rule that decided, as the operator named it. */
  readonly rule: string;
}

export interface Refusal {
  readonly recipient: Recipient;
  readonly rule: string;
  readonly error: ErrorCode;
  /** For people: names the rule and says what to do. Shown to proven senders only. */
  readonly explanation: string;
}

/** One line of reasoning, for `policy explain`, the log and the track record. */
export interface RuleTrace {
  readonly recipient: string;
  readonly rule: string;
  readonly matched: boolean;
  readonly because: string;
}

export interface Plan {
  readonly copies: readonly Copy[];
  readonly refusals: readonly Refusal[];
  readonly trace: readonly RuleTrace[];
}

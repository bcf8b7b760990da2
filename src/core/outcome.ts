// What a stage reports when its last byte is out. Outcomes are values; only failures are exceptions.
import type { KeyFormat } from './key.ts';
import type { NonEmpty } from './non-empty.ts';

/** One signature, judged on its own. `intact` and `trusted` are two results (RFC 8550 §3, §4). */
export interface SignatureResult {
  readonly format: KeyFormat;
  readonly integrity: 'intact' | 'broken' | 'unchecked';
  readonly trust: 'trusted' | 'untrusted' | 'unknown-key';
  /** Address keys that the certificate or our key store binds to the signer. Never taken from the message's text. */
  readonly signer: readonly string[];
  readonly keyId?: string;
  /** Of the whole path, where it was asked for. What is revoked is not trusted. */
  readonly revocation?: 'good' | 'revoked' | 'unknown';
  /** For log and marker: plain words, no library messages, no content. */
  readonly reason?: string;
  readonly signedAt?: Date;
  /** Content ciphers that an intact signature announces for its signer, best first (SMIMECapabilities). */
  readonly capabilities?: readonly string[];
  /** Of the certificate that the same signature names to encrypt to, where it came along. Nobody has looked at that one. */
  readonly encryptionKeyId?: string;
  /** Made with an algorithm that can be forged, and taken because the policy names it. */
  readonly weak?: true;
}

/** Why nothing was decrypted. `no-recipient`, `malformed`, `password-only`, `unsupported` are visible in the structure;
 *  `failed` is the one outcome once a private key was tried. */
export type NotDecryptedReason =
  'not-encrypted' | 'no-recipient' | 'password-only' | 'unsupported' | 'malformed' | 'failed';

/** RFC 9788 with its two values of hp; what was written before it; a message in the message (RFC 8551 §3.1). */
export type ProtectedForm = 'hp-clear' | 'hp-cipher' | 'v1' | 'memory-hole' | 'wrapped';

export type StageOutcome =
  | { readonly kind: 'headers' }
  | { readonly kind: 'signed'; readonly format: KeyFormat; readonly keyId: string }
  | {
      readonly kind: 'encrypted';
      readonly format: KeyFormat;
      readonly keyIds: NonEmpty<string>;
      readonly signed?: boolean;
      /** The content cipher, where the plan chose it (S/MIME). */
      readonly algorithm?: string;
    }
  | {
      readonly kind: 'decrypted';
      readonly format: KeyFormat;
      readonly keyId: string;
      /** Ciphertext integrity: AES-CBC content of CMS has none (EFAIL). */
      readonly authenticated: boolean;
      readonly algorithm: string;
      /** The cipher no longer protects, and was read because the policy names it. */
      readonly weak?: true;
      /** The content had no MIME header (RFC 8551 §3.1) and is delivered as plain text. */
      readonly isBareText?: true;
      /** Signatures inside the same OpenPGP message; CMS signatures come from a verify stage of their own. */
      readonly signatures: readonly SignatureResult[];
    }
  /** CompressedData of CMS. */
  | { readonly kind: 'decompressed'; readonly format: 'smime'; readonly algorithm: 'zlib' }
  | {
      /** The protected header was compared with the outer one, and the Subject put back where that may be. */
      readonly kind: 'header-compared';
      readonly form: ProtectedForm;
      /** `kept`: the outer one is a placeholder and stays, since a signature is broken or nothing was decrypted. */
      readonly subject: 'same' | 'restored' | 'kept' | 'differs' | 'none';
      /** Names of other fields that are not what was protected, in lower case. Never values. */
      readonly differs: readonly string[];
    }
  | { readonly kind: 'not-decrypted'; readonly reason: NotDecryptedReason }
  | {
      readonly kind: 'verified';
      readonly format: KeyFormat;
      readonly form: 'detached' | 'opaque';
      /** Of a detached signature: it was taken off all the same, since more layers lie below it. */
      readonly isTakenOff?: true;
      readonly isBareText?: true;
      readonly signatures: NonEmpty<SignatureResult>;
    }
  | { readonly kind: 'not-verified'; readonly reason: 'not-signed' | 'malformed' | 'unsupported' };

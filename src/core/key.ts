// Keys as the rest of the gateway speaks of them: records, look-up results, and what makes a key usable. The material
// itself stays in keys/ and the crypto folders.
import type { NonEmpty } from './non-empty.ts';
import type { TenantId } from './origin.ts';

export type KeyFormat = 'smime' | 'pgp';
/** `own`: has a private part, belongs to an address or domain of the tenant. `partner`: public only. */
export type KeyRole = 'own' | 'partner';
export type KeyPurpose = 'encrypt' | 'sign';

/** `<format>:<lower-case hex fingerprint>`: SHA-256 of the certificate, or the OpenPGP fingerprint. */
export type KeyId = string & { readonly __keyId: unique symbol };

/** The public half of a stored key. Addresses are `Address.key` values, or `@domain` for a domain key. */
export interface KeyRecord {
  readonly id: KeyId;
  readonly tenant: TenantId;
  readonly format: KeyFormat;
  readonly role: KeyRole;
  readonly addresses: NonEmpty<string>;
  /** PEM chain, leaf first (smime), or one armoured public key (pgp). */
  readonly material: string;
  readonly hasPrivateKey: boolean;
  readonly notBefore: Date;
  /** Undefined: does not expire. */
  readonly notAfter?: Date;
  /** `policy`: declared in the policy file and removed with it. `manual`: added by an operator. */
  readonly source: 'policy' | 'manual';
}

/** What the owner of a key says that their software reads (SMIMECapabilities, RFC 8551 §2.5.2), and where it was said. */
export type Announced =
  /** In mail that the key has signed; `at` is its signing time. */
  | { readonly by: 'learned'; readonly ciphers: readonly string[]; readonly at: Date }
  /** In the certificate itself (RFC 4262). */
  | { readonly by: 'certificate'; readonly ciphers: readonly string[] };

/** A record that may be used for one purpose now, and why it was found. */
export interface UsableKey {
  readonly record: KeyRecord;
  readonly matchedBy: 'address' | 'plus-base' | 'domain';
  /** Bits of security of the key itself; undefined: not compared. */
  readonly strength?: number;
  /** Whether it leads to a trusted root; undefined: nobody looked. */
  readonly isTrusted?: boolean;
  /** Of S/MIME, to encrypt; undefined: nothing is known. */
  readonly announces?: Announced;
}

/** Why a key that matched the address was not taken. */
export interface RejectedKey {
  readonly id: KeyId;
  readonly reason: string;
}

/**
 * The outcome of one look-up. A store that cannot be read is none of these: it throws GatewayError `store-failed`.
 * `mlKem`: the same for ML-KEM certificates, which are never among the other keys: a rule has to ask for them.
 * SECURITY: only `none` may ever lead to an unencrypted copy; `unreadable` (a damaged key) may not.
 */
export type KeyLookup = { readonly mlKem?: KeyLookup } & (
  | {
      readonly kind: 'usable';
      readonly keys: NonEmpty<UsableKey>;
      /** Usable ones of less close matches, best first, for where all of `keys` turn out to be revoked. */
      readonly farther?: readonly UsableKey[];
      readonly rejected: readonly RejectedKey[];
    }
  | { readonly kind: 'none'; readonly rejected: readonly RejectedKey[] }
  | { readonly kind: 'unreadable'; readonly rejected: NonEmpty<RejectedKey> }
);

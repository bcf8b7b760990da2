// Settings of the OpenPGP library and the caps that hold before it is called. Handed over with every call: the library's
// global configuration is never touched, so that two callers cannot change each other's rules.
import { type Config, config, enums } from 'openpgp';
import type { Limits } from '../core/limits.ts';
import type { HeaderProtection } from '../core/plan.ts';
import type { HeaderSection } from '../mime/header-section.ts';

/** What every operation on a message needs. `at` is the time at which keys and signatures are judged. */
export interface PgpOptions {
  readonly limits: Limits;
  readonly at: Date;
  readonly protection?: HeaderProtection;
  /** Called with the header of what was inside. It counts as little as the content until the outcome is there. */
  readonly onInner?: (header: HeaderSection) => void;
}

/** PKESK packets in one message (RFC 9580 §5.1). SECURITY: each one tried costs a private key operation (test: pkesk-flood). */
export const MAX_RECIPIENT_PACKETS = 100;
/** One session key or signature packet; an RSA-16384 PKESK has 2 KiB, a post-quantum signature 50 KiB. */
export const MAX_CONTROL_PACKET_BYTES = 65_536;
/** Signature packets in one detached signature. SECURITY: each may cost a hash of the whole content (test: sig-flood). */
export const MAX_DETACHED_SIGNATURES = 50;
/** The signature part of multipart/signed. */
export const MAX_SIGNATURE_BYTES = 262_144;
/** One armoured key, in characters. */
export const MAX_KEY_CHARACTERS = 1_048_576;
export const MAX_USER_IDS = 50;
/** Self-signatures, bindings and revocations of one key. Third-party certifications are dropped before. */
export const MAX_SELF_SIGNATURES = 500;
/** Senders' clocks run ahead of ours; a signature from further ahead is not trusted. */
export const CLOCK_SKEW_MS = 900_000;

const ARGON2_MEMORY_EXPONENT = 18;

/** For everything that writes, and for reading keys and signatures. */
export const strictConfig: Config = {
  ...config,
  preferredSymmetricAlgorithm: enums.symmetric.aes256,
  preferredCompressionAlgorithm: enums.compression.uncompressed,
  // The micalg that RFC 3156 readers expect; a key that demands a longer hash gets it.
  preferredHashAlgorithm: enums.hash.sha256,
  // SECURITY: no plaintext without an integrity check (test: sed).
  allowUnauthenticatedMessages: false,
  allowUnauthenticatedStream: false,
  ignoreMalformedPackets: false,
  enforceGrammar: true,
  // SECURITY: the attacker names the memory that a password needs (test: argon2).
  maxArgon2MemoryExponent: ARGON2_MEMORY_EXPONENT,
  allowMissingKeyFlags: false,
  showVersion: false,
  showComment: false,
};

/**
 * For private key operations on received mail. Own keys without key flags (old PGP) still decrypt.
 * SECURITY: constant-time RSA, since anybody may send us ciphertexts (test: pkesk-flood caps what it costs).
 */
export const decryptConfig: Config = {
  ...strictConfig,
  constantTimePKCS1Decryption: true,
  allowMissingKeyFlags: true,
  allowInsecureDecryptionWithSigningKeys: false,
};

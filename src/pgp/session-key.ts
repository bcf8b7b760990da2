// From the session key packets of a message to the session keys worth trying. The only place where a private key works.
import { type DecryptedSessionKey, decryptSessionKeys, type enums, readMessage } from 'openpgp';
import type { PgpPrivateKey } from './certificate.ts';
import type { RecipientPacket } from './encrypted-head.ts';
import { decryptConfig } from './options.ts';

export interface SessionKey {
  /** Symmetric algorithm (RFC 9580 §9.3); undefined where the data packet names it. */
  readonly algorithm: number | undefined;
  readonly data: Uint8Array;
  readonly owner: PgpPrivateKey;
}

/** One private key operation that may be worth it. */
export interface Attempt {
  readonly recipient: RecipientPacket;
  readonly key: PgpPrivateKey;
}

/** Key size in bytes by symmetric algorithm (RFC 9580 §9.3). What is not here is not read. */
export const KEY_BYTES: Readonly<Record<number, number>> = { 2: 24, 7: 16, 8: 24, 9: 32 };

/** By the library's names (RFC 9580 §9.3, §9.6). */
export const ALGORITHM_IDS: Readonly<Record<string, number>> = {
  tripledes: 2,
  aes128: 7,
  aes192: 8,
  aes256: 9,
};
export const AEAD_IDS: Readonly<Record<enums.aeadNames, number>> = { eax: 1, ocb: 2, gcm: 3 };

/**
 * Which private keys to try on which packets: those that a packet names first, then all own keys on packets without a
 * key id. At most `limit` attempts. Empty: no packet can be for one of these keys.
 */
export function selectAttempts(
  recipients: readonly RecipientPacket[],
  keys: readonly PgpPrivateKey[],
  limit: number,
): readonly Attempt[] {
  const named = recipients.flatMap((recipient) =>
    keys
      .filter((key) => recipient.keyId !== undefined && key.certificate.keyIds.includes(recipient.keyId))
      .map((key) => ({ recipient, key })),
  );
  const hidden = recipients
    .filter((recipient) => recipient.keyId === undefined)
    .flatMap((recipient) => keys.map((key) => ({ recipient, key })));
  // SECURITY: both lists are the sender's to fill; the cap comes before the first operation (test: pkesk-flood).
  return [...named, ...hidden].slice(0, limit);
}

/**
 * Candidates for the session key. With RSA there are random ones among them, which hide whether the padding was good
 * (the library's constant-time mode). A packet that does not open gives none.
 */
export async function openSessionKeys(attempt: Attempt): Promise<readonly SessionKey[]> {
  let opened: readonly DecryptedSessionKey[];
  try {
    const message = await readMessage({ binaryMessage: attempt.recipient.packet, config: decryptConfig });
    opened = await decryptSessionKeys({ message, decryptionKeys: attempt.key.key, config: decryptConfig });
  } catch {
    // Wrong key, damaged packet, unknown algorithm: all the same to the sender.
    return [];
  }
  return opened.flatMap(({ data, algorithm }) => {
    const id = algorithm === null || algorithm === undefined ? undefined : ALGORITHM_IDS[algorithm];
    if (algorithm && id === undefined) return [];
    return [{ algorithm: id, data, owner: attempt.key }];
  });
}

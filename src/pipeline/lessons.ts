// What the signatures of an inbound message teach about the software of its author (RFC 8551 §2.7.1). Pure: learning.ts
// hands it to the key store.
import type { Address } from '../core/address.ts';
import type { KeyId } from '../core/key.ts';
import type { TenantId } from '../core/origin.ts';
import type { SignatureResult, StageOutcome } from '../core/outcome.ts';
import type { Lesson } from '../keys/capabilities.ts';
import { parseKeyId } from '../keys/records.ts';
import type { TenantPlan } from './decide.ts';

export interface TenantLesson {
  readonly tenant: TenantId;
  readonly key: KeyId;
  readonly lesson: Lesson;
}

/**
 * The lessons of a finished copy. `author`: the one address in From. SECURITY: whoever could teach something about another's
 * key could have mail to them made unreadable, or take AES-GCM away, so there has to be no doubt at all about the author
 * (tests: what teaches nothing).
 */
export function lessonsOf(
  { direction, loaded: { policy } }: Pick<TenantPlan, 'direction' | 'loaded'>,
  outcomes: readonly StageOutcome[],
  author: Address | undefined,
): readonly TenantLesson[] {
  if (direction !== 'inbound' || !policy.inbound.learnsCapabilities || !author) return [];
  const signatures = outcomes.flatMap(signaturesOf);
  if (signatures.some(({ integrity }) => integrity === 'broken')) return [];
  // Whoever signs around a ciphertext may be a server on the way (RFC 2634 §3.1).
  const opened = outcomes.findLastIndex(({ kind }) => kind === 'decrypted');
  return outcomes
    .slice(opened + 1)
    .flatMap(signaturesOf)
    .flatMap((signature) => {
      const { capabilities, signedAt, keyId = '', encryptionKeyId = '' } = signature;
      // Without its time nobody can say which of two is the later.
      if (!capabilities || !signedAt || !isBeyondDoubt(signature, author)) return [];
      const lesson = { address: author.key, ciphers: capabilities, signedAt };
      // Who signs with one certificate and reads with another names that one in the signature (RFC 8551 §2.5.3). It is
      // believed for the author's own address, and counts where the tenant has declared it for them.
      const keys = new Set([keyId, encryptionKeyId].flatMap((id) => parseKeyId(id) ?? []));
      return [...keys].map((key) => ({ tenant: policy.tenant.id, key, lesson }));
    });
}

function signaturesOf(outcome: StageOutcome): readonly SignatureResult[] {
  return outcome.kind === 'verified' || outcome.kind === 'decrypted' ? outcome.signatures : [];
}

function isBeyondDoubt(signature: SignatureResult, author: Address): boolean {
  const { format, integrity, trust, revocation, weak, signer } = signature;
  return (
    format === 'smime' &&
    integrity === 'intact' &&
    trust === 'trusted' &&
    revocation !== 'revoked' &&
    !weak &&
    signer.includes(author.key)
  );
}

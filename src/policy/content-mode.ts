// How S/MIME content is encrypted for one recipient, and for a group that shares one ciphertext. Pure: what recipients
// announce was looked up before.
import type { Announced, UsableKey } from '../core/key.ts';
import { isNonEmpty, type NonEmpty } from '../core/non-empty.ts';
import type { ContentChoice } from '../core/plan.ts';
import type { SmimeTreatment } from './schema.ts';

/** What AES-256-GCM, the one authenticated cipher that is written, is called in what recipients announce. */
const GCM = 'aes-256-gcm';
/** And keys that are derived for their cipher (RFC 9709). */
const DERIVED_KEYS = 'cek-hkdf-sha256';

/**
 * The rule decides; then what the owner's signed mail announced last; then what the certificate announces; else CBC.
 * RFC 8551 §2.7.1.2 would have GCM for recipients of whom nothing is known, since S/MIME 4.0 demands it: most software in
 * use is older and would show nothing at all. The type of a key says nothing about it either. Of its alternative,
 * AES-128-CBC, the longer key is taken: whatever reads the one reads the other.
 */
export function contentFor(
  { content }: Pick<SmimeTreatment, 'content'>,
  { announces }: UsableKey,
): ContentChoice {
  if (content !== 'auto') return { mode: content, by: ['rule'] };
  if (announces === undefined) return { mode: 'cbc', by: ['default'] };
  return {
    mode: announcesGcm(announces) ? 'gcm' : 'cbc',
    by: [announces.by],
    ...(announces.ciphers.includes(DERIVED_KEYS) && { isKeyDerived: true }),
  };
}

/**
 * For one ciphertext that several recipients read: the best mode that all of them read. CBC is what everybody reads, so one
 * recipient without GCM decides for all. Likewise for derived keys, which a rule that names a mode does without: it is for
 * software that reads less than it says.
 */
export function contentForAll(choices: NonEmpty<ContentChoice>): ContentChoice {
  const mode = choices.every((choice) => choice.mode === 'gcm') ? 'gcm' : 'cbc';
  const reasons = choices.flatMap((choice) => (choice.mode === mode ? choice.by : []));
  const by = [...new Set(reasons)].toSorted();
  const isKeyDerived = choices.every((choice) => choice.isKeyDerived);
  return { mode, by: isNonEmpty(by) ? by : choices[0].by, ...(isKeyDerived && { isKeyDerived }) };
}

export function announcesGcm({ ciphers }: Announced): boolean {
  return ciphers.includes(GCM);
}

// The answer to RCPT: which class a recipient makes the transaction, and whether this client may name it at all.
// The proof is complete only after DATA, but nobody may probe for an open relay before (exchange set-ups: C1, C2).
import type { Address } from '../core/address.ts';
import { replyFor } from '../core/errors.ts';
import type { Peer } from '../core/peer.ts';
import type { Reply } from '../core/reply.ts';
import { canRelay } from '../tenant/client.ts';
import type { ProofSettings } from '../tenant/settings.ts';
import { onPremisesTenant } from '../tenant/on-premises.ts';
import { tenantOfDomain } from '../tenant/registry.ts';
import type { RecipientDirectories } from './recipient-directories.ts';
import type { PolicySet } from './policy-set.ts';

const ACCEPTED: Reply = { code: 250, enhanced: '2.1.5', text: 'Recipient accepted' };

/** Says no to addresses that a tenant does not have. */
type Directories = Pick<RecipientDirectories, 'refusal'>;

/** Local: in a domain of a hosted tenant. Once one recipient is accepted, the other class gets 452 4.5.3. */
export function answerRecipient(
  policies: PolicySet,
  proof: ProofSettings,
  peer: Peer,
  accepted: readonly Address[],
  recipient: Address,
  directories?: Directories,
): Reply {
  const tenant = tenantOfDomain(policies.registry, recipient.domain);
  const [first] = accepted;
  if (first) {
    const isFirstLocal = tenantOfDomain(policies.registry, first.domain) !== undefined;
    if (isFirstLocal !== (tenant !== undefined)) return replyFor('other-class');
  }
  if (tenant && !tenant.isEnabled) return replyFor('tenant-suspended');
  if (tenant && !peer.tls && policies.of(tenant.id)?.policy.inbound.isTlsRequired)
    return replyFor('tls-required');
  // The Exchange Online of a loop-back tenant has accepted the recipient already.
  if (tenant && !tenant.isLoopBack) return directories?.refusal(tenant.id, recipient) ?? ACCEPTED;
  const failure = onPremisesTenant(policies.registry, peer) ? undefined : canRelay(peer, proof);
  return failure ? replyFor(failure.error) : ACCEPTED;
}

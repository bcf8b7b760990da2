// Mail loops: condition C10.
import type { ProofFailure } from '../core/origin.ts';
import { type Direction, hasDoneMark } from './done-marker.ts';
import type { Evidence } from './evidence.ts';
import type { Tenant } from './registry.ts';
import { failure, type ProofSettings } from './settings.ts';

const MAX_OWN_RECEIVED = 2;

/** C10: RFC 5321 §6.3. Once through here for its sender's side and once for its recipient's is as it should be. */
export function checkHops(
  { receivedCount, receivedBy }: Evidence,
  { maxReceived, hostname }: ProofSettings,
): ProofFailure | undefined {
  if (receivedCount >= maxReceived) return failure('C10', 'mail-loop', `${receivedCount} Received fields`);
  const own = receivedBy.filter((name) => name === hostname.toLowerCase()).length;
  return own < MAX_OWN_RECEIVED
    ? undefined
    : failure('C10', 'mail-loop', `${own} Received fields of this gateway`);
}

/** C10 of loop-back: the message has been here, in this direction, for this tenant. */
export function checkDone(
  { id }: Tenant,
  direction: Direction,
  { doneMarks, messageId }: Evidence,
  { doneKey }: ProofSettings,
): ProofFailure | undefined {
  return doneKey && hasDoneMark(doneMarks, doneKey, { tenant: id, direction, messageId })
    ? failure('C10', 'mail-loop', `X-Postern-Done says that it has been here (${direction})`)
    : undefined;
}

// How a signature fits the header around it, which it does not cover: whether its signer is the author or the Sender
// (RFC 8550 §3), and whether it was made about when the message was dated.
import type { SignatureResult } from '../core/outcome.ts';
import { parseAddressList } from '../mime/address-list.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';

/** `unclear`: the field does not name one single mailbox. `none`: there is no such field. */
export type SignerMatch = 'signer' | 'other' | 'unclear' | 'none';

/** Mail waits in an outbox or queue before it is signed; a signed text that somebody sends again is older. */
const MAX_APART_MS = 3_600_000;

export function matchSigner(
  { signer }: SignatureResult,
  header: HeaderSection,
  name: 'From' | 'Sender',
): SignerMatch {
  const [field, ...more] = fieldsNamed(header, name);
  if (!field) return 'none';
  const list = more.length === 0 ? parseAddressList(fieldValue(field)) : undefined;
  const [mailbox, ...others] = list?.mailboxes ?? [];
  if (!mailbox || others.length > 0 || list?.hasGroup) return 'unclear';
  return signer.includes(mailbox.address.key) ? 'signer' : 'other';
}

/** Whether the signature says a time that is more than an hour from Date. False where one of them says none. */
export function isFarFromDate({ signedAt }: SignatureResult, header: HeaderSection): boolean {
  const [field] = fieldsNamed(header, 'Date');
  const date = field ? Date.parse(fieldValue(field).replace(/\([^()]*\)/g, '')) : Number.NaN;
  if (!signedAt || Number.isNaN(date)) return false;
  return Math.abs(signedAt.getTime() - date) > MAX_APART_MS;
}

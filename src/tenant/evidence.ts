// What was observed about the origin of a message: the peer, the envelope, and the header fields that Exchange Online
// stamps. Lists keep every occurrence, since repetition is itself evidence. No verdicts here.
import type { DkimVerdict } from '../authentication/dkim.ts';
import type { Address } from '../core/address.ts';
import type { Envelope } from '../core/envelope.ts';
import type { Peer } from '../core/peer.ts';
import { Secret } from '../core/secret.ts';
import { parseContentType } from '../mime/content-type.ts';
import { DONE_FIELD, messageIdOf } from './done-marker.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';

export interface Evidence {
  readonly peer: Peer;
  /** MAIL FROM; null is the null sender. */
  readonly sender: Address | null;
  /** Values of X-MS-Exchange-CrossTenant-Id. */
  readonly tenantIds: readonly string[];
  /** Values of X-OriginatorOrg. */
  readonly organizations: readonly string[];
  /** Values of X-MS-Exchange-CrossTenant-AuthAs and -FromEntityHeader. */
  readonly authAs: readonly string[];
  readonly entities: readonly string[];
  /** Values of X-MS-Exchange-CrossTenant-OriginalAttributedTenantConnectingIp. */
  readonly attributions: readonly string[];
  /** Values of X-Postern-Tenant-Auth. SECURITY: as secrets, so that no log or error shows what was tried. */
  readonly secrets: readonly Secret[];
  /** DKIM signatures, one verdict each, on the bytes as they were held. */
  readonly dkim: readonly DkimVerdict[];
  /** Values of From and Sender. Resent-From is not gathered: it proves nothing. */
  readonly from: readonly string[];
  readonly senderFields: readonly string[];
  /** Auto-Submitted other than `no` (RFC 3834 §5), or multipart/report. */
  readonly isAutomatic: boolean;
  readonly receivedCount: number;
  /** Names after `by` in Received fields, in lower case. */
  readonly receivedBy: readonly string[];
  /** Values of X-Postern-Done. */
  readonly doneMarks: readonly string[];
  readonly messageId: string;
}

/** Gathers the evidence of one transaction from the outer header section, before anything is changed. */
export function gatherEvidence(
  peer: Peer,
  { sender }: Pick<Envelope, 'sender'>,
  header: HeaderSection,
  dkim: readonly DkimVerdict[],
): Evidence {
  // SECURITY: fieldValue takes off blanks and nothing else, so a value with NBSP or another invisible character stays
  // different from the one it imitates (test: stamped-nbsp).
  const written = (name: string) => fieldsNamed(header, name).map(fieldValue);
  return {
    peer,
    sender,
    tenantIds: written('X-MS-Exchange-CrossTenant-Id'),
    organizations: written('X-OriginatorOrg'),
    authAs: written('X-MS-Exchange-CrossTenant-AuthAs'),
    entities: written('X-MS-Exchange-CrossTenant-FromEntityHeader'),
    attributions: written('X-MS-Exchange-CrossTenant-OriginalAttributedTenantConnectingIp'),
    secrets: written('X-Postern-Tenant-Auth').map((value) => new Secret(value)),
    dkim,
    from: written('From'),
    senderFields: written('Sender'),
    isAutomatic: isAutoSubmitted(written('Auto-Submitted')) || isReport(written('Content-Type')),
    receivedCount: fieldsNamed(header, 'Received').length,
    receivedBy: written('Received').map(nameOfReceiver),
    doneMarks: written(DONE_FIELD),
    messageId: messageIdOf(header),
  };
}

/** Auto-Submitted other than `no` (RFC 3834 §5). */
export function isAutoSubmitted(values: readonly string[]): boolean {
  return values.some((value) => (/^[a-z-]*/i.exec(value)?.[0] ?? '').toLowerCase() !== 'no');
}

/** RFC 5321 §4.4, By-domain. */
function nameOfReceiver(received: string): string {
  return (/(?:^|[ \t])by[ \t]+([^ \t;()]{1,255})/i.exec(received)?.[1] ?? '').toLowerCase();
}

function isReport(values: readonly string[]): boolean {
  return values.some((value) => parseContentType(value).mediaType === 'multipart/report');
}

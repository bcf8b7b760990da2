// The one table of errors: code -> SMTP reply, public text, log level. docs/errors.md is generated from it.
// Public text never holds key ids, file names or library messages.
import type { LogLevel } from './log.ts';
import type { Reply } from './reply.ts';

export interface ErrorEntry {
  readonly code: number;
  readonly enhanced: string;
  readonly text: string;
  readonly level: LogLevel;
  /** For docs/errors.md: when it happens and what the operator does. */
  readonly meaning: string;
}

export const errorTable = {
  'message-too-large': entry(
    552,
    '5.3.4',
    'Message is larger than this system accepts',
    'info',
    'The message exceeds the size limit of the listener, or a decoded layer exceeds it. Raise `limits.max_message_bytes` or send a smaller message.',
  ),
  'header-malformed': entry(
    550,
    '5.6.0',
    'Message header cannot be read unambiguously',
    'info',
    'The header section has bare line ends, NUL, lines over 998 octets, a blank before a colon, too many lines or bytes, or a field twice that must be single: From, Sender; with different values Subject, Date, Content-Type, Content-Transfer-Encoding, Content-Disposition.',
  ),
  'mime-malformed': entry(
    550,
    '5.6.0',
    'Message structure cannot be read unambiguously',
    'info',
    'A MIME structure that has to be changed cannot be parsed, is nested too deeply or has too many parts.',
  ),
  'bare-line-end': entry(
    550,
    '5.6.11',
    'Bare CR or LF is not accepted',
    'info',
    'The body holds a bare CR, LF or NUL, and the listener is set to refuse (NUL: always).',
  ),
  'mail-loop': entry(
    554,
    '5.4.6',
    'Mail loop detected',
    'error',
    'Too many Received fields, or the message has passed this gateway before. Check connectors and rules in the tenant.',
  ),
  'tls-required': entry(
    530,
    '5.7.0',
    'Must issue a STARTTLS command first',
    'info',
    'A relay recipient was named on a connection without TLS, or a recipient of a tenant with `inbound.require_tls`.',
  ),
  'client-not-verified': entry(
    550,
    '5.7.1',
    'Relaying denied: client is not a verified Exchange Online server',
    'warn',
    'No client certificate, a certificate that does not verify, one with another name, or an address outside the required ranges. See `exchange.certificate_names`, `exchange.ca` and `exchange.address_check`.',
  ),
  'tenant-conflicting': entry(
    550,
    '5.7.1',
    'Relaying denied: conflicting tenant identification',
    'warn',
    'X-MS-Exchange-CrossTenant-Id is repeated or not a plain GUID.',
  ),
  'tenant-missing': entry(
    550,
    '5.7.1',
    'Relaying denied: tenant identification missing',
    'warn',
    'No X-MS-Exchange-CrossTenant-Id on mail to the Internet that is not a report or notification with the null sender.',
  ),
  'organization-not-authorized': entry(
    550,
    '5.7.1',
    'Relaying denied: originating organization is not authorized for this service',
    'warn',
    'The tenant is unknown here, or X-OriginatorOrg is missing, repeated or not a domain of that tenant.',
  ),
  'sender-not-authorized': entry(
    550,
    '5.7.1',
    'Sender address is not authorized for tenant',
    'warn',
    'From, Sender or MAIL FROM is not in the domains of the proven tenant.',
  ),
  'class-not-authorized': entry(
    550,
    '5.7.1',
    'Relaying denied: message class is not authorized',
    'warn',
    'AuthAs and FromEntityHeader are missing, repeated, or a pair that this gateway does not relay.',
  ),
  'tenant-auth-missing': entry(
    550,
    '5.7.1',
    'Relaying denied: tenant authentication missing',
    'warn',
    'X-Postern-Tenant-Auth is missing, repeated or no secret of the tenant. The routing rule in the tenant sets it; `tenant.proof.secrets` of the policy file names the values.',
  ),
  'dkim-missing': entry(
    550,
    '5.7.20',
    "No passing DKIM signature of the tenant's domains",
    'warn',
    "The message has no valid DKIM signature of an accepted domain of the tenant, and its kind of mail needs one. Enable DKIM for the tenant's domains in Exchange Online; `tenant.proof.dkim` of the policy file sets where it is needed.",
  ),
  'authentication-unavailable': entry(
    451,
    '4.7.5',
    'Authentication of the message cannot be checked now, please try again',
    'warn',
    'A DKIM key or an SPF record that decides about the message could not be looked up. See the resolvers in `internet.resolvers`.',
  ),
  'own-domain-unauthenticated': entry(
    550,
    '5.7.1',
    'Sender domain belongs to this service but the message is not authenticated',
    'warn',
    "Mail from outside with a From address in a hosted tenant's domain, without an aligned DKIM signature or SPF pass. Senders that write in the tenant's name sign with DKIM or stand in its SPF record; `tenant.proof.own_domain` of the policy file turns the check off.",
  ),
  'forwarded-not-enabled': entry(
    550,
    '5.7.1',
    'Relay of forwarded mail is not enabled for this tenant',
    'warn',
    'A mailbox of the tenant forwards mail from outside to the outside, and `tenant.proof.forwarded` is `refuse`.',
  ),
  'hybrid-not-enabled': entry(
    550,
    '5.7.1',
    'On-premises relay is not enabled for this tenant',
    'warn',
    'Mail of an on-premises server that came to the tenant by a connector, and `tenant.proof.hybrid` is `refuse`.',
  ),
  'tenant-suspended': entry(
    550,
    '5.7.1',
    'Service is suspended for this organization',
    'warn',
    'The tenant is disabled in its policy file.',
  ),
  'tenant-limit': entry(
    451,
    '4.7.1',
    'The organization is at its limit of messages, please try again later',
    'warn',
    'The tenant has as much in the queue, or has handed in as much within the hour, as `tenant.limits` of its policy file allows.',
  ),
  'tenant-not-loaded': entry(
    451,
    '4.3.0',
    'Temporary local problem, please try again',
    'error',
    'No policy is loaded for the tenant. See the log of the policy reload.',
  ),
  'relay-denied': entry(
    550,
    '5.7.1',
    'Relaying denied',
    'info',
    'A recipient that is not local, from a client that is not a verified Exchange Online server.',
  ),
  'recipient-unknown': entry(
    550,
    '5.1.1',
    'Recipient address is not known here',
    'info',
    'The recipients directory of the tenant does not have the address. `postern recipients check` says what each source holds; `tenant.recipients` of the policy file names the sources.',
  ),
  'recipients-unavailable': entry(
    451,
    '4.3.0',
    'Recipient cannot be checked at the moment, please try again',
    'warn',
    'A source of the recipients directory cannot be read, so its last good listing is kept. Once a listing is older than `stale_after_hours`, or where there is none, an address that nobody knows gets this answer. `postern recipients status` shows the reason.',
  ),
  'other-class': entry(
    452,
    '4.5.3',
    'Send this recipient in a transaction of its own',
    'debug',
    'Local and relay recipients in one transaction; the client sends the rest again by itself.',
  ),
  'too-many-recipients': entry(
    452,
    '4.5.3',
    'Too many recipients, send the rest in another transaction',
    'info',
    'More recipients than `limits.max_recipients`.',
  ),
  'address-invalid': entry(
    553,
    '5.1.3',
    'Address is not valid',
    'info',
    'An envelope address is not one plain mailbox with a public domain name.',
  ),
  'utf8-not-announced': entry(
    553,
    '5.6.7',
    'Address needs SMTPUTF8',
    'info',
    'A non-ASCII address without the SMTPUTF8 parameter (RFC 6531 §3.4).',
  ),
  'refused-by-rule': entry(
    550,
    '5.7.1',
    'Refused by policy',
    'info',
    'A rule of the policy refuses the message.',
  ),
  'encryption-required': entry(
    550,
    '5.7.1',
    'Encryption is required and no usable key is known for the recipient',
    'info',
    'A rule requires encryption; no certificate or key of the recipient is usable. `postern policy explain` shows why each was not used.',
  ),
  'signing-key-missing': entry(
    550,
    '5.7.1',
    'A signature is required and no usable signing key is known for the sender',
    'warn',
    'A rule demands a signature; the sender has no usable own key.',
  ),
  'signature-invalid': entry(
    554,
    '5.7.7',
    'Message integrity failure',
    'info',
    'An inbound signature is broken and the policy refuses such mail.',
  ),
  'key-unreadable': entry(
    451,
    '4.3.0',
    'Temporary local problem, please try again',
    'error',
    'A stored key for a recipient or the sender is damaged: `postern keys list` names it; apply the policy again or remove it. Or revocation of a certificate could not be checked now and `trust.revocation` of the policy file requires it.',
  ),
  'store-failed': entry(
    451,
    '4.3.0',
    'Temporary local problem, please try again',
    'error',
    'The key store, the queue or the KEK cannot be read or written. Nothing was lost; the sender tries again.',
  ),
  'queue-full': entry(
    452,
    '4.3.1',
    'Insufficient system storage',
    'error',
    'Free disk space is below the reserve, or the queue is at its limit.',
  ),
  'shutting-down': entry(421, '4.3.2', 'Service is shutting down', 'info', 'The gateway is being stopped.'),
  'too-many-connections': entry(
    421,
    '4.7.0',
    'Too many connections',
    'warn',
    'More connections than `limits.max_connections` or `limits.max_connections_per_address`.',
  ),
  'timed-out': entry(
    421,
    '4.4.2',
    'Timeout, closing connection',
    'info',
    'The client was idle, too slow, or the session too long.',
  ),
  'next-hop-failed': entry(
    451,
    '4.4.1',
    'Next hop is not reachable',
    'warn',
    'A delivery attempt failed; it is repeated by the schedule.',
  ),
  'next-hop-tls': entry(
    451,
    '4.7.5',
    'Next hop has no acceptable TLS',
    'error',
    'The leg requires TLS with a verified name and the server did not offer it.',
  ),
  'next-hop-extension': entry(
    554,
    '5.6.7',
    'Next hop cannot take this message',
    'warn',
    'The next hop does not offer SMTPUTF8 or 8BITMIME, and the message cannot be changed.',
  ),
  'config-invalid': entry(
    451,
    '4.3.5',
    'System incorrectly configured',
    'error',
    'A configuration or policy file cannot be used. The message lists each error with file, line and column.',
  ),
  unplanned: entry(
    451,
    '4.3.0',
    'Temporary local problem, please try again',
    'error',
    'An error nobody planned for. The sender keeps the message; please report the log record.',
  ),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

function entry(code: number, enhanced: string, text: string, level: LogLevel, meaning: string): ErrorEntry {
  return { code, enhanced, text, level, meaning };
}

/** The reply that belongs to a code, with its public text or a more precise one written for a proven sender. */
export function replyFor(code: ErrorCode, text?: string): Reply {
  const found: ErrorEntry = errorTable[code];
  return { code: found.code, enhanced: found.enhanced, text: text ?? found.text };
}

export type ErrorDetail = Readonly<Record<string, string | number | boolean>>;

/** A failure. `message` is the reason for the log and the operator, never for the wire; `detail` is flat. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly detail: ErrorDetail;

  constructor(
    code: ErrorCode,
    reason: string,
    options: { readonly detail?: ErrorDetail; readonly cause?: unknown } = {},
  ) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? {};
  }
}

/** Any thrown value as a GatewayError: what is not one becomes `unplanned`. */
export function asGatewayError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  return new GatewayError('unplanned', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}

// The trace field of this gateway (RFC 5321 §4.4). The loop limit itself is counted where the header section is read; a
// field that is always written, and with our name, is what makes that count work.
import type { Envelope } from '../core/envelope.ts';
import type { Peer } from '../core/peer.ts';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** What a HELO argument may consist of to be repeated; anything else is told as `unknown`. */
const PLAIN_NAME = /^[A-Za-z0-9._-]{1,255}$/;
const PLAIN_LITERAL = /^\[[A-Fa-f0-9:.]{1,45}\]$|^\[IPv6:[A-Fa-f0-9:.]{1,45}\]$/i;

/**
 * The Received field of a transaction, folded, with its CRLF. It names no recipient (a hidden one would be shown to the
 * others) and nothing of the inside: our public name, the peer as it appeared, our id, the time in UTC.
 */
export function receivedField(peer: Peer, envelope: Envelope, hostname: string, at: Date): Buffer {
  const tls = peer.tls ? `\r\n\t(version=${peer.tls.protocol} cipher=${peer.tls.cipher})` : '';
  return Buffer.from(
    `Received: from ${plainHelo(peer.helo)} (${literal(peer.address)})\r\n` +
      `\tby ${hostname} with ${protocol(peer, envelope)} id ${envelope.id}${tls};\r\n` +
      `\t${mailDate(at)}\r\n`,
  );
}

/** The `with` keyword (RFC 3848, RFC 6531 §3.7.3). */
function protocol(peer: Peer, envelope: Envelope): string {
  const base = envelope.smtpUtf8 ? 'UTF8SMTP' : 'ESMTP';
  return peer.tls ? `${base}S` : base;
}

function plainHelo(helo: string): string {
  return PLAIN_NAME.test(helo) || PLAIN_LITERAL.test(helo) ? helo : 'unknown';
}

function literal(address: string): string {
  return address.includes(':') ? `[IPv6:${address}]` : `[${address}]`;
}

/** RFC 5322 §3.3, always in UTC: a local zone would tell where the gateway stands. */
function mailDate(at: Date): string {
  const day = `${DAYS[at.getUTCDay()]}, ${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  return `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

// The entries of a certificate revocation list (RFC 5280 §5.3): walked one after the other where they stand, so that a list
// with a million of them costs time but no memory.
import { setImmediate } from 'node:timers/promises';
import { GatewayError } from '../core/errors.ts';
import { listOf, parseDer, TAG, timeOf } from './der.ts';
import { elementAt, extensionsOf, malformed } from './der-walk.ts';
import { type DistinguishedName, isSameName } from './distinguished-name.ts';
import { parseGeneralName } from './general-name.ts';

export interface EntryList {
  readonly issuer: DistinguishedName;
  /** One SEQUENCE after the other. */
  readonly entries: Buffer;
  /** Whether entries may name another issuer of their certificates (RFC 5280 §5.3.3). */
  readonly scope: { readonly isIndirect: boolean };
}

export interface RevokedEntry {
  readonly since: Date;
  readonly reason: string;
}

export const HOLD = 'certificateHold';
/** Of an entry in a delta CRL: the certificate is no longer on hold, or has expired. */
export const REMOVED = 'removeFromCRL';

const ENTRIES_AT_A_TIME = 20_000;
const ID = {
  reasonCode: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  certificateIssuer: '2.5.29.29',
} as const;
const REASONS: readonly string[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  HOLD,
  'unknown reason',
  REMOVED,
  'privilegeWithdrawn',
  'aACompromise',
];
/** BOOLEAN TRUE, and the id of certificateIssuer. */
const CRITICAL = Buffer.of(0x01, 0x01, 0xff);
const CERTIFICATE_ISSUER = Buffer.of(0x06, 0x03, 0x55, 0x1d, 0x1d);

/**
 * Looks for a serial number of an issuer among all entries. Undefined: it is not there. Throws GatewayError
 * `config-invalid` for a list whose entries are malformed or hold what would change their meaning.
 */
export async function findRevoked(
  { entries, issuer: signer, scope }: EntryList,
  issuer: DistinguishedName,
  serial: Buffer,
): Promise<RevokedEntry | undefined> {
  let found: RevokedEntry | undefined;
  let count = 0;
  let isOfIssuer = isSameName(signer, issuer);
  for (let at = 0; at < entries.length; count += 1) {
    if (count % ENTRIES_AT_A_TIME === ENTRIES_AT_A_TIME - 1) await setImmediate();
    const entry = elementAt(entries, at);
    const number = elementAt(entries, entry.start);
    const time = elementAt(entries, number.end);
    if (entry.tag !== TAG.sequence || number.tag !== TAG.integer || time.end > entry.end) malformed();
    const isSerial = entries.subarray(number.start, number.end).equals(serial);
    const bytes = time.end < entry.end ? entries.subarray(time.end, entry.end) : undefined;
    // Few entries hold what is critical: their bytes are looked at before they are parsed.
    const isTelling = bytes && (isSerial || bytes.includes(CRITICAL) || bytes.includes(CERTIFICATE_ISSUER));
    const extensions = isTelling ? readEntryExtensions(bytes, scope.isIndirect) : undefined;
    // RFC 5280 §5.3.3: it holds for all entries that follow.
    if (extensions?.issuer) isOfIssuer = isSameName(extensions.issuer, issuer);
    if (isSerial && isOfIssuer) {
      const since = timeOf(parseDer(entries.subarray(number.end, time.end)));
      found ??= { since, reason: extensions?.reason ?? 'unspecified' };
    }
    at = entry.end;
  }
  return found;
}

/** SECURITY: what is critical and not known makes the whole list unusable (RFC 5280 §5.3). */
function readEntryExtensions(
  bytes: Buffer,
  isIndirect: boolean,
): { readonly reason: string; readonly issuer?: DistinguishedName } {
  let reason = 0;
  let issuer: DistinguishedName | undefined;
  for (const { id, isCritical, value } of extensionsOf(parseDer(bytes))) {
    if (id === ID.reasonCode) reason = parseDer(value).content[0] ?? 0;
    else if (id === ID.certificateIssuer && isIndirect) issuer = directoryOf(value);
    else if (isCritical && id !== ID.invalidityDate)
      throw new GatewayError('config-invalid', `an entry of the CRL has the critical extension ${id}`);
  }
  return { reason: REASONS[reason] ?? 'unknown reason', ...(issuer && { issuer }) };
}

function directoryOf(value: Buffer): DistinguishedName {
  for (const name of listOf(parseDer(value)).map(parseGeneralName))
    if (name.kind === 'directory') return name.name;
  return malformed();
}

// Fields that a header section may have once (RFC 5322 §3.6, RFC 2045 §3). Of two, one program shows the first and
// another the last: what is checked here would not be what is read there.
import { GatewayError } from '../core/errors.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from './header-section.ts';

/** Who wrote a message. Even the same one twice is no mail of any known program. */
const AUTHORS = ['From', 'Sender'];
/**
 * QUIRK: relays and scripts repeat such a field as it stands, which leaves one reading (test: repeated alike). MIME-Version may
 * differ: all values mean the same to everybody.
 */
const SAME_ONLY = ['Subject', 'Date', 'Content-Type', 'Content-Transfer-Encoding', 'Content-Disposition'];

/**
 * Throws GatewayError `header-malformed` for two fields that programs would choose between. Recipient fields may be
 * repeated: all of them count, everywhere.
 */
export function refuseRepeated(header: HeaderSection): void {
  for (const name of AUTHORS) {
    if (fieldsNamed(header, name).length > 1) throw repeated(name);
  }
  for (const name of SAME_ONLY) {
    const values = new Set(fieldsNamed(header, name).map(fieldValue));
    if (values.size > 1) throw repeated(name);
  }
}

function repeated(name: string): GatewayError {
  return new GatewayError('header-malformed', `field ${name} is repeated`);
}

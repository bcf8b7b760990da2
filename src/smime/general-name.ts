// GeneralName of RFC 5280 §4.2.1.6: the names in subjectAltName and in name constraints.
import { isUtf8 } from 'node:buffer';
import { GatewayError } from '../core/errors.ts';
import { type DerNode, fieldsOf, listOf, oidOf, TAG } from './der.ts';
import { type DistinguishedName, parseName } from './distinguished-name.ts';

/** `unsupported` keeps its tag: name constraints on a form that we cannot compare must fail (RFC 5280 §4.2.1.10). */
export type GeneralName =
  | { readonly kind: 'email' | 'dns' | 'uri'; readonly value: string }
  | { readonly kind: 'smtp-utf8'; readonly value: string }
  | { readonly kind: 'directory'; readonly name: DistinguishedName }
  | { readonly kind: 'ip'; readonly octets: Buffer }
  | { readonly kind: 'unsupported'; readonly form: string };

const MAX_NAMES = 1_000;
const SMTP_UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9';

/** Reads a SEQUENCE OF GeneralName. Throws GatewayError `config-invalid`. */
export function parseGeneralNames(node: DerNode): readonly GeneralName[] {
  const list = listOf(node);
  if (list.length > MAX_NAMES) throw new GatewayError('config-invalid', 'certificate has too many names');
  return list.map(parseGeneralName);
}

/** Reads one GeneralName. Throws GatewayError `config-invalid` for a broken directory or other name. */
export function parseGeneralName(node: DerNode): GeneralName {
  switch (node.tag) {
    case 0x81:
      return { kind: 'email', value: node.content.toString('latin1') };
    case 0x82:
      return { kind: 'dns', value: node.content.toString('latin1') };
    case 0x86:
      return { kind: 'uri', value: node.content.toString('latin1') };
    case 0x87:
      return { kind: 'ip', octets: node.content };
    case 0xa4:
      return { kind: 'directory', name: parseName(fieldsOf(node, 0xa4).any()) };
    case 0xa0:
      return parseOtherName(node);
    default:
      return { kind: 'unsupported', form: `tag-${node.tag & 0x1f}` };
  }
}

/** SmtpUTF8Mailbox (RFC 9598 §3) is the one otherName that mail needs. */
function parseOtherName(node: DerNode): GeneralName {
  const fields = fieldsOf(node, 0xa0);
  const type = oidOf(fields.take(TAG.oid));
  const value = fieldsOf(fields.take(0xa0), 0xa0).any();
  const isMailbox = type === SMTP_UTF8_MAILBOX && value.tag === TAG.utf8String && isUtf8(value.content);
  return isMailbox
    ? { kind: 'smtp-utf8', value: value.content.toString('utf8') }
    : { kind: 'unsupported', form: `other-${type}` };
}

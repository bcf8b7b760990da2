// Walks DER where it stands, one element after the other, without a tree: for CRLs, which have too many elements for one.
import { GatewayError } from '../core/errors.ts';
import { booleanOf, type DerNode, fieldsOf, listOf, octetsOf, oidOf, TAG } from './der.ts';

/** Offsets of one element: its content begins at `start`; `end` is behind it. */
export interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

export interface Extension {
  readonly id: string;
  readonly isCritical: boolean;
  readonly value: Buffer;
}

/** The element at an offset. Throws GatewayError `config-invalid` for one that does not end within the bytes. */
export function elementAt(bytes: Buffer, at: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) malformed();
  const octets = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || octets > 4 || at + 2 + octets > bytes.length) malformed();
  const start = at + 2 + octets;
  const end = start + (octets === 0 ? first : bytes.readUIntBE(at + 2, octets));
  if (end > bytes.length) malformed();
  return { tag, start, end };
}

/** Extensions of a CRL or of an entry (RFC 5280 §5.1.2.9). */
export function extensionsOf(node: DerNode): readonly Extension[] {
  return listOf(node).map((item) => {
    const fields = fieldsOf(item);
    const id = oidOf(fields.take(TAG.oid));
    const critical = fields.optional(TAG.boolean);
    return {
      id,
      isCritical: critical !== undefined && booleanOf(critical),
      value: octetsOf(fields.take(TAG.octetString)),
    };
  });
}

export function malformed(): never {
  throw new GatewayError('config-invalid', 'the CRL is malformed');
}

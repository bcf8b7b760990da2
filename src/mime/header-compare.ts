// What a protected header says against the outer one: which fields were changed on the way, and whether the Subject is to
// be put back. Pure; names are told, values never.
import type { StageOutcome } from '../core/outcome.ts';
import { parseAddressList } from './address-list.ts';
import { decodeHeaderText } from './decoded-text.ts';
import {
  fieldsNamed,
  fieldValue,
  type HeaderField,
  type HeaderSection,
  makeField,
} from './header-section.ts';
import type { ProtectedHeader } from './protected-header.ts';

export interface Layers {
  readonly isDecrypted: boolean;
  /** No signature is broken, and none is left that could not be read. */
  readonly isSound: boolean;
}

export interface Comparison {
  readonly outcome: Extract<StageOutcome, { kind: 'header-compared' }>;
  /** The Subject to write, where it is to be put back. */
  readonly subject?: HeaderField;
}

const ADDRESSES: ReadonlySet<string> = new Set(['from', 'sender', 'reply-to', 'to', 'cc']);
const COMPARED = [...ADDRESSES, 'date', 'message-id', 'in-reply-to', 'references'];
/** QUIRK: what clients write for a Subject that is inside; the first is of RFC 9788 (test: placeholders). */
const PLACEHOLDERS: ReadonlySet<string> = new Set([
  '[...]',
  '...',
  '\u2026',
  '[\u2026]',
  '',
  'encrypted message',
  '[encrypted message]',
  'memory hole encrypted message',
  'p\u2261p',
  'pep',
]);
const MAX_WORD_BYTES = 42;

/** Undefined where the protected header is only that of a message passed on inside. */
export function compareHeaders(
  found: ProtectedHeader,
  outer: HeaderSection,
  layers: Layers,
): Comparison | undefined {
  if (found.form === 'wrapped' && !isOfThisMessage(found.header, outer)) return undefined;
  const [subject, ...more] = fieldsNamed(found.header, 'Subject');
  const state = subjectState(found, outer, layers);
  const differs = COMPARED.filter((name) => isChanged(name, found, outer, layers));
  return {
    outcome: { kind: 'header-compared', form: found.form, subject: state, differs },
    ...(state === 'restored' && subject && more.length === 0 && { subject: asAscii(subject) }),
  };
}

/** The header with this Subject, in the place of the one that was there. */
export function withSubject({ fields }: HeaderSection, subject: HeaderField): HeaderSection {
  const at = fields.findIndex((field) => field.name.toLowerCase() === 'subject');
  return { fields: at < 0 ? [...fields, subject] : fields.with(at, subject) };
}

function subjectState(
  found: ProtectedHeader,
  outer: HeaderSection,
  { isDecrypted, isSound }: Layers,
): Comparison['outcome']['subject'] {
  const [inside, ...repeated] = valuesOf(found.header, 'subject');
  const [outside = '', ...others] = valuesOf(outer, 'subject');
  if (inside === undefined) return 'none';
  // SECURITY: of two Subjects readers show different ones (test: two subjects).
  if (repeated.length > 0 || others.length > 0) return 'differs';
  if (inside === outside) return 'same';
  const [told] = found.outer ? valuesOf(found.outer, 'subject') : [];
  if (!PLACEHOLDERS.has(outside.toLowerCase()) && told !== outside) return 'differs';
  // SECURITY: only what was secret is put back, and not if a signature says that it was changed (test: subject kept).
  return isDecrypted && isSound ? 'restored' : 'kept';
}

function isChanged(name: string, found: ProtectedHeader, outer: HeaderSection, layers: Layers): boolean {
  // RFC 9788 §4.4.1: From is compared with what stands outside, whatever its author told of it.
  const expected = valuesOf(name === 'from' ? found.header : (found.outer ?? found.header), name);
  const actual = valuesOf(outer, name);
  const isComplete = found.form === 'hp-clear' || found.form === 'hp-cipher';
  if (!isComplete && (expected.length === 0 || (layers.isDecrypted && actual.length === 0))) return false;
  return expected.join('\n') !== actual.join('\n');
}

function isOfThisMessage(inner: HeaderSection, outer: HeaderSection): boolean {
  const [outside = ''] = valuesOf(outer, 'subject');
  const [id] = valuesOf(inner, 'message-id');
  return (
    PLACEHOLDERS.has(outside.toLowerCase()) || (id !== undefined && valuesOf(outer, 'message-id')[0] === id)
  );
}

/** Values in a form in which a server on the way leaves them alike: encoded words, blanks and foldings may change. */
function valuesOf(header: HeaderSection, name: string): readonly string[] {
  return fieldsNamed(header, name).map((field) => {
    const value = fieldValue(field);
    const list = ADDRESSES.has(name) ? parseAddressList(value) : undefined;
    if (list) return list.mailboxes.map(({ address }) => address.key).join(',');
    const text = decodeHeaderText(value)
      .replace(/[ \t\r\n]+/g, ' ')
      .trim();
    const time = name === 'date' ? Date.parse(text.replace(/\([^()]*\)/g, '')) : Number.NaN;
    return Number.isNaN(time) ? text : String(time);
  });
}

/** The next hop may take no UTF-8 in a header (RFC 6532): such a Subject becomes encoded words. */
function asAscii(subject: HeaderField): HeaderField {
  if (subject.raw.every((byte) => byte < 0x80)) return { name: 'Subject', raw: subject.raw };
  const words = [''];
  for (const character of fieldValue(subject)) {
    const last = `${words.at(-1)}${character}`;
    if (Buffer.byteLength(last) > MAX_WORD_BYTES) words.push(character);
    else words[words.length - 1] = last;
  }
  const encoded = words.map((word) => `=?UTF-8?B?${Buffer.from(word).toString('base64')}?=`);
  return makeField('Subject', encoded.join('\r\n '));
}

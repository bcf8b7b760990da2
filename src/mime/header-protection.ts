// Header protection (RFC 9788), the writing side: which fields of a message go into the cryptographic payload, and what
// is left of them outside. What a reader makes of them is in protected-header.ts.
import type { HeaderProtection } from '../core/plan.ts';
import { parseContentType } from './content-type.ts';
import { decodeHeaderText } from './decoded-text.ts';
import { type SplitFields, splitFields } from './entity.ts';
import { type HeaderField, type HeaderSection, fieldValue, isNamed, makeField } from './header-section.ts';

/** What stands outside for a Subject that is inside (RFC 9788 §3.2.1). */
export const PLACEHOLDER = '[...]';

/** Fields that their author wrote. Trace fields, Exchange's own and Bcc stay where they are. */
const PROTECTED = new Set(
  `from sender reply-to to cc subject date message-id in-reply-to references keywords comments organization
  followup-to mail-followup-to mail-reply-to importance priority x-priority sensitivity thread-topic thread-index
  user-agent x-mailer`.split(/\s+/),
);
/** QUIRK: Outlook repeats the subject in Thread-Topic. The other two are of RFC 9788 §3.2.1. */
const TELLING = new Set(['thread-topic', 'keywords', 'comments']);
const TRANSPORT =
  /^(received|return-path|dkim-signature|authentication-results|arc-.*|x-ms-exchange-.*|x-postern-.*)$/;
const REPLY_PREFIX = /^\s*(?:[a-z]{1,4}(?:\[\d+\])?:\s*)+/i;
const OWN_PARAMETERS = /;[ \t\r\n]*(?:hp|protected-headers)[ \t]*=[ \t]*(?:"[^"\r\n]*"|[^;\s"]*)/gi;
/** Where the text has no Legacy Display Element of ours. */
const EARLIER_PARAMETERS =
  /;[ \t\r\n]*(?:hp|hp-legacy-display|protected-headers)[ \t]*=[ \t]*(?:"[^"\r\n]*"|[^;\s"]*)/gi;
const MAX_LINE_OCTETS = 900;

/** `splitFields`; with `protection`, the inner fields begin with those that are protected and say so in Content-Type. */
export function divideFields(header: HeaderSection, protection: HeaderProtection | undefined): SplitFields {
  const { outer, content } = splitFields(header);
  if (protection === undefined) return { outer, content };
  const isCipher = protection.hp === 'cipher';
  const isHidden = isCipher && protection.isSubjectHidden ? hiddenBy(outer) : () => false;
  const inner = outer.filter((field) => isProtected(field) || isHidden(field));
  const left = outer.flatMap((field) => shown(field, isHidden));
  const said = isCipher ? left.filter(isProtected).map(outerCopy) : [];
  return { outer: left, content: [...inner.map(tidy), ...said, ...labelled(content, protection)] };
}

/** SECURITY: what repeats the Subject under another name would give it away (test: thread-topic). */
function hiddenBy(outer: readonly HeaderField[]): (field: HeaderField) => boolean {
  const subjects = new Set(
    outer.filter((field) => isNamed(field, 'Subject')).flatMap((field) => [textOf(field), topicOf(field)]),
  );
  subjects.delete('');
  return (field) => {
    const name = field.name.toLowerCase();
    if (name === 'subject' || TELLING.has(name)) return true;
    return !PROTECTED.has(name) && !TRANSPORT.test(name) && subjects.has(topicOf(field));
  };
}

function shown(field: HeaderField, isHidden: (field: HeaderField) => boolean): readonly HeaderField[] {
  if (!isHidden(field)) return [field];
  return isNamed(field, 'Subject') ? [makeField('Subject', PLACEHOLDER)] : [];
}

function isProtected(field: HeaderField): boolean {
  return PROTECTED.has(field.name.toLowerCase());
}

/** RFC 9788 §2.2: a field as it stands outside. */
function outerCopy(field: HeaderField): HeaderField {
  const { raw } = tidy(field);
  const isLong = raw.indexOf('\r\n') > MAX_LINE_OCTETS;
  return {
    name: 'HP-Outer',
    raw: Buffer.concat([Buffer.from(isLong ? 'HP-Outer:\r\n ' : 'HP-Outer: '), raw]),
  };
}

/** Blanks before a line end may get lost on the way, and a signature covers these lines (RFC 3156 §3). */
function tidy(field: HeaderField): HeaderField {
  const text = field.raw.toString('latin1');
  if (!/[ \t]\r\n/.test(text)) return field;
  return { name: field.name, raw: Buffer.from(text.replace(/[ \t]{1,998}(?=\r\n)/g, ''), 'latin1') };
}

/** The Content-* fields with hp= on Content-Type, and without such parameters of an earlier life of the message. */
function labelled(
  content: readonly HeaderField[],
  { hp, hasLegacyDisplay }: HeaderProtection,
): readonly HeaderField[] {
  const at = content.findIndex((field) => isNamed(field, 'Content-Type'));
  const type = content[at];
  if (type === undefined)
    return [makeField('Content-Type', `text/plain; charset=us-ascii; hp="${hp}"`), ...content];
  const { parameters } = parseContentType(fieldValue(type));
  const hasOwn = ['hp', 'hp-legacy-display', 'protected-headers'].some((name) => parameters.has(name));
  const text = type.raw.toString('latin1');
  const own = hasLegacyDisplay ? OWN_PARAMETERS : EARLIER_PARAMETERS;
  const kept = (hasOwn ? text.replace(own, '') : text).replace(/[;\s]{1,998}$/, '');
  const raw = Buffer.from(`${kept};\r\n hp="${hp}"\r\n`, 'latin1');
  return content.with(at, { name: type.name, raw });
}

function topicOf(field: HeaderField): string {
  return textOf(field).replace(REPLY_PREFIX, '');
}

function textOf(field: HeaderField): string {
  return decodeHeaderText(fieldValue(field)).trim();
}

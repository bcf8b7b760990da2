// Header fields without 8-bit bytes (RFC 2047, RFC 2231): what is signed has to be 7-bit, the headers of parts included
// (RFC 8551 §3.1.3). The text stays; where nobody says which charset it is in, that of the part's body is taken.
import { isAscii, isUtf8 } from 'node:buffer';
import { GatewayError } from '../core/errors.ts';
import { parseAddressList, type Mailbox } from './address-list.ts';
import { fieldValue, type HeaderField, makeField } from './header-section.ts';

const PARAMETRIC = new Set(['content-type', 'content-disposition']);
const ADDRESSES = /^(?:resent-)?(?:from|sender|reply-to|to|cc|bcc)$/i;
const PARAMETER = /;[ \t\r\n]*([!#-'*+\-.0-9A-Z^-z|~]+)[ \t]*=[ \t\r\n]*("(?:[^"\\]|\\[^])*"|[^;\r\n]*)/g;
/** What RFC 2231 §7 lets stand for itself. */
const ATTRIBUTE_CHARACTERS = /[!#$&+\-.0-9A-Z^-z|~]/;
const CHARSET = /^[!#$&+\-.0-9A-Z^-z|~]{1,40}$/i;
const UNKNOWN_CHARSET = 'iso-8859-1';
/** Base64 of so many bytes leaves room for the name of a charset in the 75 characters of RFC 2047 §2. */
const MAX_WORD_BYTES = 30;
const MAX_SECTION = 700;

/**
 * The field as ASCII; the same field where it is ASCII already. `charset`: what the part says of its body. Throws
 * GatewayError `mime-malformed` for 8-bit bytes in the value of a Content-Type or disposition outside of parameters.
 */
export function asciiField(field: HeaderField, charset?: string): HeaderField {
  if (isAscii(field.raw)) return field;
  const set = isUtf8(field.raw) ? 'utf-8' : charsetOf(charset);
  const raw = field.raw.toString('latin1');
  const colon = raw.indexOf(':') + 1;
  const value = raw.slice(colon);
  const encoded = encodedValue(field, value, set);
  return { name: field.name, raw: Buffer.from(`${raw.slice(0, colon)}${encoded}`, 'latin1') };
}

/** Whether the field names an address that is no ASCII: whoever takes such mail takes its header (RFC 6532). */
export function namesUtf8Address(field: HeaderField): boolean {
  if (isAscii(field.raw) || !ADDRESSES.test(field.name)) return false;
  return parseAddressList(fieldValue(field))?.mailboxes.some(isBeyondAscii) ?? false;
}

function isBeyondAscii({ address }: Mailbox): boolean {
  return !isAscii(Buffer.from(address.text));
}

function encodedValue(field: HeaderField, value: string, charset: string): string {
  const name = field.name.toLowerCase();
  if (PARAMETRIC.has(name)) return encodeParameters(value, charset);
  const list = ADDRESSES.test(name) ? parseAddressList(fieldValue(field)) : undefined;
  if (list === undefined || list.hasGroup || list.mailboxes.some(isBeyondAscii))
    return encodeWords(value, charset);
  const mailboxes = list.mailboxes.map((mailbox) => encodeMailbox(mailbox, charset));
  return makeField(field.name, mailboxes.join(',\r\n '))
    .raw.toString('latin1')
    .slice(field.name.length + 1);
}

function charsetOf(charset: string | undefined): string {
  const isNamed = charset !== undefined && CHARSET.test(charset);
  return isNamed && !/^(?:us-ascii|utf-?8)$/i.test(charset) ? charset.toLowerCase() : UNKNOWN_CHARSET;
}

/** Blanks between encoded words are not shown, so a run of words becomes one text. */
function encodeWords(value: string, charset: string): string {
  const tokens = value.split(/([ \t\r\n]+)/);
  let out = '';
  for (let at = 0; at < tokens.length; at += 1) {
    let run = tokens[at] ?? '';
    if (is8bit(run)) {
      for (; is8bit(tokens[at + 2] ?? ''); at += 2)
        run += `${(tokens[at + 1] ?? '').replace(/[\r\n]/g, '')}${tokens[at + 2]}`;
      out += encodedWords(Buffer.from(run, 'latin1'), charset);
    } else out += run;
  }
  return out;
}

function encodeMailbox({ displayName, address }: Mailbox, charset: string): string {
  if (displayName === undefined) return address.text;
  const bytes = Buffer.from(displayName, charset === 'utf-8' ? 'utf8' : 'latin1');
  const phrase = isAscii(bytes) ? `"${displayName.replace(/["\\]/g, '\\$&')}"` : encodedWords(bytes, charset);
  return `${phrase} <${address.text}>`;
}

/** Encoded words of whole characters each (RFC 2047 §5), as far as the charset shows where one ends. */
function encodedWords(bytes: Buffer, charset: string): string {
  const words: string[] = [];
  for (let at = 0; at < bytes.length;) {
    let end = Math.min(bytes.length, at + MAX_WORD_BYTES);
    if (charset === 'utf-8') while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    words.push(`=?${charset}?B?${bytes.toString('base64', at, end)}?=`);
    at = end;
  }
  return words.join('\r\n ');
}

function encodeParameters(value: string, charset: string): string {
  const extended = new Set([...value.matchAll(PARAMETER)].map(([, name = '']) => name.toLowerCase()));
  const encoded = value.replace(PARAMETER, (whole, name: string, written: string) => {
    if (!is8bit(written)) return whole;
    // Already in the form of RFC 2231 §4, but not throughout; or beside such a form, which counts.
    if (name.includes('*')) return `;\r\n ${name}=${written.replace(/[\x80-\xff]/g, percent)}`;
    if (extended.has(`${name.toLowerCase()}*`)) return '';
    const text = written.startsWith('"') ? written.slice(1, -1).replace(/\\([^])/g, '$1') : written.trimEnd();
    return sections(name, charset, text.replace(/\r\n/g, ''));
  });
  if (is8bit(encoded))
    throw new GatewayError('mime-malformed', '8-bit bytes outside of parameters in a header');
  return encoded;
}

function sections(name: string, charset: string, text: string): string {
  const characters = Array.from(text, (one) => (ATTRIBUTE_CHARACTERS.test(one) ? one : percent(one)));
  const parts = [`${charset}''`];
  for (const character of characters) {
    const last = parts.at(-1) ?? '';
    if (last.length + character.length > MAX_SECTION) parts.push(character);
    else parts[parts.length - 1] = `${last}${character}`;
  }
  if (parts.length === 1) return `;\r\n ${name}*=${parts[0]}`;
  return parts.map((part, index) => `;\r\n ${name}*${index}*=${part}`).join('');
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

function is8bit(text: string): boolean {
  return /[\x80-\xff]/.test(text);
}

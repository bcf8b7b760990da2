// Legacy Display Elements (RFC 9788 §5.2.2, §5.2.3): the Subject on top of an encrypted text, for readers whose program
// shows the placeholder that stands outside. Programs that know header protection leave it out, and so do we.
import type { ByteSource, Chunks } from '../core/bytes.ts';
import { decodeHeaderText } from './decoded-text.ts';
import { type HeaderField, fieldsNamed, fieldValue, makeField, readHeader } from './header-section.ts';
import { editMainBodies, type TextEdit } from './main-body.ts';
import type { MimeLimits, ScannedPart } from './part-scanner.ts';

const CLASS = 'header-protection-legacy-display';
const BODY = /<body\b[^<>]*>/i;
const WHOLE_DOCUMENT = /<!doctype|<html\b|<head\b/i;
const ELEMENT = new RegExp(
  `^([ \\t\\r\\n]*)<div\\b[^<>]*\\bclass=["']?${CLASS}["']?[^<>]*>(?:(?!<div\\b|</div)[^])*</div>[ \\t]*(?:\\r?\\n)?`,
  'i',
);
/** Lines that look like header fields, up to the first blank one (RFC 9788 §4.5.3.2). */
const LINES = /^(?:[!-9;-~]{1,76}:[ \t][^\r\n]*\r?\n(?:[ \t][^\r\n]+\r?\n)*){1,20}\r?\n/;
const PARAMETER = /;[ \t\r\n]*hp-legacy-display[ \t]*=[ \t]*(?:"[^"\r\n]*"|[^;\s"]*)/gi;
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\0-\x1f\x7f-\x9f]+/g;

/**
 * The message with its Subject on top of its main texts, or undefined where there is no Subject or no such text. What
 * the charset of a plain text lacks becomes `?`.
 */
export async function addLegacyDisplay(message: ByteSource, limits: MimeLimits): Promise<Chunks | undefined> {
  const header = await readHeader(message, limits);
  const [subject, ...more] = fieldsNamed(header, 'Subject');
  const text = subject && decodeHeaderText(fieldValue(subject)).replace(CONTROLS, ' ').trim();
  if (!text || more.length > 0) return undefined;
  return editMainBodies(message, limits, (part, head) => {
    const contentType = labelled(part, true);
    if (part.contentType.subtype === 'plain') {
      const insert = encodeText(`Subject: ${text}\r\n\r\n`, part.contentType.parameters.get('charset'));
      return insert && { start: 0, end: 0, insert, contentType };
    }
    const at = placeIn(head.toString('latin1'));
    const insert = Buffer.from(
      `<div class="${CLASS}">\r\n<pre>Subject: ${escaped(text)}</pre>\r\n</div>\r\n`,
      'latin1',
    );
    return at === undefined ? undefined : { start: at, end: at, insert, contentType };
  });
}

/**
 * The message without the elements that its parts are labelled to have; undefined where there are none. Only for a
 * message that was decrypted, whose payload says hp="cipher" and whose Subject is shown.
 */
export async function dropLegacyDisplay(
  message: ByteSource,
  limits: MimeLimits,
): Promise<Chunks | undefined> {
  return editMainBodies(message, limits, (part, head): TextEdit | undefined => {
    const { parameters, subtype } = part.contentType;
    if (parameters.get('hp-legacy-display') !== '1') return undefined;
    const text = head.toString('latin1');
    const from = subtype === 'plain' ? 0 : (placeIn(text) ?? 0);
    const [element, blanks = ''] = (subtype === 'plain' ? LINES : ELEMENT).exec(text.slice(from)) ?? [];
    if (element === undefined) return undefined;
    const start = from + (subtype === 'plain' ? 0 : blanks.length);
    return { start, end: from + element.length, insert: Buffer.alloc(0), contentType: labelled(part, false) };
  });
}

/** After the tag that opens the body; at the start of a fragment. */
function placeIn(html: string): number | undefined {
  const body = BODY.exec(html);
  if (body) return body.index + body[0].length;
  return WHOLE_DOCUMENT.test(html) ? undefined : 0;
}

function labelled({ header }: ScannedPart, hasElement: boolean): HeaderField {
  const [field] = header ? fieldsNamed(header, 'Content-Type') : [];
  const type = field ?? makeField('Content-Type', 'text/plain; charset=us-ascii');
  const kept = type.raw
    .toString('latin1')
    .replace(PARAMETER, '')
    .replace(/[;\s]{1,998}$/, '');
  const label = hasElement ? ';\r\n hp-legacy-display="1"' : '';
  return { name: type.name, raw: Buffer.from(`${kept}${label}\r\n`, 'latin1') };
}

/** Undefined for a charset in which these letters would be others. */
function encodeText(text: string, charset = 'us-ascii'): Buffer | undefined {
  const name = charset.toLowerCase();
  if (/^(?:utf-?(?:16|32|7)|iso-2022|hz)/.test(name)) return undefined;
  if (/^utf-?8$/.test(name)) return Buffer.from(text, 'utf8');
  const isLatin = /^(?:iso-8859-1|windows-1252)$/.test(name);
  return Buffer.from(
    text.replace(isLatin ? /[^\x20-\x7e\xa0-\xff\r\n]/gu : /[^\x20-\x7e\r\n]/gu, '?'),
    'latin1',
  );
}

function escaped(text: string): string {
  return text.replace(/[^\x20-\x7e]|[&<>]/gu, (one) => `&#${one.codePointAt(0)};`);
}

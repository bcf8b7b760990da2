// Address lists in header fields (RFC 5322 §3.4 with RFC 6532), strict: no obsolete routes, no comments or blanks inside
// an address, nothing that two readers could take for two addresses. Words of a display name are not decoded here.
import { type Address, parseAddress } from '../core/address.ts';

export interface Mailbox {
  /** As written, quotes removed, encoded words left as they are. */
  readonly displayName?: string;
  readonly address: Address;
}

export interface AddressList {
  /** All mailboxes in order, those of groups included. */
  readonly mailboxes: readonly Mailbox[];
  readonly hasGroup: boolean;
}

interface Cursor {
  readonly text: string;
  at: number;
}

/** Signals malformed input inside this file; never leaves it. */
const MALFORMED = Symbol('malformed');

const MAX_MAILBOXES = 10_000;
const MAX_COMMENT_DEPTH = 10;
const ATEXT = "A-Za-z0-9!#$%&'*+\\-/=?^_`{|}~\\u0080-\\u{10FFFF}";
/** A dot is tolerated in a display name (RFC 5322 §4.1): it cannot be taken for anything else there. */
const WORD = new RegExp(`[${ATEXT}.]+`, 'uy');
const QUOTED = /"(?:[\x20\x21\x23-\x5b\x5d-\x7e\t\u0080-\u{10FFFF}]|\\[\x20-\x7e\t])*"/uy;
const ADDRESS = new RegExp(`(?:[${ATEXT}.]+|${QUOTED.source})@[A-Za-z0-9.\\-\\u0080-\\u{10FFFF}]+`, 'uy');

/** Parses an unfolded value. Returns undefined for an empty, malformed or ambiguous one. */
export function parseAddressList(value: string): AddressList | undefined {
  const cursor: Cursor = { text: value, at: 0 };
  const mailboxes: Mailbox[] = [];
  let hasGroup = false;
  try {
    do {
      skipBlanks(cursor);
      hasGroup = readAddress(cursor, mailboxes) || hasGroup;
      skipBlanks(cursor);
      if (mailboxes.length > MAX_MAILBOXES) return undefined;
    } while (take(cursor, ','));
  } catch (error) {
    if (error === MALFORMED) return undefined;
    throw error;
  }
  return cursor.at === value.length ? { mailboxes, hasGroup } : undefined;
}

/** Reads a mailbox or a group. Returns whether it was a group. */
function readAddress(cursor: Cursor, mailboxes: Mailbox[]): boolean {
  const plain = match(cursor, ADDRESS);
  if (plain !== undefined) {
    mailboxes.push({ address: checked(plain) });
    return false;
  }
  const displayName = readPhrase(cursor);
  if (displayName === undefined || !take(cursor, ':')) {
    mailboxes.push(readAngle(cursor, displayName));
    return false;
  }
  skipBlanks(cursor);
  if (take(cursor, ';')) return true;
  do {
    skipBlanks(cursor);
    const member = match(cursor, ADDRESS);
    if (member !== undefined) mailboxes.push({ address: checked(member) });
    else mailboxes.push(readAngle(cursor, readPhrase(cursor)));
    skipBlanks(cursor);
    if (mailboxes.length > MAX_MAILBOXES) throw MALFORMED;
  } while (take(cursor, ','));
  if (!take(cursor, ';')) throw MALFORMED;
  return true;
}

function readAngle(cursor: Cursor, displayName: string | undefined): Mailbox {
  if (!take(cursor, '<')) throw MALFORMED;
  const text = match(cursor, ADDRESS);
  if (text === undefined || !take(cursor, '>')) throw MALFORMED;
  const address = checked(text);
  return displayName === undefined ? { address } : { displayName, address };
}

/** Words and quoted strings with blanks or comments between them; undefined where there is none. */
function readPhrase(cursor: Cursor): string | undefined {
  const words: string[] = [];
  for (;;) {
    const quoted = match(cursor, QUOTED);
    const word = quoted === undefined ? match(cursor, WORD) : quoted.slice(1, -1).replace(/\\(.)/g, '$1');
    if (word === undefined) return words.length === 0 ? undefined : words.join(' ');
    words.push(word);
    skipBlanks(cursor);
  }
}

function checked(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw MALFORMED;
  return address;
}

function skipBlanks(cursor: Cursor): void {
  for (;;) {
    const character = cursor.text[cursor.at];
    if (character === ' ' || character === '\t') cursor.at += 1;
    else if (character === '(') skipComment(cursor);
    else return;
  }
}

function skipComment(cursor: Cursor): void {
  let depth = 0;
  do {
    const character = cursor.text[cursor.at];
    if (character === undefined || /[\0\r\n]/.test(character)) throw MALFORMED;
    if (character === '\\') cursor.at += 1;
    if (character === '(') depth += 1;
    if (character === ')') depth -= 1;
    if (depth > MAX_COMMENT_DEPTH) throw MALFORMED;
    cursor.at += 1;
  } while (depth > 0);
}

function take(cursor: Cursor, character: string): boolean {
  if (cursor.text[cursor.at] !== character) return false;
  cursor.at += 1;
  return true;
}

function match(cursor: Cursor, pattern: RegExp): string | undefined {
  pattern.lastIndex = cursor.at;
  const found = pattern.exec(cursor.text)?.[0];
  if (found !== undefined) cursor.at += found.length;
  return found;
}

// The one canonical form of a mail address (RFC 5321 §4.1.2, RFC 6531 §3.3). Envelope, keys and policy compare only
// values made here. Header syntax (display names, groups, comments) belongs to mime/address-list.
import { domainToASCII } from 'node:url';

/** A checked address. `localPart` keeps its bytes and letter case; `domain` is a lower-case A-label. */
export interface Address {
  readonly localPart: string;
  readonly domain: string;
  /** `localPart@domain`, quoted where RFC 5321 wants it: what goes on the wire. */
  readonly text: string;
  /** Comparison key: local part in lower case, since no receiver in this field tells case apart. */
  readonly key: string;
}

const ATOM =
  /^[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\u{10FFFF}]+(\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\u{10FFFF}]+)*$/u;
// SECURITY: invisible and direction-changing characters make one address look like another (test: addr-table).
const DECEPTIVE = /[\u00AD\u200B-\u200F\u2028-\u202E\u2060-\u206F\u3002\uFE00-\uFE0F\uFEFF\uFF00-\uFF65]/u;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const MAX_LOCAL_OCTETS = 64;
const MAX_DOMAIN_OCTETS = 253;

/** Parses `local@domain` without angle brackets. Returns undefined for whatever is not one plain address. */
export function parseAddress(text: string): Address | undefined {
  const at = text.lastIndexOf('@');
  if (at < 1 || DECEPTIVE.test(text)) return undefined;
  const localPart = unquoteLocalPart(text.slice(0, at));
  const domain = parseDomain(text.slice(at + 1));
  if (localPart === undefined || domain === undefined) return undefined;
  if (Buffer.byteLength(localPart) > MAX_LOCAL_OCTETS) return undefined;
  const written = ATOM.test(localPart) ? localPart : `"${localPart.replace(/["\\]/g, '\\$&')}"`;
  return { localPart, domain, text: `${written}@${domain}`, key: `${localPart.toLowerCase()}@${domain}` };
}

/** A domain as lower-case A-labels, or undefined: no literal, no single label, no numeric last label, only LDH. */
export function parseDomain(text: string): string | undefined {
  // SECURITY: domainToASCII drops tabs and line ends without a word (test: addr-table).
  if (text.length === 0 || DECEPTIVE.test(text) || /[\0- \x7f]/.test(text)) return undefined;
  const ascii = domainToASCII(text).toLowerCase();
  if (ascii.length === 0 || ascii.length > MAX_DOMAIN_OCTETS) return undefined;
  const isPlainAscii = /^[\x21-\x7e]+$/.test(text);
  // SECURITY: the mapping may change case or IDN form only; `127.1` and full-width digits would become addresses.
  if (isPlainAscii && ascii !== text.toLowerCase()) return undefined;
  const labels = ascii.split('.');
  const last = labels.at(-1) ?? '';
  if (labels.length < 2 || /^\d+$/.test(last) || last.startsWith('0x')) return undefined;
  return labels.every((label) => LABEL.test(label)) ? ascii : undefined;
}

/** The address without its `+tag`, for look-ups only; undefined where there is no tag. */
export function plusBase(address: Address): Address | undefined {
  const plus = address.localPart.indexOf('+');
  return plus < 1 ? undefined : parseAddress(`${address.localPart.slice(0, plus)}@${address.domain}`);
}

/** Whether the address can travel without SMTPUTF8 (RFC 6531). */
export function isAsciiAddress(address: Address): boolean {
  return /^[\x20-\x7e]+$/.test(address.text);
}

function unquoteLocalPart(text: string): string | undefined {
  if (ATOM.test(text)) return text;
  const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\u{10FFFF}]|\\[\x20-\x7e])+)"$/u.exec(text);
  return quoted?.[1]?.replace(/\\(.)/g, '$1');
}

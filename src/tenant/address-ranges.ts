// The address ranges that Exchange Online sends from: a built-in list, or one that the operator keeps in a file.
import { BlockList, isIP } from 'node:net';

export interface AddressRanges {
  has(address: string): boolean;
}

/** Microsoft 365 endpoint list, worldwide, id 10 (Exchange Online, SMTP). Other clouds have others. */
export const exchangeRanges = [
  '40.92.0.0/15',
  '40.107.0.0/16',
  '52.100.0.0/14',
  '104.47.0.0/17',
  '2a01:111:f400::/48',
  '2a01:111:f403::/48',
] as const;

export type RangesResult =
  { readonly ranges: AddressRanges } | { readonly line: number; readonly reason: string };

/**
 * Reads one range per line, `40.92.0.0/15` or a single address; blank lines and what follows `#` count for nothing. The
 * first line that is no range, or a list without any, is the answer instead: half a list would refuse good mail.
 */
export function parseRanges(text: string): RangesResult {
  const list = new BlockList();
  let count = 0;
  for (const [index, written] of text.split('\n').entries()) {
    const range = written.replace(/#.*/, '').trim();
    if (range === '') continue;
    if (!addRange(list, range))
      return { line: index + 1, reason: 'is not an address range; write 40.92.0.0/15 or 2a01:111:f400::/48' };
    count += 1;
  }
  return count > 0
    ? { ranges: { has: (address) => isIn(list, address) } }
    : { line: 1, reason: 'holds no range' };
}

function addRange(list: BlockList, range: string): boolean {
  const [address = '', prefix, ...more] = range.split('/');
  const version = isIP(address);
  const bits = version === 6 ? 128 : 32;
  if (version === 0 || more.length > 0 || (prefix !== undefined && !/^\d{1,3}$/.test(prefix))) return false;
  const length = prefix === undefined ? bits : Number(prefix);
  // SECURITY: a prefix of 0 is the whole Internet, most likely by mistake.
  if (length < 1 || length > bits) return false;
  list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  return true;
}

/** An IPv4 client of a listener on `::` has an IPv4-mapped address (RFC 4291 §2.5.5.2). */
function isIn(list: BlockList, address: string): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '');
  const version = isIP(plain);
  return version !== 0 && list.check(plain, version === 6 ? 'ipv6' : 'ipv4');
}

// Address patterns of a policy: one address, one domain, or the sub-domains of a domain. Parsed once, compared exactly:
// no wildcard inside a name, so a pattern never matches more than it says.
import { type Address, parseAddress, parseDomain } from '../core/address.ts';

export interface Pattern {
  readonly kind: 'address' | 'domain' | 'subdomains';
  /** `Address.key`, or a lower-case A-label domain. */
  readonly value: string;
  /** As the operator wrote it. */
  readonly text: string;
}

/** `a@b.example`, `b.example`, `*@b.example` (the same) or `*.b.example`; undefined for anything else. */
export function parsePattern(text: string): Pattern | undefined {
  if (text.startsWith('*.')) return domainPattern('subdomains', text.slice(2), text);
  if (text.startsWith('*@')) return domainPattern('domain', text.slice(2), text);
  if (!text.includes('@')) return domainPattern('domain', text, text);
  const address = parseAddress(text);
  // SECURITY: `*` is a legal character of a local part; a pattern like `a*@b` would match nobody and protect nothing.
  return address === undefined || address.localPart.includes('*')
    ? undefined
    : { kind: 'address', value: address.key, text };
}

/** Whether the address is the one named, or in the domain named. `a+tag@b` is not `a@b`. */
export function isMatch(pattern: Pattern, address: Address): boolean {
  if (pattern.kind === 'address') return address.key === pattern.value;
  return pattern.kind === 'domain'
    ? address.domain === pattern.value
    : address.domain.endsWith(`.${pattern.value}`);
}

function domainPattern(kind: 'domain' | 'subdomains', domain: string, text: string): Pattern | undefined {
  const value = parseDomain(domain);
  return value === undefined ? undefined : { kind, value, text };
}

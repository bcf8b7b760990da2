// Canonical forms that the parts of a policy share.
import { parseDomain } from '../core/address.ts';

export function canonicalDomain(domain: string): string {
  return parseDomain(domain) ?? domain;
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The object without its undefined values. */
export function defined<T extends object>(object: T): Defined<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Defined<T>;
}

// The SPF record of a domain (RFC 7208): what it costs, whom it allows. Read for the addresses of the gateway, not for a
// message, so qualifiers and order count only as far as "may this address send".
import { BlockList, isIP } from 'node:net';
import type { Topology } from '../tenant/setup-objects.ts';
import { fail, type Finding, merge, ok, warn } from './check.ts';
import { type Names, recordsOf } from './names.ts';

export interface SpfReading {
  /** Records that begin with `v=spf1`. */
  readonly records: readonly string[];
  /** Mechanisms that need a look-up (§4.6.4); counted to a little beyond the limit. */
  readonly lookups: number;
  readonly hasMicrosoft: boolean;
  /** `+all`: anybody may send. */
  readonly isOpen: boolean;
  /** Macros, `exists` or `ptr`: what they allow depends on the message. */
  readonly hasUnknown: boolean;
  readonly allows: (address: string) => boolean;
  /** Why receivers cannot use it at all (permerror). */
  readonly problem?: string;
  /** Why it could not be read now. */
  readonly failure?: string;
}

const MAX_LOOKUPS = 10;
const MICROSOFT = 'spf.protection.outlook.com';

interface Walk {
  readonly names: Names;
  readonly list: BlockList;
  lookups: number;
  hasMicrosoft: boolean;
  isOpen: boolean;
  hasUnknown: boolean;
  problem?: string;
  failure?: string;
}

/** Reads the record and what it includes. Never rejects. */
export async function readSpf(names: Names, domain: string): Promise<SpfReading> {
  const list = new BlockList();
  const walk: Walk = { names, list, lookups: 0, hasMicrosoft: false, isOpen: false, hasUnknown: false };
  const records = await recordsAt(walk, domain);
  const [record] = records;
  if (record !== undefined && records.length === 1) await readRecord(walk, domain, record, true);
  const allows = (address: string) => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  return { ...walk, records, allows };
}

async function recordsAt(walk: Walk, domain: string): Promise<readonly string[]> {
  const lookup = await walk.names.txt(domain);
  if (lookup.kind === 'failed') walk.failure = lookup.reason;
  return recordsOf(lookup).filter((record) => /^v=spf1(?: |$)/i.test(record));
}

async function readRecord(walk: Walk, domain: string, record: string, isTop: boolean): Promise<void> {
  const terms = record
    .split(/ +/)
    .slice(1)
    .filter((term) => term !== '');
  let redirect: string | undefined;
  let hasAll = false;
  for (const term of terms) {
    if (walk.problem !== undefined || walk.lookups > MAX_LOOKUPS) return;
    const [, name = '', value] = /^([a-z][a-z0-9._-]*)=(.*)$/i.exec(term) ?? [];
    if (value !== undefined) {
      if (name.toLowerCase() === 'redirect') redirect = value;
      continue;
    }
    const isAll = await readMechanism(walk, domain, term, isTop);
    hasAll ||= isAll;
  }
  if (redirect !== undefined && !hasAll) await readOther(walk, redirect, isTop);
}

/** Whether it was `all`. */
async function readMechanism(walk: Walk, domain: string, term: string, isTop: boolean): Promise<boolean> {
  const [, qualifier = '', name = '', rest = ''] = /^([-+~?]?)([a-z0-9]+)(.*)$/i.exec(term) ?? [];
  const isPass = qualifier === '' || qualifier === '+';
  const [, written, prefix4, prefix6] = /^(?::([^/]*))?(?:\/(\d+))?(?:\/\/(\d+))?$/.exec(rest) ?? [];
  const target = written ?? domain;
  switch (name.toLowerCase()) {
    case 'all':
      if (isTop && isPass) walk.isOpen = true;
      return true;
    case 'ip4':
    case 'ip6':
      addNetwork(walk, rest.slice(1), isPass, term);
      return false;
    case 'include':
      await readOther(walk, rest.slice(1), false);
      return false;
    case 'a':
    case 'mx':
      walk.lookups += 1;
      if (isMacro(target)) walk.hasUnknown = true;
      else if (isPass) await addHosts(walk, name.toLowerCase(), target, prefix4, prefix6);
      return false;
    case 'ptr':
    case 'exists':
      walk.lookups += 1;
      walk.hasUnknown = true;
      return false;
    default:
      walk.problem = `"${printable(term)}" is no SPF mechanism`;
      return false;
  }
}

/** `include` and `redirect`: a domain without a record of its own makes the whole record unusable (§5.2, §6.1). */
async function readOther(walk: Walk, target: string, isTop: boolean): Promise<void> {
  walk.lookups += 1;
  if (isMacro(target)) {
    walk.hasUnknown = true;
    return;
  }
  if (target.toLowerCase() === MICROSOFT) walk.hasMicrosoft = true;
  if (walk.lookups > MAX_LOOKUPS) return;
  const records = await recordsAt(walk, target);
  const [record] = records;
  if (record !== undefined && records.length === 1) await readRecord(walk, target, record, isTop);
  else if (walk.failure === undefined)
    walk.problem = `${printable(target)} has ${records.length === 0 ? 'no SPF record' : 'several SPF records'}`;
}

async function addHosts(
  walk: Walk,
  kind: string,
  target: string,
  prefix4: string | undefined,
  prefix6: string | undefined,
): Promise<void> {
  const hosts =
    kind === 'a'
      ? [target]
      : recordsOf(await walk.names.mx(target))
          .slice(0, 10)
          .map(({ exchange }) => exchange);
  for (const host of hosts) {
    for (const address of recordsOf(await walk.names.addresses(host))) {
      const prefix = isIP(address) === 6 ? prefix6 : prefix4;
      addNetwork(walk, prefix === undefined ? address : `${address}/${prefix}`, true, host);
    }
  }
}

function addNetwork(walk: Walk, network: string, isPass: boolean, term: string): void {
  const [address = '', prefix] = network.split('/');
  const version = isIP(address);
  const bits = version === 6 ? 128 : 32;
  const length = prefix === undefined ? bits : Number(prefix);
  if (version === 0 || !(length >= 0 && length <= bits))
    walk.problem = `"${printable(term)}" is no address range`;
  else if (isPass) walk.list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
}

function isMacro(text: string): boolean {
  return text.includes('%');
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80);
}

/** `gateway`: its addresses where mail leaves from it; empty where another host sends. */
export function judgeSpf(reading: SpfReading, topology: Topology, gateway: readonly string[]): Finding {
  const { records, lookups, problem, failure } = reading;
  if (records.length > 1)
    return fail(
      `${records.length} SPF records`,
      'Make one of them: with several, receivers take all mail of the domain for not authorised.',
    );
  if (failure !== undefined) return warn(`no answer from DNS (${failure})`, 'Try again.');
  const needed = [`include:${MICROSOFT}`, ...gateway.map((address) => `ip${isIP(address)}:${address}`)];
  if (records.length === 0) return warn('no SPF record', `Publish one: v=spf1 ${needed.join(' ')} -all`);
  if (problem !== undefined)
    return fail(problem, 'Correct the SPF record: receivers cannot use it as it is.');
  if (lookups > MAX_LOOKUPS)
    return fail(
      `more than ${MAX_LOOKUPS} look-ups`,
      'Take includes out of the SPF record: beyond ten look-ups receivers do not use it.',
    );
  if (reading.isOpen) return fail('+all: everybody may send', 'End the SPF record with -all or ~all.');
  return merge([...judgeSenders(reading, topology, gateway), ok(`one record, look-ups: ${lookups}`)]);
}

function judgeSenders(
  reading: SpfReading,
  topology: Topology,
  gateway: readonly string[],
): readonly Finding[] {
  const missing = topology === 'inline' ? gateway.filter((address) => !reading.allows(address)) : [];
  const findings: Finding[] = [];
  if (!reading.hasMicrosoft) {
    const judge = topology === 'loop-back' ? fail : warn;
    findings.push(
      judge(
        `no include:${MICROSOFT}`,
        `Add include:${MICROSOFT}: Exchange Online sends mail of the domain as well.`,
      ),
    );
  }
  if (missing.length > 0 && !reading.hasUnknown)
    findings.push(
      warn(
        `does not allow ${missing.join(', ')}`,
        `Add ${missing.map((address) => `ip${isIP(address)}:${address}`).join(' ')}, or the addresses that the gateway sends from where they are others.`,
      ),
    );
  return findings;
}

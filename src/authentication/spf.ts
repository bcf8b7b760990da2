// SPF of an SMTP client (RFC 7208), evaluated by mailauth in its strict mode.
import { spf } from 'mailauth/lib/spf/index.js';
import type { Address } from '../core/address.ts';
import type { Peer } from '../core/peer.ts';
import type { DnsLookup } from './dns-lookup.ts';

/** `unavailable`: DNS gave no answer. */
export interface SpfVerdict {
  /** Domain of the checked identity: that of MAIL FROM, else the HELO name (RFC 7208 §2.4). */
  readonly domain: string;
  readonly result: 'pass' | 'fail' | 'unavailable';
  /** The result in SPF's words. */
  readonly reason: string;
}

const ELAPSED_MS = 20_000;

/** Whether the client may send for the domain of MAIL FROM. Never throws. */
export async function verifySpf(
  peer: Pick<Peer, 'address' | 'helo'>,
  sender: Address | null,
  hostname: string,
  lookup: DnsLookup,
): Promise<SpfVerdict> {
  const domain = (sender?.domain ?? peer.helo).toLowerCase();
  try {
    const { status } = await spf({
      ip: peer.address,
      helo: peer.helo,
      ...(sender ? { sender: sender.text } : {}),
      mta: hostname,
      strict: true,
      maxElapsedTime: ELAPSED_MS,
      resolver: (name, type) => lookup(name, type) as Promise<string[][]>,
    });
    const { result } = status;
    if (result === 'pass') return { domain, result: 'pass', reason: result };
    return { domain, result: result === 'temperror' ? 'unavailable' : 'fail', reason: result };
  } catch {
    return { domain, result: 'unavailable', reason: 'temperror' };
  }
}

// SRS, the Sender Rewriting Scheme (postsrsd, libsrs2): the envelope sender of forwarded mail becomes an address of the tenant, so
// that SPF holds on the way on, and a report to it finds the sender again. Nothing is stored: the address carries all.
import { createHmac } from 'node:crypto';
import { type Address, parseAddress } from '../core/address.ts';
import type { TenantId } from '../core/origin.ts';
import { Secret } from '../core/secret.ts';

/** Local parts may come back in another letter case, so all that is ours is base32. */
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const HASH_CHARACTERS = 8;
const DAY_MS = 86_400_000;
const DAYS = 1_024;
const MAX_AGE_DAYS = 21;
const FORM = /^srs0=([a-z2-7]{8})=([a-z2-7]{2})=([^=]+)=(.+)$/i;

export interface RewritingScope {
  /** The gateway's own, known to nobody else. */
  readonly key: Secret;
  readonly tenant: TenantId;
  readonly at: Date;
}

/**
 * The sender as an address in `domain`, good for 21 days. Undefined where it does not fit into the 64 octets of a local
 * part (RFC 5321 §4.5.3.1.1).
 */
export function rewriteSender(sender: Address, domain: string, scope: RewritingScope): Address | undefined {
  const day = dayOf(scope.at);
  const time = `${BASE32[day >> 5]}${BASE32[day & 31]}`;
  const rest = `${time}=${sender.domain}=${sender.localPart}`;
  const rewritten = parseAddress(quoted(`SRS0=${hashOf(rest, scope)}=${rest}`, domain));
  // A local part that was quoted may not survive the way there and back.
  return rewritten && originalSender(rewritten, scope)?.key === sender.key ? rewritten : undefined;
}

/** Whom a rewritten address stands for. Undefined: it is none, not of this tenant, changed, or too old. */
export function originalSender(address: Address, scope: RewritingScope): Address | undefined {
  const [, hash = '', time = '', domain = '', localPart = ''] = FORM.exec(address.localPart) ?? [];
  if (hash === '') return undefined;
  const expected = new Secret(hashOf(`${time}=${domain}=${localPart}`, scope));
  // SECURITY: whoever could make such an address could have mail sent anywhere (test: srs-forged).
  if (!expected.equals(new Secret(hash.toLowerCase()))) return undefined;
  const day =
    BASE32.indexOf(time[0]?.toLowerCase() ?? '') * 32 + BASE32.indexOf(time[1]?.toLowerCase() ?? '');
  const age = (dayOf(scope.at) - day + DAYS) % DAYS;
  return age <= MAX_AGE_DAYS ? parseAddress(quoted(localPart, domain)) : undefined;
}

function hashOf(rest: string, { key, tenant }: RewritingScope): string {
  const digest = createHmac('sha256', key.reveal()).update(`${tenant} ${rest.toLowerCase()}`).digest();
  return [...digest.subarray(0, HASH_CHARACTERS)].map((byte) => BASE32[byte & 31]).join('');
}

function dayOf(at: Date): number {
  return Math.floor(at.getTime() / DAY_MS) % DAYS;
}

/** Written so that any local part can be read again. */
function quoted(localPart: string, domain: string): string {
  const plain = `${localPart}@${domain}`;
  return parseAddress(plain) ? plain : `"${localPart.replace(/["\\]/g, '\\$&')}"@${domain}`;
}

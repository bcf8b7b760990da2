// The mark on mail that goes back to the tenant it came from (loop-back): a token, which the tenant's rules match so that they
// do not send the message here again, and a MAC, by which the gateway knows its own mark. A rule cannot verify a MAC, and
// whoever reads a marked message knows its token.
import { createHmac } from 'node:crypto';
import type { TenantId } from '../core/origin.ts';
import { Secret } from '../core/secret.ts';
import { fieldsNamed, fieldValue, type HeaderSection } from '../mime/header-section.ts';

export const DONE_FIELD = 'X-Postern-Done';

export type Direction = 'inbound' | 'outbound';

/**
 * What the tenant's two rules look for. SECURITY: two, since whoever gets mail in the tenant can read the inbound one: it
 * must not take outbound mail past the gateway.
 */
export type DoneTokens = Readonly<Record<Direction, Secret>>;

/** What a mark speaks for: one direction of one message of one tenant. */
export interface DoneScope {
  readonly tenant: TenantId;
  readonly direction: Direction;
  readonly messageId: string;
}

/** The value of X-Postern-Done. `key` is the gateway's own, known to nobody else. */
export function doneMark(key: Secret, token: Secret, scope: DoneScope): string {
  return `${token.reveal().toString('latin1')}; mac=${mac(key, scope)}`;
}

/** Whether one of the marks is ours for this scope; what else they hold does not matter. */
export function hasDoneMark(marks: readonly string[], key: Secret, scope: DoneScope): boolean {
  const expected = new Secret(mac(key, scope));
  return marks.some((mark) => expected.equals(new Secret(/; mac=([\w-]+)$/.exec(mark)?.[1] ?? '')));
}

/** The Message-ID that marks are bound to; empty where there is none. */
export function messageIdOf(header: HeaderSection): string {
  const [field] = fieldsNamed(header, 'Message-ID');
  return field ? fieldValue(field) : '';
}

function mac(key: Secret, { tenant, direction, messageId }: DoneScope): string {
  return createHmac('sha256', key.reveal())
    .update(JSON.stringify([tenant, direction, messageId]))
    .digest('base64url');
}

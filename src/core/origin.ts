// Where a message comes from: the verdict of the proof, and the types that keep outbound rules from unproven mail.
import type { ErrorCode } from './errors.ts';
import type { NonEmpty } from './non-empty.ts';

/** A Microsoft Entra tenant id: a GUID in lower case. Also the name space of keys, policy and queue. */
export type TenantId = string & { readonly __tenantId: unique symbol };

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const NIL = '00000000-0000-0000-0000-000000000000';
/** Every outlook.com mailbox shares this tenant; it never proves an organisation. */
const CONSUMER = '84df9e7f-e9f6-40af-b435-aaaaaaaaaaaa';

/** A plain GUID in any letter case. No braces, quotes or comments; not the nil or the consumer tenant. */
export function parseTenantId(text: string): TenantId | undefined {
  const id = text.toLowerCase();
  return GUID.test(text) && id !== NIL && id !== CONSUMER ? (id as TenantId) : undefined;
}

/** `user` alone may be signed with a user's key. */
export type MessageClass = 'user' | 'system' | 'forwarded' | 'hybrid';

/** `off`: not looked at. `observe`: what does not hold is reported and changes nothing. `require`: it has to hold. */
export type ProofMode = 'off' | 'observe' | 'require';

const MODES: readonly ProofMode[] = ['off', 'observe', 'require'];

export function stricterMode(one: ProofMode, other: ProofMode): ProofMode {
  return MODES.indexOf(one) < MODES.indexOf(other) ? other : one;
}

/** C1..C11: which condition failed, the reason for the log, and the answer that a relay recipient gets. */
export interface ProofFailure {
  readonly condition: 'C1' | 'C2' | 'C3' | 'C4' | 'C5' | 'C6' | 'C7' | 'C8' | 'C9' | 'C10' | 'C11';
  readonly reason: string;
  readonly error: ErrorCode;
}

declare const attested: unique symbol;

/**
 * A proven origin. SECURITY: only tenant/proof may call `attest` (held by scripts/check-dependencies.ts and a test), so
 * a function that takes a ProvenOrigin cannot be reached with unproven mail.
 */
export interface ProvenOrigin {
  readonly kind: 'proven';
  readonly tenant: TenantId;
  readonly class: MessageClass;
  /** Conditions in mode `observe` that did not hold: what `require` would have refused. */
  readonly observed: readonly ProofFailure[];
  readonly [attested]: true;
}

export interface UnprovenOrigin {
  readonly kind: 'unproven';
  readonly reasons: NonEmpty<ProofFailure>;
}

export type Origin = ProvenOrigin | UnprovenOrigin;

/** Makes the proven origin. For tenant/proof alone. */
export function attest(
  tenant: TenantId,
  messageClass: MessageClass,
  observed: readonly ProofFailure[] = [],
): ProvenOrigin {
  return { kind: 'proven', tenant, class: messageClass, observed } as ProvenOrigin;
}

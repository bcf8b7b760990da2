// From origin and facts to plans: each recipient goes to exactly one policy. Unproven mail to anybody but local
// recipients ends here.
import { isNonEmpty } from '../core/non-empty.ts';
import type { Address } from '../core/address.ts';
import type { Envelope, Recipient } from '../core/envelope.ts';
import { GatewayError } from '../core/errors.ts';
import type { Facts } from '../core/facts.ts';
import type { Origin, TenantId } from '../core/origin.ts';
import type { Plan } from '../core/plan.ts';
import type { Secret } from '../core/secret.ts';
import type { KeyStore } from '../keys/store.ts';
import { decideInbound, decideOutbound } from '../policy/decide.ts';
import { tenantOfDomain } from '../tenant/registry.ts';
import { withOutboundKeys } from './inspect.ts';
import type { LoadedPolicy, PolicySet } from './policy-set.ts';
import { returnTo } from './senders.ts';
import type { TrustOf } from './trust.ts';

/** What rewritten senders are made and known by, and the time. */
export interface Rewriting {
  readonly key: Secret;
  readonly at: Date;
}

/** A plan and the policy that made it. */
export interface TenantPlan {
  readonly direction: 'inbound' | 'outbound';
  readonly loaded: LoadedPolicy;
  readonly plan: Plan;
}

/**
 * Decides for every recipient. Throws the GatewayError of the first proof failure where an unproven message names a
 * recipient that is not local, `tenant-not-loaded` where a policy is missing, `store-failed` where keys cannot be read.
 */
export async function decide(
  policies: PolicySet,
  keys: KeyStore,
  facts: Facts,
  origin: Origin,
  rewriting: Rewriting,
  trustOf?: TrustOf,
): Promise<readonly TenantPlan[]> {
  const { at } = rewriting;
  const { outbound, inbound, returned } = route(policies, facts.envelope, origin, rewriting);
  const plans: TenantPlan[] = returned.map(({ tenant, to }) => {
    const loaded = loadedPolicy(policies, tenant);
    return { direction: 'outbound', loaded, plan: planReturn(loaded, to) };
  });
  if (origin.kind === 'proven' && isNonEmpty(outbound)) {
    const loaded = loadedPolicy(policies, origin.tenant);
    const part = withRecipients(facts, outbound);
    const known = await withOutboundKeys(part, keys.forTenant(origin.tenant), at, trustOf?.(loaded));
    const tenantOf = (domain: string) => tenantOfDomain(policies.registry, domain)?.id;
    plans.push({
      direction: 'outbound',
      loaded,
      plan: decideOutbound(loaded.policy, known, origin, { tenantOf }),
    });
  }
  for (const [tenant, recipients] of inbound) {
    const loaded = loadedPolicy(policies, tenant);
    plans.push({
      direction: 'inbound',
      loaded,
      plan: decideInbound(loaded.policy, withRecipients(facts, recipients)),
    });
  }
  return plans;
}

/** A report to the rewritten sender of forwarded mail goes on to whom it is for, as it is. */
function planReturn({ policy: { outbound } }: LoadedPolicy, address: Address): Plan {
  const rule = 'report on forwarded mail';
  return {
    copies: [
      {
        recipients: [{ address }],
        steps: [{ kind: 'strip', direction: 'outbound' }],
        leg: { kind: outbound.deliver },
        mustEncrypt: false,
        rule,
      },
    ],
    refusals: [],
    trace: [{ recipient: address.text, rule, matched: true, because: 'the address is a rewritten sender' }],
  };
}

function route(policies: PolicySet, { sender, recipients }: Envelope, origin: Origin, rewriting: Rewriting) {
  const returned: { readonly tenant: TenantId; readonly to: Address }[] = [];
  const outbound: Recipient[] = [];
  const inbound = new Map<TenantId, [Recipient, ...Recipient[]]>();
  for (const recipient of recipients) {
    const tenant = tenantOfDomain(policies.registry, recipient.address.domain)?.id;
    const to = returnTo(policies.registry, sender, recipient.address, rewriting);
    if (tenant !== undefined && to) returned.push({ tenant, to });
    else if (origin.kind === 'proven' && tenant !== origin.tenant) outbound.push(recipient);
    else if (tenant !== undefined) {
      const group = inbound.get(tenant);
      if (group) group.push(recipient);
      else inbound.set(tenant, [recipient]);
    } else if (origin.kind === 'unproven') throw refusal(origin);
  }
  return { outbound, inbound, returned };
}

function refusal(origin: Extract<Origin, { kind: 'unproven' }>): GatewayError {
  const [first] = origin.reasons;
  return new GatewayError(first.error, first.reason, {
    detail: {
      condition: first.condition,
      failed: origin.reasons.map((failure) => failure.condition).join(','),
    },
  });
}

function loadedPolicy(policies: PolicySet, tenant: TenantId): LoadedPolicy {
  const loaded = policies.of(tenant);
  if (!loaded)
    throw new GatewayError('tenant-not-loaded', 'no policy is loaded for the tenant', { detail: { tenant } });
  return loaded;
}

function withRecipients(
  facts: Facts,
  recipients: readonly [Recipient, ...Recipient[]] | readonly Recipient[],
): Facts {
  if (!isNonEmpty(recipients)) throw new GatewayError('unplanned', 'a plan for nobody');
  return { ...facts, envelope: { ...facts.envelope, recipients } };
}

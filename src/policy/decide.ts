// The decision: from policy and facts to a plan. Pure and total: no I/O, no clock, never an exception. The first rule
// that matches a recipient decides for it; `otherwise` decides for the rest.
import type { Recipient } from '../core/envelope.ts';
import type { Facts } from '../core/facts.ts';
import type { LegName } from '../core/leg.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import type { ProvenOrigin, TenantId } from '../core/origin.ts';
import type { Copy, Plan, Refusal, RuleTrace, Step } from '../core/plan.ts';
import { groupCopies, type Sending } from './copies.ts';
import { matchConditions } from './match.ts';
import type { Policy, Treatment } from './schema.ts';
import { applyTreatment } from './treatment.ts';

/** Which hosted tenant owns a domain: mail to it leaves over that tenant's leg. */
export interface TenantLegs {
  tenantOf(domain: string): TenantId | undefined;
}

/**
 * Decides for mail that was proven to come from the policy's tenant. Every recipient of the envelope is in exactly one
 * copy or one refusal. A copy is unencrypted only where a rule says so in words. Only class `user` is signed or
 * encrypted; the tenant's own reports and forwarded mail are relayed as they are.
 */
export function decideOutbound(policy: Policy, facts: Facts, origin: ProvenOrigin, legs?: TenantLegs): Plan {
  const sendings: Sending[] = [];
  const refusals: Refusal[] = [];
  const trace: RuleTrace[] = [];
  for (const recipient of facts.envelope.recipients) {
    const leg = legFor(policy, recipient, legs);
    if (origin.class !== 'user') {
      const rule = `class:${origin.class}`;
      sendings.push({ recipient, leg, rule });
      trace.push(entry(recipient, rule, true, `messages of class ${origin.class} are relayed as they are`));
      continue;
    }
    const { rule, treatment, because } = firstMatch(policy, facts, recipient, trace);
    const verdict = applyTreatment(treatment, rule, facts, recipient);
    const outcome =
      verdict.kind === 'send' ? verdict.because : `refused: ${verdict.error}${verdict.because ?? ''}`;
    trace.push(entry(recipient, rule, true, `${because}; ${outcome}`));
    if (verdict.kind === 'refuse')
      refusals.push({ recipient, rule, error: verdict.error, explanation: verdict.explanation });
    else sendings.push({ recipient, leg, rule, ...pick(verdict) });
  }
  const copies = groupCopies(sendings, facts.visible)
    .map((copy) => withDkim(policy, facts, copy))
    .map((copy) => withDone(policy, copy, 'outbound'));
  return { copies, refusals, trace };
}

/**
 * Decides for mail to the policy's tenant. An encrypted message becomes one copy per recipient, each opened with that
 * recipient's own keys only; anything else one copy for all. Automatic and list mail is delivered as it came.
 */
export function decideInbound(policy: Policy, facts: Facts): Plan {
  const { inbound, tenant } = policy;
  const { recipients } = facts.envelope;
  const leg: LegName = { kind: 'tenant', tenant: tenant.id };
  const copy = (group: Copy['recipients'], steps: readonly Step[]): Copy => ({
    recipients: group,
    steps: [{ kind: 'strip', direction: 'inbound' }, ...steps],
    leg,
    mustEncrypt: false,
    rule: 'inbound',
  });
  const weak = isNonEmpty(inbound.weakAlgorithms) ? { weak: inbound.weakAlgorithms } : {};
  const verify: Step[] = inbound.verify
    ? [{ kind: 'verify', onInvalid: inbound.onInvalidSignature, ...weak }]
    : [];
  const compare: Step[] = inbound.readsProtectedHeaders
    ? [{ kind: 'compare-header', isMarked: inbound.mark }]
    : [];
  const mark: Step[] = inbound.mark ? [{ kind: 'mark' }] : [];
  const plan = (copies: readonly Copy[], because: string): Plan => ({
    copies: copies.map((each) => withDone(policy, each, 'inbound')),
    refusals: [],
    trace: recipients.map((recipient) => entry(recipient, 'inbound', true, because)),
  });
  const { shape } = facts;
  const opened = [...verify, ...(inbound.verify ? compare : []), ...mark];
  if (shape.kind === 'plain' && shape.cms === 'compressed')
    return plan([copy(recipients, opened)], 'compressed: unpacked with what is inside');
  if (shape.kind === 'plain' && shape.labelled === undefined)
    return plan([copy(recipients, [])], 'plain: delivered as it came');
  const isOpened = inbound.decrypt && !isSelfService(facts);
  const isCovered = shape.kind === 'signed' && shape.format === 'smime' && shape.covers === 'encrypted';
  if (shape.kind === 'signed' && !(isCovered && isOpened))
    return plan([copy(recipients, opened)], 'signed: verified and marked as the policy says');
  // SECURITY: whoever can make the tenant's side answer or forward by itself must not get plaintext out of it
  // (test: inbound-automatic).
  if (isSelfService(facts))
    return plan([copy(recipients, mark)], 'automatic or list mail is never decrypted');
  if (!inbound.decrypt) return plan([copy(recipients, mark)], 'decrypt: false');
  // The signature around an encrypted message goes with the layer that it covers, so it is verified before.
  const reaching = verify.map((step) => ({ ...step, isBeforeDecryption: true }) as const);
  const first = isCovered ? reaching : [];
  const copies = recipients.map((recipient) => {
    const owner = [recipient] as const;
    const decrypt: Step = { kind: 'decrypt', owner, onFailure: inbound.onDecryptFailure, ...weak };
    return copy([recipient], [...first, decrypt, ...(isCovered ? [] : reaching), ...compare, ...mark]);
  });
  return plan(copies, "encrypted: opened with the recipient's own keys");
}

/** The first matching rule; each rule before it leaves its reason in the trace. */
function firstMatch(
  policy: Policy,
  facts: Facts,
  recipient: Recipient,
  trace: RuleTrace[],
): { readonly rule: string; readonly treatment: Treatment; readonly because: string } {
  for (const rule of policy.outbound.rules) {
    const { isMatched, because } = matchConditions(rule.when, facts, recipient.address);
    if (isMatched) return { rule: rule.name, treatment: rule.treatment, because };
    trace.push(entry(recipient, rule.name, false, because));
  }
  return { rule: 'otherwise', treatment: policy.outbound.otherwise, because: 'no rule matches' };
}

/** What was changed is signed anew, by the domain of the author or one above it. In the loop-back Exchange does it. */
function withDkim({ tenant, outbound }: Policy, { from }: Facts, copy: Copy): Copy {
  const isRewritten = copy.steps.some(({ kind }) => kind === 'sign' || kind === 'encrypt');
  if (!isRewritten || !from || tenant.loopBack) return copy;
  const [signer] = outbound.dkim
    .filter(({ domain }) => from.domain === domain || from.domain.endsWith(`.${domain}`))
    .toSorted((one, other) => other.domain.length - one.domain.length);
  return signer ? { ...copy, steps: [...copy.steps, { kind: 'dkim', domain: signer.domain }] } : copy;
}

/** Loop-back: whatever goes back to the tenant says so to its rules. */
function withDone({ tenant }: Policy, copy: Copy, direction: 'inbound' | 'outbound'): Copy {
  return tenant.loopBack ? { ...copy, steps: [...copy.steps, { kind: 'done', direction }] } : copy;
}

/** Loop-back: the tenant takes all of its mail back, and its own rules and MX look-ups lead it on. */
function legFor(policy: Policy, recipient: Recipient, legs: TenantLegs | undefined): LegName {
  if (policy.tenant.loopBack) return { kind: 'tenant', tenant: policy.tenant.id };
  const tenant = legs?.tenantOf(recipient.address.domain);
  return tenant === undefined ? { kind: policy.outbound.deliver } : { kind: 'tenant', tenant };
}

function isSelfService(facts: Facts): boolean {
  return facts.isAutomatic || facts.envelope.sender === null || facts.fields.some(isListField);
}

/** RFC 2919 §3, RFC 2369 §3.4, and the older habit of Precedence. */
function isListField({ name, value }: Facts['fields'][number]): boolean {
  if (name === 'list-id' || name === 'list-post') return true;
  return name === 'precedence' && /^(list|bulk|junk)$/i.test(value.trim());
}

type Decided = Pick<Sending, 'sign' | 'encrypt' | 'protection'>;

function pick({ sign, encrypt, protection }: Decided): Decided {
  return { ...(sign && { sign }), ...(encrypt && { encrypt }), ...(protection && { protection }) };
}

function entry(recipient: Recipient, rule: string, matched: boolean, because: string): RuleTrace {
  return { recipient: recipient.address.text, rule, matched, because };
}

// What a rehearsal of a policy sends: a fixed list, and for each outbound rule a message that its conditions match, where
// one can be made from them.
import type { ByteSource } from '../core/bytes.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { Pattern } from '../policy/pattern.ts';
import type { Conditions, HeaderCondition, Policy, Rule } from '../policy/schema.ts';
import type { TemplateName } from './exchange-templates.ts';
import { type SampleHead, sampleMessage, type SampleName } from './messages.ts';

export interface RehearsalMessage {
  readonly title: string;
  /** Who brings it to the gateway. */
  readonly by: 'tenant' | 'hostile tenant' | 'Internet';
  readonly from: string;
  readonly to: string;
  readonly template: TemplateName;
  readonly messageId: string;
  readonly message: ByteSource;
  /** The rule that it was made for. */
  readonly rule?: string;
  /** The user whose stamps are forged, all of them: whether a tenant can do that is not known. */
  readonly forged?: string;
}

export interface RehearsalPlan {
  readonly messages: readonly RehearsalMessage[];
  /** Rules that no message was made for, and why. */
  readonly left: readonly { readonly rule: string; readonly reason: string }[];
}

interface Draft {
  readonly title: string;
  readonly by?: RehearsalMessage['by'];
  readonly from: string;
  readonly to: string;
  /** Envelope and From differ in a forgery. */
  readonly author?: string;
  readonly template?: TemplateName;
  readonly sample?: SampleName;
  readonly subject?: string;
  readonly fields?: SampleHead['fields'];
  readonly rule?: string;
  readonly forged?: string;
}

const OUTSIDE = 'somebody@unknown.example';
const SENDER = 'user';

/** The messages in the order in which they are sent. Pure but for the Message-IDs' numbers. */
export function planMessages(policy: Policy): RehearsalPlan {
  const user = userOf(policy);
  const { keys, outbound, tenant } = policy;
  const partners = keys.partners
    .map(({ match }) => (match.includes('@') ? match : `${SENDER}@${match}`))
    .filter((address) => !isInside(tenant, domainOf(address)));
  const made = outbound.rules.map((rule) => ({
    rule,
    draft: draftFor(rule, policy, user, partners[0] ?? OUTSIDE),
  }));
  const drafts: readonly Draft[] = [
    ...partners.map((to) => ({ title: `to the partner ${to}`, from: user, to })),
    { title: 'to an unknown address', from: user, to: OUTSIDE },
    ...made.flatMap(({ draft }) => (typeof draft === 'string' ? [] : [draft])),
    { title: 'from the Internet', by: 'Internet', from: OUTSIDE, to: user },
    {
      title: 'a report of Exchange (NDR)',
      from: `postmaster@${tenant.domains[0]}`,
      to: OUTSIDE,
      template: 'ndr',
      sample: 'report',
    },
    { title: 'an out-of-office reply', from: user, to: OUTSIDE, template: 'oof' },
    {
      title: 'a hostile tenant in the name of a user',
      by: 'hostile tenant',
      from: 'x@evil.example',
      author: user,
      to: partners[0] ?? OUTSIDE,
    },
    {
      title: 'the same, if it could forge all stamps',
      by: 'hostile tenant',
      from: 'x@evil.example',
      author: user,
      forged: user,
      to: partners[0] ?? OUTSIDE,
    },
  ];
  const left = made.flatMap(({ rule, draft }) =>
    typeof draft === 'string' ? [{ rule: rule.name, reason: draft }] : [],
  );
  return { messages: drafts.map(toMessage), left };
}

function toMessage(draft: Draft, index: number): RehearsalMessage {
  const { title, by = 'tenant', from, to, author = from, template = 'user', sample = 'plain' } = draft;
  const messageId = `<rehearsal-${index + 1}@lab.example>`;
  const head = { from: author, to: [to], subject: draft.subject ?? 'Rehearsal', messageId };
  const message = sampleMessage(sample, { ...head, ...(draft.fields ? { fields: draft.fields } : {}) });
  const { rule, forged } = draft;
  const more = { ...(rule ? { rule } : {}), ...(forged ? { forged } : {}) };
  return { title, by, from, to, template, messageId, message, ...more };
}

/** Somebody with a key of their own, if there is one. */
function userOf({ keys, tenant }: Policy): string {
  const own = keys.own.find(({ match }) => match.includes('@') && isInside(tenant, domainOf(match)));
  return own?.match ?? `${SENDER}@${tenant.domains[0]}`;
}

/** The message, or why there is none. */
function draftFor({ name, when }: Rule, { tenant }: Policy, user: string, outside: string): Draft | string {
  const from = when.sender ? addressIn(when.sender, (domain) => isInside(tenant, domain)) : user;
  if (from === undefined) return 'its senders are not in the tenant’s domains';
  const to = when.recipient ? addressIn(when.recipient, (domain) => !isInside(tenant, domain)) : outside;
  if (to === undefined) return 'its recipients are in the tenant’s domains';
  if (when.is8bit) return 'it is about 8-bit content, which the lab does not write';
  if (when.hasTnef) return 'it is about winmail.dat, which the lab does not write';
  const header = when.header ? headerFor(when.header) : {};
  if (typeof header === 'string') return header;
  const automatic = when.isAutomatic === true ? ['Auto-Submitted: auto-generated'] : [];
  const subject =
    when.subjectTag === undefined
      ? header.subject
      : `${when.subjectTag} Rehearsal ${header.subject ?? ''}`.trim();
  const fields = [...(header.fields ?? []), ...automatic];
  return {
    title: `for the rule ${name}`,
    rule: name,
    from,
    to,
    sample: sampleFor(when),
    ...(when.isCalendar ? { template: 'calendar' as const } : {}),
    ...(subject === undefined ? {} : { subject }),
    ...(fields.length === 0 ? {} : { fields }),
  };
}

function sampleFor({ isCalendar, shape }: Conditions): SampleName {
  if (isCalendar) return 'calendar';
  if (!shape || shape.includes('plain')) return 'plain';
  return shape[0] === 'encrypted' ? 'encrypted' : 'signed';
}

function addressIn(patterns: NonEmpty<Pattern>, isGood: (domain: string) => boolean): string | undefined {
  return patterns
    .map(({ kind, value, text }) => {
      if (kind === 'address') return text;
      return kind === 'domain' ? `${SENDER}@${value}` : `${SENDER}@sub.${value}`;
    })
    .find((address) => isGood(domainOf(address)));
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1).toLowerCase();
}

function isInside({ domains, matchSubDomains }: Policy['tenant'], domain: string): boolean {
  return domains.some((own) => domain === own || (matchSubDomains && domain.endsWith(`.${own}`)));
}

const WRITTEN = new Set(['from', 'to', 'date', 'message-id', 'mime-version', 'content-type', 'received']);

function headerFor(
  condition: HeaderCondition,
): { readonly subject?: string; readonly fields?: readonly string[] } | string {
  const { name } = condition;
  if (condition.kind === 'present') {
    if (!condition.isPresent)
      return WRITTEN.has(name) || name === 'subject' ? `every message has ${name}` : {};
    return WRITTEN.has(name) || name === 'subject' ? {} : { fields: [`${name}: rehearsal`] };
  }
  if (WRITTEN.has(name)) return `its condition is about ${name}, which the lab writes`;
  const value = condition.kind === 'matches' ? textFor(condition) : condition.value;
  if (value === undefined) return `no value was found for its expression on ${name}`;
  return name === 'subject' ? { subject: value } : { fields: [`${name}: ${value}`] };
}

/** A text that a simple expression finds itself in; undefined where the guess is wrong. */
function textFor({ expression }: Extract<HeaderCondition, { kind: 'matches' }>): string | undefined {
  const guess = expression
    .pattern()
    .replace(/^\(\?[a-z]+\)/, '')
    .replace(/\\[bB]|^\^|\$$/g, '')
    .replace(/\((?:\?:)?([^()|]*)(?:\|[^()]*)?\)/g, '$1')
    .replace(/\[([^\]^])[^\]]*\]/g, '$1')
    .replace(/\\d/g, '1')
    .replace(/\\w/g, 'a')
    .replace(/\\s/g, ' ')
    .replace(/(?<!\\)\.(?:[*+]\??)?/g, 'x')
    .replace(/(?<!\\)[*+?]|\{\d+(?:,\d*)?\}/g, '')
    .split('|')[0]
    ?.replace(/\\(.)/g, '$1');
  return guess !== undefined && expression.matcher(guess).find() ? guess : undefined;
}

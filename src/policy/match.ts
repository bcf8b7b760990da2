// Whether the conditions of a rule hold for one recipient, and why. All conditions must hold; a condition that is not
// there holds. The reasons name the condition, never a subject or a header value.
import { isMatch } from './pattern.ts';
import type { Conditions, HeaderCondition } from './schema.ts';
import type { Address } from '../core/address.ts';
import type { FactField, Facts } from '../core/facts.ts';

export interface Match {
  readonly isMatched: boolean;
  /** Every condition that held, or every one that did not. */
  readonly because: string;
}

/**
 * Checks the conditions in the order of the reference. SECURITY: the sender is the one From address; only where From
 * names nobody in particular does the envelope sender stand in, so that an odd From cannot slip past a sender rule
 * (test: sender-fallback).
 */
export function matchConditions(when: Conditions, facts: Facts, recipient: Address): Match {
  const sender = facts.from ?? facts.envelope.sender;
  const checks: readonly (readonly [boolean, string] | undefined)[] = [
    when.sender && [
      sender !== null && when.sender.some((pattern) => isMatch(pattern, sender)),
      `sender is ${anyOf(when.sender.map((pattern) => pattern.text))}`,
    ],
    when.recipient && [
      when.recipient.some((pattern) => isMatch(pattern, recipient)),
      `recipient is ${anyOf(when.recipient.map((pattern) => pattern.text))}`,
    ],
    when.subjectTag === undefined
      ? undefined
      : [hasTag(facts.fields, when.subjectTag), `subject has the tag ${JSON.stringify(when.subjectTag)}`],
    when.header && [hasHeader(facts.fields, when.header), describeHeader(when.header)],
    when.isCalendar === undefined
      ? undefined
      : [facts.isCalendar === when.isCalendar, when.isCalendar ? 'is an invitation' : 'is no invitation'],
    when.is8bit === undefined
      ? undefined
      : [facts.is8bit === when.is8bit, when.is8bit ? 'has 8-bit content' : 'has no 8-bit content'],
    when.hasTnef === undefined
      ? undefined
      : [facts.hasTnef === when.hasTnef, when.hasTnef ? 'holds winmail.dat' : 'holds no winmail.dat'],
    when.isAutomatic === undefined
      ? undefined
      : [facts.isAutomatic === when.isAutomatic, when.isAutomatic ? 'is automatic' : 'is not automatic'],
    when.shape && [when.shape.includes(facts.shape.kind), `message is ${anyOf(when.shape)}`],
  ];
  const given = checks.filter((check) => check !== undefined);
  const failed = given.filter(([holds]) => !holds);
  const listed = (failed.length === 0 ? given : failed).map(([, text]) => text).join('; ');
  return failed.length === 0
    ? { isMatched: true, because: listed }
    : { isMatched: false, because: `does not hold: ${listed}` };
}

function hasTag(fields: readonly FactField[], tag: string): boolean {
  const wanted = tag.toLowerCase();
  return fields.some((field) => field.name === 'subject' && field.value.toLowerCase().includes(wanted));
}

function hasHeader(fields: readonly FactField[], condition: HeaderCondition): boolean {
  const values = fields.filter((field) => field.name === condition.name).map((field) => field.value);
  if (condition.kind === 'present') return values.length > 0 === condition.isPresent;
  // SECURITY: RE2, linear in the value, which the sender writes (test: header-redos).
  if (condition.kind === 'matches') return values.some((value) => condition.expression.matcher(value).find());
  const wanted = condition.value.toLowerCase();
  const isWhole = condition.kind === 'equals';
  return values.some((value) =>
    isWhole ? value.toLowerCase() === wanted : value.toLowerCase().includes(wanted),
  );
}

function describeHeader(condition: HeaderCondition): string {
  const subject = `header ${condition.name}`;
  if (condition.kind === 'present') return `${subject} is ${condition.isPresent ? 'there' : 'not there'}`;
  if (condition.kind === 'matches')
    return `${subject} matches ${JSON.stringify(condition.expression.pattern())}`;
  return `${subject} ${condition.kind} ${JSON.stringify(condition.value)}`;
}

function anyOf(list: readonly string[]): string {
  return list.length === 1 ? String(list[0]) : `one of ${list.join(', ')}`;
}

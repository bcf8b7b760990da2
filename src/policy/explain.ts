// A plan in words, for `policy explain` and for whoever asks why a message went out as it did. Shows addresses, rules and
// key ids; never a subject or content.
import { errorTable } from '../core/errors.ts';
import type { Facts } from '../core/facts.ts';
import { formatLeg } from '../core/leg.ts';
import type { Copy, Plan, Refusal, Step } from '../core/plan.ts';
import type { Recipient } from '../core/envelope.ts';

/** Several lines, the last one ended. Starts with the message, then the rules per recipient, then what follows. */
export function explainPlan(plan: Plan, facts: Facts): string {
  const lines = [describeMessage(facts)];
  for (const [recipient, entries] of Map.groupBy(plan.trace, (line) => line.recipient)) {
    lines.push('', recipient);
    for (const { rule, matched, because } of entries)
      lines.push(`  ${matched ? '->' : '  '} ${rule}: ${because}`);
  }
  plan.copies.forEach((copy, index) => lines.push('', ...describeCopy(copy, index + 1)));
  for (const refusal of plan.refusals) lines.push('', ...describeRefusal(refusal));
  return `${lines.join('\n')}\n`;
}

function describeMessage({ envelope, from, size, shape, isAutomatic, isCalendar }: Facts): string {
  const marks = [
    shape.kind === 'plain' ? 'plain' : `${shape.kind} (${shape.format})`,
    ...(isCalendar ? ['invitation'] : []),
    ...(isAutomatic ? ['automatic'] : []),
  ];
  const sender = from?.text ?? envelope.sender?.text ?? '<>';
  return `Message from ${sender}, ${size} bytes, ${marks.join(', ')}, ${envelope.recipients.length} recipient(s)`;
}

function describeCopy(copy: Copy, number: number): string[] {
  return [
    `Copy ${number} over ${formatLeg(copy.leg)}, by ${copy.rule}${copy.mustEncrypt ? ', must be encrypted' : ''}`,
    `  to ${listed(copy.recipients)}`,
    ...copy.steps.map((step, index) => `  ${index + 1}. ${describeStep(step)}`),
  ];
}

type Describe = { readonly [K in Step['kind']]: (step: Extract<Step, { kind: K }>) => string };

const describe: Describe = {
  strip: (step) => `strip header fields (${step.direction})`,
  sign: (step) => `sign with ${step.key}`,
  encrypt: ({ keys, sign }) =>
    `${sign === undefined ? 'encrypt' : `sign with ${sign} and encrypt`} to ${keys.join(', ')}`,
  decrypt: (step) => `decrypt with keys of ${listed(step.owner)}; on failure ${step.onFailure}`,
  verify: (step) => `verify signatures; if invalid ${step.onInvalid}`,
  mark: () => 'mark with the results',
};

function describeStep(step: Step): string {
  return (describe[step.kind] as (step: Step) => string)(step);
}

function describeRefusal({ recipient, rule, error, explanation }: Refusal): string[] {
  const { code, enhanced } = errorTable[error];
  return [
    `Refused ${recipient.address.text}, by ${rule}: ${code} ${enhanced} (${error})`,
    `  ${explanation}`,
  ];
}

function listed(recipients: readonly Recipient[]): string {
  return recipients.map((recipient) => recipient.address.text).join(', ');
}

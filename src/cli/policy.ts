// `postern policy`: every error of a policy file with its place, and what a policy does with a message, and why.
import { systemClock } from '../core/clock.ts';
import { errorTable } from '../core/errors.ts';
import { explainPlan } from '../policy/explain.ts';
import type { Policy, Problem } from '../policy/schema.ts';
import {
  type CheckedPolicy,
  checkPolicies,
  type Explanation,
  explainMessage,
  type ExplainTask,
} from '../workbench.ts';
import {
  type Command,
  configOption,
  EXIT,
  type Invocation,
  print,
  printJson,
  text,
  texts,
  UsageError,
} from './command.ts';
import { addressOption, openInput } from './message-files.ts';
import { withOperations } from './stores.ts';

export const policyCheck: Command = {
  name: 'policy check',
  summary: 'Check policy files, with the keys, certificates and passwords that they name.',
  arguments: '<file>...',
  count: [1, Infinity],
  options: {},
  notes: `Prints all problems of all files as file:line:column: message, and warnings such as expired keys. For a folder, its
files are checked together, as the gateway reads them. Exit code 1 where there is a problem.`,
  async run({ positionals, io, isJson }) {
    const checked = await checkPolicies(positionals, systemClock.now());
    const isGood = checked.every(({ problems }) => problems.length === 0);
    if (isJson) printJson(io, checked.map(checkedJson));
    else for (const policy of checked) print(io, describeChecked(policy));
    return isGood ? EXIT.success : EXIT.invalid;
  },
};

export const policyExplain: Command = {
  name: 'policy explain',
  summary: 'Tell what a policy does with a message: which rule, why, and what each recipient gets.',
  arguments: '<policy> [<message>|-]',
  count: [1, 2],
  options: {
    from: { type: 'string', value: '<address>', describe: 'envelope sender, or <> (default: From)' },
    to: {
      type: 'string',
      multiple: true,
      value: '<address>',
      describe: 'envelope recipient (default: To and Cc)',
    },
    direction: {
      type: 'string',
      value: 'outbound|inbound',
      describe: 'default: outbound where the author is of the tenant',
    },
    learned: { type: 'boolean', describe: "with what the gateway's key store has learned of partners" },
    config: configOption,
  },
  notes: `The gateway's own decision, with the keys that the policy declares. Outbound, Exchange Online is taken to have
delivered the message with the tenant's stamps; the rest of the proof runs on the message. Nothing is sent or stored.
With --learned the gateway of --config, or its key store, is asked what partners' mail has announced.`,
  async run(invocation) {
    const { positionals, io, isJson } = invocation;
    const [policyFile = '', message] = positionals;
    const explanation = await explainMessage({
      policyFile,
      ...openInput(message, io),
      ...envelopeOptions(invocation),
      ...(invocation.options['learned'] === true && { learned: await learnedOf(invocation) }),
      at: systemClock.now(),
      signal: io.signal,
      onProgress: () => undefined,
    });
    if (isJson) printJson(io, explanationJson(explanation));
    else print(io, explain(explanation));
    return EXIT.success;
  },
};

async function learnedOf(invocation: Invocation): Promise<NonNullable<ExplainTask['learned']>> {
  const keys = await withOperations(invocation, (operations) => operations.listKeys());
  return keys.map(({ tenant, id, learned }) => ({
    tenant,
    id,
    learned: learned.map(({ address, ciphers, signedAt, seenAt }) => ({
      address,
      ciphers,
      signedAt: new Date(signedAt),
      seenAt: new Date(seenAt),
    })),
  }));
}

/** Problems and warnings as file:line:column: message. */
export function describeChecked({ file, problems, warnings, policy, version }: CheckedPolicy): string {
  const lines = [
    ...problems.map((problem) => placed(problem, '')),
    ...warnings.map((warning) => placed(warning, 'warning: ')),
  ];
  if (policy) lines.push(`${file}: ok (${summary(policy)}, version ${version ?? ''})`);
  return lines.join('\n');
}

function summary({ tenant, outbound, keys }: Policy): string {
  return [
    `tenant ${tenant.name}`,
    count(outbound.rules, 'rule'),
    count(keys.own, 'own key'),
    count(keys.partners, 'partner key'),
  ].join(', ');
}

function count(list: readonly unknown[], what: string): string {
  return `${list.length} ${what}${list.length === 1 ? '' : 's'}`;
}

function placed({ file, line, column, message }: Problem, mark: string): string {
  return `${file}:${line}:${column}: ${mark}${message}`;
}

export function checkedJson({ file, problems, warnings, policy, version }: CheckedPolicy) {
  return {
    file,
    ok: problems.length === 0,
    problems,
    warnings,
    ...(policy ? { tenant: policy.tenant.id, name: policy.tenant.name, version } : {}),
  };
}

function envelopeOptions({ options }: Invocation): Pick<ExplainTask, 'from' | 'to' | 'direction'> {
  const from = text(options['from']);
  const direction = text(options['direction']);
  if (direction !== undefined && direction !== 'inbound' && direction !== 'outbound')
    throw new UsageError('--direction is outbound or inbound');
  return {
    to: texts(options['to']).map(addressOption),
    ...(from === undefined ? {} : { from: from === '<>' ? null : addressOption(from) }),
    ...(direction === undefined ? {} : { direction }),
  };
}

function explain({ loaded, direction, envelope, origin, plans, refusal }: Explanation): string {
  const { tenant } = loaded.policy;
  const head = `Policy of ${tenant.name}, version ${loaded.version}. ${headline(direction, origin)}`;
  if (refusal) {
    const { code, enhanced, text } = errorTable[refusal.error];
    const sender = envelope.sender?.text ?? '<>';
    return `${head}\n\nRefused before any rule, for ${sender}: ${code} ${enhanced} ${text} (${refusal.error})\n  ${refusal.reason}`;
  }
  const parts = plans.map((part) => {
    const isOther = part.direction !== direction;
    return `${isOther ? 'For recipients within the tenant:\n' : ''}${explainPlan(part.plan, part.facts).trimEnd()}`;
  });
  return [head, ...parts].join('\n\n');
}

function headline(direction: Explanation['direction'], origin: Explanation['origin']): string {
  if (direction === 'inbound') return 'Inbound: taken as mail from the Internet.';
  return origin.kind === 'proven'
    ? `Outbound: taken as proven to come from the tenant, class ${origin.class}.`
    : `Outbound, but not the tenant's, whoever delivers it: ${origin.reasons.map(({ reason }) => reason).join('; ')}.`;
}

function explanationJson({ loaded, direction, envelope, origin, plans, refusal }: Explanation) {
  const { file, version, policy } = loaded;
  return {
    policy: { file, version, tenant: policy.tenant.id },
    direction,
    origin,
    sender: envelope.sender?.text ?? null,
    recipients: envelope.recipients.map(({ address }) => address.text),
    plans: plans.map(({ direction, plan }) => ({ direction, ...plan })),
    ...(refusal ? { refusal } : {}),
  };
}

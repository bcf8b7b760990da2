// The rows of a rehearsal: how a message left, what the other side saw of it, and whether that is as the policy wants it.
import type { Policy, Treatment } from '../policy/schema.ts';
import type { RehearsalMessage } from './rehearsal-messages.ts';
import { isRefusal, type Observed } from './rehearsal-watch.ts';
import type { Arrival } from './world.ts';

export interface RehearsalRow {
  readonly message: string;
  readonly from: string;
  readonly to: string;
  /** Of the gateway: code and text. */
  readonly answer: string;
  readonly rule: string;
  /** Protection, leg and certificate; `not sent`. */
  readonly left: string;
  readonly seen: string;
  /** What the sender reads in the NDR, where there is one. */
  readonly told?: string;
  /** What is wrong; empty: nothing. */
  readonly problems: readonly string[];
  /** What is worth knowing and no fault. */
  readonly notes: readonly string[];
}

const FORGEABLE =
  'taken for the tenant’s. Whether another tenant can forge the stamps is not known; proof.dkim: require or proof.secret: require refuses it';

export function rowFor(policy: Policy, mail: RehearsalMessage, observed: Observed): RehearsalRow {
  const { answer, rules, arrival } = observed;
  const isOther = mail.rule !== undefined && rules.length > 0 && !rules.includes(mail.rule);
  return {
    message: mail.title,
    from: mail.from,
    to: mail.to,
    answer: answer ? `${answer.code} ${answer.text}` : 'none',
    rule: rules.join(', ') || '-',
    left: arrival ? leftAs(observed, arrival) : 'not sent',
    seen: seenBy(policy, observed, mail),
    ...(observed.told === undefined ? {} : { told: observed.told }),
    problems: problemsOf(policy, mail, observed),
    notes: [
      ...(isOther ? [`an earlier rule took it: ${rules.join(', ')}`] : []),
      ...(mail.forged !== undefined && answer?.code === 250 ? [FORGEABLE] : []),
    ],
  };
}

function leftAs({ outcomes, leg, attribution, isDirect }: Observed, arrival: Arrival): string {
  if (isDirect) return `${protectionOf(arrival)}; past the gateway`;
  const tls = arrival.kind === 'direct' ? attribution?.tls : arrival.message.tls;
  const [shown] = tls?.presentedNames ?? [];
  const certificate = shown === undefined ? 'no certificate' : `certificate ${shown}`;
  const isSigned = outcomes.includes('signed') && !protectionOf(arrival).startsWith('signed');
  return `${isSigned ? 'signed, ' : ''}${protectionOf(arrival)}; ${leg ?? 'unknown'} leg, ${certificate}`;
}

function seenBy(
  policy: Policy,
  { arrival, attribution, told, isDirect, answer }: Observed,
  mail: RehearsalMessage,
): string {
  if (isDirect)
    return isExcepted(policy, mail)
      ? 'the rules except it'
      : 'Exchange Online sent it to the Internet by itself';
  if (isRefusal(attribution)) return `Exchange Online refused it: ${attribution?.reply}`;
  if (told !== undefined) return 'the sender gets an NDR';
  if (arrival?.kind === 'direct')
    return `Exchange Online: ${attribution?.direction ?? 'unknown'} own tenant, sent on to the Internet`;
  if (arrival?.kind === 'tenant') {
    const { direction, tenant, isInternal } = arrival.message;
    return `Exchange Online: ${direction} ${tenant === 'contoso' ? 'own tenant' : tenant}, ${isInternal ? 'INTERNAL' : 'external'}`;
  }
  if (arrival)
    return `MX of ${mail.to.slice(mail.to.lastIndexOf('@') + 1)}: ${arrival.message.tls?.protocol ?? 'in clear'}`;
  return answer && answer.code >= 400 ? 'nothing' : 'NOTHING ARRIVED';
}

/** The rule of loop-back leaves out-of-office replies alone. */
function isExcepted({ tenant }: Policy, { template }: RehearsalMessage): boolean {
  return tenant.loopBack !== undefined && template === 'oof';
}

const PROTECTED: readonly (readonly [RegExp, string])[] = [
  [
    /^content-type:\s*application\/(x-)?pkcs7-mime[^]*?smime-type="?(auth-?)?enveloped-data/im,
    'encrypted (S/MIME)',
  ],
  [/^content-type:\s*multipart\/encrypted/im, 'encrypted (OpenPGP)'],
  [/^content-type:\s*application\/(x-)?pkcs7-mime/im, 'signed (S/MIME)'],
  [/^content-type:\s*multipart\/signed[^]*?pgp-signature/im, 'signed (OpenPGP)'],
  [/^content-type:\s*multipart\/signed/im, 'signed (S/MIME)'],
];

/** By the label of what arrived, whatever the gateway says that it did. */
function protectionOf(arrival: Arrival): string {
  const { message } = arrival;
  const bytes = 'received' in message ? message.received : message.bytes;
  const header = bytes.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
  const [field = ''] = /^content-type:.*(\r\n[ \t].*)*/im.exec(header) ?? [];
  return PROTECTED.find(([pattern]) => pattern.test(field))?.[1] ?? 'clear';
}

function problemsOf(policy: Policy, mail: RehearsalMessage, observed: Observed): readonly string[] {
  const { answer, rules, arrival, attribution, isDirect } = observed;
  if (mail.forged !== undefined) return [];
  if (mail.by === 'hostile tenant')
    return !answer || answer.code < 500 || arrival ? ['a stranger’s mail was taken for the tenant’s'] : [];
  const problems: string[] = [];
  if (isDirect) return isExcepted(policy, mail) ? [] : ['no rule of the tenant sends it to the gateway'];
  if (answer && answer.code >= 400 && answer.code < 500)
    problems.push('not taken now, which is no answer of a policy');
  if (answer && answer.code >= 500 && rules.length === 0)
    problems.push('refused before any rule: it is not proven to be the tenant’s');
  if (isRefusal(attribution)) problems.push('Exchange Online refused it');
  else if (answer?.code === 250 && !arrival) problems.push('accepted, and never arrived');
  if (arrival) problems.push(...problemsOfArrival(policy, mail, observed, arrival));
  return problems;
}

function problemsOfArrival(
  policy: Policy,
  mail: RehearsalMessage,
  { rules, leg }: Observed,
  arrival: Arrival,
): readonly string[] {
  const problems: string[] = [];
  const isUsers = mail.by === 'tenant' && mail.template !== 'ndr' && mail.template !== 'oof';
  const isExempt = (treatment: Treatment) =>
    treatment.kind === 'protect' && treatment.isCalendarExempt && mail.template === 'calendar';
  const mustEncrypt = rules
    .map((name) => treatmentOf(policy, name))
    .some(
      (treatment) =>
        treatment?.kind === 'protect' && treatment.encrypt === 'required' && !isExempt(treatment),
    );
  if (isUsers && mustEncrypt && !protectionOf(arrival).startsWith('encrypted'))
    problems.push('left unprotected, though its rule requires encryption');
  const names = arrival.message.tls?.presentedNames ?? [];
  const isLoopBack = policy.tenant.loopBack !== undefined;
  if (leg === 'internet' && names.length > 0) problems.push('the Internet leg showed a certificate');
  if (arrival.kind === 'tenant' && arrival.message.direction !== 'incoming' && !isLoopBack)
    problems.push('Exchange Online took it for mail of the sender’s tenant');
  if (arrival.kind === 'tenant' && arrival.message.isInternal && mail.by === 'Internet')
    problems.push('Exchange Online shows it as internal');
  return problems;
}

function treatmentOf({ outbound }: Policy, name: string): Treatment | undefined {
  if (name === 'otherwise') return outbound.otherwise;
  return outbound.rules.find((rule) => rule.name === name)?.treatment;
}

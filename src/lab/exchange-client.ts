// Exchange Online as the client that brings a tenant's mail to the gateway: what it makes of a message before it goes out.
// The certificate is the same for all tenants, hostile ones included: it proves Exchange Online and never the tenant.
import type { ByteSource } from '../core/bytes.ts';
import { withArc } from './arc-signer.ts';
import { type DkimKey, withDkim } from './dkim-signer.ts';
import { type OutboundConnector, type RuleOutcome, runRules } from './exchange-rules.ts';
import { type Stamped, type StampKnobs, stampFor, type TemplateName } from './exchange-templates.ts';
import { domainOf, isAcceptedDomain, type LabTenant } from './exchange-tenant.ts';
import {
  hasName,
  hasPrefix,
  type RawField,
  rawField,
  readRawMessage,
  writeRawMessage,
} from './raw-header.ts';
import type { LabTarget, LabTlsOptions } from './smtp-client.ts';
import {
  submit,
  type Submission,
  type SubmissionRecipient,
  type SubmissionResult,
  type SubmissionSession,
} from './submission.ts';

/** Mail that a user or a service of the tenant sends. */
export interface TenantMail {
  /** The mailbox: MAIL FROM, where the template has no null sender. */
  readonly from: string;
  readonly to: readonly (string | SubmissionRecipient)[];
  /** Whole message with its From, To and so on; the service headers are put before it. */
  readonly message: ByteSource;
  /** Default `user`. */
  readonly template?: TemplateName;
  readonly knobs?: StampKnobs;
  /** MAIL FROM against the template; empty for the null sender. */
  readonly mailFrom?: string;
  readonly mailParameters?: string;
  /** What happens to service headers that the sender put in. Default `replace`; the real behaviour is not known. */
  readonly existing?: 'replace' | 'keep';
  /** Signs with this key, as Exchange does before the outbound connector. */
  readonly dkim?: DkimKey;
  /** Seals with this key of Microsoft's own domain, after that. */
  readonly arc?: DkimKey;
  readonly sendsBareLineFeeds?: boolean;
}

export interface ExchangeClientOptions {
  readonly gateway: LabTarget;
  /** Client certificate, and the check of the gateway's name. Undefined: stays in clear, as Exchange never does. */
  readonly tls: LabTlsOptions | undefined;
  /** EHLO name. */
  readonly hello?: string;
  readonly at?: Date;
}

/** A message as it leaves, and how the tenant's rules send it. */
export interface PreparedMail {
  readonly submission: Submission;
  /** Undefined: no rule routes it. */
  readonly connector: OutboundConnector | undefined;
  /** Names of the rules that acted on it. */
  readonly rules: readonly string[];
  /** Why a rule holds it back. */
  readonly deferred: string | undefined;
}

export const EXCHANGE_HELLO = 'lab0001.outbound.protection.outlook.com';

/**
 * Brings one message to the gateway as it is, whatever the rules say of its way: one attempt, nothing forked. Replies, per
 * recipient, are the result; a failed handshake counts as 450 4.4.317. `ExchangeTransport` is the whole service.
 */
export async function sendFromTenant(
  tenant: LabTenant,
  mail: TenantMail,
  options: ExchangeClientOptions,
): Promise<SubmissionResult> {
  const submission = await prepareTenantMail(tenant, mail, options.at ?? new Date());
  return submit(options.gateway, sessionOf(options), submission);
}

/** Stamps and signs, without sending: what the gateway gets to read. */
export async function prepareTenantMail(tenant: LabTenant, mail: TenantMail, at: Date): Promise<Submission> {
  const { submission } = await prepareMail(tenant, mail, at);
  return submission;
}

/** Runs the rules, stamps and signs. The mail counts as internal where all its recipients are. */
export async function prepareMail(tenant: LabTenant, mail: TenantMail, at: Date): Promise<PreparedMail> {
  const { fields, rest } = await readRawMessage(mail.message);
  const template = mail.template ?? 'user';
  const first = stampFor(tenant, mail.from, template, at, mail.knobs);
  const outcome = outcomeOf(tenant, mail, fields, first);
  const isRetaining = outcome.connector?.cloudServicesMailEnabled === true;
  const stamped = isRetaining
    ? stampFor(tenant, mail.from, template, at, { ...mail.knobs, isRetaining })
    : first;
  const kept = outcome.fields.filter((field) => mail.existing === 'keep' || !isServiceHeader(field));
  const message = writeRawMessage({
    fields: [...stamped.fields.map(([name, value]) => rawField(name, value)), ...kept],
    rest,
  });
  const submission: Submission = {
    sender: mail.mailFrom ?? stamped.sender,
    recipients: mail.to,
    message: await signed(message, mail, at),
    originatingDomain: stamped.organization,
    ...(mail.mailParameters === undefined ? {} : { mailParameters: mail.mailParameters }),
    ...(mail.sendsBareLineFeeds === undefined ? {} : { sendsBareLineFeeds: mail.sendsBareLineFeeds }),
  };
  const { connector, applied, deferred } = outcome;
  return { submission, connector, rules: applied, deferred };
}

async function signed(message: ByteSource, { dkim, arc, from }: TenantMail, at: Date): Promise<ByteSource> {
  const inner = dkim ? await withDkim(message, dkim, at) : message;
  return arc ? withArc(inner, arc, domainOf(from), at) : inner;
}

/** The rules see what makes the class of the message, which is written only afterwards. */
function outcomeOf(
  tenant: LabTenant,
  mail: TenantMail,
  fields: readonly RawField[],
  { marks, isAuthenticated }: Stamped,
): RuleOutcome {
  const seen = marks.map(([name, value]) => rawField(name, value));
  const outcome = runRules(tenant.rules ?? [], tenant.outboundConnectors ?? [], {
    fields: [...seen, ...fields],
    isAuthenticated,
    areRecipientsInside: mail.to.every((to) => isAcceptedDomain(tenant, domainOf(addressOf(to)))),
  });
  return { ...outcome, fields: outcome.fields.filter((field) => !seen.includes(field)) };
}

export function addressOf(recipient: string | SubmissionRecipient): string {
  return typeof recipient === 'string' ? recipient : recipient.address;
}

function isServiceHeader(field: { readonly name: string; readonly raw: Buffer }): boolean {
  return hasPrefix(field, 'X-MS-Exchange-CrossTenant-') || hasName(field, 'X-OriginatorOrg');
}

function sessionOf(options: ExchangeClientOptions): SubmissionSession {
  return { hello: options.hello ?? EXCHANGE_HELLO, ...(options.tls ? { tls: options.tls } : {}) };
}

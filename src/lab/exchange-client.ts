// Exchange Online as the client that brings a tenant's mail to the gateway. The certificate is the same for all tenants,
// hostile ones included: it proves Exchange Online and never the tenant.
import type { ByteSource } from '../core/bytes.ts';
import { type DkimKey, withDkim } from './dkim-signer.ts';
import { type StampKnobs, stampFor, type TemplateName } from './exchange-templates.ts';
import type { LabTenant } from './exchange-tenant.ts';
import { hasName, hasPrefix, rawField, readRawMessage, writeRawMessage } from './raw-header.ts';
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

const DEFAULT_HELLO = 'lab0001.outbound.protection.outlook.com';

/** Sends one message. Replies, per recipient, are the result; a failed handshake counts as 450 4.4.317. */
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
  const { fields, rest } = await readRawMessage(mail.message);
  const { sender, fields: stamps } = stampFor(tenant, mail.from, mail.template ?? 'user', at, mail.knobs);
  const ruleHeaders = tenant.ruleHeaders ?? [];
  const kept = fields.filter((field) => {
    if (ruleHeaders.some(([name]) => hasName(field, name))) return false;
    return mail.existing === 'keep' || !isServiceHeader(field);
  });
  const stamped = writeRawMessage({
    fields: [...[...stamps, ...ruleHeaders].map(([name, value]) => rawField(name, value)), ...kept],
    rest,
  });
  return {
    sender: mail.mailFrom ?? sender,
    recipients: mail.to,
    message: mail.dkim ? await withDkim(stamped, mail.dkim, at) : stamped,
    ...(mail.mailParameters === undefined ? {} : { mailParameters: mail.mailParameters }),
    ...(mail.sendsBareLineFeeds === undefined ? {} : { sendsBareLineFeeds: mail.sendsBareLineFeeds }),
  };
}

function isServiceHeader(field: { readonly name: string; readonly raw: Buffer }): boolean {
  return hasPrefix(field, 'X-MS-Exchange-CrossTenant-') || hasName(field, 'X-OriginatorOrg');
}

function sessionOf(options: ExchangeClientOptions): SubmissionSession {
  return { hello: options.hello ?? DEFAULT_HELLO, ...(options.tls ? { tls: options.tls } : {}) };
}

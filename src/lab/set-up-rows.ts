// What the set-ups have in common: mail sent one way or the other, and what Exchange Online made of it as one row.
import { asGatewayError } from '../core/errors.ts';
import type { TlsIdentity } from './certificates.ts';
import type { Attribution } from './exchange-record.ts';
import type { InboundConnector, LabTenant } from './exchange-tenant.ts';
import { type LabGatewayOptions, openLabGateway } from './lab-gateway.ts';
import { GATEWAY_NAME, type OwnTenant } from './lab-tenants.ts';
import { sampleMessage, type SampleHead } from './messages.ts';
import { submit } from './submission.ts';
import { type Lab, openLab } from './world.ts';

export interface SetUpRow {
  /** Who sends to Exchange Online: a real Postern, or the lab's own client in the place of some other gateway. */
  readonly by: 'Postern' | 'another gateway';
  readonly mail: string;
  /** The names that Exchange Online was shown, or how Postern refused to start. */
  readonly certificate: string;
  /** Direction and tenant, or `nobody`. */
  readonly attributed: string;
  readonly answer: string;
  /** What it comes to. */
  readonly outcome: string;
  /** Whether it went as this set-up is described. */
  readonly isExpected: boolean;
}

/** Who writes to whom in the set-ups. */
export interface People {
  readonly own: string;
  readonly hosted: string;
  readonly stranger: string;
  readonly outside: string;
}

/** The name of the gateway's certificate that the tenant's inbound connector asks for. */
export function certificateNameOf({ connectors }: LabTenant): string {
  return connectors[0]?.tlsSenderCertificateName ?? '';
}

/** How the mail looks in the mailbox of its recipient. */
export function placeOf(lab: Lab, address: string): string {
  const message = lab.exchange.mailboxOf(address).at(-1);
  return message ? `delivered, ${message.isInternal ? 'INTERNAL' : 'external'}` : 'not delivered';
}

export interface SetUpStage {
  readonly lab: Lab;
  readonly people: People;
  /** What is opened in the lab, and closed before it. */
  readonly stack: AsyncDisposableStack;
}

/** A lab for one set-up. The caller disposes it. */
export async function openSetUpLab(
  own: OwnTenant | undefined,
  changes: Partial<Record<'contoso' | 'fabrikam', (tenant: LabTenant) => LabTenant>> = {},
): Promise<SetUpStage & AsyncDisposable> {
  const lab = await openLab({
    ...(own ? { own } : {}),
    customise: (tenant) =>
      (tenant.name === 'contoso' || tenant.name === 'fabrikam' ? changes[tenant.name] : undefined)?.(
        tenant,
      ) ?? tenant,
  });
  const people = {
    own: userOf(lab.tenants.contoso),
    hosted: userOf(lab.tenants.fabrikam),
    stranger: userOf(lab.tenants.partner),
    outside: 'bob@remote.example',
  };
  const stack = new AsyncDisposableStack();
  stack.use(lab);
  return { lab, people, stack, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function userOf({ acceptedDomains }: LabTenant): string {
  return `user@${acceptedDomains[0].name}`;
}

/** An inbound connector that gives rights, in place of those that are there. */
export function withOnPremises(certificateName: string): (tenant: LabTenant) => LabTenant {
  const connector: InboundConnector = {
    name: 'on-premises in',
    type: 'on-premises',
    requireTls: true,
    tlsSenderCertificateName: certificateName,
  };
  return (tenant) => ({ ...tenant, connectors: [connector] });
}

export function changeConnector(change: Partial<InboundConnector>): (tenant: LabTenant) => LabTenant {
  return (tenant) => ({
    ...tenant,
    connectors: tenant.connectors.map((connector) => ({ ...connector, ...change })),
  });
}

/** Tries to start Postern on this set-up. The row says how it refused, or that it did not. */
export async function startRow(lab: Lab, options: LabGatewayOptions): Promise<SetUpRow> {
  const common = { by: 'Postern', mail: START, certificate: '-', attributed: '-' } as const;
  try {
    await using gateway = await openLabGateway(lab, options);
    const outcome = `started in ${gateway.folder}`;
    return { ...common, answer: 'none', outcome, isExpected: false };
  } catch (error) {
    const { code, message } = asGatewayError(error);
    return {
      ...common,
      answer: message,
      outcome: 'refuses to start',
      isExpected: code === 'config-invalid' && /client certificate with the same name/.test(message),
    };
  }
}

export interface Expected {
  readonly attributed: string;
  readonly answer: RegExp;
  readonly outcome?: string;
}

/** In the place of mail: the gateway was started. */
export const START = '(start)';
export const DIRECT = 'another gateway';

/** The lab's own client says to Exchange Online what a gateway with this certificate would. */
export async function directRow(
  { lab }: SetUpStage,
  mail: string,
  sending: {
    readonly from: string;
    readonly to: string;
    readonly as?: Pick<TlsIdentity, 'key' | 'cert'>;
    readonly fields?: SampleHead['fields'];
  },
  outcome: (lab: Lab) => string,
  expected: Expected,
): Promise<SetUpRow> {
  const { from, to, as, fields } = sending;
  const { recipients } = await submit(
    { host: lab.exchange.address, port: lab.exchange.port },
    { hello: GATEWAY_NAME, tls: as ? { key: as.key, cert: as.cert } : {} },
    {
      sender: from,
      recipients: [to],
      message: sampleMessage('plain', {
        from: from || 'postmaster@remote.example',
        to: [to],
        ...(fields ? { fields } : {}),
      }),
    },
  );
  const [reply] = recipients;
  const answer = `${reply?.code} ${reply?.text}`;
  return attributionRow(DIRECT, mail, lab.exchange.lastAttribution(), answer, outcome(lab), expected);
}

/** What Exchange Online made of a recipient, as a row. */
export function attributionRow(
  by: SetUpRow['by'],
  mail: string,
  attribution: Attribution,
  answer: string,
  outcome: string,
  expected: Expected,
): SetUpRow {
  const { attributedTenant, direction, tls } = attribution;
  const attributed = direction ? `${direction} ${attributedTenant}` : 'nobody';
  return {
    by,
    mail,
    certificate: tls?.presentedNames[0] ?? 'none',
    attributed,
    answer,
    outcome,
    isExpected:
      attributed === expected.attributed &&
      expected.answer.test(answer) &&
      (expected.outcome ?? outcome) === outcome,
  };
}

// The senders of the lab: who connects to the gateway, from which address and with which certificate.
import type { LabAuthority } from './certificates.ts';
import { EXCHANGE_HELLO, prepareTenantMail, sendFromTenant, type TenantMail } from './exchange-client.ts';
import type { OutboundConnector } from './exchange-rules.ts';
import type { LabTenant } from './exchange-tenant.ts';
import type { LabIdentities } from './lab-identities.ts';
import { GATEWAY_NAME, LAB_ADDRESSES } from './lab-tenants.ts';
import type { LabTarget, LabTlsOptions } from './smtp-client.ts';
import { submit, type Submission, type SubmissionResult, submitTogether } from './submission.ts';

/** What differs from the usual sender. */
export interface SendOptions {
  /** Default: the check of the gateway's name and, for tenants, the shared certificate. `false`: no STARTTLS. */
  readonly tls?: LabTlsOptions | false;
  readonly localAddress?: string;
  readonly hello?: string;
}

export interface LabSenders {
  use(gateway: LabTarget): void;
  /** Where Exchange Online finds the gateway; undefined while nobody has said so. */
  gateway(): LabTarget | undefined;
  /** How Exchange Online secures a connection through this connector. */
  tlsFor(connector: OutboundConnector | undefined): LabTlsOptions;
  fromTenant(tenant: LabTenant, mail: TenantMail, how?: SendOptions): Promise<SubmissionResult>;
  /** Mail of several tenants, one message after the other over one connection. */
  fromTenants(
    mails: readonly { readonly tenant: LabTenant; readonly mail: TenantMail }[],
  ): Promise<readonly SubmissionResult[]>;
  fromInternet(submission: Submission, how?: SendOptions): Promise<SubmissionResult>;
}

export function openSenders(identities: LabIdentities, publicCa: LabAuthority): LabSenders {
  let target: LabTarget | undefined;
  const gatewayAt = (localAddress: string, how?: SendOptions): LabTarget => {
    if (!target) throw new Error('the lab does not know the gateway yet: call useGateway');
    return { ...target, localAddress: how?.localAddress ?? localAddress };
  };
  const serverCheck = { ca: [publicCa.rootPem], servername: GATEWAY_NAME };
  const { key, cert } = identities.exchangeClient;
  const exchangeTls = { ...serverCheck, key, cert };
  return {
    use: (at) => {
      target = at;
    },
    gateway: () => (target ? gatewayAt(LAB_ADDRESSES.exchangeClient) : undefined),
    tlsFor: (connector) => {
      const ca = [publicCa.rootPem];
      switch (connector?.tlsSettings) {
        case 'domain-validation':
          return { key, cert, ca, servername: connector.tlsDomain ?? GATEWAY_NAME };
        case 'certificate-validation':
          return { key, cert, ca, servername: GATEWAY_NAME, isNameChecked: false };
        default:
          return { key, cert, servername: GATEWAY_NAME };
      }
    },
    fromTenant: (tenant, mail, how) =>
      sendFromTenant(tenant, mail, {
        gateway: gatewayAt(LAB_ADDRESSES.exchangeClient, how),
        tls: tlsOf(how, exchangeTls),
        ...(how?.hello === undefined ? {} : { hello: how.hello }),
      }),
    fromTenants: async (mails) => {
      const at = new Date();
      const submissions = await Promise.all(
        mails.map(({ tenant, mail }) => prepareTenantMail(tenant, mail, at)),
      );
      const gateway = gatewayAt(LAB_ADDRESSES.exchangeClient);
      return submitTogether(gateway, { hello: EXCHANGE_HELLO, tls: exchangeTls }, submissions);
    },
    fromInternet: (submission, how) => {
      const tls = tlsOf(how, serverCheck);
      const session = { hello: how?.hello ?? 'mx.remote.example', ...(tls ? { tls } : {}) };
      return submit(gatewayAt(LAB_ADDRESSES.internetClient, how), session, submission);
    },
  };
}

function tlsOf(how: SendOptions | undefined, usual: LabTlsOptions): LabTlsOptions | undefined {
  return how?.tls === false ? undefined : (how?.tls ?? usual);
}

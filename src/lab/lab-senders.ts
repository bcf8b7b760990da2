// The senders of the lab: who connects to the gateway, from which address and with which certificate.
import { bytesSource } from '../core/bytes.ts';
import type { LabAuthority } from './certificates.ts';
import { sendFromTenant, type TenantMail } from './exchange-client.ts';
import type { TenantMessage } from './exchange-record.ts';
import type { LabTenant } from './exchange-tenant.ts';
import type { LabIdentities } from './lab-identities.ts';
import { GATEWAY_NAME, LAB_ADDRESSES } from './lab-tenants.ts';
import type { LabTarget, LabTlsOptions } from './smtp-client.ts';
import { submit, type Submission, type SubmissionResult } from './submission.ts';

/** What differs from the usual sender. */
export interface SendOptions {
  /** Default: the check of the gateway's name and, for tenants, the shared certificate. `false`: no STARTTLS. */
  readonly tls?: LabTlsOptions | false;
  readonly localAddress?: string;
  readonly hello?: string;
}

export interface LabSenders {
  use(gateway: LabTarget): void;
  fromTenant(tenant: LabTenant, mail: TenantMail, how?: SendOptions): Promise<SubmissionResult>;
  fromInternet(submission: Submission, how?: SendOptions): Promise<SubmissionResult>;
  /** What a tenant's routing rule does with mail that came in as its own: to the gateway, as class hybrid. */
  route(tenant: LabTenant, message: TenantMessage): Promise<boolean>;
}

export function openSenders(identities: LabIdentities, publicCa: LabAuthority): LabSenders {
  let target: LabTarget | undefined;
  const gatewayAt = (localAddress: string, how: SendOptions | undefined): LabTarget => {
    if (!target) throw new Error('the lab does not know the gateway yet: call useGateway');
    return { ...target, localAddress: how?.localAddress ?? localAddress };
  };
  const serverCheck = { ca: [publicCa.rootPem], servername: GATEWAY_NAME };
  const exchangeTls = {
    ...serverCheck,
    key: identities.exchangeClient.key,
    cert: identities.exchangeClient.cert,
  };
  const fromTenant = (tenant: LabTenant, mail: TenantMail, how?: SendOptions): Promise<SubmissionResult> =>
    sendFromTenant(tenant, mail, {
      gateway: gatewayAt(LAB_ADDRESSES.exchangeClient, how),
      tls: tlsOf(how, exchangeTls),
      ...(how?.hello === undefined ? {} : { hello: how.hello }),
    });
  return {
    use: (gateway: LabTarget): void => {
      target = gateway;
    },
    fromTenant,
    fromInternet: (submission: Submission, how?: SendOptions): Promise<SubmissionResult> => {
      const tls = tlsOf(how, serverCheck);
      const session = { hello: how?.hello ?? 'mx.remote.example', ...(tls ? { tls } : {}) };
      return submit(gatewayAt(LAB_ADDRESSES.internetClient, how), session, submission);
    },
    route: async (tenant: LabTenant, message: TenantMessage): Promise<boolean> => {
      if (!target) return false;
      await fromTenant(tenant, {
        from: message.sender,
        to: message.recipients,
        message: bytesSource(message.delivered),
        template: 'hybrid',
      });
      return true;
    },
  };
}

function tlsOf(how: SendOptions | undefined, usual: LabTlsOptions): LabTlsOptions | undefined {
  return how?.tls === false ? undefined : (how?.tls ?? usual);
}

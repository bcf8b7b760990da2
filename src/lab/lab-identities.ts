// Every certificate of the lab, by who shows it.
import { type LabAuthority, serverAndClient, type TlsIdentity } from './certificates.ts';
import {
  clientCertificateName,
  type ConnectorSetup,
  GATEWAY_NAME,
  HOSTED,
  type HostedTenantName,
  type OwnTenant,
} from './lab-tenants.ts';

export interface LabIdentities {
  /** `mail.protection.outlook.com`, public CA: shared by all tenants. */
  readonly exchangeClient: TlsIdentity;
  /** The same names from the rogue CA. */
  readonly rogueExchangeClient: TlsIdentity;
  readonly exchangeServer: TlsIdentity;
  readonly internetServer: TlsIdentity;
  /** For the gateway's listener: `gw.example`. */
  readonly gatewayServer: TlsIdentity;
  /** For the gateway's legs to the hosted tenants. */
  readonly tenantClient: Readonly<Record<HostedTenantName, TlsIdentity>>;
}

export async function issueIdentities(
  publicCa: LabAuthority,
  rogueCa: LabAuthority,
  setup: ConnectorSetup,
  own?: OwnTenant,
): Promise<LabIdentities> {
  const exchange = serverAndClient(
    'mail.protection.outlook.com',
    '*.mail.protection.outlook.com',
    '*.outlook.com',
  );
  const tenantClient = (name: HostedTenantName): Promise<TlsIdentity> => {
    const more = own && name === 'contoso' ? own.certificateNames.slice(1) : [];
    return publicCa.issue(serverAndClient(clientCertificateName(name, setup, own), ...more));
  };
  const hosts = own ? [own.host, own.serverName] : [];
  const [
    exchangeClient,
    rogueExchangeClient,
    exchangeServer,
    internetServer,
    gatewayServer,
    contoso,
    fabrikam,
  ] = await Promise.all([
    publicCa.issue(exchange),
    rogueCa.issue(exchange),
    publicCa.issue(
      serverAndClient('mail.protection.outlook.example', '*.mail.protection.outlook.example', ...hosts),
    ),
    publicCa.issue(serverAndClient('mx.remote.example', 'mx.isp.example')),
    publicCa.issue(serverAndClient(GATEWAY_NAME)),
    ...HOSTED.map(tenantClient),
  ]);
  return {
    exchangeClient,
    rogueExchangeClient,
    exchangeServer,
    internetServer,
    gatewayServer,
    tenantClient: { contoso: contoso as TlsIdentity, fabrikam: fabrikam as TlsIdentity },
  };
}

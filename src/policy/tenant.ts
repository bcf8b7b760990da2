// The tenant section of a policy, from the document to the canonical form.
import type { NonEmpty } from '../core/non-empty.ts';
import type { TenantId } from '../core/origin.ts';
import { canonicalDomain, defined } from './canonical.ts';
import type { PolicyDocument } from './document.ts';
import { toRecipients } from './recipients.ts';
import type { FileEntry, OnPremisesServers, PolicyTenant } from './schema.ts';
import type { Path, YamlSource } from './yaml-source.ts';

export function toTenant(tenant: PolicyDocument['tenant'], source: YamlSource): PolicyTenant {
  return {
    id: tenant.id.toLowerCase() as TenantId,
    name: tenant.name,
    domains: tenant.domains.map(canonicalDomain) as unknown as NonEmpty<string>,
    matchSubDomains: tenant.match_subdomains,
    isEnabled: tenant.enabled,
    proof: {
      secretMode: tenant.proof.secret,
      secrets: tenant.proof.secrets.map((path, index) => ({
        path,
        position: source.positionOf(['tenant', 'proof', 'secrets', index]),
      })),
      addressMode: tenant.proof.addresses,
      dkimMode: tenant.proof.dkim,
      ownDomainMode: tenant.proof.own_domain,
      isHybridRelayed: tenant.proof.hybrid === 'relay',
      isForwardedRelayed: tenant.proof.forwarded === 'relay',
    },
    ...(tenant.loop_back && {
      loopBack: {
        inboundToken: fileEntry(tenant.loop_back.inbound_token, ['loop_back', 'inbound_token'], source),
        outboundToken: fileEntry(tenant.loop_back.outbound_token, ['loop_back', 'outbound_token'], source),
      },
    }),
    ...(tenant.on_premises && { onPremises: toOnPremises(tenant.on_premises, source) }),
    limits: {
      ...defined({
        maxQueued: tenant.limits.max_queued,
        messagesPerHour: tenant.limits.messages_per_hour,
      }),
      systemPerHour: tenant.limits.system_per_hour,
    },
    leg: {
      host: canonicalDomain(tenant.leg.host),
      port: tenant.leg.port,
      serverName: canonicalDomain(tenant.leg.server_name ?? tenant.leg.host),
      certificate: tenant.leg.certificate,
      key: tenant.leg.key,
      ...defined({ password: tenant.leg.password, ca: tenant.leg.ca }),
      position: source.positionOf(['tenant', 'leg']),
    },
    ...(tenant.recipients && { recipients: toRecipients(tenant.recipients, source) }),
  };
}

function toOnPremises(
  { networks, certificates, user, password }: NonNullable<PolicyDocument['tenant']['on_premises']>,
  source: YamlSource,
): OnPremisesServers {
  return {
    networks: networks as unknown as NonEmpty<string>,
    certificates: certificates.map((path, index) =>
      fileEntry(path, ['on_premises', 'certificates', index], source),
    ),
    ...(user !== undefined &&
      password !== undefined && {
        login: { user, password: fileEntry(password, ['on_premises', 'password'], source) },
      }),
    position: source.positionOf(['tenant', 'on_premises']),
  };
}

/** `at` is below `tenant`. */
function fileEntry(path: string, at: Path, source: YamlSource): FileEntry {
  return { path, position: source.positionOf(['tenant', ...at]) };
}

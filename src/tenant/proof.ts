// The proof that a message originates from a hosted tenant: which tenant it says (C4), by which path it came, and which
// of the conditions that path needs. Pure and total. The only place that makes a ProvenOrigin.
import { isNonEmpty } from '../core/non-empty.ts';
import {
  attest,
  type MessageClass,
  type Origin,
  parseTenantId,
  type ProofFailure,
  type ProofMode,
  stricterMode,
} from '../core/origin.ts';
import { canRelay, checkAddress } from './client.ts';
import {
  checkAttribution,
  checkClass,
  checkDkim,
  checkForwarded,
  checkHybrid,
  checkOrganization,
  checkSecret,
  checkSender,
  checkSystemClass,
  isOnly,
} from './conditions.ts';
import type { Evidence } from './evidence.ts';
import { checkDone, checkHops } from './loop.ts';
import { onPremisesTenant } from './on-premises.ts';
import { type Tenant, tenantOfDomain, type TenantRegistry } from './registry.ts';
import { failure, type ProofSettings } from './settings.ts';

const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Judges one transaction. All failures are reported; the first one gives the answer to the sender, so those that tell a
 * stranger least come first. SECURITY: nothing carries over from another message, connection or TLS session.
 */
export function prove(tenants: TenantRegistry, evidence: Evidence, settings: ProofSettings): Origin {
  const server = onPremisesTenant(tenants, evidence.peer);
  return server
    ? proveServer(tenants, server, evidence, settings)
    : proveExchange(tenants, evidence, settings);
}

/** Mail of the tenant's own server: whose it is, the connection has proven. */
function proveServer(
  tenants: TenantRegistry,
  tenant: Tenant,
  evidence: Evidence,
  settings: ProofSettings,
): Origin {
  const failures = [
    checkHops(evidence, settings),
    checkSender(tenants, tenant, evidence),
    checkEnabled(tenant),
  ].filter((failure) => failure !== undefined);
  if (isNonEmpty(failures)) return { kind: 'unproven', reasons: failures };
  return attest(tenant.id, classOf('normal', evidence));
}

function proveExchange(tenants: TenantRegistry, evidence: Evidence, settings: ProofSettings): Origin {
  const identity = identify(tenants, evidence);
  const missed = 'failure' in identity ? [] : missedOf(tenants, identity, evidence, settings);
  const failures = [
    canRelay(evidence.peer, settings),
    checkHops(evidence, settings),
    ...('failure' in identity
      ? [identity.failure]
      : [
          checkOrganization(tenants, identity.tenant, evidence),
          ...pathChecks[identity.path](tenants, identity.tenant, evidence),
          ...missed.map(({ mode, failure: missing }) => (mode === 'require' ? missing : undefined)),
          checkDone(identity.tenant, 'outbound', evidence, settings),
          checkEnabled(identity.tenant),
        ]),
  ].filter((failure) => failure !== undefined);
  if (isNonEmpty(failures)) return { kind: 'unproven', reasons: failures };
  if ('failure' in identity) return { kind: 'unproven', reasons: [identity.failure] };
  const observed = missed.flatMap(({ mode, failure: missing }) => (mode === 'observe' ? [missing] : []));
  return attest(identity.tenant.id, classOf(identity.path, evidence), observed);
}

/** How the message came to be in the tenant, by what Exchange wrote on it. */
type Path = 'normal' | 'system' | 'forwarded' | 'hybrid';
type Check = (tenants: TenantRegistry, tenant: Tenant, evidence: Evidence) => ProofFailure | undefined;

const pathChecks: Readonly<
  Record<Path, (...given: Parameters<Check>) => readonly (ProofFailure | undefined)[]>
> = {
  normal: (tenants, tenant, evidence) => [checkClass(evidence), checkSender(tenants, tenant, evidence)],
  system: (tenants, tenant, evidence) => [checkSystemClass(evidence), checkSender(tenants, tenant, evidence)],
  // Its senders are strangers: nothing about them is a condition, and it is never taken for a user's mail.
  forwarded: (_, tenant) => [checkForwarded(tenant)],
  hybrid: (tenants, tenant, evidence) => [
    checkSender(tenants, tenant, evidence),
    checkAttribution(tenant, evidence),
    checkHybrid(tenant),
  ],
};

interface Identified {
  readonly tenant: Tenant;
  readonly path: Path;
}
type Identity = Identified | { readonly failure: ProofFailure };

/** C4: exactly one tenant id, plain, registered here. Only what Exchange generates itself may come without. */
function identify(tenants: TenantRegistry, evidence: Evidence): Identity {
  const [id, ...others] = evidence.tenantIds;
  if (id === undefined) return identifySystem(tenants, evidence);
  if (others.length > 0)
    return { failure: failure('C4', 'tenant-conflicting', 'CrossTenant-Id is repeated') };
  if (!GUID.test(id))
    return { failure: failure('C4', 'tenant-conflicting', 'CrossTenant-Id is not a plain GUID') };
  const parsed = parseTenantId(id);
  const tenant = parsed && tenants.byId.get(parsed);
  return tenant
    ? { tenant, path: pathOf(evidence) }
    : { failure: failure('C4', 'organization-not-authorized', 'tenant is not registered here') };
}

/**
 * Exchange stamps no id on its reports and notifications; the organisation names the tenant then. SECURITY: a stranger
 * can write all of it, so this path never goes without a signature or the secret (test: T25).
 */
function identifySystem(tenants: TenantRegistry, evidence: Evidence): Identity {
  if (!isSystemMail(evidence)) return { failure: failure('C4', 'tenant-missing', 'no CrossTenant-Id') };
  const [organization] = evidence.organizations;
  const tenant = organization === undefined ? undefined : tenantOfDomain(tenants, organization);
  return tenant
    ? { tenant, path: 'system' }
    : {
        failure: failure(
          'C5',
          'organization-not-authorized',
          'no CrossTenant-Id, and X-OriginatorOrg names no tenant',
        ),
      };
}

/** A condition that does not hold, and what that means. */
interface Missed {
  readonly mode: ProofMode;
  readonly failure: ProofFailure;
}

/** The conditions that have modes. */
function missedOf(
  tenants: TenantRegistry,
  identity: Identified,
  evidence: Evidence,
  settings: ProofSettings,
): readonly Missed[] {
  const siteMode = settings.addresses?.mode ?? 'off';
  // Where the site requires it, it is a condition of the client already.
  const address = siteMode === 'require' ? undefined : checkAddress(evidence.peer, settings);
  const mode = stricterMode(siteMode, identity.tenant.proof.addressMode);
  const authenticity = checkAuthenticity(tenants, identity, evidence);
  return address ? [{ mode, failure: address }, ...authenticity] : authenticity;
}

/**
 * C8 and C9, the evidence that a stranger cannot write: each in its mode where a user or an own server sent the mail. What
 * has less evidence of its own, system and forwarded mail, needs one of the two, whatever the modes.
 */
function checkAuthenticity(
  tenants: TenantRegistry,
  { tenant, path }: Identified,
  evidence: Evidence,
): readonly Missed[] {
  const { dkimMode, secretMode } = tenant.proof;
  const dkim = dkimMode === 'off' ? noSignature : checkDkim(tenants, tenant, evidence);
  const secret = checkSecret(tenant, evidence);
  if (path === 'system' || path === 'forwarded') {
    if (!dkim || !secret) return [];
    const isSigned = dkimMode !== 'off' && evidence.dkim.length > 0;
    return [{ mode: 'require', failure: isSigned ? dkim : secret }];
  }
  return [
    ...(dkim ? [{ mode: dkimMode, failure: dkim }] : []),
    ...(secret ? [{ mode: secretMode, failure: secret }] : []),
  ];
}

const noSignature = failure('C8', 'dkim-missing', 'DKIM signatures are not looked at');

/**
 * What mail for a tenant needs besides its recipients. SECURITY: loop-back mail goes into the tenant over a connector with
 * rights, so that only what the tenant's own rule sent here may take it (test: loop-back-stranger).
 */
export function checkInbound(
  tenant: Tenant,
  origin: Origin,
  evidence: Evidence,
  settings: ProofSettings,
): ProofFailure | undefined {
  if (!tenant.isLoopBack) return undefined;
  const outsider =
    origin.kind === 'proven'
      ? undefined
      : (canRelay(evidence.peer, settings) ?? checkSecret(tenant, evidence));
  return outsider ?? checkDone(tenant, 'inbound', evidence, settings);
}

/** C11, the last one: only the tenant itself learns that it is suspended. */
function checkEnabled({ isEnabled }: Tenant): ProofFailure | undefined {
  return isEnabled ? undefined : failure('C11', 'tenant-suspended', 'tenant is disabled');
}

function classOf(path: Path, evidence: Evidence): MessageClass {
  if (path === 'hybrid' || path === 'forwarded') return path;
  return isSystemMail(evidence) ? 'system' : 'user';
}

/** Out-of-office replies, receipts and reports have the null sender; what they carry is not a user's message. */
function isSystemMail({ sender, isAutomatic }: Evidence): boolean {
  return sender === null && isAutomatic;
}

/** C7, as far as it tells the paths apart. */
function pathOf({ authAs, entities }: Evidence): Path {
  if (!isOnly(authAs, 'Anonymous')) return 'normal';
  if (isOnly(entities, 'HybridOnPrem')) return 'hybrid';
  return isOnly(entities, 'Internet') ? 'forwarded' : 'normal';
}

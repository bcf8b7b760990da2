// The proof that a message originates from a hosted tenant: conditions C1 to C11, each a function
// of its own, and which of them each path needs. Pure and total. The only place that makes a ProvenOrigin.
import type { ErrorCode } from '../core/errors.ts';
import { isNonEmpty } from '../core/non-empty.ts';
import {
  attest,
  type MessageClass,
  type Origin,
  parseTenantId,
  type ProofFailure,
  type ProofMode,
} from '../core/origin.ts';
import type { Peer } from '../core/peer.ts';
import { parseAddressList } from '../mime/address-list.ts';
import type { Secret } from '../core/secret.ts';
import type { AddressRanges } from './address-ranges.ts';
import { type Direction, hasDoneMark } from './done-marker.ts';
import type { Evidence } from './evidence.ts';
import { type Tenant, tenantOfDomain, type TenantRegistry } from './registry.ts';

const MAX_OWN_RECEIVED = 2;
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export interface ProofSettings {
  /** Names that Exchange Online shows in its client certificate, compared whole, letter case aside. */
  readonly certificateNames: readonly string[];
  /** Where Exchange Online connects from. */
  readonly addresses?: { readonly mode: ProofMode; readonly ranges: AddressRanges };
  /** Received fields from which on a message counts as looping. */
  readonly maxReceived: number;
  /** Name of this gateway in Received fields. */
  readonly hostname: string;
  /** Makes done marks. Undefined: none is recognised. */
  readonly doneKey?: Secret;
}

/**
 * Judges one transaction. All failures are reported; the first one gives the answer to the sender, so those that tell a
 * stranger least come first. SECURITY: nothing carries over from another message, connection or TLS session.
 */
export function prove(tenants: TenantRegistry, evidence: Evidence, settings: ProofSettings): Origin {
  const identity = identify(tenants, evidence);
  const missed = 'failure' in identity ? [] : checkAuthenticity(tenants, identity, evidence);
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
  const observed = [
    settings.addresses?.mode === 'observe' ? checkAddress(evidence.peer, settings) : undefined,
    ...missed.map(({ mode, failure: missing }) => (mode === 'observe' ? missing : undefined)),
  ].filter((failure) => failure !== undefined);
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

/** C1 to C3, all that is known at RCPT: whether this client may name a recipient that is not local. */
export function canRelay(peer: Peer, settings: ProofSettings): ProofFailure | undefined {
  return (
    checkClient(peer, settings) ??
    (settings.addresses?.mode === 'require' ? checkAddress(peer, settings) : undefined)
  );
}

/** Whether the client is Exchange Online by one of its two marks; some tenant's mail, whoever's. */
export function isExchange(peer: Peer, settings: ProofSettings): boolean {
  return checkClient(peer, settings) === undefined || settings.addresses?.ranges.has(peer.address) === true;
}

/** C1 and C2. */
function checkClient(peer: Peer, settings: ProofSettings): ProofFailure | undefined {
  if (!peer.tls) return failure('C1', 'tls-required', 'no TLS');
  const { certificate } = peer.tls;
  if (!certificate) return failure('C2', 'client-not-verified', 'no client certificate in this handshake');
  // SECURITY: before the names, since anybody can write these names into a certificate of his own (test: T16).
  if (!certificate.isVerified)
    return failure(
      'C2',
      'client-not-verified',
      certificate.verifyError ?? 'client certificate does not verify',
    );
  const { dnsNames, commonName } = certificate;
  // RFC 6125 §6.4.4: the common name counts only where the SAN has no name.
  const names = dnsNames.length > 0 ? dnsNames : commonName === undefined ? [] : [commonName];
  const accepted = new Set(settings.certificateNames.map((name) => name.toLowerCase()));
  if (!names.some((name) => accepted.has(name.toLowerCase())))
    return failure('C2', 'client-not-verified', 'client certificate has none of the accepted names');
  return undefined;
}

/** C3: the client connects from where Exchange Online does. */
function checkAddress({ address }: Peer, { addresses }: ProofSettings): ProofFailure | undefined {
  return addresses?.ranges.has(address) === false
    ? failure('C3', 'client-not-verified', `${address} is outside the ranges of Exchange Online`)
    : undefined;
}

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

/** C5: exactly one organisation, a domain of the same tenant. */
function checkOrganization(
  tenants: TenantRegistry,
  tenant: Tenant,
  { organizations }: Evidence,
): ProofFailure | undefined {
  const [organization, ...others] = organizations;
  const isOwn = organization !== undefined && tenantOfDomain(tenants, organization)?.id === tenant.id;
  if (isOwn && others.length === 0) return undefined;
  const reason = 'X-OriginatorOrg is missing, repeated or not a domain of the tenant';
  return failure('C5', 'organization-not-authorized', reason);
}

/** C7: the pair that Exchange stamps on mail of its own mailboxes. */
function checkClass({ authAs, entities }: Evidence): ProofFailure | undefined {
  if (authAs.length !== 1 || entities.length !== 1)
    return failure('C7', 'class-not-authorized', 'AuthAs or FromEntityHeader is missing or repeated');
  return isOnly(authAs, 'Internal') && isOnly(entities, 'Hosted')
    ? undefined
    : failure('C7', 'class-not-authorized', 'AuthAs and FromEntityHeader are not Internal and Hosted');
}

/** C7 of mail without an id: the pair may be missing, in old reports, but it does not say otherwise. */
function checkSystemClass({ authAs, entities }: Evidence): ProofFailure | undefined {
  return (authAs.length === 0 || isOnly(authAs, 'Internal')) &&
    (entities.length === 0 || isOnly(entities, 'Hosted'))
    ? undefined
    : failure('C7', 'class-not-authorized', 'AuthAs or FromEntityHeader is not Internal or Hosted');
}

/** C7 of on-premises mail: Exchange says that a connector of this tenant took it in. */
function checkAttribution(tenant: Tenant, { attributions }: Evidence): ProofFailure | undefined {
  const [attribution = '', ...others] = attributions;
  const id = /^TenantId=([^;]*);/i.exec(attribution)?.[1] ?? '';
  return others.length === 0 && parseTenantId(id) === tenant.id
    ? undefined
    : failure('C7', 'class-not-authorized', 'on-premises mail without the attribution to the tenant');
}

function checkHybrid({ proof }: Tenant): ProofFailure | undefined {
  return proof.isHybridRelayed
    ? undefined
    : failure('C7', 'hybrid-not-enabled', 'on-premises mail is not relayed for this tenant');
}

function checkForwarded({ proof }: Tenant): ProofFailure | undefined {
  return proof.isForwardedRelayed
    ? undefined
    : failure('C7', 'forwarded-not-enabled', 'forwarded mail is not relayed for this tenant');
}

/** A condition that does not hold, and what that means. */
interface Missed {
  readonly mode: ProofMode;
  readonly failure: ProofFailure;
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

/** C8: a signature of one of the tenant's domains, which Exchange adds before the connector. */
function checkDkim(tenants: TenantRegistry, tenant: Tenant, { dkim }: Evidence): ProofFailure | undefined {
  const own = dkim.filter(({ domain }) => tenantOfDomain(tenants, domain)?.id === tenant.id);
  if (own.some(({ result }) => result === 'pass')) return undefined;
  const unavailable = own.find(({ result }) => result === 'unavailable');
  if (unavailable) return failure('C8', 'authentication-unavailable', `DKIM key: ${unavailable.reason}`);
  const reasons = own.map(({ domain, reason }) => `${domain}: ${reason}`).join('; ');
  return failure(
    'C8',
    'dkim-missing',
    `no valid DKIM signature of the tenant (${reasons || 'none is there'})`,
  );
}

/** C9: exactly one secret, one of the tenant's. Every known one is compared, whichever matches. */
export function checkSecret({ proof }: Tenant, { secrets }: Evidence): ProofFailure | undefined {
  const [given, ...others] = secrets;
  const isKnown = given !== undefined && proof.secrets.map((known) => known.equals(given)).includes(true);
  if (isKnown && others.length === 0) return undefined;
  const state =
    given === undefined ? 'missing' : others.length > 0 ? 'repeated' : 'not the secret of the tenant';
  return failure('C9', 'tenant-auth-missing', `X-Postern-Tenant-Auth is ${state}`);
}

/** C6: whoever the message names as its sender is in a domain of the tenant. */
function checkSender(
  tenants: TenantRegistry,
  tenant: Tenant,
  { from, senderFields, sender }: Evidence,
): ProofFailure | undefined {
  const isOwn = (domain: string) => tenantOfDomain(tenants, domain)?.id === tenant.id;
  const areOwn = (value: string) => {
    const list = parseAddressList(value);
    const isPlain = list !== undefined && !list.hasGroup && list.mailboxes.length > 0;
    return isPlain && list.mailboxes.every(({ address }) => isOwn(address.domain));
  };
  const [author, ...others] = from;
  if (author === undefined || others.length > 0) return badSender('From is missing or repeated');
  if (!areOwn(author)) return badSender('From is unreadable or names an address outside the tenant');
  if (senderFields.length > 1) return badSender('Sender is repeated');
  if (!senderFields.every(areOwn))
    return badSender('Sender is unreadable or names an address outside the tenant');
  return sender === null || isOwn(sender.domain) ? undefined : badSender('MAIL FROM is outside the tenant');
}

function badSender(reason: string): ProofFailure {
  return failure('C6', 'sender-not-authorized', reason);
}

/** C10: RFC 5321 §6.3. Once through here for its sender's side and once for its recipient's is as it should be. */
export function checkHops(
  { receivedCount, receivedBy }: Evidence,
  { maxReceived, hostname }: ProofSettings,
): ProofFailure | undefined {
  if (receivedCount >= maxReceived) return failure('C10', 'mail-loop', `${receivedCount} Received fields`);
  const own = receivedBy.filter((name) => name === hostname.toLowerCase()).length;
  return own < MAX_OWN_RECEIVED
    ? undefined
    : failure('C10', 'mail-loop', `${own} Received fields of this gateway`);
}

/** C10 of loop-back: the message has been here, in this direction, for this tenant. */
export function checkDone(
  { id }: Tenant,
  direction: Direction,
  { doneMarks, messageId }: Evidence,
  { doneKey }: ProofSettings,
): ProofFailure | undefined {
  return doneKey && hasDoneMark(doneMarks, doneKey, { tenant: id, direction, messageId })
    ? failure('C10', 'mail-loop', `X-Postern-Done says that it has been here (${direction})`)
    : undefined;
}

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

function failure(condition: ProofFailure['condition'], error: ErrorCode, reason: string): ProofFailure {
  return { condition, reason, error };
}

function isOnly(values: readonly string[], wanted: string): boolean {
  return values.length === 1 && values[0] === wanted;
}

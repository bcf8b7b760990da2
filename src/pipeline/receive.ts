// The story of one message up to its 250, readable from top to bottom:
// hold -> inspect -> prove -> decide -> run -> commit. Every error before commit is an SMTP reply.
import { bytesSource, type ByteSource, type Chunks, joinSources } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import type { Commit, CommittedMessage, FinishedCopy } from '../core/commit.ts';
import type { Envelope } from '../core/envelope.ts';
import { asGatewayError, errorTable, GatewayError, replyFor } from '../core/errors.ts';
import type { Limits } from '../core/limits.ts';
import type { Log } from '../core/log.ts';
import type { Origin, ProofFailure } from '../core/origin.ts';
import type { StageOutcome } from '../core/outcome.ts';
import type { Peer } from '../core/peer.ts';
import type { Copy, Refusal } from '../core/plan.ts';
import type { Reply } from '../core/reply.ts';
import type { Secret } from '../core/secret.ts';
import type { Tally } from '../core/tally.ts';
import type { KeyStore } from '../keys/store.ts';
import { normaliseMessage } from '../mime/canonical.ts';
import { type HeaderSection, readHeader } from '../mime/header-section.ts';
import type { Holds } from '../storage/hold.ts';
import type { DnsLookup } from '../authentication/dns-lookup.ts';
import type { OnlineServices } from '../smime/online.ts';
import { gatherEvidence } from '../tenant/evidence.ts';
import { hasRetainedHeaders } from '../tenant/exchange-headers.ts';
import { checkHops } from '../tenant/loop.ts';
import { checkInbound, prove } from '../tenant/proof.ts';
import type { ProofSettings } from '../tenant/settings.ts';
import { refuseSpoofing, verifyOwnSignatures } from './authenticate.ts';
import { decide, type TenantPlan } from './decide.ts';
import { inspect } from './inspect.ts';
import type { Learning } from './learning.ts';
import { lessonsOf, type TenantLesson } from './lessons.ts';
import { type PolicySet, tenantOf } from './policy-set.ts';
import { runCopy } from './run-copy.ts';
import type { TenantGate } from './tenant-limits.ts';
import { isOwnSender, mailFromOf, returnLegOf } from './senders.ts';
import { trustForMessage, type TrustOf } from './trust.ts';

/** What the story needs. `policies` is read once per message, so that a reload never splits a message. */
export interface ReceiveServices {
  readonly hostname: string;
  readonly limits: Limits;
  readonly bareLineEnds: 'normalise' | 'refuse';
  /** Read once per message as well. */
  readonly proof: () => ProofSettings;
  /** DNS, for the authentication of messages. */
  readonly lookup: DnsLookup;
  readonly holds: Holds;
  readonly tally: Tally;
  readonly gate: TenantGate;
  /** Makes done marks. */
  readonly doneKey: Secret;
  /** Makes rewritten senders of forwarded mail. */
  readonly rewritingKey: Secret;
  readonly keys: KeyStore;
  /** What may be asked about certificates; undefined: nothing. */
  readonly online?: OnlineServices;
  readonly policies: () => PolicySet;
  readonly commit: Commit;
  /** Takes what signed mail teaches, once it is committed. */
  readonly learning: Learning;
  /** The Received field of this transaction with its CRLF (RFC 5321 §4.4). */
  readonly received: (peer: Peer, envelope: Envelope, at: Date) => Buffer;
  readonly clock: Clock;
  readonly log: Log;
}

/** Takes one message. Never rejects: what goes wrong becomes the reply. 250 is answered only after `commit` resolved. */
export async function receive(
  services: ReceiveServices,
  peer: Peer,
  envelope: Envelope,
  body: Chunks,
  signal: AbortSignal,
): Promise<Reply> {
  const log = services.log.with({ message: envelope.id });
  try {
    return await story(services, log, peer, envelope, body, signal);
  } catch (error) {
    const failure = asGatewayError(error);
    services.tally.refused(failure.code);
    return replyToFailure(failure, envelope, log);
  }
}

async function story(
  services: ReceiveServices,
  log: Log,
  peer: Peer,
  envelope: Envelope,
  body: Chunks,
  signal: AbortSignal,
): Promise<Reply> {
  const { limits, bareLineEnds, policies: current, clock } = services;
  const policies = current();
  const at = clock.now();

  const door = normaliseMessage(body, { bareLineEnds, limits });
  await using held = await services.holds.write(door, limits.maxMessageBytes);
  signal.throwIfAborted();

  const header = await readHeader(held, limits);
  const { registry } = policies;
  const dkim = await verifyOwnSignatures(registry, held, header, services.lookup, at);
  const evidence = gatherEvidence(peer, envelope, header, dkim);
  const settings = services.proof();
  // A loop can run through local recipients alone, which need no proof.
  refuse(checkHops(evidence, settings));
  const origin = prove(registry, evidence, settings);
  if (origin.kind === 'proven') services.tally.proven(origin);
  adviseOnHeaders(origin, header, log);
  const facts = await inspect(held, header, envelope, limits);
  const rewriting = { key: services.rewritingKey, at };
  const trustOf = trustForMessage(services.online, log);
  const plans = await decide(policies, services.keys, facts, origin, rewriting, trustOf);
  for (const { direction, loaded } of plans)
    if (direction === 'inbound') refuse(checkInbound(tenantOf(loaded), origin, evidence, settings));
  if (origin.kind === 'unproven') await refuseSpoofing(registry, evidence, settings, { ...services, log });
  holdToLimits(services.gate, origin, plans, at);
  logDecision(log, origin, facts.size, plans);

  const refusals = plans.flatMap(({ plan }) => plan.refusals);
  const [refusal] = refusals;
  if (refusal && plans.every(({ plan }) => plan.copies.length === 0))
    return refuseByRule(services, refusal, origin, envelope);

  const source = joinSources(bytesSource(services.received(peer, envelope, at)), held);
  await using open = new AsyncDisposableStack();
  const copies: FinishedCopy[] = [];
  const lessons: TenantLesson[] = [];
  for (const tenantPlan of plans) {
    for (const copy of tenantPlan.plan.copies) {
      const done = await finish(services, tenantPlan, trustOf, copy, source, at, open, log);
      copies.push({ ...done.finished, ...mailFromOf(registry, origin, envelope, tenantPlan, rewriting) });
      lessons.push(...lessonsOf(tenantPlan, done.outcomes, facts.from));
      signal.throwIfAborted();
    }
  }
  const message = {
    envelope,
    isProven: isOwnSender(registry, origin, envelope),
    inputSha256: held.sha256,
    returnLeg: returnLegOf(registry, origin, envelope),
    copies,
    refused: refusals.map(({ recipient, explanation }) => ({ recipient, explanation })),
  };
  await services.commit(message);
  services.learning.take(lessons, at);
  return committed(services, message, log);
}

function committed({ tally }: ReceiveServices, message: CommittedMessage, log: Log): Reply {
  const { envelope, copies, refused } = message;
  tally.committed(copies);
  log.info('message-committed', { copies: copies.length, refused: refused.length });
  return { code: 250, enhanced: '2.0.0', text: `Queued as ${envelope.id}` };
}

function adviseOnHeaders(origin: Origin, header: HeaderSection, log: Log): void {
  if (origin.kind !== 'proven' || !hasRetainedHeaders(header)) return;
  const advice = 'set CloudServicesMailEnabled of the outbound connector to $false';
  log.warn('retained-headers', { tenant: origin.tenant, advice });
}

async function finish(
  services: ReceiveServices,
  { loaded, direction }: TenantPlan,
  trustOf: TrustOf,
  copy: Copy,
  source: ByteSource,
  at: Date,
  open: AsyncDisposableStack,
  log: Log,
): Promise<{ readonly finished: FinishedCopy; readonly outcomes: readonly StageOutcome[] }> {
  const tenant = loaded.policy.tenant.id;
  const result = open.use(
    await runCopy(copy, source, services.holds, {
      tenant,
      keys: services.keys.forTenant(tenant),
      trust: trustOf(loaded),
      limits: services.limits,
      at,
      hostname: services.hostname,
      dkimSigners: loaded.dkimSigners,
      ...(loaded.doneTokens && { loopBack: { key: services.doneKey, tokens: loaded.doneTokens } }),
    }),
  );
  log.info('copy-finished', {
    rule: copy.rule,
    leg: copy.leg.kind,
    recipients: copy.recipients.length,
    outcomes: result.outcomes.map((outcome) => outcome.kind),
    ...contentOf(copy),
  });
  const finished = {
    leg: copy.leg,
    recipients: copy.recipients,
    tenant,
    direction,
    policyVersion: loaded.version,
    rule: copy.rule,
    body: result.body,
    isEncrypted: result.outcomes.some((outcome) => outcome.kind === 'encrypted'),
    is8bit: result.body.is8bit,
  };
  return { finished, outcomes: result.outcomes };
}

/** How S/MIME content was encrypted, and what chose it. */
function contentOf({ steps }: Copy): { readonly cipher?: string; readonly cipherBy?: readonly string[] } {
  const content = steps.find((step) => step.kind === 'encrypt')?.content;
  return content ? { cipher: `aes-256-${content.mode}`, cipherBy: content.by } : {};
}

/** Exchange shows the text of a 5xx to the sender, so a proven one gets the whole explanation. */
function refuseByRule(
  { tally }: ReceiveServices,
  refusal: Refusal,
  origin: Origin,
  envelope: Envelope,
): Reply {
  tally.refused(refusal.error);
  const reply = replyFor(refusal.error, origin.kind === 'proven' ? refusal.explanation : undefined);
  return { ...reply, text: `${reply.text} (${envelope.id})` };
}

/** C11, within limits. Mail for a tenant counts as far as it takes room. */
function holdToLimits(gate: TenantGate, origin: Origin, plans: readonly TenantPlan[], at: Date): void {
  for (const { loaded, direction } of plans) {
    const { id, limits } = loaded.policy.tenant;
    gate.checkRoom(id, limits);
    if (origin.kind === 'proven' && direction === 'outbound') gate.admit(id, limits, origin.class, at);
  }
}

function refuse(failure: ProofFailure | undefined): void {
  if (failure) throw new GatewayError(failure.error, `${failure.condition} ${failure.reason}`);
}

function replyToFailure(error: GatewayError, envelope: Envelope, log: Log): Reply {
  const { level } = errorTable[error.code];
  log[level]('message-refused', { code: error.code, reason: error.message, ...error.detail });
  const reply = replyFor(error.code);
  return { ...reply, text: `${reply.text} (${envelope.id})` };
}

function logDecision(log: Log, origin: Origin, size: number, plans: readonly TenantPlan[]): void {
  log.info('message-decided', {
    bytes: size,
    origin: origin.kind,
    ...(origin.kind === 'proven'
      ? {
          tenant: origin.tenant,
          class: origin.class,
          observed: origin.observed.map((failure) => `${failure.condition} ${failure.reason}`),
        }
      : { unproven: origin.reasons.map((failure) => failure.condition) }),
    rules: plans.flatMap(({ plan }) => [...plan.copies, ...plan.refusals].map((part) => part.rule)),
  });
}

// What the command line does with single messages and policy files: the gateway's own stages on a file, and the gateway's
// own decision explained. Nothing is kept; what is not good is never handed out.
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Address } from './core/address.ts';
import type { ByteSource, Chunks } from './core/bytes.ts';
import type { Envelope } from './core/envelope.ts';
import { GatewayError, type ErrorCode } from './core/errors.ts';
import type { Facts } from './core/facts.ts';
import { defaultLimits, type Limits } from './core/limits.ts';
import { silentLog } from './core/log.ts';
import { isNonEmpty } from './core/non-empty.ts';
import { Secret } from './core/secret.ts';
import type { Origin } from './core/origin.ts';
import type { StageOutcome } from './core/outcome.ts';
import type { Peer } from './core/peer.ts';
import type { Plan } from './core/plan.ts';
import type { Learned } from './keys/capabilities.ts';
import { memoryTenantKeys } from './keys/memory.ts';
import { parseKeyId } from './keys/records.ts';
import type { TenantKeys } from './keys/store.ts';
import type { HeaderSection } from './mime/header-section.ts';
import { decide } from './pipeline/decide.ts';
import { inspect, withOutboundKeys } from './pipeline/inspect.ts';
import { type LoadedPolicy, readPolicy, readPolicySet, tenantOf } from './pipeline/policy-set.ts';
import { runCopy } from './pipeline/run-copy.ts';
import { trustForMessage } from './pipeline/trust.ts';
import type { Policy, Problem } from './policy/schema.ts';
import { type Holds, openHolds } from './storage/hold.ts';
import { gatherEvidence } from './tenant/evidence.ts';
import { prove } from './tenant/proof.ts';
import { openRegistry, tenantOfDomain, type TenantRegistry } from './tenant/registry.ts';
import { holdMessage } from './workbench-input.ts';
import { loadPolicy, namedOwner, type NamedKeys, openKeyRing } from './workbench-keys.ts';
import { addressesIn, authorOf, planSteps, type WorkOrder } from './workbench-steps.ts';
import { judge, type Verdict } from './workbench-verdict.ts';

/** A message from a file or a stream. */
export interface WorkInput {
  readonly input: Chunks;
  /** Of the input, for errors. */
  readonly name: string;
  readonly at: Date;
  /** Aborted: the work ends with `shutting-down`. */
  readonly signal: AbortSignal;
  /** Told the bytes of each chunk that passes: first of the input, then of each reading by a stage. */
  readonly onProgress: (bytes: number) => void;
}

export interface WorkTask extends WorkInput, WorkOrder {
  readonly policyFile?: string;
  readonly named: NamedKeys;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface WorkResult extends Verdict, AsyncDisposable {
  readonly outcomes: readonly StageOutcome[];
  /** The message that came out, with status `ok` only. Open until the result is disposed. */
  readonly body?: ByteSource;
}

/** Far beyond what mail systems take: a file is its owner's business. */
const limits: Limits = { ...defaultLimits, maxMessageBytes: 2 ** 32 };
const HOSTNAME = 'workbench.invalid';

/**
 * Does one thing to one message. What can be wrong with a message or a key is in the result; throws GatewayError for
 * files, policies and messages that cannot be read. Dispose the result: temporary files go with it.
 */
export async function workOnMessage(task: WorkTask): Promise<WorkResult> {
  const { action, at } = task;
  await using open = new AsyncDisposableStack();
  const ring = await openKeyRing(action, task.named, task.policyFile, task.environment, at);
  const holds = await openWorkHolds(open);
  const { held, header } = await holdMessage(watched(task.input, task), task.name, holds, limits);
  const author = task.from ?? authorOf(header);
  const planned = await planSteps(task, ring, header, author);
  if ('missing' in planned) return withoutBody({ status: 'no-key', lines: planned.missing });
  const copy = {
    recipients: [{ address: namedOwner }] as const,
    steps: planned.steps,
    leg: { kind: 'internet' } as const,
    mustEncrypt: action === 'encrypt',
    rule: 'command line',
  };
  const source: ByteSource = { size: held.size, open: (range) => watched(held.open(range), task) };
  try {
    const { tenant, keys, trust } = ring;
    const context = { tenant, keys, trust, limits, at, hostname: HOSTNAME, dkimSigners: [] };
    const { body, outcomes } = open.use(await runCopy(copy, source, holds, context));
    const verdict = judge(outcomes, header, author);
    const kept = open.move();
    return {
      ...verdict,
      outcomes,
      // SECURITY: what is not good has no way out of here (test: tampered).
      ...(verdict.status === 'ok' ? { body } : {}),
      [Symbol.asyncDispose]: () => kept.disposeAsync(),
    };
  } catch (error) {
    if (!isKeyTrouble(error)) throw error;
    return withoutBody({ status: 'no-key', lines: [error.message] });
  }
}

export interface CheckedPolicy {
  /** As given, or a file of a folder that was given. */
  readonly file: string;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** Where there is no problem. */
  readonly policy?: Policy;
  readonly version?: string;
}

/**
 * Checks policy files with the keys, certificates and passwords that they name. A folder is checked as a gateway reads it:
 * every policy file in it, and that they do not contradict each other. Never throws for what is wrong with them.
 */
export async function checkPolicies(paths: readonly string[], at: Date): Promise<readonly CheckedPolicy[]> {
  const checked = paths.map(async (path) => {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isDirectory()) {
      const result = await readPolicy(path, at);
      return 'loaded' in result ? [goodPolicy(result.loaded)] : badPolicies(result.problems, path);
    }
    const result = await readPolicySet(path, at);
    return 'set' in result ? result.set.all.map(goodPolicy) : badPolicies(result.problems, path);
  });
  return (await Promise.all(checked)).flat();
}

function goodPolicy({ file, policy, version, warnings }: LoadedPolicy): CheckedPolicy {
  return { file, problems: [], warnings, policy, version };
}

function badPolicies(problems: readonly Problem[], path: string): CheckedPolicy[] {
  return [...Map.groupBy(problems, ({ file }) => file)].map(([file, list]) => ({
    file: file === '' ? path : file,
    problems: list,
    warnings: [],
  }));
}

export interface ExplainTask extends WorkInput {
  readonly policyFile: string;
  /** Envelope sender; null is the null sender. Default: the author in From. */
  readonly from?: Address | null;
  /** Envelope recipients. Default: those in To and Cc. */
  readonly to: readonly Address[];
  /** Default: outbound where the author is in a domain of the tenant. */
  readonly direction?: 'inbound' | 'outbound';
  /** What a gateway has learned of its keys. Default: nothing. */
  readonly learned?: readonly HeardOfKey[];
}

export interface HeardOfKey {
  readonly tenant: string;
  readonly id: string;
  readonly learned: readonly Learned[];
}

export interface ExplainedPlan {
  readonly direction: 'inbound' | 'outbound';
  readonly plan: Plan;
  /** What the decision looked at. */
  readonly facts: Facts;
}

export interface Explanation {
  readonly loaded: LoadedPolicy;
  readonly direction: 'inbound' | 'outbound';
  readonly envelope: Envelope;
  readonly origin: Origin;
  /** Recipients outside are planned `outbound`, those in the tenant's domains `inbound`. Empty where refused. */
  readonly plans: readonly ExplainedPlan[];
  /** Why the gateway would refuse the message before any rule. */
  readonly refusal?: { readonly error: ErrorCode; readonly reason: string };
}

/**
 * What the gateway would do with the message under this policy alone. Outbound, Exchange Online is taken to have delivered
 * it with its client certificate and its header fields; everything else is judged as it is. Throws GatewayError
 * for a policy or message that cannot be read, `config-invalid` where nobody receives the message.
 */
export async function explainMessage(task: ExplainTask): Promise<Explanation> {
  const { at } = task;
  const loaded = await loadPolicy(task.policyFile, at);
  await using open = new AsyncDisposableStack();
  const holds = await openWorkHolds(open);
  const { held, header } = await holdMessage(watched(task.input, task), task.name, holds, limits);
  const envelope = envelopeOf(task, header);
  const registry = openRegistry([tenantOf(loaded)]);
  const isOwn = (address: Address | null) =>
    address !== null && tenantOfDomain(registry, address.domain) !== undefined;
  const direction = task.direction ?? (isOwn(authorOf(header) ?? envelope.sender) ? 'outbound' : 'inbound');
  const origin = originOf(direction, registry, loaded, envelope, header);
  const explained = { loaded, direction, envelope, origin };
  const strangers = envelope.recipients.filter(({ address }) => !isOwn(address));
  if (direction === 'inbound' && strangers.length > 0) {
    const names = strangers.map(({ address }) => address.text).join(', ');
    const reason = `not in a domain of ${loaded.policy.tenant.name}: ${names}`;
    return { ...explained, plans: [], refusal: { error: 'relay-denied', reason } };
  }
  const keys = await memoryTenantKeys(loaded.policy.tenant.id, loaded.keys);
  await recall(keys, loaded, task.learned ?? []);
  const facts = await inspect(held, header, envelope, limits);
  const policies = { registry, all: [loaded], of: () => loaded };
  const store = { forTenant: () => keys, tenants: () => [loaded.policy.tenant.id] };
  try {
    const rewriting = { key: new Secret(randomBytes(32)), at };
    const trustOf = trustForMessage();
    const plans = await decide(policies, store, facts, origin, rewriting, trustOf);
    const known = await withOutboundKeys(facts, keys, at, trustOf(loaded));
    return { ...explained, plans: plans.map(({ direction, plan }) => ({ direction, plan, facts: known })) };
  } catch (error) {
    if (!(error instanceof GatewayError) || origin.kind === 'proven') throw error;
    return { ...explained, plans: [], refusal: { error: error.code, reason: error.message } };
  }
}

async function recall(keys: TenantKeys, { policy }: LoadedPolicy, all: readonly HeardOfKey[]): Promise<void> {
  for (const { tenant, id, learned } of all) {
    const key = tenant === policy.tenant.id ? parseKeyId(id) : undefined;
    for (const lesson of key ? learned : []) if (key) await keys.learn(key, lesson, lesson.seenAt);
  }
}

function envelopeOf(task: ExplainTask, header: HeaderSection): Envelope {
  const named = ['To', 'Cc'].flatMap((name) => addressesIn(header, name));
  const recipients = (task.to.length > 0 ? task.to : named).map((address) => ({ address }));
  if (!isNonEmpty(recipients))
    throw new GatewayError('config-invalid', 'To and Cc name nobody: name the recipients with --to');
  const sender = task.from === undefined ? (authorOf(header) ?? null) : task.from;
  return { id: 'explained', sender, recipients, smtpUtf8: false, body: '8BITMIME' };
}

/** The proof runs as it would on the wire. Only what the file cannot show is assumed: the connection, and Exchange's stamps. */
function originOf(
  direction: 'inbound' | 'outbound',
  registry: TenantRegistry,
  { policy: { tenant }, secrets }: LoadedPolicy,
  envelope: Envelope,
  header: HeaderSection,
): Origin {
  const settings = { certificateNames: [HOSTNAME], hostname: HOSTNAME, maxReceived: limits.maxReceived };
  const peer: Peer = { address: '127.0.0.1', port: 0, helo: HOSTNAME };
  if (direction === 'inbound') return prove(registry, gatherEvidence(peer, envelope, header, []), settings);
  const certificate = {
    isVerified: true,
    dnsNames: [HOSTNAME],
    fingerprint256: '',
    validFrom: new Date(0),
    validTo: new Date(0),
  };
  const tls = { protocol: 'TLSv1.3', cipher: '', certificate } as const;
  const stamps = {
    tenantIds: [tenant.id],
    organizations: [tenant.domains[0]],
    authAs: ['Internal'],
    entities: ['Hosted'],
    secrets: secrets.slice(0, 1),
    dkim: [{ domain: tenant.domains[0], result: 'pass', reason: '' }],
  } as const;
  return prove(registry, { ...gatherEvidence({ ...peer, tls }, envelope, header, []), ...stamps }, settings);
}

/** Holds in a folder of their own, which goes with them: also where the process ends early, as when a reader went away. */
export async function openWorkHolds(open: AsyncDisposableStack): Promise<Holds> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  open.defer(() => {
    process.off('exit', remove);
    remove();
  });
  return open.use(await openHolds({ folder, memoryBytes: limits.holdMemoryBytes, log: silentLog }));
}

export async function* watched(
  chunks: Chunks,
  { signal, onProgress }: WorkInput,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    if (signal.aborted) throw new GatewayError('shutting-down', 'interrupted');
    onProgress(chunk.length);
    yield chunk;
  }
}

/** A key that was found and cannot do what it is for. */
function isKeyTrouble(error: unknown): error is GatewayError {
  return (
    error instanceof GatewayError &&
    (error.code === 'encryption-required' || error.code === 'signing-key-missing')
  );
}

function withoutBody(verdict: Verdict): WorkResult {
  return { ...verdict, outcomes: [], [Symbol.asyncDispose]: () => Promise.resolve() };
}

// One tenant with keys and partners, and the way of a message through the gateway without SMTP: the door, inspection, the
// decision and its stages.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesSource, collect } from '../../src/core/bytes.ts';
import type { Facts } from '../../src/core/facts.ts';
import { defaultLimits } from '../../src/core/limits.ts';
import { silentLog } from '../../src/core/log.ts';
import type { StageOutcome } from '../../src/core/outcome.ts';
import type { Plan } from '../../src/core/plan.ts';
import { Secret } from '../../src/core/secret.ts';
import { memoryTenantKeys } from '../../src/keys/memory.ts';
import type { DeclaredKey } from '../../src/keys/plan.ts';
import type { TenantKeys } from '../../src/keys/store.ts';
import { normaliseMessage } from '../../src/mime/canonical.ts';
import { readMessage } from '../../src/mime/header-section.ts';
import { inspect, withOutboundKeys } from '../../src/pipeline/inspect.ts';
import { runCopy } from '../../src/pipeline/run-copy.ts';
import { decideInbound, decideOutbound } from '../../src/policy/decide.ts';
import { verifyMessage } from '../../src/smime/message.ts';
import { openHolds } from '../../src/storage/hold.ts';
import { keyIdOf, pgpKey } from './keys.ts';
import { makeKey, type TestKey } from './pgp.ts';
import { factsOf, policyOf, policyText, provenOrigin, TENANT_A } from './policy.ts';
import { asPerson, createWorld, limits, type TestPerson, type TestWorld } from './smime.ts';

export const ANNA = 'anna@contoso.example';
export const OTTO = 'otto@contoso.example';
export const BOB = 'bob@remote.example';
export const CARL = 'carl@remote.example';
export const DORA = 'dora@remote.example';
export const PETRA = 'petra@other.example';

const DAY_MS = 86_400_000;

/** Encrypts where it can, in the format of the key. */
export const WHEN_POSSIBLE = 'otherwise: { sign: none, encrypt: when-possible, fallback: plain }';
export const REQUIRED = 'otherwise: { sign: none, encrypt: required }';
export const SIGNED = 'otherwise: { sign: smime, encrypt: never }';

export interface PassedCopy {
  readonly to: readonly string[];
  readonly bytes: Buffer;
  /** In latin1. */
  readonly text: string;
  readonly outcomes: readonly StageOutcome[];
}

interface Passed {
  readonly facts: Facts;
  readonly plan: Plan;
  readonly copies: readonly PassedCopy[];
}

export interface Passage extends AsyncDisposable {
  readonly world: TestWorld;
  /** Anna and Otto are the tenant's, with S/MIME keys; Bob and Carl have certificates. `former`: Anna's, expired. Dora is
   *  declared with her CA, which is below the root. */
  readonly people: Readonly<Record<'anna' | 'former' | 'otto' | 'bob' | 'carl' | 'dora', TestPerson>>;
  /** Petra's OpenPGP key; Anna has one of her own. */
  readonly pgp: Readonly<Record<'anna' | 'petra', TestKey>>;
  /** From Anna, under these rules (YAML of the section `outbound`). `hidden`: recipients in no field. */
  send(
    message: Uint8Array,
    rules: string,
    to: readonly string[],
    hidden?: readonly string[],
  ): Promise<Passed>;
  /** One copy to one recipient, which is all that comes of it. */
  sendOne(message: Uint8Array, rules: string, to?: string): Promise<PassedCopy>;
  /** From Bob to people of the tenant, under these settings (YAML of the section `inbound`). */
  receive(message: Uint8Array, to?: readonly string[], inbound?: string): Promise<Passed>;
  receiveOne(message: Uint8Array, inbound?: string): Promise<PassedCopy>;
  /** An S/MIME signature, as a partner who trusts the CA verifies it. */
  verify(message: Uint8Array): AsyncGenerator<Uint8Array, StageOutcome>;
}

/** Opens it, with a mail CA of this name. */
export async function openPassage(name: string): Promise<Passage> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-passage-'));
  const holds = await openHolds({ folder, memoryBytes: 1_000, log: silentLog });
  const { world, people, pgp, keys } = await makeKeys(name);
  const context = {
    tenant: TENANT_A,
    keys,
    trust: world.trust,
    dkimSigners: [],
    limits: defaultLimits,
    at: new Date(),
    hostname: 'gw.example',
  };
  const pass = async (
    message: Uint8Array,
    mailbox: Pick<Parameters<typeof factsOf>[0], 'from' | 'to' | 'hidden'>,
    decide: (facts: Facts) => Promise<Plan>,
  ): Promise<Passed> => {
    const door = normaliseMessage(bytesSource(message).open(), { bareLineEnds: 'normalise', limits });
    const source = bytesSource(await collect(door, 100_000_000));
    const { header } = await readMessage(source.open(), limits);
    const facts = await inspect(source, header, factsOf(mailbox).envelope, limits);
    const plan = await decide(facts);
    const copies: PassedCopy[] = [];
    for (const copy of plan.copies) {
      await using result = await runCopy(copy, source, holds, context);
      const bytes = await collect(result.body.open(), 100_000_000);
      const to = copy.recipients.map(({ address }) => address.key);
      copies.push({ to, bytes, text: bytes.toString('latin1'), outcomes: result.outcomes });
    }
    return { facts, plan, copies };
  };
  const send: Passage['send'] = (message, rules, to, hidden = []) =>
    pass(message, { from: ANNA, to, hidden }, async (facts) => {
      const known = await withOutboundKeys(facts, keys, context.at);
      return decideOutbound(policyOf(policyText(rules)), known, provenOrigin());
    });
  const receive: Passage['receive'] = (message, to = [ANNA], inbound = '') =>
    pass(message, { from: BOB, to }, (facts) =>
      Promise.resolve(decideInbound(policyOf(policyText(undefined, inbound)), facts)),
    );
  return {
    world,
    people,
    pgp,
    send,
    sendOne: async (message, rules, to = BOB) => only(await send(message, rules, [to])),
    receive,
    receiveOne: async (message, inbound) => only(await receive(message, [ANNA], inbound)),
    verify: (message) => verifyMessage(bytesSource(message), world.trust, { limits }),
    async [Symbol.asyncDispose]() {
      await holds[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}

/** What stages found, without those that only change the header. */
export function outcomesOf({ outcomes }: PassedCopy): readonly string[] {
  return outcomes.flatMap((outcome) => {
    if (outcome.kind === 'headers' || outcome.kind === 'header-compared') return [];
    if (outcome.kind === 'not-decrypted' || outcome.kind === 'not-verified')
      return [`${outcome.kind} ${outcome.reason}`];
    if (outcome.kind === 'verified')
      return [`verified ${outcome.signatures.map(({ integrity }) => integrity).join(' ')}`];
    return [outcome.kind];
  });
}

function only({ plan, copies }: Passed): PassedCopy {
  const [copy, ...others] = copies;
  assert.ok(copy && others.length === 0, JSON.stringify(plan.refusals));
  return copy;
}

async function makeKeys(
  name: string,
): Promise<Pick<Passage, 'world' | 'people' | 'pgp'> & { keys: TenantKeys }> {
  const world = await createWorld(name);
  const person = (address: string): Promise<TestPerson> =>
    world.person(address.split('@')[0] ?? '', { emails: [address] });
  const issuer = await world.ca.issueCa({ commonName: 'issuer' });
  const people = {
    anna: await person(ANNA),
    former: await world.person('anna', {
      emails: [ANNA],
      notBefore: new Date(Date.now() - 700 * DAY_MS),
      notAfter: new Date(Date.now() - 300 * DAY_MS),
    }),
    otto: await person(OTTO),
    bob: await person(BOB),
    carl: await person(CARL),
    dora: asPerson(await issuer.issue({ commonName: 'dora', emails: [DORA] }), []),
  };
  const pgp = { anna: await makeKey(ANNA), petra: await makeKey(PETRA) };
  const keys = await memoryTenantKeys(TENANT_A, [
    declared(people.anna, ANNA, true),
    declared(people.former, ANNA, true),
    declared(people.otto, OTTO, true),
    declared(people.bob, BOB, false),
    declared(people.carl, CARL, false),
    declared(people.dora, DORA, false, issuer.certificatePem),
    pgpKey(pgp.anna, ANNA, { role: 'own' }),
    pgpKey(pgp.petra, PETRA),
  ]);
  return { world, people, pgp, keys };
}

function declared(
  { certificate, certificatePem, keyPem }: TestPerson,
  address: string,
  isOwn: boolean,
  chain = '',
): DeclaredKey {
  const { fingerprint, notBefore, notAfter } = certificate;
  return {
    record: {
      id: keyIdOf('smime', fingerprint),
      tenant: TENANT_A,
      format: 'smime',
      role: isOwn ? 'own' : 'partner',
      addresses: [address],
      material: certificatePem + chain,
      hasPrivateKey: isOwn,
      notBefore,
      notAfter,
      source: 'policy',
    },
    ...(isOwn && { privateMaterial: new Secret(keyPem) }),
  };
}

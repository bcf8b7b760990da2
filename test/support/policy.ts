// Policies and facts for tests: a small valid policy text, and facts with few words.
import assert from 'node:assert/strict';
import { type Address, parseAddress } from '../../src/core/address.ts';
import type { Envelope, Recipient } from '../../src/core/envelope.ts';
import type { Facts } from '../../src/core/facts.ts';
import type { Announced, KeyFormat, KeyId, KeyLookup } from '../../src/core/key.ts';
import { isNonEmpty } from '../../src/core/non-empty.ts';
import { type MessageClass, parseTenantId, type ProvenOrigin, type TenantId } from '../../src/core/origin.ts';
import type { Plan, Step } from '../../src/core/plan.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import type { Policy } from '../../src/policy/schema.ts';

export const TENANT_A = tenantId('11111111-2222-3333-4444-555555555555');
export const TENANT_B = tenantId('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb');

export function tenantId(text: string): TenantId {
  const id = parseTenantId(text);
  assert.ok(id);
  return id;
}

export function address(text: string): Address {
  const parsed = parseAddress(text);
  assert.ok(parsed, `not an address: ${text}`);
  return parsed;
}

/** A policy file with the given outbound section (YAML at column 0, indented here) and further sections. */
export function policyText(outbound = DEFAULT_OUTBOUND, more = ''): string {
  return `version: 1
tenant:
  id: ${TENANT_A}
  name: Contoso
  domains: [contoso.example, contoso.onmicrosoft.example]
  leg:
    host: contoso-example.mail.protection.outlook.com
    certificate: leg.pem
    key: leg.key
outbound:
${outbound.replace(/^(?=.)/gm, '  ')}
${more}`;
}

const DEFAULT_OUTBOUND = `otherwise: { sign: auto, encrypt: when-possible, fallback: plain }`;

export function policyOf(text: string): Policy {
  const result = parsePolicy(text, 'policy.yaml');
  assert.ok('policy' in result, JSON.stringify(result));
  return result.policy;
}

/** Problems as `line:column message`. */
export function problemsOf(text: string): readonly string[] {
  const result = parsePolicy(text, 'policy.yaml');
  return 'problems' in result
    ? result.problems.map(({ line, column, message }) => `${line}:${column} ${message}`)
    : [];
}

/**
 * Which keys exist: `bob@remote.example: 'smime pgp'`; a format with `!` is unreadable, with `?` rejected; with `+gcm`,
 * `+hkdf` (GCM and derived keys) or `+cbc` the owner's mail was heard to announce it, with `@gcm` or `@cbc` the certificate does.
 */
export type Keyring = Readonly<Record<string, string>>;

export interface FactsInput extends Partial<Omit<Facts, 'envelope' | 'from' | 'visible' | 'signingKeys'>> {
  readonly from?: string;
  readonly sender?: string | null;
  readonly to: readonly string[];
  /** Recipients that To and Cc do not show. */
  readonly hidden?: readonly string[];
  readonly subject?: string;
  readonly keys?: Keyring;
  /** The sender's formats, in the notation of Keyring. */
  readonly signing?: string;
}

export function factsOf(input: FactsInput): Facts {
  const {
    from = 'user@contoso.example',
    sender = from,
    to,
    hidden = [],
    subject,
    keys = {},
    signing = '',
    ...rest
  } = input;
  const recipients = [...to, ...hidden].map((text): Recipient => ({ address: address(text) }));
  assert.ok(isNonEmpty(recipients));
  const envelope: Envelope = {
    id: 'test',
    sender: sender === null || sender === '' ? null : address(sender),
    recipients,
    smtpUtf8: false,
    body: '7BIT',
  };
  return {
    envelope,
    size: 1000,
    shape: { kind: 'plain' },
    fields: subject === undefined ? [] : [{ name: 'subject', value: subject }],
    ...(from === '' ? {} : { from: address(from) }),
    visible: new Set(to.map((text) => address(text).key)),
    isAutomatic: false,
    isCalendar: false,
    hasTnef: false,
    is8bit: false,
    encryptionKeys: new Map(
      recipients.map(({ address: { key } }) => [key, lookups(key, keys[key] ?? '')] as const),
    ),
    signingKeys: lookups(from, signing),
    ...rest,
  };
}

function lookups(owner: string, formats: string): Readonly<Record<KeyFormat, KeyLookup>> {
  const words = formats.split(' ');
  return { smime: lookup(owner, 'smime', words), pgp: lookup(owner, 'pgp', words) };
}

function lookup(owner: string, format: KeyFormat, words: readonly string[]): KeyLookup {
  const id = keyId(format, owner);
  const rejected = [{ id, reason: 'expired' }] as const;
  if (words.includes(`${format}!`)) return { kind: 'unreadable', rejected };
  if (words.includes(`${format}?`)) return { kind: 'none', rejected };
  const word = words.find((each) => each.split(/[+@]/)[0] === format);
  if (word === undefined) return { kind: 'none', rejected: [] };
  const record = {
    id,
    tenant: TENANT_A,
    format,
    role: 'partner',
    addresses: [owner],
    material: '',
    hasPrivateKey: false,
    notBefore: new Date(0),
    source: 'policy',
  } as const;
  const announces = announcedBy(word);
  const key = { record, matchedBy: 'address', ...(announces && { announces }) } as const;
  return { kind: 'usable', keys: [key], rejected: [] };
}

function announcedBy(word: string): Announced | undefined {
  const [, how, what] = /^smime([+@])(gcm|cbc|hkdf)$/.exec(word) ?? [];
  if (what === undefined) return undefined;
  const gcm = ['aes-256-gcm', 'aes-256-cbc'];
  const ciphers = { gcm, hkdf: [...gcm, 'cek-hkdf-sha256'], cbc: ['aes-256-cbc'] }[what] ?? [];
  return how === '+'
    ? { by: 'learned', ciphers, at: new Date('2026-05-01T00:00:00Z') }
    : { by: 'certificate', ciphers };
}

export function keyId(format: KeyFormat, owner: string): KeyId {
  return `${format}:${owner}` as KeyId;
}

/** A proven origin without a proof: for tests of what follows the proof. */
export function provenOrigin(messageClass: MessageClass = 'user', tenant: TenantId = TENANT_A): ProvenOrigin {
  return { kind: 'proven', tenant, class: messageClass } as ProvenOrigin;
}

/** A plan in one line per copy and refusal, so that tables stay readable. */
export function summary(plan: Plan): readonly string[] {
  return [
    ...plan.copies.map(
      (copy) =>
        `${copy.recipients.map(({ address: { key } }) => key.split('@')[0]).join('+')} ${copy.rule}: ${copy.steps.map(stepText).join(', ')}`,
    ),
    ...plan.refusals.map(
      ({ recipient, rule, error }) => `${recipient.address.key.split('@')[0]} ${rule}: ${error}`,
    ),
  ];
}

function stepText(step: Step): string {
  if (step.kind === 'sign') return `sign ${step.format}`;
  if (step.kind === 'encrypt')
    return `${step.sign ? 'sign+encrypt' : 'encrypt'} ${step.format}x${step.keys.length}`;
  return step.kind;
}

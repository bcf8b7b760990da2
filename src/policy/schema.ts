// The policy of one tenant as the gateway uses it: immutable, checked, canonical. What the YAML file may hold is in
// document.ts; how the one becomes the other is in parse.ts.
import type { RE2JS } from 're2js';
import type { Address } from '../core/address.ts';
import type { KeyFormat } from '../core/key.ts';
import type { NonEmpty } from '../core/non-empty.ts';
import type { ProofMode, TenantId } from '../core/origin.ts';
import type { ContentMode, MlKemMode, WeakAlgorithm } from '../core/plan.ts';
import type { Pattern } from './pattern.ts';

/** A place in a policy file. Lines and columns count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One error of a policy file, for the operator. Never holds the value of a password field. */
export interface Problem extends Position {
  readonly message: string;
}

export interface TrustPolicy {
  readonly anchors: readonly FileEntry[];
  readonly intermediates: readonly FileEntry[];
  /** `check`: a revoked certificate is not used; `require`: neither is one whose revocation cannot be checked. */
  readonly revocation: 'off' | 'check' | 'require';
  readonly fetchesIssuers: boolean;
  /** Whether emailAddress in the subject counts beside subjectAltName. */
  readonly countsSubjectAddresses: boolean;
  /** OIDs; a path of certificates has to be valid for one of them. Empty: for any, or none. */
  readonly certificatePolicies: readonly string[];
}

export interface Policy {
  readonly tenant: PolicyTenant;
  readonly keys: { readonly own: readonly KeyEntry[]; readonly partners: readonly KeyEntry[] };
  readonly trust: TrustPolicy;
  readonly outbound: OutboundPolicy;
  readonly inbound: InboundPolicy;
}

/** A `Tenant` of tenant/registry but for its secrets, with the leg that leads to it. */
export interface PolicyTenant {
  readonly id: TenantId;
  readonly name: string;
  /** Accepted domains as lower-case A-labels, the initial domain included. */
  readonly domains: NonEmpty<string>;
  readonly matchSubDomains: boolean;
  readonly isEnabled: boolean;
  readonly proof: PolicyProof;
  /** The tenant's MX stays at Exchange Online, whose rules send mail here and take it back. */
  readonly loopBack?: LoopBack;
  readonly onPremises?: OnPremisesServers;
  readonly limits: TenantLimits;
  readonly leg: TenantLeg;
  /** Undefined: every address of the domains exists. */
  readonly recipients?: PolicyRecipients;
}

/** Who exists in the tenant: all that any source names. File names as written; secrets are references. */
export interface PolicyRecipients {
  readonly list?: NonEmpty<Address>;
  readonly csv?: FileEntry;
  readonly ldap?: PolicyLdap;
  readonly graph?: PolicyGraph;
  /** Lower-case A-labels. */
  readonly catchAll: readonly string[];
  readonly hasPlusAddressing: boolean;
  readonly refreshMinutes: number;
  readonly staleAfterHours: number;
}

export interface PolicyLdap {
  readonly url: string;
  readonly startTls: boolean;
  readonly base: string;
  readonly bindDn: string;
  readonly password: FileEntry;
  readonly filter: string;
  /** Undefined: the system's roots. */
  readonly ca?: FileEntry;
  readonly pageSize: number;
  readonly position: Position;
}

export interface PolicyGraph {
  readonly clientId: string;
  readonly secret: FileEntry;
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly login: string;
}

/** What the proof of origin asks of this tenant's mail. Secrets are references, `env:NAME` or `file:path`. */
export interface PolicyProof {
  readonly addressMode: ProofMode;
  readonly dkimMode: ProofMode;
  readonly secretMode: ProofMode;
  /** The current and the previous one. */
  readonly secrets: readonly FileEntry[];
  readonly ownDomainMode: ProofMode;
  readonly isHybridRelayed: boolean;
  readonly isForwardedRelayed: boolean;
}

/** Tokens of X-Postern-Done by which the tenant's rules know mail that has been here. References, as for secrets. */
export interface LoopBack {
  readonly inboundToken: FileEntry;
  readonly outboundToken: FileEntry;
}

/** Undefined: no limit of the tenant's own. */
export interface TenantLimits {
  /** Copies in the queue. */
  readonly maxQueued?: number;
  /** Messages of the tenant, and reports and notifications among them, in an hour of the clock. */
  readonly messagesPerHour?: number;
  readonly systemPerHour: number;
}

/** Servers in the tenant's own network that hand in its mail. Files and references as written. */
export interface OnPremisesServers {
  readonly networks: NonEmpty<string>;
  /** Client certificates, pinned whole. */
  readonly certificates: readonly FileEntry[];
  readonly login?: { readonly user: string; readonly password: FileEntry };
  readonly position: Position;
}

/** Where mail for the tenant goes, and which client certificate it shows. File names as written, not resolved. */
export interface TenantLeg {
  readonly host: string;
  readonly port: number;
  /** Name that the server's certificate must have. */
  readonly serverName: string;
  readonly certificate: string;
  readonly key: string;
  readonly password?: string;
  /** Undefined: the system's roots. */
  readonly ca?: string;
  readonly position: Position;
}

export interface FileEntry {
  readonly path: string;
  readonly position: Position;
}

/** A declared key. File names as written, not resolved; passwords are references, `env:NAME` or `file:path`. */
export interface KeyEntry {
  /** One address (`Address.text`) or one domain (lower-case A-label, without `@`). */
  readonly match: string;
  readonly smime?: {
    readonly certificate?: string;
    readonly key?: string;
    readonly pkcs12?: string;
    readonly password?: string;
  };
  readonly pgp?: { readonly key: string; readonly password?: string };
  readonly position: Position;
}

export interface DkimEntry {
  /** Lower-case A-label. */
  readonly domain: string;
  readonly selector: string;
  /** File with the private key. */
  readonly key: FileEntry;
}

export interface OutboundPolicy {
  readonly deliver: 'internet' | 'smarthost';
  readonly rules: readonly Rule[];
  /** Keys for DKIM, one for each domain at most. */
  readonly dkim: readonly DkimEntry[];
  /** For recipients that no rule matches. */
  readonly otherwise: Treatment;
}

export interface Rule {
  readonly name: string;
  readonly when: Conditions;
  readonly treatment: Treatment;
  readonly position: Position;
}

/** All conditions that are there must hold; at least one is there. */
export interface Conditions {
  readonly sender?: NonEmpty<Pattern>;
  readonly recipient?: NonEmpty<Pattern>;
  readonly subjectTag?: string;
  readonly header?: HeaderCondition;
  readonly isCalendar?: boolean;
  readonly hasTnef?: boolean;
  readonly is8bit?: boolean;
  readonly isAutomatic?: boolean;
  readonly shape?: NonEmpty<'plain' | 'signed' | 'encrypted'>;
}

/** `name` is in lower case. `equals` and `contains` ignore letter case; `matches` is RE2 and finds anywhere. */
export type HeaderCondition = { readonly name: string } & (
  | { readonly kind: 'equals' | 'contains'; readonly value: string }
  | { readonly kind: 'matches'; readonly expression: RE2JS }
  | { readonly kind: 'present'; readonly isPresent: boolean }
);

export type SignMode = 'none' | 'auto' | KeyFormat;
/** Header fields inside the signature or encryption (RFC 9788); whether the Subject is in there only. */
export type ProtectHeaders = 'off' | 'signed' | 'confidential-subject';
export type EncryptMode = 'never' | 'when-possible' | 'required';

/** How S/MIME content is encrypted. */
export interface SmimeTreatment {
  /** `auto`: as each recipient announces. */
  readonly content: 'auto' | ContentMode;
  /** Recipients who read different modes: one ciphertext that all of them read, or one for each mode. */
  readonly group: 'common' | 'separate';
  readonly mlKem: MlKemMode;
}

/** What happens to a recipient. Only `when-possible` and `never` can lead to an unencrypted copy. */
export type Treatment =
  | { readonly kind: 'refuse'; readonly text: string }
  | {
      readonly kind: 'protect';
      readonly sign: SignMode;
      readonly encrypt: EncryptMode;
      /** Order of preference. */
      readonly formats: NonEmpty<KeyFormat>;
      readonly alreadyEncrypted: 'pass' | 'refuse';
      /** Whether invitations are exempt from `required`. */
      readonly isCalendarExempt: boolean;
      readonly protectHeaders: ProtectHeaders;
      readonly hasLegacyDisplay: boolean;
      readonly smime: SmimeTreatment;
    };

export interface InboundPolicy {
  readonly decrypt: boolean;
  readonly verify: boolean;
  readonly onDecryptFailure: 'deliver-marked';
  readonly onInvalidSignature: 'deliver-marked' | 'refuse';
  /** Read, and marked as weak; nothing is ever written with them. */
  readonly weakAlgorithms: readonly WeakAlgorithm[];
  readonly mark: boolean;
  /** Whether signed mail teaches what its author's software reads. */
  readonly learnsCapabilities: boolean;
  /** Protected header fields are compared with the outer ones, and a hidden Subject is put back. */
  readonly readsProtectedHeaders: boolean;
  /** Mail for the tenant must come under TLS, whoever sends it. */
  readonly isTlsRequired: boolean;
}

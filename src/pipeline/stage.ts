// A stage turns one message into another: bytes in, bytes out, one outcome at the end. stages/* build them from steps;
// run-copy strings them together.
import type { ByteSource, Chunks } from '../core/bytes.ts';
import type { DkimSigner } from '../authentication/dkim-sign.ts';
import type { Limits } from '../core/limits.ts';
import type { TenantId } from '../core/origin.ts';
import type { StageOutcome } from '../core/outcome.ts';
import type { Secret } from '../core/secret.ts';
import type { TenantKeys } from '../keys/store.ts';
import type { HeaderSection } from '../mime/header-section.ts';
import type { TrustSettings } from '../smime/chain.ts';
import type { DoneTokens } from '../tenant/done-marker.ts';

/**
 * `release: 'whole'`: nothing of the output may be used before the generator has returned, and nothing at all unless
 * `replaces(outcome)` says that it is the new message. A stage that throws fails its copy.
 */
export type Stage =
  | {
      readonly name: string;
      readonly input: 'stream';
      readonly release: 'streaming';
      run(input: Chunks): AsyncGenerator<Uint8Array, StageOutcome>;
    }
  | {
      readonly name: string;
      readonly input: 'source';
      readonly release: 'streaming' | 'whole';
      run(input: ByteSource): AsyncGenerator<Uint8Array, StageOutcome>;
    };

/** What a stage may use. `done` are the outcomes of the steps before it. */
export interface StageContext {
  readonly tenant: TenantId;
  readonly keys: TenantKeys;
  readonly trust: TrustSettings;
  readonly limits: Limits;
  readonly at: Date;
  readonly hostname: string;
  /** Keys of the tenant's domains. */
  readonly dkimSigners: readonly DkimSigner[];
  /** Where the tenant's mail goes back to it. */
  readonly loopBack?: { readonly key: Secret; readonly tokens: DoneTokens };
  readonly done: readonly StageOutcome[];
  readonly inner: InnerHeader;
}

/**
 * The header of the entity that decrypt or verify last took out, until the next stage needs it. SECURITY: not part of an
 * outcome, since those are logged and shown (test: no protected subject).
 */
export interface InnerHeader {
  header?: HeaderSection;
}

/** Whether the output of a stage replaces its input. */
export function replaces(outcome: StageOutcome): boolean {
  switch (outcome.kind) {
    case 'headers':
    case 'signed':
    case 'encrypted':
    case 'decrypted':
    case 'header-compared':
    case 'decompressed':
      return true;
    case 'verified':
      return outcome.form === 'opaque' || outcome.isTakenOff === true;
    case 'not-decrypted':
    case 'not-verified':
      return false;
  }
}

// Verifies the signatures of what decryption left, and refuses broken ones where the policy says so.
import { GatewayError } from '../../core/errors.ts';
import type { StageOutcome } from '../../core/outcome.ts';
import type { Step } from '../../core/plan.ts';
import { type HeaderSection, readHeader } from '../../mime/header-section.ts';
import { isSignedMessage } from '../../pgp/detect.ts';
import { verifyMessage as verifyPgp } from '../../pgp/message.ts';
import { verifyMessage as verifySmime } from '../../smime/message.ts';
import type { TrustContext } from '../../smime/chain.ts';
import { pgpVerificationKeys, storedIssuers } from '../key-material.ts';
import { replaces, type Stage, type StageContext } from '../stage.ts';

export function verifyStage(step: Extract<Step, { kind: 'verify' }>, context: StageContext): Stage {
  const { limits, at, keys } = context;
  const weak = step.weak ?? [];
  return {
    name: 'verify',
    input: 'source',
    release: 'whole',
    async *run(input) {
      const header = await readHeader(input, limits);
      let inner: HeaderSection | undefined;
      const onInner = (found: HeaderSection) => void (inner = found);
      const options = { limits, at, weak, onInner, takesOff: step.isBeforeDecryption === true };
      const outcome = (await isSignedMessage(input, header, limits))
        ? yield* verifyPgp(input, await pgpVerificationKeys(keys, header), { limits, at })
        : yield* verifySmime(input, await smimeTrust(context, header), options);
      if (step.onInvalid === 'refuse' && hasBrokenSignature([...context.done, outcome])) {
        throw new GatewayError('signature-invalid', 'a signature is broken and the policy refuses such mail');
      }
      if (inner !== undefined && replaces(outcome)) context.inner.header = inner;
      return outcome;
    },
  };
}

/** The chains of the certificates that are declared for the author help to find a path. */
async function smimeTrust({ trust, keys, at }: StageContext, header: HeaderSection): Promise<TrustContext> {
  const intermediates = [...trust.intermediates, ...(await storedIssuers(keys, header))];
  return { ...trust, intermediates, at };
}

function hasBrokenSignature(outcomes: readonly StageOutcome[]): boolean {
  return outcomes.some(
    (outcome) =>
      (outcome.kind === 'verified' || outcome.kind === 'decrypted') &&
      outcome.signatures.some((signature) => signature.integrity === 'broken'),
  );
}

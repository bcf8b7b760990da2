// Signs with an own key of the sender. Which key was decided by the policy; here it is only used.
import type { Step } from '../../core/plan.ts';
import { signMessage as signPgp } from '../../pgp/message.ts';
import { signMessage as signSmime } from '../../smime/message.ts';
import { pgpSigner, smimeSigner } from '../key-material.ts';
import type { Stage, StageContext } from '../stage.ts';
import { oneReading } from './one-reading.ts';

export async function signStage(
  step: Extract<Step, { kind: 'sign' }>,
  context: StageContext,
): Promise<Stage> {
  const { limits, at } = context;
  const options = { limits, at, ...(step.protection && { protection: step.protection }) };
  if (step.format === 'smime') {
    const signer = await smimeSigner(context.keys, step.key);
    return {
      name: 'sign',
      input: 'source',
      release: 'streaming',
      run: (input) => oneReading(input, limits, () => signSmime(input, signer, options)),
    };
  }
  const signer = await pgpSigner(context.keys, step.key);
  return {
    name: 'sign',
    input: 'source',
    release: 'streaming',
    run: (input) => oneReading(input, limits, () => signPgp(input, signer, options)),
  };
}

// Signs the finished message with DKIM: the last change of a copy that leaves for the outside.
import { signDkim } from '../../authentication/dkim-sign.ts';
import { GatewayError } from '../../core/errors.ts';
import type { Step } from '../../core/plan.ts';
import type { Stage, StageContext } from '../stage.ts';

export function dkimStage({ domain }: Extract<Step, { kind: 'dkim' }>, context: StageContext): Stage {
  const signer = context.dkimSigners.find((each) => each.domain === domain);
  if (!signer) throw new GatewayError('unplanned', `no DKIM key for ${domain}`);
  return {
    name: 'dkim',
    input: 'source',
    release: 'streaming',
    async *run(input) {
      const field = await signDkim(input, signer, context.at, context.limits);
      yield field.raw;
      yield* input.open();
      return { kind: 'headers' };
    },
  };
}

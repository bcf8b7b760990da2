// Puts the done mark on top of a message that goes back to the tenant it came from. Older marks are stripped by then.
import { GatewayError } from '../../core/errors.ts';
import type { Step } from '../../core/plan.ts';
import { makeField } from '../../mime/header-section.ts';
import { DONE_FIELD, doneMark, messageIdOf } from '../../tenant/done-marker.ts';
import type { Stage, StageContext } from '../stage.ts';
import { rewriteHeader } from './rewrite-header.ts';

export function doneStage({ direction }: Extract<Step, { kind: 'done' }>, context: StageContext): Stage {
  const { loopBack, tenant, limits } = context;
  if (!loopBack)
    throw new GatewayError('unplanned', 'a done mark for a tenant that is not set up for loop-back');
  return rewriteHeader(
    'done',
    (header) => {
      const scope = { tenant, direction, messageId: messageIdOf(header) };
      const value = doneMark(loopBack.key, loopBack.tokens[direction], scope);
      return { fields: [makeField(DONE_FIELD, value), ...header.fields] };
    },
    limits,
  );
}

// Removes fields that must not cross the gateway: Exchange's organisation headers and our own marks.
import type { Step } from '../../core/plan.ts';
import { stripInbound, stripOutbound } from '../../tenant/exchange-headers.ts';
import type { Stage, StageContext } from '../stage.ts';
import { rewriteHeader } from './rewrite-header.ts';

export function stripStage(step: Extract<Step, { kind: 'strip' }>, context: StageContext): Stage {
  return rewriteHeader('strip', step.direction === 'inbound' ? stripInbound : stripOutbound, context.limits);
}

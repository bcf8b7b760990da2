// Removes fields that must not cross the gateway: Exchange's organisation headers and our own marks.
import type { Step } from '../../core/plan.ts';
import { dropSignatures, stripInbound, stripOutbound } from '../../tenant/exchange-headers.ts';
import type { Stage, StageContext } from '../stage.ts';
import { rewriteHeader } from './rewrite-header.ts';

export function stripStage(step: Extract<Step, { kind: 'strip' }>, context: StageContext): Stage {
  const { direction, isRewritten = false } = step;
  const strip = direction === 'inbound' ? stripInbound : stripOutbound;
  return rewriteHeader(
    'strip',
    (header) => strip(isRewritten ? dropSignatures(header) : header),
    context.limits,
  );
}

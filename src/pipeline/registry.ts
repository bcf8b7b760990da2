// Step -> stage. Adding a kind of step without a stage does not compile.
import type { Step } from '../core/plan.ts';
import type { Stage, StageContext } from './stage.ts';
import { compareHeaderStage } from './stages/compare-header.ts';
import { decryptStage } from './stages/decrypt.ts';
import { dkimStage } from './stages/dkim.ts';
import { doneStage } from './stages/done.ts';
import { encryptStage } from './stages/encrypt.ts';
import { legacyDisplayStage } from './stages/legacy-display.ts';
import { markStage } from './stages/mark.ts';
import { signStage } from './stages/sign.ts';
import { stripStage } from './stages/strip.ts';
import { verifyStage } from './stages/verify.ts';

export function stageFor(step: Step, context: StageContext): Promise<Stage> | Stage {
  switch (step.kind) {
    case 'strip':
      return stripStage(step, context);
    case 'sign':
      return signStage(step, context);
    case 'legacy-display':
      return legacyDisplayStage(step, context);
    case 'encrypt':
      return encryptStage(step, context);
    case 'decrypt':
      return decryptStage(step, context);
    case 'verify':
      return verifyStage(step, context);
    case 'compare-header':
      return compareHeaderStage(step, context);
    case 'mark':
      return markStage(step, context);
    case 'dkim':
      return dkimStage(step, context);
    case 'done':
      return doneStage(step, context);
  }
}

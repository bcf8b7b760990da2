// Puts the Subject that is about to be hidden on top of the text, for programs that do not know header protection.
import type { Step } from '../../core/plan.ts';
import { addLegacyDisplay } from '../../mime/legacy-display.ts';
import type { Stage, StageContext } from '../stage.ts';
import { oneReading } from './one-reading.ts';

export function legacyDisplayStage(
  _step: Extract<Step, { kind: 'legacy-display' }>,
  { limits }: StageContext,
): Stage {
  return {
    name: 'legacy-display',
    input: 'source',
    release: 'streaming',
    run: (input) =>
      oneReading(input, limits, async function* () {
        yield* (await addLegacyDisplay(input, limits)) ?? input.open();
        return { kind: 'headers' };
      }),
  };
}

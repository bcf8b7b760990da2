// A message can be wrapped more than once: encrypted and signed inside, signed around both, compressed. The steps that
// open a layer are run again as long as they open one.
import type { StageOutcome } from '../core/outcome.ts';
import type { Step } from '../core/plan.ts';
import { replaces } from './stage.ts';

/** SECURITY: each layer costs a pass over the message and perhaps a private key operation (test: layers end). */
const MAX_LAYERS = 8;

/**
 * The steps in the order in which they run. `outcomes` grows while they are carried out; where a step found nothing in
 * one layer and something in another, only what it found stays there.
 */
export function* inLayers(steps: readonly Step[], outcomes: StageOutcome[]): Generator<Step, void> {
  const opening = steps.filter(({ kind }) => kind === 'decrypt' || kind === 'verify');
  // Once a layer is off, the next signature is judged before decryption takes it away with what it covers.
  const further = opening.toSorted((one, other) => other.kind.localeCompare(one.kind));
  for (const step of steps) {
    if (step === opening[0]) {
      const before = outcomes.length;
      for (let layer = 0; layer < MAX_LAYERS; layer += 1)
        if (!(yield* untilOpened(layer === 0 ? opening : further, outcomes))) break;
      outcomes.splice(before, outcomes.length, ...findings(outcomes.slice(before)));
    } else if (!opening.includes(step)) yield step;
  }
}

function* untilOpened(opening: readonly Step[], outcomes: StageOutcome[]): Generator<Step, boolean> {
  for (const step of opening) {
    if (step.kind === 'verify' && isJudged(outcomes)) continue;
    // What ran before may end, and say so, only now.
    const before = outcomes.length;
    yield step;
    if (outcomes.slice(before).some((outcome) => stepOf(outcome) && replaces(outcome))) return true;
  }
  return false;
}

/** What was found, and of a step that found nothing anywhere that it did so. */
function findings(outcomes: readonly StageOutcome[]): readonly StageOutcome[] {
  return outcomes.filter((outcome) => {
    if (!isNothing(outcome)) return true;
    const alike = outcomes.filter((other) => stepOf(other) === stepOf(outcome));
    return alike.every(isNothing) && alike[0] === outcome;
  });
}

function stepOf({ kind }: StageOutcome): Step['kind'] | undefined {
  if (kind === 'decrypted' || kind === 'not-decrypted') return 'decrypt';
  return kind === 'verified' || kind === 'not-verified' || kind === 'decompressed' ? 'verify' : undefined;
}

function isNothing(outcome: StageOutcome): boolean {
  if (outcome.kind === 'not-decrypted') return outcome.reason === 'not-encrypted';
  return outcome.kind === 'not-verified' && outcome.reason === 'not-signed';
}

/** Whether the signature of what is there now was looked at already: a detached one stays in the message. */
function isJudged(outcomes: readonly StageOutcome[]): boolean {
  const judged = outcomes.findLastIndex(({ kind }) => kind === 'verified' || kind === 'not-verified');
  return judged > outcomes.findLastIndex((outcome) => replaces(outcome));
}
